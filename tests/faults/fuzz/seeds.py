"""Small sound files of every format: stored ones of reid 0.1, and ones that this version writes, always the same."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
import struct
import tarfile
import tempfile
import zipfile
import zlib
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import nn

    from reid.runtime.model_card import ModelCard
    from reid.train.learner import Learner

STORED = Path(__file__).parents[2] / "stored"
SIDE, DIMENSIONS = 8, 6
FINGERPRINT = "0f" * 32


def stored(name: str) -> bytes:
    """Return a file that reid 0.1 wrote."""
    return (STORED / name).read_bytes()


def noise(*shape: int) -> Any:  # noqa: ANN401 - an array of uint8
    """Return pixels, uint8 of any shape."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def encoded(suffix: str, pixels: Any, *options: int) -> bytes:  # noqa: ANN401
    """Return pixels as an image file."""
    done, content = cv2.imencode(suffix, pixels, options)
    assert done
    return content.tobytes()


def jpegs() -> list[bytes]:
    """Return JPEGs: baseline, progressive, gray, with restarts, and turned by EXIF."""
    color = noise(12, 16, 3)
    baseline = encoded(".jpg", color)
    tags = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (len(tags) + 8).to_bytes(2, "big") + b"Exif\0\0" + tags
    return [
        baseline,
        encoded(".jpg", color, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(".jpg", noise(9, 7)),
        encoded(".jpg", noise(24, 24, 3), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        baseline[:2] + exif + baseline[2:],
    ]


def pngs() -> list[bytes]:
    """Return PNGs: color, gray of 16 bits, with opacity, and with a palette."""
    palette = bytes(range(12))
    rows = b"".join(b"\0" + bytes([row % 4] * 5) for row in range(6))
    header = (5).to_bytes(4, "big") + (6).to_bytes(4, "big") + bytes([8, 3, 0, 0, 0])
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"tRNS", b"\x80"), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (len(c).to_bytes(4, "big") + kind + c + zlib.crc32(kind + c).to_bytes(4, "big") for kind, c in parts)
    return [
        encoded(".png", noise(12, 16, 3)),
        encoded(".png", noise(7, 9).astype(np.uint16) * 257),
        encoded(".png", noise(8, 8, 4)),
        b"\x89PNG\r\n\x1a\n" + b"".join(chunks),
    ]


def tiffs() -> list[bytes]:
    """Return TIFFs: in strips, in tiles, as BigTIFF, of 16 bits, and compressed in several ways."""
    picture = Image.fromarray(noise(12, 16, 3))
    kinds = [{"compression": kind} for kind in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")]
    return [
        _tiff("<", 1, {278: 12}, noise(12, 16).tobytes()),
        _tiff(">", 8, {322: 16, 323: 16}, zlib.compress(noise(16, 16).tobytes())),
        encoded(".tiff", noise(12, 16, 3)),
        encoded(".tiff", noise(12, 16, 3).astype(np.uint16) * 257),
        pillow(picture, "TIFF", big_tiff=True),
        pillow(picture.convert("P"), "TIFF"),
        pillow(picture.convert("1"), "TIFF", compression="group4"),
        *(pillow(picture, "TIFF", **kind) for kind in kinds),
    ]


def _tiff(order: str, compression: int, layout: dict[int, int], data: bytes) -> bytes:
    """Return a gray TIFF of 16 x 12 pixels, whose entries come first."""
    tags = {256: 16, 257: 12, 258: 8, 259: compression, 262: 1, 277: 1, **layout}
    offsets, sizes = (324, 325) if 322 in layout else (273, 279)
    tags |= {offsets: 8 + 2 + 12 * (len(tags) + 2) + 4, sizes: len(data)}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    start = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    return start + entries + bytes(4) + data


def gifs() -> list[bytes]:
    """Return GIFs: row by row, interlaced, with opacity, and of two frames."""
    picture, another = (Image.fromarray(noise(12, 16, 3) // part) for part in (1, 2))
    return [
        pillow(picture, "GIF", interlace=0),
        pillow(picture, "GIF", interlace=1),
        pillow(picture.convert("RGBA"), "GIF"),
        pillow(picture.convert("1"), "GIF", save_all=True, append_images=[another]),
    ]


def jpegs_2000() -> list[bytes]:
    """Return JPEG 2000 files: in boxes and without, gray, in tiles, and with layers and precincts."""
    picture = Image.fromarray(noise(24, 32, 3))
    return [
        pillow(picture, "JPEG2000"),
        pillow(picture, "JPEG2000", no_jp2=True),
        pillow(picture.convert("LA"), "JPEG2000"),
        pillow(picture, "JPEG2000", tile_size=(16, 16), irreversible=True),
        pillow(picture, "JPEG2000", quality_layers=[20, 10], precinct_size=(32, 32), progression="CPRL"),
    ]


def avifs() -> list[bytes]:
    """Return AVIFs: color, gray, and with opacity."""
    picture = Image.fromarray(noise(12, 16, 3))
    return [pillow(picture.convert(mode), "AVIF", speed=10) for mode in ("RGB", "L", "RGBA")]


def plain_rows() -> list[bytes]:
    """Return PNM files, in text and binary, and Sun rasters."""
    color, gray = noise(6, 8, 3), noise(6, 8)
    text = (cv2.IMWRITE_PXM_BINARY, 0)
    return [
        encoded(".ppm", color),
        encoded(".ppm", color.astype(np.uint16) * 257),
        encoded(".ppm", color, *text),
        encoded(".pgm", gray),
        encoded(".pgm", gray, *text),
        encoded(".pbm", gray),
        encoded(".ras", color),
        encoded(".ras", gray),
        b"P1 # bits\n5 2\n0101011010",
    ]


def other_images() -> list[bytes]:
    """Return images of formats that OpenCV reads and reid does not."""
    color = noise(12, 16, 3)
    return [encoded(suffix, color) for suffix in (".hdr", ".pfm", ".pam")]


def pillow(image: Image.Image, format_: str, **options: Any) -> bytes:  # noqa: ANN401 - those of Pillow's writers
    """Return an image as a file of a format that OpenCV writes in one way only."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


_MEMBERS = {"train/1_c1/a.jpg": b"a" * 700, "train/1_c2/b.jpg": bytes(range(256)), "train/empty": b"", "c.jpg": b"c"}
_LONG = {"/".join(["long" * 20] * 3) + "/größe 漢字.jpg": b"a name of more than 100 characters"}


class _Stream(io.BytesIO):
    """What can only be written to its end."""

    def seek(self, *position: int) -> int:
        raise OSError("a stream")


def zips() -> list[bytes]:
    """Return zip files: stored, deflated, with zip64 fields, and with descriptors behind the members."""
    archives = []
    for method, wide, is_stream in ((0, False, False), (8, False, False), (8, True, False), (8, False, True)):
        file = _Stream() if is_stream else io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo("train/"), b"")
            for name, content in (_MEMBERS | _LONG).items():
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                with archive.open(info, "w", force_zip64=wide) as member:
                    member.write(content)
        archives.append(file.getvalue())
    return archives


def tars() -> list[bytes]:
    """Return tar files of each dialect, with a folder, a link and a long name."""
    archives = []
    for dialect in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=dialect, pax_headers={"comment": "for all"}) as archive:
            for name, kind in (("train", tarfile.DIRTYPE), ("link.jpg", tarfile.SYMTYPE)):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, "c.jpg"
                archive.addfile(info)
            for name, content in (_MEMBERS if dialect == tarfile.USTAR_FORMAT else _MEMBERS | _LONG).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        archives.append(file.getvalue())
    return archives


def card(**changes: object) -> ModelCard:
    """Return the card of a model of two levels and square crops of 8 pixels."""
    from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard, Preprocessing

    facts: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "fingerprint": FINGERPRINT,
        "backbone": "resnet18",
        "levels": (Level(name="level3", size=2), Level(name="level4", size=DIMENSIONS - 2)),
        "preprocessing": Preprocessing(height=SIDE, width=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)),
        "opset": 18,
    }
    return ModelCard(**facts | changes)


def graph() -> bytes:
    """Return a graph with the inputs, outputs and metadata of an exported model, which embeds a crop by its mean."""
    from onnx import TensorProto, helper, numpy_helper

    from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
    from reid.runtime.sessions.graph import CARD_KEY, PRECISION_KEY

    weight = np.linspace(-1, 1, 3 * DIMENSIONS, dtype=np.float32).reshape(3, DIMENSIONS)
    kernel = np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 1, 3, 3)
    nodes = [
        helper.make_node("Cast", [FRAMES], ["floats"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "kernel"], ["maps"], name="conv", group=3, pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["maps", "axes"], ["means"], name="mean", keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["feature"], name="head"),
        helper.make_node("LpNormalization", ["feature"], [FRAME_EMBEDDING], name="normalize", axis=1, p=2),
        helper.make_node("MatMul", [POOLING, FRAME_EMBEDDING], [POOLED], name="pool"),
    ]
    tensors = {"kernel": kernel, "axes": np.array([2, 3]), "weight": weight}
    as_value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "reid",
            [
                as_value(FRAMES, TensorProto.UINT8, ["N", 3, SIDE, SIDE]),
                as_value(POOLING, TensorProto.FLOAT, ["T", "N"]),
            ],
            [
                as_value(FRAME_EMBEDDING, TensorProto.FLOAT, ["N", DIMENSIONS]),
                as_value(POOLED, TensorProto.FLOAT, ["T", DIMENSIONS]),
            ],
            [numpy_helper.from_array(values, name) for name, values in tensors.items()],
        ),
        ir_version=9,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    helper.set_model_props(model, {CARD_KEY: card().model_dump_json(), PRECISION_KEY: "fp32"})
    return bytes(model.SerializeToString())


def bundle(fp32: bytes = b"a graph", vectors: Any = None) -> dict[str, bytes]:  # noqa: ANN401 - float32 [4, D]
    """Return the files of a bundle by name."""
    embeddings = io.BytesIO()
    values = np.random.default_rng(0).normal(size=(4, DIMENSIONS)) if vectors is None else vectors
    np.save(embeddings, (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32))
    files = {
        "model.fp32.onnx": fp32,
        "model.fp16.onnx": b"another graph",
        "reference/embeddings.npy": embeddings.getvalue(),
        **{f"reference/{place:04}.png": encoded(".png", crop(place)) for place in range(4)},
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return {**files, "model.json": card(files=hashes, similarity={"fp16": 0.99}).model_dump_json(indent=2).encode()}


def crop(place: int) -> Any:  # noqa: ANN401 - uint8 [10, 10, 3]
    """Return one of the reference crops, in OpenCV's order of colors."""
    return noise(10, 10, 3) // (place + 1)


def benchmark() -> bytes:
    """Return what `reid-bench` writes: of three sessions and a peer, one is wrong and one has failed."""
    from reid.bench.result import BenchResult

    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": 0.9 * value, "high": 1.1 * value}

    latency = {"p50": estimate(5), "p90": estimate(6), "p99": estimate(8)}
    turn = {"batches": 4, "wall_s": 0.02, "cpu_s": 0.01, "median_ms": 5, "slowest_ms": 9, "energy_j": 0.5}
    batch = {
        "frames": 1,
        "warm_up": {"batches": 9, "seconds": 0.5, "stable": True},
        **{"latency_ms": latency, "frames_per_s": estimate(200), "times_peer": estimate(1.5)},
        **{"cpu_ms_per_frame": 2.5, "cores": 0.5, "energy_j_per_1000_frames": estimate(120)},
        "turns": [turn, {**turn, "clock_mhz": 2400, "others_cores": 0.9, "disturbances": ["busy_neighbor", "stolen"]}],
    }
    server = {"name": "Server", "latency_ms": latency, "frames_per_s": estimate(90), "seconds": 3}
    subject = {
        **{"name": "openvino fp32", "kind": "session", "backend": "OpenVINO 2026.4.1", "device": "CPU"},
        **{"precision": "fp32", "model": "bundle", "quality": {"least_similarity": 0.999, "map_percent": {"i2i": 70}}},
        **{"start": {"import_s": 0.5, "open_s": 0.2, "first_batch_s": 0.1}, "memory_mib": {"host": 300}},
        **{"batches": [batch, {**batch, "frames": 8}], "scenarios": [server], "roofline_percent": estimate(40)},
        "cameras": {"low": 7, "value": 9, "high": 10},
    }
    other = {**subject, "name": "onnxruntime fp32", "quality": {"least_similarity": 0.998, "map_percent": {"i2i": 71}}}
    wrong = {**subject, "name": "openvino int8", "precision": "int8", "quality": {"least_similarity": 0.1}}
    failure = {"during": "batches of 8", "reason": "its process was killed by SIGKILL"}
    failed = {"name": "PyTorch eager fp32", "kind": "peer", "backend": "", "device": "", "precision": "fp32"}
    cost = {"flops": 1e9, "weight_bytes": 4e6, "activation_bytes": 9e6}
    layer = {"name": "conv1", "op": "Conv", "precision": "fp32", **cost}
    facts = {
        **{"command": "reid-bench bundle", "started": "2026-11-27T21:00:00+00:00", "seconds": 300},
        "settings": {
            **{"batches": [1, 8], "threads": 2, "minutes": 5},
            **{"latency_limit_ms": 100, "camera_frames_per_s": 10},
        },
        "environment": {"processor": {"model": "a CPU", "architecture": "x86_64", "cores": 2}, "python": "3.12.1"},
        "model": {
            **{"fingerprint": FINGERPRINT, "backbone": "resnet18", "levels": ["level4"]},
            **{"image_size": [SIDE, SIDE], "dimensions": DIMENSIONS},
        },
        "costs": {"fp32": {**cost, "layers": [layer]}},
        "roofline": {"operations_per_s": {"fp32": 1e11}, "bytes_per_s": 1e10, "source": "measured in this run"},
        "subjects": [subject, other, wrong, {**failed, "model": "run", "failure": failure}],
        "absent": [{"name": "tensorrt", "reason": "there is no NVIDIA GPU"}],
        "notes": ["clock: it does not say"],
    }
    return BenchResult.model_validate(facts).model_dump_json(indent=1).encode()


def store() -> dict[str, bytes]:
    """Return the files of a gallery of three segments, of one of which something was removed."""
    from reid.runtime.galleries.entry import Entry
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.space import Space

    names = (f"{number:016x}" for number in range(99))
    vectors = np.random.default_rng(0).normal(size=(16, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [Entry(f"a/{n}", f"c{n % 3}", None if n % 2 else "7", n or None, f"/crops/{n}.jpg", n) for n in range(16)]
    with tempfile.TemporaryDirectory() as folder, patch("secrets.token_hex", lambda size: next(names)[-2 * size :]):
        with Store.create(f"{folder}/store", Space(FINGERPRINT, "fp32", DIMENSIONS)) as gallery:
            for start, stop in ((0, 9), (9, 14), (14, 16)):
                gallery.add(entries[start:stop], vectors[start:stop])
            gallery.remove(["a/3", "a/7"])
        files = {path.name: path.read_bytes() for path in sorted(Path(folder, "store").iterdir())}
    return {name: content for name, content in files.items() if name != "lock"}


def packed(files: dict[str, bytes]) -> bytes:
    """Return a folder as one zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def learner() -> Learner:
    """Return a learner of a few weights that has taken a step, with everything in it that a run's state holds."""
    import torch

    from reid.train.builders import build_classifiers, build_ema_model, build_loss
    from reid.train.learner import Learner
    from reid.train.mixed_precision import MixedPrecision
    from reid.train.model.multi_level import MultiLevelReID
    from reid.train.optimizer import build_optimizer
    from reid.train.parallel.processes import Processes
    from reid.train.recipe import Recipe

    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe, facts = Recipe(loss="rll", memory_size=5, average_decay=0.9), card()
    model = MultiLevelReID(network(), (3, 4), (4, 4), facts.levels, facts.preprocessing)
    classifiers = build_classifiers(recipe, facts.levels, 3)
    optimizer = build_optimizer(recipe, model, classifiers)
    for parameter in (*model.parameters(), *classifiers.parameters()):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return Learner(
        model,
        classifiers,
        build_loss(recipe, facts.levels),
        optimizer,
        build_ema_model(recipe, model),
        MixedPrecision("fp32", torch.device("cpu")),
        Processes(),
        clip_norm=0.0,
        micro_batch=0,
        network=model.features,
    )


def checkpoint(run: Path, *, quantized: bool = False) -> bytes:
    """Write a checkpoint of timm's smallest ResNet into a folder, perhaps with scales for INT8, and return it."""
    import torch

    from reid.train.model.backbone import create_backbone
    from reid.train.model.checkpoint import describe, save_checkpoint
    from reid.train.model.multi_level import MultiLevelReID
    from reid.train.model.quantization import Quantization

    torch.manual_seed(0)
    torch.set_num_threads(1)
    backbone = create_backbone("test_resnet", (3, 4), image_size=32, weights="none")
    levels, preprocessing = describe(backbone, 4, 32)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).eval()
    if quantized:
        scales = {"conv1": torch.full((4,), 0.01), "conv2": torch.full((6,), 0.02)}
        model.quantization = Quantization({"conv1": "relu", "conv2": "add"}, {"relu": 0.1, "add": 0.2}, scales)
    facts = card(backbone="test_resnet", levels=levels, preprocessing=preprocessing, opset=None)
    save_checkpoint(run, model, facts, {"0000.png": encoded(".png", noise(9, 9, 3))})
    return (run / "checkpoint.safetensors").read_bytes()


def network() -> nn.Module:
    """Return a network of a convolution and a normalization."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def weights() -> list[bytes]:
    """Return what `torch.save` makes of weights: alone, beside other things, and in the form before PyTorch 1.6."""
    import torch

    torch.manual_seed(0)
    state = network().state_dict()
    beside = {"epoch": 3, "rank1": np.float64(0.5), "args": Namespace(lr=0.1), "optimizer": {"state": {}}}
    contents: list[tuple[object, bool]] = [(state, True), ({"state_dict": state, **beside}, True), (state, False)]
    files = []
    for content, is_zip in contents:
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=is_zip)
        files.append(file.getvalue())
    return files


def manifest(files: dict[str, bytes]) -> bytes:
    """Return the list of an output folder."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps({"format_version": 1, "files": hashes}, indent=2).encode()


def pickled() -> bytes:
    """Return a pickle that would create a file if it was executed."""
    return pickle.dumps({"model": _Command()}, protocol=2)


class _Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("executed", "w")


# ---- tables ----


def parquet(text: str, compression: str) -> bytes:
    """Return a CSV as Parquet: its vehicles as numbers, its cameras as a dictionary."""
    import pyarrow
    from pyarrow import parquet

    header, *rows = csv.reader(io.StringIO(text))
    columns = {name: [row[place] or None for row in rows] for place, name in enumerate(header)}
    vehicles = pyarrow.array([int(vehicle) if vehicle else None for vehicle in columns["vehicle"]], pyarrow.int32())
    cameras = pyarrow.array(columns["camera"]).dictionary_encode()
    buffer = io.BytesIO()
    table = pyarrow.table({**columns, "vehicle": vehicles, "camera": cameras})
    parquet.write_table(table, buffer, compression=compression)
    return buffer.getvalue()
