"""Where a model comes from: the versions of packages, and the crops that its checkpoint carries."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
import torchvision

import reid
from reid.runtime.errors import DataError
from reid.runtime.imaging import decode, is_image, read_image
from reid.runtime.tracklet import Tracklet

__all__ = ["reference_crops", "versions"]

REFERENCE_CROPS = 32


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
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
    """Return some readable image files, evenly spread over the images, as bytes by name.

    They travel with the model, so that any device can check its decoder, its resizing and its engine against PyTorch.
    """
    wanted = min(REFERENCE_CROPS, len(images))
    crops = {}
    for position in range(wanted):
        frame = images[position * len(images) // wanted].frames[0]
        if not isinstance(frame, Path) or not is_image(frame.name):
            continue
        try:
            content = read_image(frame)
            decode(content, frame)
        except DataError:
            continue
        crops[f"{position:04d}{frame.suffix.lower()}"] = content
    return crops
