"""What subjects are given to embed, as files that their processes read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.bench.models import Frames, GivenModel, frames_of

__all__ = ["Material", "write_material"]


@dataclass(frozen=True, slots=True)
class Material:
    """The frames of one model.

    Attributes:
        frames: the frames.
        pixels: the file of `frames.pixels`.
        jpegs: the folder of `frames.jpegs`.
    """

    frames: Frames
    pixels: Path
    jpegs: Path


def write_material(folder: Path, models: Sequence[GivenModel]) -> Mapping[Path, Material]:
    """Write each model's frames, by its path; larger batches repeat them.

    Models of the same fingerprint share frames, so that a checkpoint is measured on the crops of its bundle.

    Raises:
        ModelError: `frames_of` raises it.
    """
    written: dict[str, Material] = {}
    for model in sorted(models, key=lambda model: model.bundle is None):
        if model.card.fingerprint not in written:
            place = folder / str(len(written))
            written[model.card.fingerprint] = _write(place, frames_of(model))
    return {model.path: written[model.card.fingerprint] for model in models}


def _write(folder: Path, frames: Frames) -> Material:
    material = Material(frames, folder / "frames.npy", folder / "jpegs")
    material.jpegs.mkdir(parents=True)
    np.save(material.pixels, frames.pixels)
    for number, jpeg in enumerate(frames.jpegs):
        (material.jpegs / f"{number:03}.jpg").write_bytes(jpeg)
    return material
