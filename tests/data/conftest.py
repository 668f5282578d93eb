"""Copies of data sets that a test may damage, and the synthetic images in CityFlow-ReID's layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def _label_file(path: Path, root_tag: str, attributes: list[dict[str, str]]) -> None:
    items = (" ".join(f'{key}="{value}"' for key, value in entry.items()) for entry in attributes)
    lines = [
        '<?xml version="1.0" encoding="gb2312"?>',
        f'<{root_tag} Version="1.0">',
        f'<Items number="{len(attributes)}">',
        *(f"<Item {item}/>" for item in items),
        "</Items>",
        f"</{root_tag}>",
    ]
    path.write_text("\n".join(lines), encoding="gb2312")


@pytest.fixture(scope="session")
def cityflow(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic images, renumbered as AI City track 2 does: each part from 000001.jpg on."""
    root = tmp_path_factory.mktemp("data") / "cityflow"
    for part, element in (("train", "TrainingImages"), ("query", "QueryImages"), ("test", "TestImages")):
        folder = root / f"image_{part}"
        folder.mkdir(parents=True)
        tracks: dict[str, list[str]] = {}
        labels = []
        for number, source in enumerate(sorted((veri / f"image_{part}").iterdir()), start=1):
            name = f"{number:06d}.jpg"
            shutil.copyfile(source, folder / name)
            vehicle, camera, *_ = source.name.split("_")
            tracks.setdefault(f"{vehicle}_{camera}", []).append(name)
            label = {"imageName": name, "vehicleID": vehicle, "cameraID": camera}
            labels.append(label if part == "train" else {key: label[key] for key in ("imageName", "cameraID")})
        if part != "test":
            _label_file(root / f"{part}_label.xml", element, labels)
        if part != "query":
            lines = "".join(" ".join(names) + "\n" for names in tracks.values())
            (root / f"{part}_track.txt").write_text(lines)
    return root


@pytest.fixture
def veri_copy(veri: Path, tmp_path: Path) -> Path:
    """A VeRi-776 set to damage."""
    return Path(shutil.copytree(veri, tmp_path / "veri"))


@pytest.fixture
def cityflow_copy(cityflow: Path, tmp_path: Path) -> Path:
    """A CityFlow-ReID set to damage."""
    return Path(shutil.copytree(cityflow, tmp_path / "cityflow"))
