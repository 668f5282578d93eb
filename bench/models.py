"""The models that are given: what they are, and the frames that they are measured with."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.bench.result import Quality, SubjectPrecision
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import VERIFICATION_FILE
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.files.protobuf import BYTES, fields
from reid.runtime.files.regular import open_regular
from reid.runtime.imaging import as_model_input, read_frame, read_image, resize
from reid.runtime.model_card import ModelCard, Preprocessing
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.graph import PRECISION_KEY, parse_card

__all__ = ["Frames", "GivenModel", "frames_of", "map_of", "read_model"]

_CHECKPOINT_CARD = "checkpoint.json"
_METADATA, _KEY, _VALUE = 14, 1, 2  # ModelProto.metadata_props in onnx.proto
_JPEG = b"\xff\xd8"
_PATCH = 8
"""Pixels of a patch of made-up frames: fine enough to be JPEG files of about a crop's size."""

_MADE_UP = 64


@dataclass(frozen=True, slots=True)
class GivenModel:
    """A model, as its card says.

    Attributes:
        path: the model, as it was given.
        kind: what it is.
        card: its card.
        precisions: the precisions of its graphs; ("fp32",) of a checkpoint.
        bundle: the bundle; None for anything else.
    """

    path: Path
    kind: Literal["bundle", "graph", "checkpoint"]
    card: ModelCard
    precisions: tuple[Precision, ...]
    bundle: Bundle | None = None

    def graphs(self) -> dict[Precision, Path]:
        """Return the file of each precision's graph; none of a checkpoint."""
        if self.bundle:
            return {precision: self.bundle.graph(precision).path for precision in self.precisions}
        return {self.precisions[0]: self.path} if self.kind == "graph" else {}


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What is embedded.

    Attributes:
        pixels: uint8 [n, 3, H, W].
        jpegs: the same crops as JPEG files, before they are resized.
        expected: PyTorch's embeddings of `pixels`, float32 [n, D]; None where they are not known.
    """

    pixels: NDArray[np.uint8]
    jpegs: tuple[bytes, ...]
    expected: NDArray[np.float32] | None


def read_model(path: Path) -> GivenModel:
    """Read a bundle, an .onnx file, or a run or checkpoint of `reid-train`. Needs no PyTorch.

    Raises:
        ModelError: it is none of these, or is damaged.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such model; give a bundle, an .onnx file, or a run of reid-train")
    if path.suffix == ".onnx":
        return _read_graph(path)
    card = path / _CHECKPOINT_CARD if path.is_dir() else path.with_suffix(".json")
    if card.is_file():
        return GivenModel(path, "checkpoint", ModelCard.read(card), ("fp32",))
    bundle = Bundle.open(path)
    return GivenModel(path, "bundle", bundle.card, bundle.precisions, bundle)


def frames_of(model: GivenModel, count: int | None = None, *, seed: int = 0) -> Frames:
    """Return so many frames: a bundle's reference crops, again and again; made-up ones for what carries none.

    Without a number, each crop once. Speed does not depend on what they show.

    Raises:
        ModelError: the bundle's reference cannot be read.
    """
    size = model.card.preprocessing
    if model.bundle is None:
        crops = [_made_up(size, seed + index) for index in range(min(count or _MADE_UP, _MADE_UP))]
        jpegs = tuple(map(_as_jpeg, crops))
        expected = None
    else:
        files, expected = model.bundle.reference()
        crops = [read_frame(file) for file in files]
        jpegs = tuple(_jpeg_of(file, crop) for file, crop in zip(files, crops, strict=True))
    chosen = np.arange(count or len(crops)) % len(crops)
    pixels = np.stack([as_model_input(crop, size) for crop in crops])
    return Frames(pixels[chosen], jpegs, None if expected is None else expected[chosen])


def map_of(model: GivenModel, precision: SubjectPrecision) -> Quality:
    """Return mAP by protocol, as the bundle's verification measured it; a checkpoint is its own reference."""
    if model.bundle is None or not (model.bundle.root / VERIFICATION_FILE).is_file():
        return Quality()
    verification = read_verification(model.bundle.root / VERIFICATION_FILE)
    for one in verification.precisions:
        if one.precision == precision:
            plain = (protocol for protocol in one.protocols if protocol.post_processing == "plain")
            found = {protocol.protocol: protocol.change("mAP").candidate for protocol in plain}
            return Quality(map_percent=found, map_session=one.session if found else "")
    return Quality()


def _read_graph(path: Path) -> GivenModel:
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            metadata = dict(_metadata(content))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX graph, or is damaged ({error}); export it again") from None
    precision: Precision = next((one for one in PRECISIONS if one == metadata.get(PRECISION_KEY)), "fp32")
    return GivenModel(path, "graph", parse_card(metadata, path), (precision,))


def _metadata(content: mmap.mmap) -> list[tuple[str, str]]:
    """Return the entries of a graph's metadata. Raises ValueError where it is no protobuf message."""
    entries = []
    for number, wire, start, end in fields(content, 0, len(content)):
        if number == _METADATA and wire == BYTES:
            entry = {key: content[first:last].decode() for key, _, first, last in fields(content, start, end)}
            entries.append((entry.get(_KEY, ""), entry.get(_VALUE, "")))
    return entries


def _made_up(size: Preprocessing, seed: int) -> NDArray[np.uint8]:
    """Return a crop of colored patches, as large as the model's input."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (size.height // _PATCH + 1, size.width // _PATCH + 1, 3), np.uint8)
    return resize(small, size.height, size.width)


def _jpeg_of(file: Path, crop: NDArray[np.uint8]) -> bytes:
    content = read_image(file)
    return content if content.startswith(_JPEG) else _as_jpeg(crop)


def _as_jpeg(crop: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1].tobytes()
