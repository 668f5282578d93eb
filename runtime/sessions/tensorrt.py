"""TensorRT and TensorRT-RTX: run a bundle's engine on an NVIDIA GPU, through pycuda."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.bundle import ENGINES_FOLDER, Bundle
from reid.runtime.engine_card import EngineCard, Target, check_engine, largest_batch, runs_on
from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.files.reading import read_file
from reid.runtime.gpu import Device, find_device
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.sessions.opened import Opened, Reference
from reid.runtime.sessions.session import BACKEND_TITLES, BatchLimits, Embeddings, SessionInfo
from reid.runtime.tensorrt_api import Flavor, import_tensorrt, logger_for

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TensorRTSession", "find_engine", "load_engine", "open_tensorrt", "open_tensorrt_rtx"]


def open_tensorrt(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's TensorRT engine of a precision on a GPU, by its number; None takes the first.

    Raises:
        ModelError: not a bundle, or its engine is damaged or was built from another graph.
        SessionError: no GPU, a package is missing, or no engine of the bundle is for here.
    """
    return _open("tensorrt", model, device, precision)


def open_tensorrt_rtx(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's TensorRT-RTX engine; otherwise as open_tensorrt."""
    return _open("tensorrt-rtx", model, device, precision)


def _open(flavor: Flavor, model: Path, device: str | None, precision: Precision) -> Opened:
    if not model.is_dir():
        raise SessionError(f"{model} has no engine; give its bundle, or use onnxruntime")
    bundle = Bundle.open(model)
    bundle.graph(precision)  # refuses a precision that the bundle does not have
    if device is not None and not re.fullmatch("[0-9]{1,3}", device):
        raise SessionError(f"{BACKEND_TITLES[flavor]} has no device {device!r}; give a GPU's number, as in {flavor}:0")
    ordinal = int(device or 0)
    gpu = find_device(ordinal)
    if gpu is None:
        raise SessionError(f"no NVIDIA GPU {ordinal} with a driver was found here; use onnxruntime:cpu")
    api = import_tensorrt(flavor)
    path, engine = find_engine(bundle, precision, Target(flavor, api.__version__, gpu.compute_capability))
    session = TensorRTSession(path, engine, bundle.card, api, gpu, ordinal)
    reference = Reference(bundle, engine.engine_sha256, f"rebuild it: {engine.rebuild(path)}")
    return Opened(session, reference, engine.note(bundle.root))


def load_engine(path: Path, engine: EngineCard, card: ModelCard) -> TensorRTSession:
    """Load an engine that was just built, which is in no bundle yet, on this machine's first GPU.

    Args:
        path: the engine's file.
        engine: its sidecar.
        card: the model's card.

    Raises:
        ModelError: the engine does not load on a GPU that it was built for.
        SessionError: this machine cannot run it; the message says why, in a few words.
    """
    gpu = find_device()
    if gpu is None:
        raise SessionError("no GPU where it was built")
    if not runs_on(engine, gpu.compute_capability):
        targets = ", ".join(engine.compute_capabilities)
        raise SessionError(
            f"it is for compute capability {targets}, and was built where there is {gpu.compute_capability}"
        )
    return TensorRTSession(path, engine, card, import_tensorrt(engine.flavor), gpu, 0)


def find_engine(bundle: Bundle, precision: Precision, target: Target) -> tuple[Path, EngineCard]:
    """Find the engine of a bundle that runs on a target, by the sidecars; nothing is deserialized.

    Raises:
        ModelError: a sidecar is damaged, or the engine for the target is, or it was built from another graph.
        SessionError: no engine runs on the target; the message says why and how to build one.
    """
    refusals: list[ReidError] = []
    for sidecar in sorted((bundle.root / ENGINES_FOLDER).glob("*.json")):
        path = sidecar.with_suffix(".engine")
        try:
            card = EngineCard.read(sidecar)
            if (card.flavor, card.precision) != (target.flavor, precision):
                continue
            check_engine(path, card, target, bundle.graph(precision), bundle.card.fingerprint)
        except ReidError as error:  # there may be another
            refusals.append(error)
        else:
            return path, card
    # A damaged engine says more than one that is for another device.
    for refusal in sorted(refusals, key=lambda error: isinstance(error, SessionError)):
        raise refusal
    command = shlex.join(["reid-export", str(bundle.root), "--precision", precision, "--engine", target.flavor])
    raise SessionError(
        f"{bundle.root} has no {precision} engine of {BACKEND_TITLES[target.flavor]}; build one: {command}"
    )


class TensorRTSession:
    """An engine on a GPU. The session owns buffers on the device for the largest batch of its profiles."""

    def __init__(
        self, path: Path, engine: EngineCard, card: ModelCard, api: ModuleType, gpu: Device, ordinal: int
    ) -> None:
        """Deserialize an engine that `check_engine` has passed, in the GPU's primary context, shared with PyTorch."""
        self.path = path
        self.info = SessionInfo(engine.flavor, api.__version__, gpu.name, engine.precision, card)
        largest = max(engine.profiles, key=lambda profile: (profile.frames[2], profile.tracklets[2]))
        self.limits = BatchLimits(largest.frames[2], largest.tracklets[2])
        self._profiles = engine.profiles
        self._errors: deque[str] = deque(maxlen=8)  # what TensorRT said
        self._cuda = _import_pycuda()
        self._cuda.init()
        self._context = self._cuda.Device(ordinal).retain_primary_context()
        try:
            with self._current():
                self._load(path, engine, api)
        except BaseException:
            self.close()
            raise

    def _load(self, path: Path, engine: EngineCard, api: ModuleType) -> None:
        self._logger = logger_for(api, lambda is_error, message: self._errors.append(message) if is_error else None)
        self._runtime = api.Runtime(self._logger)
        # A version-compatible engine brings the code that runs it along; its SHA-256 says that it is the one built.
        self._runtime.engine_host_code_allowed = engine.version_compatible
        self._engine = self._runtime.deserialize_cuda_engine(read_file(path, at_most=engine.engine_bytes))
        if self._engine is None:
            raise ModelError(
                f"{path} does not load on {self.info} ({self._reason()}); rebuild it: {engine.rebuild(path)}"
            )
        self._execution = self._engine.create_execution_context()
        if self._execution is None:
            raise SessionError(
                f"{self.info} has too little free memory for {path}; free some, or build a smaller profile"
            )
        self._stream = self._cuda.Stream()
        frames, tracklets = largest_batch(engine.profiles)
        size, depth = self.info.card.preprocessing, 4 * self.info.card.dimensions
        self._buffers: dict[str, Any] = {
            FRAMES: self._cuda.mem_alloc(frames * 3 * size.height * size.width),
            POOLING: self._cuda.mem_alloc(tracklets * frames * 4),
            FRAME_EMBEDDING: self._cuda.mem_alloc(frames * depth),
            POOLED: self._cuda.mem_alloc(tracklets * depth),
        }

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        """See Session.compute. Raises SessionError where the batch fits no profile of the engine."""
        profile = self._profile_for(len(frames), len(pooling))
        outputs = Embeddings(
            np.empty((len(frames), self.info.card.dimensions), np.float32),
            np.empty((len(pooling), self.info.card.dimensions), np.float32),
        )
        with self._current():
            if self._execution.active_optimization_profile != profile:
                self._execution.set_optimization_profile_async(profile, self._stream.handle)
            for name, array in ((FRAMES, frames), (POOLING, pooling)):
                if not self._execution.set_input_shape(name, array.shape):
                    raise SessionError(f"the engine on {self.info} takes no {name} of {array.shape}; build it again")
                self._cuda.memcpy_htod(self._buffers[name], np.ascontiguousarray(array))
            for name, buffer in self._buffers.items():
                self._execution.set_tensor_address(name, int(buffer))
            if not self._execution.execute_async_v3(self._stream.handle):
                raise SessionError(f"the engine did not run on {self.info} ({self._reason()}); build it again")
            self._stream.synchronize()
            for name, output in ((FRAME_EMBEDDING, outputs.frame_embedding), (POOLED, outputs.pooled)):
                self._cuda.memcpy_dtoh(output, self._buffers[name])
        return outputs

    def _reason(self) -> str:
        return " ".join(self._errors[-1].split())[:300] if self._errors else "no reason was given"

    def _profile_for(self, frames: int, tracklets: int) -> int:
        fitting = (index for index, profile in enumerate(self._profiles) if profile.fits(frames, tracklets))
        if (index := next(fitting, None)) is None:
            most, _ = largest_batch(self._profiles)
            raise SessionError(
                f"{frames} frames of {tracklets} tracklets fit no profile of the engine (at most {most} frames); "
                "use a smaller batch, or build the engine with another profile"
            )
        return index

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the GPU's context current, and leave what was current before."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def close(self) -> None:
        """See Session.close."""
        if self._context is not None:
            with self._current():
                self._execution = self._engine = self._runtime = self._stream = None
                self._buffers = {}
            self._context.detach()
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _import_pycuda() -> Any:  # noqa: ANN401 - pycuda has no stubs
    try:
        from pycuda import driver
    except ImportError:
        raise SessionError("pycuda is not installed: pip install 'reid[gpu]'") from None
    return driver
