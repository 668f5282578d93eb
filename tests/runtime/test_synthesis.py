from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.synthesis.body import BODIES
from reid.runtime.synthesis.camera import FRAME_HEIGHT, FRAME_WIDTH, draw_camera
from reid.runtime.synthesis.mesh import PAINT, Level, Mesh, Part, Surface, box
from reid.runtime.synthesis.render import Placed
from reid.runtime.synthesis.scene import Track, draw_scene, film, plan_tracks
from reid.runtime.synthesis.vehicle import build_mesh, draw_vehicle, fleet_vehicle
from reid.runtime.synthesis.veri import SynthesisSummary, synthesize

NAME = re.compile(r"(\d{4})_(c\d{3})_(\d{8})_(\d+)\.jpg")


class Written:
    """A data set on disk, read back without the code under test."""

    def __init__(self, folder: Path, summary: SynthesisSummary) -> None:
        self.folder, self.summary = folder, summary
        self.train, self.query, self.test = (self.lines(f"name_{part}.txt") for part in ("train", "query", "test"))

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()

    def labels(self, name: str) -> list[dict[str, str]]:
        # Python's XML parser does not know gb2312: decode first, and leave the declaration out.
        declaration, document = (self.folder / name).read_bytes().decode("gb2312").split("\n", 1)
        assert declaration == '<?xml version="1.0" encoding="gb2312"?>'
        root = ET.fromstring(document)
        (items,) = root
        assert (root.tag, root.get("Version")) == (f"{name[:-10].title()}ingImages"[:14], "1.0") or (
            root.tag,
            root.get("Version"),
        ) == ("TestImages", "1.0")
        assert items.tag == "Items"
        assert items.get("number") == str(len(items))
        return [dict(item.attrib) for item in items]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("synthesis") / "veri"
    return Written(folder, synthesize(folder, vehicles=20, cameras=6, seed=0))
