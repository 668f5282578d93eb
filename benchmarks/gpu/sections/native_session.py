"""The native TensorRT session on real CUDA, memory, streams and graphs; its engine alone is a stand-in, and strict.

Once with pycuda, once with cuda-bindings: each in a process of its own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cuda_stack import context_stack
from measuring import free_mib, greatest_difference, random_batch
from numpy.typing import NDArray
from proving import Proof, prove
from session_paths import on_busy_stream, through_slots

from reid.runtime.engine_card import EngineCard, LayerSummary, Profile
from reid.runtime.gpu import find_device
from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard, Preprocessing
from reid.runtime.sessions.session import run
from reid.runtime.sessions.tensorrt import TensorRTSession

_SIDE, _FRAMES, _ROUNDS = 256, 32, 60
_PROFILES = (Profile((1, 1, 2), (1, 1, 2)), Profile((1, 16, _FRAMES), (1, 4, 8)))
_CLOSE = 1e-2
"""How far a mean of pixels, of up to 32 frames, may be off."""
_LEFT_MIB = 16

Found = list[tuple[str, bool, Any]]


def native_session(proof: Proof) -> None:
    """Open, run and close the session with each package that drives CUDA here."""
    proof.needs_gpu()
    for package in ("pycuda", "cuda.bindings.driver"):
        proof.attempt(package, _with_package, proof, package)


def _with_package(proof: Proof, package: str) -> str | None:
    if not _is_installed(package):
        return "skipped: not installed"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        for name, holds, found in child.submit(_examine, package, proof.work / "stand-in.engine").result():
            proof.check(f"{package}: {name}", holds, found)
    return None


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # what it is a part of
        return False


def _examine(package: str, plan: Path) -> Found:
    """Return what was found, in a process in which CUDA is driven by one package."""
    if package != "pycuda":
        sys.modules["pycuda"] = None  # type: ignore[assignment] # so that it counts as not installed
    torch.zeros(1, device="cuda")  # PyTorch's context is current, as in a program around the session
    plan.write_bytes(b"stand-in")
    found: Found = []
    before = context_stack()
    with _open(plan) as session:
        for part in (_answers, _thread, _wrong_types, _slots, _on_device):
            found += _found(part, session)
        found.append(("contexts are as before while it is open", context_stack() == before, len(context_stack())))
    found.append(("contexts are as before after it is closed", context_stack() == before, len(context_stack())))
    return found + _left_behind(plan)


def _found(part: Callable[[TensorRTSession], Found], session: TensorRTSession) -> Found:
    try:
        return part(session)
    except Exception as error:
        return [(part.__name__.strip("_"), False, f"{type(error).__name__}: {error}"[:300])]


def _open(plan: Path) -> TensorRTSession:
    from stand_in_engine import strict_tensorrt

    levels = tuple(Level(name=f"level{number}", size=512) for number in (2, 3, 4))
    preprocessing = Preprocessing(height=_SIDE, width=_SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="stand-in",
        backbone="none",
        levels=levels,
        preprocessing=preprocessing,
    )
    api = strict_tensorrt(card.dimensions, _PROFILES)
    engine = EngineCard(
        format_version=1,
        flavor="tensorrt",
        version=api.__version__,
        cuda=None,
        device="stand-in",
        compute_capabilities=("9.0",),
        hardware_compatible=False,
        version_compatible=False,
        precision="fp32",
        profiles=_PROFILES,
        graph_sha256="0",
        engine_sha256="0",
        engine_bytes=len(b"stand-in"),
        fingerprint="stand-in",
        opset=19,
        layers=LayerSummary(source="engine", layers={}, convolutions={}),
        build_command="reid-export BUNDLE --precision fp32",
    )
    device = find_device()
    assert device is not None
    return TensorRTSession(plan, engine, card, api, device, 0)


def _off(outputs: Any, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> float:  # noqa: ANN401
    """Return how far outputs are from what the stand-in should answer."""
    frame_embedding, pooled = (np.asarray(array) for array in outputs)
    means = frames.reshape(len(frames), -1).mean(axis=1)
    worst = np.abs(frame_embedding - means[:, None]).max(), np.abs(pooled - (pooling @ means)[:, None]).max()
    return float(max(worst[0], worst[1] / len(frames)))


def _answers(session: TensorRTSession) -> Found:
    """Run batches of both profiles, many of them twice, so that CUDA graphs are captured and launched."""
    worst = 0.0
    for number in range(_ROUNDS):
        frames, tracklets = (2, 1) if number % 3 == 0 else (1 + number % 8, 1 + number % 5)
        batch = random_batch(_SIDE, frames, min(frames, tracklets), seed=number)
        worst = max(worst, _off(run(session, *batch), *batch))
    return [(f"{_ROUNDS} batches are answered rightly", worst < _CLOSE, worst)]


def _thread(session: TensorRTSession) -> Found:
    batch, offs = random_batch(_SIDE, 3, 2), [float("inf")]
    _in_thread(lambda: offs.append(_off(run(session, *batch), *batch)))
    return [("another thread is answered rightly", offs[-1] < _CLOSE, offs[-1])]


def _wrong_types(session: TensorRTSession) -> Found:
    frames, pooling = random_batch(_SIDE, 4)
    found: Found = []
    for wrong in ((frames.astype(np.float32), pooling), (frames, pooling.astype(np.float64))):
        try:
            run(session, *wrong)
            refusal = ""
        except ValueError as error:
            refusal = str(error)
        found.append((f"{wrong[0].dtype} and {wrong[1].dtype} are refused", bool(refusal), refusal))
    return found


def _slots(session: TensorRTSession) -> Found:
    """Keep all slots in flight."""
    batches = [random_batch(_SIDE, _FRAMES, 4, seed=seed % 3) for seed in range(12)]
    answers = zip(through_slots(session, batches), batches, strict=True)
    worst = max(_off(outputs, *batch) for outputs, batch in answers)
    return [("slots in flight are answered rightly", worst < _CLOSE, worst)]


def _on_device(session: TensorRTSession) -> Found:
    batch = random_batch(_SIDE, 8, 3)
    by_dlpack, by_interface = on_busy_stream(session, batch)
    worst, same = _off(by_dlpack, *batch), greatest_difference(by_dlpack, by_interface)
    return [
        ("device arrays are answered rightly on a busy stream", worst < _CLOSE, worst),
        ("DLPack and the CUDA array interface give the same", same == 0.0, same),
    ]


def _left_behind(plan: Path) -> Found:
    """Open and close it again and again, at last on another thread: neither memory nor contexts remain."""
    stack = context_stack()
    _open(plan).close()
    free = free_mib()
    for _ in range(5):
        _open(plan).close()
    closing = _open(plan)
    _in_thread(closing.close)
    left = free - free_mib()
    torch.ones(4, device="cuda").sum().item()  # PyTorch still works
    return [
        (f"five sessions and one closed elsewhere leave less than {_LEFT_MIB} MiB", left < _LEFT_MIB, left),
        ("contexts are as before after that", context_stack() == stack, len(context_stack())),
    ]


def _in_thread(task: Callable[[], object]) -> None:
    thread = threading.Thread(target=task)
    thread.start()
    thread.join()


if __name__ == "__main__":
    prove(native_session)
