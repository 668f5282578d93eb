"""The sound inputs that rows damage: made once, when a row first asks for them, and never changed."""

from __future__ import annotations

import io
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from made_once import made_once

__all__ = ["World", "big_png"]

_BACKBONE = "test_resnet"
"""The smallest ResNet of timm: files of 2 MB are quickly copied, read and hashed."""

_SHARED = ("data", "run", "bundle")
"""What does not depend on where it is made."""


class World:
    """Sound inputs by name.

    Names: `run` (a checkpoint's folder), `bundle` (exported from it), `data` (VeRi-776's layout), `gallery` and `query`
    (folders of crops), `saved.npz` (a gallery), `store` (the same in a folder), `scales.json`, `cityflow` (a data set
    with a challenge), `trained` (a run of one epoch on `data`, with its state), `engined` (the bundle with an engine),
    `weights.pth`, `bench.json` (a benchmark's result), `big.png` (109 KB that are 30,000 x 30,000 pixels).

    Args:
        folder: where they are made.
        base: the base of this process's temporary folders, beside which worker processes share what takes seconds.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self._folder = folder
        self._base = base
        self._made: dict[str, Path] = {}
        self._makers: dict[str, Callable[[Path], None]] = {
            "data": self._data,
            "run": self._run,
            "bundle": self._bundle,
            "gallery": self._gallery,
            "query": self._query,
            "saved.npz": self._saved,
            "store": self._store,
            "scales.json": self._scales,
            "cityflow": self._cityflow,
            "trained": self._trained,
            "engined": self._engined,
            "weights.pth": self._weights,
            "bench.json": self._benchmark,
            "big.png": self._big_png,
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The names of everything that there can be."""
        return tuple(self._makers)

    def __getitem__(self, name: str) -> Path:
        if name not in self._made:
            path = self._folder / name
            if name in _SHARED:
                shutil.copytree(made_once(self._base, f"world-{name}", self._makers[name]), path)
            else:
                self._makers[name](path)
            self._made[name] = path
        return self._made[name]

    def facts(self) -> dict[str, tuple[int, ...]]:
        """Return what changes when anything changes that was made so far."""
        found = {}
        for folder, folders, files in os.walk(self._folder):
            for name in (*folders, *files):
                state = os.lstat(path := os.path.join(folder, name))
                found[path] = (state.st_mode, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        return found

    def _images(self, chosen: slice) -> list[Path]:
        return sorted((self["data"] / "image_test").iterdir())[chosen]

    def _data(self, folder: Path) -> None:
        from reid.data.synthesis.veri import synthesize

        synthesize(folder, vehicles=10, cameras=2, seed=7)

    def _run(self, folder: Path) -> None:
        import torch

        from reid.runtime.model_card import FORMAT_VERSION, ModelCard
        from reid.train.model.backbone import create_backbone
        from reid.train.model.checkpoint import describe, save_checkpoint
        from reid.train.model.multi_level import MultiLevelReID

        torch.manual_seed(0)
        backbone = create_backbone(_BACKBONE, (3, 4), image_size=64, weights="none")
        levels, preprocessing = describe(backbone, 16, 64)
        model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).eval()
        facts = {"backbone": _BACKBONE, "levels": levels, "preprocessing": preprocessing}
        folder.mkdir()
        reference = {path.name: path.read_bytes() for path in self._images(slice(8))}
        save_checkpoint(folder, model, ModelCard(format_version=FORMAT_VERSION, fingerprint="", **facts), reference)

    def _bundle(self, folder: Path) -> None:
        from reid.export.bundle import write_bundle
        from reid.train.model.checkpoint import load_checkpoint

        write_bundle(load_checkpoint(self["run"]), folder)

    def _gallery(self, folder: Path) -> None:
        (folder / "track").mkdir(parents=True)
        for place, chosen in (("track", slice(0, 3)), (".", slice(10, 13))):
            for image in self._images(chosen):
                shutil.copy(image, folder / place)

    def _query(self, folder: Path) -> None:
        folder.mkdir()
        for number, image in enumerate(self._images(slice(20, 22))):
            shutil.copy(image, folder / f"{number}.jpg")

    def _saved(self, file: Path) -> None:
        from reid.runtime.embedding import embed
        from reid.runtime.folders import read_folder
        from reid.runtime.galleries.memory import MemoryGallery
        from reid.runtime.opening import open_session

        with open_session(self["bundle"]) as session:
            MemoryGallery.collect(embed(session, read_folder(self["gallery"])), session.info.space).save(file)

    def _store(self, folder: Path) -> None:
        from reid.runtime.galleries.memory import MemoryGallery
        from reid.runtime.galleries.store.store import Store
        from reid.runtime.model_card import ModelCard
        from reid.runtime.space import Space

        card = ModelCard.read(self["bundle"] / "model.json")
        saved = MemoryGallery.open(self["saved.npz"], Space(card.fingerprint, "fp32", card.dimensions))
        with Store.create(folder, saved.space) as store:
            store.add(saved.members, saved.embeddings)

    def _scales(self, file: Path) -> None:
        from reid.calibration.selection import open_calibration_data
        from reid.export.int8.measurement import measure
        from reid.export.int8.plan import CalibrationRequest

        request = CalibrationRequest(open_calibration_data(self["data"]), frames=4)
        measure(self["bundle"], request)[0].save(file)

    def _cityflow(self, root: Path) -> None:
        items = []
        for part in ("train", "query", "test"):
            (root / f"image_{part}").mkdir(parents=True)
        for number, image in enumerate(sorted((self["data"] / "image_train").iterdir()), start=1):
            shutil.copy(image, root / "image_train" / f"{number:06d}.jpg")
            vehicle, camera, *_ = image.name.split("_")
            items.append(f'<Item imageName="{number:06d}.jpg" vehicleID="{vehicle}" cameraID="{camera}" />')
        text = f"<TrainingImages><Items>{''.join(items)}</Items></TrainingImages>"
        (root / "train_label.xml").write_text(text)
        for part, count in (("query", 2), ("test", 4)):
            for number, image in enumerate(self._images(slice(count)), start=1):
                shutil.copy(image, root / f"image_{part}" / f"{number:06d}.jpg")

    def _trained(self, folder: Path) -> None:
        from reid.data.layout import open_dataset
        from reid.train.loop import train
        from reid.train.recipe import Recipe
        from reid.train.run.folder import RunFolder

        small = {"backbone": _BACKBONE, "weights": "none", "levels": "3,4", "embedding_size": 8, "image_size": 32}
        recipe = Recipe.of({**small, "epochs": 1, "vehicles_per_batch": 2, "images_per_vehicle": 2})
        train(open_dataset(self["data"], needs="train"), recipe, RunFolder(folder), resume=False)

    def _engined(self, folder: Path) -> None:
        from reid.export.engines.add import add_engines
        from reid.export.engines.options import EngineOptions
        from reid.runtime.bundle import Bundle

        shutil.copytree(self["bundle"], folder)
        options = EngineOptions("tensorrt-rtx", optimization_level=0, compute_capabilities=("8.9",))
        add_engines(Bundle.open(folder), ("fp32",), options)

    def _weights(self, file: Path) -> None:
        import timm
        import torch

        torch.save(timm.create_model(_BACKBONE, pretrained=False).state_dict(), file)

    def _benchmark(self, file: Path) -> None:
        from bench_results import sample

        file.write_text(sample().model_dump_json())

    def _big_png(self, file: Path) -> None:
        file.write_bytes(big_png(30_000, 30_000))


def big_png(width: int, height: int) -> bytes:
    """Return a black picture of one bit a pixel, without taking memory for it."""
    rows = zlib.compressobj(1)
    data = io.BytesIO()
    for _ in range(height):
        data.write(rows.compress(bytes(1 + (width + 7) // 8)))
    data.write(rows.flush())
    header = np.array([width, height], ">u4").tobytes() + bytes([1, 0, 0, 0, 0])
    chunks = ((b"IHDR", header), (b"IDAT", data.getvalue()), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
