"""A model repository for NVIDIA's Triton Inference Server, in two forms: docs/triton.md says when to use which.

Triton joins requests by concatenating each input along its first axis. That is right for `frames`, and wrong for
`pooling`, whose rows would then miss the columns of the other requests' frames. So what is batched dynamically has no
pooling, and what pools takes whole tracklets, any number of them and of any length, in one request.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reid.export.frames_graph import write_frames_graph
from reid.runtime.bundle import CARD_FILE, ENGINES_FOLDER, Bundle
from reid.runtime.engine_card import EngineCard
from reid.runtime.engine_fit import check_origin
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.files.reading import MEBIBYTE, read_file, sha256_of
from reid.runtime.files.storage import check_apart, workspace_for
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import DEFAULT_LIMITS

__all__ = ["engines_for_triton", "write_triton_repository"]

CONFIG_FILE = "config.pbtxt"
ENGINE_CARD_FILE = "engine.json"

_FILES = "files"
"""The name of a staged version, whose number is not known yet."""

_LAST_VERSION = 999_999_999
_VERSION = re.compile("[1-9][0-9]{0,8}")
"""The names of versions; Triton ignores those that begin with 0."""


@dataclass(frozen=True, slots=True)
class _Model:
    """One model of the repository.

    Attributes:
        name: the name of its folder.
        config: the text of its config.pbtxt; the first line says what no two versions may differ in.
        write: the function that writes the version's files into a folder.
    """

    name: str
    config: str
    write: Callable[[Path], None]


def write_triton_repository(
    bundle: Bundle,
    repository: Path,
    *,
    precisions: Sequence[Precision],
    engines: Sequence[Path] = (),
    version: int | None = None,
) -> list[Path]:
    """Add a version of the model to a Triton model repository, in all its forms or in none.

    Each form is put in its place in one step. A version that a kill between two of them left in some forms only is
    completed by the next call, if it holds what would be written.

    A precision gives `reid_frames_<precision>` and `reid_tracklets_<precision>`, an engine
    `reid_tracklets_tensorrt_<precision>`. A config.pbtxt that is already there is left as it is.

    Args:
        bundle: the bundle, with its hashes checked.
        repository: the repository's folder, made if it is absent.
        precisions: the precisions of the graphs to write.
        engines: TensorRT engines with their sidecars, one for a precision.
        version: the version to write; None takes the next that no form has yet, or completes the newest.

    Returns:
        The folders of the written versions.

    Raises:
        ModelError: the bundle has no such graph, or an engine is damaged, of another graph, or not for Triton.
        ReidError: the version is there already, or a form is there with other inputs or outputs. Or the repository is
            no folder, or not apart from the bundle.
    """
    check_apart(repository, [bundle.root])
    if repository.exists() and not repository.is_dir():
        raise ReidError(f"{repository} exists and is not a folder; choose another repository")
    models = _models(bundle, precisions, engines)
    forms = [repository / model.name for model in models]
    for model, form in zip(models, forms, strict=True):
        _check_config(model, form)
    # Not in the repository, unless it is a volume: Triton takes every folder there for a model.
    with workspace_for(repository) as staging:
        for model in models:
            _stage(model, bundle, staging / model.name)
        version = _version_to_write(staging, forms, version)
        lacking = [form for form in forms if not os.path.lexists(form / str(version))]
        repository.mkdir(parents=True, exist_ok=True)
        _publish(staging, lacking, version)
    return [form / str(version) for form in forms]


def engines_for_triton(bundle: Bundle) -> list[Path]:
    """Return the bundle's engines that Triton can run: it has no backend for TensorRT-RTX.

    Raises:
        ModelError: a sidecar is damaged.
    """
    sidecars = sorted((bundle.root / ENGINES_FOLDER).glob("*.json"))
    cards = {path: EngineCard.read(path) for path in sidecars}
    return [path.with_suffix(".engine") for path, card in cards.items() if card.flavor == "tensorrt"]


def _models(bundle: Bundle, precisions: Sequence[Precision], engines: Sequence[Path]) -> list[_Model]:
    models = [model for precision in precisions for model in _graph_models(bundle, precision)]
    models.extend(_engine_model(bundle, engine) for engine in engines)
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ReidError(
                f"{name} is requested twice: a repository takes one model of each precision, for one device; leave "
                "one engine of each precision in the bundle, or give one"
            )
    return models


def _graph_models(bundle: Bundle, precision: Precision) -> Iterator[_Model]:
    graph = bundle.graph(precision).path
    for form, config, write in (
        ("frames", _frames_config, write_frames_graph),
        ("tracklets", partial(_tracklets_config, platform="onnxruntime_onnx", rest=_EXACT_FP32), shutil.copyfile),
    ):
        name = f"reid_{form}_{precision}"
        yield _Model(name, config(name, bundle.card), partial(_write_graph, write, graph))


def _write_graph(write: Callable[[Path, Path], object], graph: Path, folder: Path) -> None:
    write(graph, folder / "model.onnx")


def _engine_model(bundle: Bundle, path: Path) -> _Model:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise ModelError(f"{path} has no {sidecar.name} beside it; give an engine that `reid-export` wrote")
    card = EngineCard.read(sidecar)
    if card.flavor != "tensorrt":
        raise ModelError(f"{path}: Triton cannot run engines of {card.flavor}; build one with --engine tensorrt")
    check_origin(path, card, bundle.graph(card.precision), bundle.card.fingerprint)  # the device is not known here
    name = f"reid_tracklets_tensorrt_{card.precision}"
    profiles = ", ".join(f'"{index}"' for index in range(len(card.profiles)))
    config = _tracklets_config(
        name,
        bundle.card,
        platform="tensorrt_plan",
        rest=f"instance_group [ {{ kind: KIND_GPU profile: [ {profiles} ] }} ]\n",
        signature=f"{_signature(bundle.card)}, {len(card.profiles)} profiles",
    )
    return _Model(name, config, partial(_write_engine, path, sidecar))


def _write_engine(engine: Path, sidecar: Path, folder: Path) -> None:
    shutil.copyfile(engine, folder / "model.plan")
    shutil.copyfile(sidecar, folder / ENGINE_CARD_FILE)


# TF32, ONNX Runtime's default on GPUs, would make an FP32 graph something other than what was verified.
_EXACT_FP32 = """\
optimization {
  execution_accelerators {
    gpu_execution_accelerator [ { name: "cuda" parameters { key: "use_tf32" value: "0" } } ]
  }
}
"""


def _frames_config(name: str, card: ModelCard) -> str:
    size = card.preprocessing
    return f"""\
{_signature(card)}
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {DEFAULT_LIMITS.frames}
input [ {{ name: "{FRAMES}" data_type: TYPE_UINT8 dims: [ 3, {size.height}, {size.width} ] }} ]
output [ {{ name: "{FRAME_EMBEDDING}" data_type: TYPE_FP32 dims: [ {card.dimensions} ] }} ]
{_ALL_VERSIONS}\
dynamic_batching {{ }}
{_EXACT_FP32}"""


def _tracklets_config(name: str, card: ModelCard, *, platform: str, rest: str, signature: str = "") -> str:
    size = card.preprocessing
    return f"""\
{signature or _signature(card)}
name: "{name}"
platform: "{platform}"
max_batch_size: 0
input [
  {{ name: "{FRAMES}" data_type: TYPE_UINT8 dims: [ -1, 3, {size.height}, {size.width} ] }},
  {{ name: "{POOLING}" data_type: TYPE_FP32 dims: [ -1, -1 ] }}
]
output [
  {{ name: "{FRAME_EMBEDDING}" data_type: TYPE_FP32 dims: [ -1, {card.dimensions} ] }},
  {{ name: "{POOLED}" data_type: TYPE_FP32 dims: [ -1, {card.dimensions} ] }}
]
{_ALL_VERSIONS}{rest}"""


_ALL_VERSIONS = """\
# A gallery may only be searched with the version that embedded it, so no version is unloaded by itself.
version_policy { all { } }
"""


def _signature(card: ModelCard) -> str:
    """Return the line by which a config.pbtxt, whose other lines people may have tuned, is known to fit a version."""
    size = card.preprocessing
    return f"# reid-export: frames 3 x {size.height} x {size.width}, embedding {card.dimensions}"


def _version_to_write(staging: Path, forms: Sequence[Path], version: int | None) -> int:
    newest = max((number for form in forms for number in _versions(form)), default=0)
    wanted = newest if version is None else version
    there = [form / str(wanted) for form in forms if os.path.lexists(form / str(wanted))]
    if 0 < len(there) < len(forms) and all(_is_same(staging / path.parent.name / _FILES, path) for path in there):
        return wanted
    if version is None:
        wanted = newest + 1
    elif there:
        raise ReidError(f"{there[0]} exists, and versions are never replaced; choose another version")
    if not 1 <= wanted <= _LAST_VERSION:
        raise ReidError(f"version {wanted} of {forms[0]}: versions count from 1 to {_LAST_VERSION}; choose another")
    return wanted


def _versions(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if _VERSION.fullmatch(path.name)]


def _is_same(staged: Path, version: Path) -> bool:
    """Return whether a version holds the staged files and nothing else."""
    try:
        names = set(os.listdir(staged))
        return names == set(os.listdir(version)) and all(
            sha256_of(staged / name) == sha256_of(version / name) for name in names
        )
    except OSError:
        return False


def _check_config(model: _Model, folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    config = folder / CONFIG_FILE
    first_line = model.config.partition("\n")[0]
    try:
        content = read_file(config, at_most=MEBIBYTE)
    except OSError as error:
        raise ReidError(f"{config}: {error.strerror}; choose another repository") from None
    if content.splitlines()[:1] != [first_line.encode()]:
        raise ReidError(
            f"{config} belongs to another model (its first line is not {first_line!r}); choose another repository"
        )


def _stage(model: _Model, bundle: Bundle, folder: Path) -> None:
    files = folder / _FILES
    files.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(model.config)
    shutil.copyfile(bundle.root / CARD_FILE, files / CARD_FILE)
    model.write(files)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _publish(staging: Path, forms: Sequence[Path], version: int) -> None:
    """Rename what is staged into place: a new model with its config, or the version of a known one."""
    published: list[Path] = []
    try:
        for form in forms:
            staged, target = staging / form.name, form
            if form.exists():
                staged, target = staged / _FILES, form / str(version)
            else:
                (staged / _FILES).rename(staged / str(version))
            staged.rename(target)
            published.append(target)
    except BaseException as error:
        for path in published:
            shutil.rmtree(path)
        if isinstance(error, OSError):
            raise ReidError(f"{form}: {error.strerror}; nothing was written") from None
        raise
