"""Where a model comes from: the facts and the crops that its checkpoint carries."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
import torchvision

import reid
from reid.data.dataset import Dataset
from reid.data.fingerprint import data_fingerprint
from reid.runtime.errors import DataError
from reid.runtime.imaging import decode
from reid.runtime.tracklet import Tracklet
from reid.train.recipe import Recipe

__all__ = ["data_fingerprint", "reference_crops", "run_facts", "versions"]

REFERENCE_CROPS = 32


def run_facts(dataset: Dataset, recipe: Recipe, fingerprint: str, held_out: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is needed to repeat a run."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "recipe": asdict(recipe),
        "data": {
            "layout": dataset.layout,
            "fingerprint": fingerprint,
            "images": len(dataset.train.images),
            "held_out_vehicles": held_out["vehicles"],
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Give the versions that a result depends on."""
    return {
        "reid": reid.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def reference_crops(images: Sequence[Tracklet]) -> dict[str, bytes]:
    """Take some readable images, evenly spread, as files: name -> bytes.

    They travel with the model, so that any device can check its decoder, its resize and its engine against PyTorch.
    """
    wanted = min(REFERENCE_CROPS, len(images))
    crops = {}
    for position in range(wanted):
        frame = images[position * len(images) // wanted].frames[0]
        if not isinstance(frame, Path):
            continue
        try:
            content = frame.read_bytes()
            decode(content, frame)
        except (DataError, OSError):
            continue
        crops[f"{position:04d}{frame.suffix.lower()}"] = content
    return crops
