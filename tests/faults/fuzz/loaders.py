"""The loaders: for every format, sound files and a function that loads one and holds what it loads to what it says.

Each imports what it loads when it is prepared, so that a process pays for its own format only. A success must be right
and not just silent: whatever is wrong with it raises WrongResultError.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fuzz import seeds
from fuzz.runner import Prepared, WrongResultError

if TYPE_CHECKING:
    from reid.runtime.galleries.entry import Entry


def _in_file(path: Path, contents: list[bytes], load: Callable[[Path], object], *, names: str = "") -> Prepared:
    """Prepare a loader of one file, which refusals name by its path."""

    def write_and_load(content: bytes) -> None:
        path.write_bytes(content)
        load(path)

    return Prepared(contents, write_and_load, names or str(path))


def _expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise WrongResultError(otherwise)


# Images


def _images(contents: list[bytes]) -> Prepared:
    from reid.runtime.imaging import decode, pixel_limit

    most = pixel_limit()

    def load(content: bytes) -> None:
        image = decode(content, "a.jpg")
        _expect(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, f"{image.dtype} {image.shape}")
        _expect(0 < image.size <= 3 * most, f"an image of {image.shape}")

    return Prepared(contents, load, "a.jpg")


def jpeg(folder: Path) -> Prepared:
    return _images(seeds.jpegs())


def png(folder: Path) -> Prepared:
    return _images(seeds.pngs())


def bmp(folder: Path) -> Prepared:
    return _images([seeds.encoded(".bmp", seeds.noise(12, 15, 3)), seeds.encoded(".bmp", seeds.noise(5, 7))])


def webp(folder: Path) -> Prepared:
    import cv2

    pixels = seeds.noise(12, 16, 4)
    lossy = seeds.encoded(".webp", pixels[..., :3], cv2.IMWRITE_WEBP_QUALITY, 50)
    return _images([lossy, seeds.encoded(".webp", pixels), seeds.encoded(".webp", pixels[..., :3])])


def tiff(folder: Path) -> Prepared:
    return _images(seeds.tiffs())


def gif(folder: Path) -> Prepared:
    return _images(seeds.gifs())


def jpeg_2000(folder: Path) -> Prepared:
    return _images(seeds.jpegs_2000())


def avif(folder: Path) -> Prepared:
    return _images(seeds.avifs())


def plain_rows(folder: Path) -> Prepared:
    return _images(seeds.plain_rows())


def other_images(folder: Path) -> Prepared:
    images = _images(seeds.other_images())

    def load(content: bytes) -> None:
        images.load(content)
        _expect(not content.startswith((b"#?", b"PF", b"Pf", b"P7")), f"decodes {content[:8]!r}")

    return Prepared(images.seeds, load, images.names, sound=0)


# Archives


def zip_archive(folder: Path) -> Prepared:
    def read(path: Path, name: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)

    return _archive(folder / "archive.zip", seeds.zips(), read)


def tar_archive(folder: Path) -> Prepared:
    def read(path: Path, name: str) -> bytes:
        with tarfile.open(path, "r:") as archive:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

    return _archive(folder / "archive.tar", seeds.tars(), read)


def _archive(path: Path, contents: list[bytes], expected: Callable[[Path, str], bytes]) -> Prepared:
    """Prepare to read all members. What Python's own module reads under the same name has to be the same."""
    from reid.runtime.errors import DataError
    from reid.runtime.files.archives import members
    from reid.runtime.files.names import check_relative_name
    from reid.runtime.files.reading import read_file

    def load(path: Path) -> None:
        refusal = None
        try:
            for name, size in members(path).files.items():
                check_relative_name(name)
                try:
                    content = read_file(path / name, at_most=1 << 20)
                except OSError as error:
                    refusal = error
                    continue
                _expect(len(content) == size, f"{len(content)} bytes of {size}")
                same = content
                with contextlib.suppress(Exception):  # it refuses other things, and by a dozen types of errors
                    same = expected(path, name)
                _expect(content == same, f"another content of {name!r}")
        except OSError as error:
            refusal = error
        if refusal:
            raise DataError(f"{refusal.filename}: {refusal.strerror}")

    return _in_file(path, contents, load)


# Labels, lists and names


_LABELS = b"""<?xml version="1.0" encoding="gb2312"?>
<TrainingImages><Items number="3">
<Item imageName="000001.jpg" vehicleID="0001" cameraID="c001" colorID="1" typeID="2"/>
<Item imageName="000002.jpg" vehicleID="0001" cameraID="c002" />
<Item imageName="0002_c003_00000030_0.jpg" vehicleID="0002" cameraID="c003" />
</Items></TrainingImages>
"""
LISTED = ("000001.jpg", "000002.jpg", "0002_c003_00000030_0.jpg")


def _data_set(folder: Path, layout: str, name: str, content: bytes) -> Prepared:
    """Prepare the reader of a data set with one of its lists."""
    from reid.data.layout import read_dataset

    root = folder / "data"
    for part in ("train", "test", "query"):
        (root / f"image_{part}").mkdir(parents=True)
        for listed in LISTED:
            (root / f"image_{part}" / listed).touch()
        (root / f"{part}_label.xml").write_bytes(_LABELS)
        (root / f"name_{part}.txt").write_text("\n".join(LISTED))
        (root / f"{part}_track.txt").write_text(" ".join(LISTED[:2]) + "\n")

    def load(path: Path) -> None:
        dataset = read_dataset(root, layout)
        for split in (dataset.train, dataset.query, dataset.gallery):
            for frame in (frame for image in (*split.images, *split.tracklets) for frame in image.frames):
                _expect(isinstance(frame, Path) and frame.parent.parent == root and frame.exists(), f"frame {frame}")

    return _in_file(root / name, [content], load, names=str(root))


def label_xml(folder: Path) -> Prepared:
    return _data_set(folder, "cityflow", "train_label.xml", _LABELS)


def veri_label_xml(folder: Path) -> Prepared:
    return _data_set(folder, "veri", "test_label.xml", _LABELS)


def name_list(folder: Path) -> Prepared:
    return _data_set(folder, "veri", "name_train.txt", "\r\n".join(LISTED).encode())


def track_list(folder: Path) -> Prepared:
    return _data_set(folder, "veri", "test_track.txt", f"{' '.join(LISTED[:2])}\n0002 {LISTED[2]}\n".encode())


def _labeled_set(root: Path, layout: str, name: str, contents: list[bytes], files: Mapping[str, bytes]) -> Prepared:
    """Prepare the reader of a data set with a list that labels its images.

    Args:
        root: the data set's folder.
        layout: its layout.
        name: the list's path below the root.
        contents: what sound lists say.
        files: the images and the other lists.
    """
    from reid.data.layout import read_dataset

    for file, content in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)
    (root / name).parent.mkdir(parents=True, exist_ok=True)

    def load(path: Path) -> None:
        dataset = read_dataset(root, layout)
        sets = [side for one in dataset.test_sets for side in (one.query, one.gallery)]
        for split in (dataset.train, dataset.query, dataset.gallery, *sets):
            for image in (*split.images, *split.tracklets):
                for frame in image.frames:
                    inside = isinstance(frame, Path) and str(frame.relative_to(root)) in files
                    _expect(inside, f"frame {frame}")
                _expect(image.vehicle != "" and image.camera != "", "an empty label")
                _expect(len(str(image.vehicle) + str(image.camera)) < 520, "a label that is no name")
        _expect(all(len(one.where) + len(one.detail) < 5000 for one in dataset.problems), "a long problem")

    return _in_file(root / name, contents, load, names=str(root))


_PICTURES = {f"image/{number:07d}.jpg": b"" for number in range(1, 5)}
_NUMBERS = b"0000001 7\n0000002 7\n0000003 12\n0000004 12\n"
_WILD = {f"images/{vehicle:05d}/{number:06d}.jpg": b"" for vehicle, number in ((1, 1), (1, 2), (2, 3), (2, 4))}
_WILD_NAMES = b"00001/000001\n00001/000002\n00002/000003\n00002/000004\n"
_WILD_LISTS = {f"train_test_split/{name}.txt": _WILD_NAMES for name in ("train_list", "test_3000", "test_3000_query")}
_WILD_INFO = b"id/image;Camera ID;Time;Model;Type;Color\n00001/000001;12;2018-03-11 07:00:05;unknown;SUV;white\n"
_CELLS = (
    b"path,vehicle,camera,track,time,split\r\n"
    b"image/0000001.jpg,7,c1,1,2,train\r\nimage/0000002.jpg,7,c2,,2024-05-01T10:00:00Z,train\r\n"
    b'"image/0000003.jpg",12,c1,1,3.5,query\r\n.\\image\\0000004.jpg,,c1,2,,test\r\n'
)


def vehicleid_list(folder: Path) -> Prepared:
    lists = {"train_test_split/train_list.txt": _NUMBERS}
    name = "train_test_split/test_list_800.txt"
    return _labeled_set(folder / "data", "vehicleid", name, [_NUMBERS], {**_PICTURES, **lists})


def veriwild_list(folder: Path) -> Prepared:
    files = {**_WILD, **_WILD_LISTS, "train_test_split/vehicle_info.txt": _WILD_INFO}
    name = "train_test_split/test_3000_query.txt"
    return _labeled_set(
        folder / "data", "veriwild", name, [_WILD_NAMES, _WILD_NAMES.replace(b"\n", b".jpg\r\n")], files
    )


def veriwild_cameras(folder: Path) -> Prepared:
    name = "train_test_split/vehicle_info.txt"
    return _labeled_set(folder / "data", "veriwild", name, [_WILD_INFO], {**_WILD, **_WILD_LISTS})


def table(folder: Path) -> Prepared:
    excel = b"sep=;\n" + _CELLS.replace(b",", b";")
    contents = [_CELLS, excel, _CELLS.decode().replace(",", "\t").encode("utf-16")]
    return _labeled_set(folder / "data", "table", "t.csv", contents, _PICTURES)


def parquet_table(folder: Path) -> Prepared:
    contents = [seeds.parquet(_CELLS.decode(), compression) for compression in ("none", "snappy", "zstd")]
    return _labeled_set(folder / "data", "table", "t.parquet", contents, _PICTURES)


def file_name(folder: Path) -> Prepared:
    from reid.runtime.file_names import parse_name

    def load(content: bytes) -> None:
        text = os.fsdecode(content)
        found = parse_name(text)
        if found is not None:
            start = f"{found.vehicle}_{found.camera}{'s' if found.sequence else ''}{found.sequence}_"
            _expect(text.lower().startswith(start) and found.time >= 0, f"{text[:80]!r}: {found}")

    names = ["0002_c003_00084255_0.jpg", "0002_c1s1_000451_03.jpg", "-1_c6s2_110068_02.jpg.jpg", "a.png"]
    return Prepared([name.encode() for name in names], load, "")


def environment(folder: Path) -> Prepared:
    from reid.runtime.environment import environment_integer
    from reid.runtime.errors import ReidError
    from reid.runtime.imaging import pixel_limit
    from reid.runtime.sessions.threads import thread_limit
    from reid.train.data.images import loader_workers

    readers: dict[str, Callable[[], int]] = {
        "REID_NUMBER": lambda: environment_integer("REID_NUMBER", default=5, least=2, most=999_999),
        "REID_MAX_PIXELS": pixel_limit,
        "OMP_NUM_THREADS": thread_limit,
        "LOCAL_WORLD_SIZE": loader_workers,
    }

    def load(content: bytes) -> None:
        refusal = None
        for name, read in readers.items():
            os.environ[name] = os.fsdecode(content.replace(b"\0", b""))[:100_000]
            try:
                _expect(0 <= read() <= 1 << 31, f"{name}={content[:80]!r} is read as {read()}")
            except ReidError as error:
                _expect(name in str(error), f"{name}={content[:80]!r} is refused without its name")
                refusal = error
            finally:
                del os.environ[name]
        if refusal:
            raise refusal

    return Prepared([b"4", b" 16 ", b"100", b"", b"8,4"], load, "", sound=3)


# JSON


def model_card(folder: Path) -> Prepared:
    from reid.runtime.model_card import ModelCard

    def load(path: Path) -> None:
        card = ModelCard.parse(path.read_bytes(), path)
        _expect(ModelCard.parse(card.model_dump_json(), path) == card, "a card that changes when it is stored again")
        _expect(0 < card.dimensions < 1 << 24, f"{card.dimensions} dimensions")

    contents = [seeds.stored("model.json"), seeds.stored("checkpoint.json"), seeds.card().model_dump_json().encode()]
    return _in_file(folder / "model.json", contents, load)


def engine_card(folder: Path) -> Prepared:
    from reid.runtime.engine_card import EngineCard

    def load(path: Path) -> None:
        card = EngineCard.parse(path.read_bytes(), path)
        _expect(EngineCard.parse(card.to_json(), path) == card, "a card that changes when it is stored again")
        card.rebuild(folder / "bundle" / "engines" / "a.engine")

    return _in_file(folder / "engine.json", [seeds.stored("engine.json")], load)


def verification(folder: Path) -> Prepared:
    from reid.evaluation.verification.reading import read_verification
    from reid.pages.verification.report import write_verification_report

    def load(path: Path) -> None:
        verification = read_verification(path)
        write_verification_report(folder / "report.html", verification, title="a bundle")
        _expect("<script" not in (folder / "report.html").read_text(encoding="utf-8"), "the page has a script")

    now = read_verification(seeds.STORED / "verification.json").model_dump_json().encode()
    return _in_file(folder / "verification.json", [seeds.stored("verification.json"), now], load)


def distributions(folder: Path) -> Prepared:
    from reid.runtime.data_drift.comparison import compare
    from reid.runtime.data_drift.observing import Observer
    from reid.runtime.data_drift.reference import CameraReference, Distribution, Distributions
    from reid.runtime.data_drift.sums import Measured
    from reid.runtime.files.validation import read_stored

    one = Measured(count=30, mean=0.5, deviation=0.1, independent=20.0)
    cameras = tuple(CameraReference(camera=f"c{number}", quantities={"size": one}) for number in range(5))
    sound = Distributions(precisions={"fp32": Distribution(center=(0.6, 0.8), cameras=cameras)})

    def load(path: Path) -> None:
        found = read_stored(Distributions, path, what="reference distribution", remedy="export it again")
        for distribution in found.precisions.values():
            Observer(distribution.center)
            for camera in ("c0", "new"):
                compare(distribution.cameras, {camera: 30}, {camera: {"size": one}})

    return _in_file(folder / "distribution.json", [sound.model_dump_json().encode()], load)


def scales(folder: Path) -> Prepared:
    from reid.calibration.scales import ScaleFile, compare, describe

    sound = ScaleFile.load(seeds.STORED / "scales.json")

    def load(path: Path) -> None:
        scales = ScaleFile.load(path)
        describe(scales)
        compare(sound, scales)
        scales.digest()

    return _in_file(folder / "scales.json", [seeds.stored("scales.json"), sound.model_dump_json().encode()], load)


def benchmark(folder: Path) -> Prepared:
    from reid.bench.compare import compare
    from reid.bench.reading import read_result
    from reid.bench.recommendation import choose
    from reid.bench.report.comparison import comparison_lines, comparison_rows
    from reid.bench.report.files import write_result
    from reid.bench.report.table import as_renderables

    path, again = folder / "bench.json", folder / "again"
    path.write_bytes(seeds.benchmark())
    sound = read_result(path)
    again.mkdir()

    def load(path: Path) -> None:
        result = read_result(path)
        write_result(again, result, "a bundle")
        _expect(read_result(again) == result, "a result that changes when it is stored again")
        _expect("<script" not in (again / "report.html").read_text(encoding="utf-8"), "the page has a script")
        as_renderables(result)
        taken = choose(result).taken
        _expect(taken is None or taken.subject in result.subjects, "a session is recommended that is not in the result")
        for one, other in ((sound, result), (result, sound), (result, result)):
            found = compare(one, other)
            _expect(not found.regressed or one != other, "a result is worse than itself")
            comparison_rows(found)
            list(comparison_lines(found))

    return _in_file(path, [seeds.benchmark()], load)


def tolerances(folder: Path) -> Prepared:
    from reid.evaluation.verification.tolerances import read_tolerance

    def load(path: Path) -> None:
        found = read_tolerance(path)
        _expect(0 <= found.map < float("inf") and 0 <= found.rank < float("inf"), f"{found}")
        _expect(-1 <= found.similarity <= 1 and -1 <= found.int8_similarity <= 1, f"{found}")

    contents = [b'{"map": 0.5, "rank": 1, "similarity": 0.99, "int8_similarity": -1}', b"{}"]
    return _in_file(folder / "tolerances.json", contents, load)


def int8_record(folder: Path) -> Prepared:
    from reid.calibration.scales import ScaleFile
    from reid.export.int8.page import section_of
    from reid.export.int8.record import Int8Record
    from reid.runtime.files.validation import read_stored

    scales = ScaleFile.load(seeds.STORED / "scales.json")

    def load(path: Path) -> None:
        record = read_stored(Int8Record, path, what="record of the INT8 graph", remedy="export it again")
        if {layer.tensor for layer in record.sensitivity.layers} <= scales.tensors.keys():
            _expect("<script" not in section_of(record, scales), "the page has a script")

    return _in_file(folder / "int8.json", [seeds.stored("int8.json")], load)


def run_origin(folder: Path) -> Prepared:
    from reid.train.run.origin import Origin, read_origin

    def load(path: Path) -> None:
        origin = read_origin(folder)
        _expect(isinstance(origin, Origin), f"{origin}")
        origin.facts()

    return _in_file(folder / "run.json", [seeds.stored("run.json")], load)


def metrics(folder: Path) -> Prepared:
    from reid.train.run.folder import RunFolder
    from reid.train.run.metrics import read_rows

    scores = b'"held_out": {"i2i": {"mAP": 20.1, "R-1": 30.0}}'
    rows = [b'{"epoch": %d, "train": {"loss": 1.5, "gradient_norm": 2.0}, %s}' % (epoch, scores) for epoch in (1, 2, 3)]

    def load(path: Path) -> None:
        RunFolder(folder).forget_after(2)
        _expect(len(read_rows(folder)) <= 2, "rows of later epochs are kept")

    return _in_file(folder / "metrics.jsonl", [b"".join(row + b"\n" for row in rows)], load)


def journal(folder: Path) -> Prepared:
    from reid.calibration.journal import Journal
    from reid.calibration.search import Evaluation

    facts = {"seed": 0, "graph": seeds.FINGERPRINT}
    path = folder / "journal.json"
    measured = Evaluation(in_fp16=("a", "b"), failures=(), changes={"i2i mAP": -0.5}, similarity=0.99)
    journal = Journal(path, facts)
    for key in ("mix with a b", "mix with"):
        journal.remember(key, Evaluation, lambda: measured)
    sound = path.read_bytes()

    def load(path: Path) -> None:
        journal = Journal(path, facts)
        for key in ("mix with a b", "mix with", "mix with c"):
            _expect(
                isinstance(journal.remember(key, Evaluation, lambda: measured), Evaluation), f"another type of {key}"
            )

    return _in_file(path, [sound], load)


def manifest(folder: Path) -> Prepared:
    from reid.runtime.files.manifest import MANIFEST_FILE, replaceable_directory

    target = folder / "results"
    files = {"rankings.json": b"{}", "report.html": b"<html></html>"}
    sound = seeds.manifest(files)

    def load(content: bytes) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name, inner in files.items():
            (target / name).write_bytes(inner)
        (target / MANIFEST_FILE).write_bytes(content)
        with replaceable_directory(target) as written:
            (written / "new").touch()
        _expect((target / "new").exists(), "the folder was not replaced")
        _expect(b"rankings.json" in content and b"report.html" in content, "a file that is not listed was replaced")

    return Prepared([sound], load, str(target))


# Models


def _unpacked(content: bytes, root: Path) -> None:
    """Write what a zip file holds below a folder, but nothing whose name leads elsewhere."""
    shutil.rmtree(root, ignore_errors=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            path = Path(os.path.normpath(root / member.filename))
            longest = max(len(part.encode()) for part in path.parts)
            if root in path.parents and "\0" not in member.filename and longest < 256:
                if path.exists() or any(parent.is_file() for parent in path.parents):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(member))


def bundle(folder: Path) -> Prepared:
    from reid.runtime.bundle import Bundle
    from reid.runtime.files.reading import sha256_of

    root = folder / "bundle"

    def load(content: bytes) -> None:
        _unpacked(content, root)
        bundle = Bundle.open(root)
        for name, expected in bundle.card.files.items():
            path = root / name
            _expect(path.resolve() == path and root in path.parents, f"lists {name!r}")
            _expect(sha256_of(path) == expected, f"{name} has another hash")
        for precision in bundle.precisions:
            graph = bundle.graph(precision)
            _expect(sha256_of(graph.path) == graph.sha256, f"{precision} has another hash")
        crops, embeddings = bundle.reference()
        _expect(embeddings.shape == (len(crops), bundle.card.dimensions), f"embeddings {embeddings.shape}")
        _expect(embeddings.dtype == np.float32, f"embeddings {embeddings.dtype}")
        listed = {root / name for name in bundle.card.files}
        _expect(set(crops) <= listed, "reference crops that are not listed")

    return Prepared([seeds.packed(seeds.bundle())], load, str(root))


def checkpoint(folder: Path) -> Prepared:
    import torch

    from reid.runtime.files.names import is_name
    from reid.train.model.checkpoint import load_checkpoint

    contents = [seeds.checkpoint(folder, quantized=True), seeds.checkpoint(folder)]
    expected = load_checkpoint(folder)
    state = expected.model.state_dict()

    def load(path: Path) -> None:
        found = load_checkpoint(path)
        _expect(all(map(is_name, found.reference)), f"reference crops {list(found.reference)}")
        if found.card.fingerprint == expected.card.fingerprint:
            same = all(torch.equal(value, state[name]) for name, value in found.model.state_dict().items())
            _expect(same, "other weights with the same fingerprint")

    return _in_file(folder / "checkpoint.safetensors", contents, load)


def run_state(folder: Path) -> Prepared:
    import torch

    from reid.train.run.folder import RunFolder
    from reid.train.run.state import Position, RunState
    from reid.train.tensor_file import open_tensors, tensors_to_bytes

    run, learner = RunFolder(folder), seeds.learner()
    facts = {"seed": 0, "data fingerprint": seeds.FINGERPRINT}
    run.create()
    run.save_state(RunState.of(learner, Position(epochs_done=1, best_epoch=1, best_map=20.0, best_loss=0.5), facts))
    path = folder / "last" / "state.safetensors"
    stored = open_tensors(path, remedy="")
    texts = {name: text for name, text in stored.texts.items() if name != "sha256"}
    contents = [path.read_bytes(), tensors_to_bytes(stored.read(), texts)]  # the second as reid 0.1 wrote it

    def load(path: Path) -> None:
        position = run.load_state(learner, facts)
        _expect(0 <= position.best_epoch <= position.epochs_done, f"a position: {position}")
        restored, stored = RunState.of(learner, position, facts).tensors, RunState.read(path).tensors
        _expect(restored.keys() == stored.keys(), "other tensors are restored than stored")
        same = (torch.equal(one.nan_to_num(), stored[name].nan_to_num()) for name, one in restored.items())
        _expect(all(same), "other values are restored than stored")

    return _in_file(path, contents, load, names=str(folder))


def weights_pth(folder: Path) -> Prepared:
    return _foreign(folder / "weights.pth", [*seeds.weights(), seeds.pickled()], sound=3)


def weights_safetensors(folder: Path) -> Prepared:
    from safetensors.torch import save

    return _foreign(folder / "weights.safetensors", [save(seeds.network().state_dict())], sound=1)


def _foreign(path: Path, contents: list[bytes], sound: int) -> Prepared:
    from reid.train.model.foreign_weights import load_weights

    module = seeds.network()
    kinds = {name: (value.shape, value.dtype) for name, value in module.state_dict().items()}

    def load(path: Path) -> None:
        load_weights(module, path, unused=set())
        found = {name: (value.shape, value.dtype) for name, value in module.state_dict().items()}
        _expect(found == kinds, "a module of other tensors")
        _expect(not Path("executed").exists(), "the file was executed")

    return Prepared(contents, _in_file(path, contents, load).load, str(path), sound)


def stored_retrieval(folder: Path) -> Prepared:
    from reid.data.dataset import Dataset, Split
    from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
    from reid.evaluation.verification.reference import Retrieval
    from reid.evaluation.verification.retrieval import rank
    from reid.evaluation.verification.stored_retrieval import read_retrieval, write_retrieval
    from reid.runtime.bundle import REFERENCE_RETRIEVAL, Bundle
    from reid.runtime.tracklet import Tracklet

    images = [Tracklet(str(n), (folder / f"{n}.jpg",), f"c{n % 3}", str(n % 2)) for n in range(8)]
    query, gallery = Split(tuple(images[:2])), Split(tuple(images[2:]))
    vectors = np.random.default_rng(0).normal(size=(7, seeds.DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = {image.frames: vector for image, vector in zip(images, vectors, strict=False)}
    embedded = EmbeddedData(query, gallery, embeddings, (str(images[7].frames[0]),))
    embedded = embedded.restricted(query, gallery, "camera")
    found = Retrieval(query, gallery, embedded, (rank(embedded, PROTOCOLS["i2i"]),), "PyTorch on CPU")
    dataset = Dataset("flat", folder, Split(), query, gallery)
    path = folder / REFERENCE_RETRIEVAL
    path.parent.mkdir()
    assert write_retrieval(path, found, dataset)
    card = seeds.card()
    bundle = Bundle(folder, card.model_copy(update={"files": {REFERENCE_RETRIEVAL: ""}}))

    def load(path: Path) -> None:
        stored = read_retrieval(bundle, dataset)
        if stored is None:  # of other data
            return
        _expect(stored.session.isprintable() and len(stored.session) < 1100, "a session that is no line")
        lengths = [np.linalg.norm(one) for one in stored.data.embeddings.values()]
        _expect(np.allclose(lengths, 1, atol=1e-5), f"lengths {lengths}")
        _expect(stored.ranked, "no rankings")
        for one in stored.ranked:
            places = np.sort([*one.metrics.counted, *one.metrics.unanswerable])
            _expect(np.array_equal(places, np.arange(2)), f"queries {places}")
            _expect(all(0 <= value <= 100 for value in one.summary().values()), f"metrics {one.summary()}")
            _expect(one.matches.shape[0] == len(one.queries) and one.matches.max() < len(one.gallery), "matches")

    return _in_file(path, [path.read_bytes()], load)


def gallery(folder: Path) -> Prepared:
    from reid.runtime.embedding import Embedded
    from reid.runtime.galleries.entry import Entry
    from reid.runtime.galleries.memory import MemoryGallery
    from reid.runtime.galleries.queries import rank
    from reid.runtime.space import Space
    from reid.runtime.tracklet import Tracklet

    space = Space("f" * 64, "fp32", 8)
    path = folder / "gallery.npz"
    vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = (Entry(f"a/{n}", f"c{n}", None if n else "7", n or None, f"/pictures/{n}.jpg", n) for n in range(4))
    MemoryGallery(tuple(entries), vectors[:4], space).save(path)
    contents = [path.read_bytes(), seeds.stored("gallery.npz")]
    query = [Embedded(Tracklet("query", (Path("query.jpg"),)), vectors[4], {}, ())]

    def ranked(path: Path) -> list[Any]:
        gallery = MemoryGallery.open(path, space)
        matches = [(one.entry, one.score) for ranking in rank(gallery, query, 10) for one in ranking.matches]
        scores = [score for _, score in matches]
        _expect(all(np.isfinite(scores)) and scores == sorted(scores, reverse=True), f"scores {scores}")
        _expect(all(abs(score) < 1.001 for score in scores), f"scores {scores}")
        names = (name for one in gallery.members for name in (one.id, one.camera, one.vehicle, one.picture))
        _expect(all(map(_is_text, filter(None, names))), "names that are no text")
        return [gallery.members, [(one.id, score) for one, score in matches]]

    (folder / "new.npz").write_bytes(contents[0])
    sound = ranked(folder / "new.npz")

    def load(path: Path) -> None:
        found = ranked(path)
        with np.load(path) as stored:
            has_digest = int(stored["format_version"]) > 2
        _expect(not has_digest or found == sound, "other tracklets or ranks, with the same digest")

    return _in_file(path, contents, load)


def stored_gallery(folder: Path) -> Prepared:
    """Prepare to read a gallery's folder: every entry has to be one that was added, with its embedding."""
    from reid.runtime.galleries.store.store import Store

    kept = {path.name: path.read_bytes() for path in sorted((seeds.STORED / "gallery").iterdir())}
    contents = [seeds.packed(files) for files in (seeds.store(), kept)]
    root = folder / "gallery"

    def pairs(entries: list[Entry], embeddings: NDArray[Any]) -> list[tuple[Entry, tuple[float, ...]]]:
        return list(zip(entries, map(tuple, embeddings.tolist()), strict=True))

    added: set[tuple[Entry, tuple[float, ...]]] = set()
    for content in contents:
        _unpacked(content, root)
        with Store.open(root) as store:
            for one in store.segments:
                rows = one.record.rows
                added.update(pairs(one.columns(0, rows).entries(), one.embeddings(0, rows)))

    def load(content: bytes) -> None:
        _unpacked(content, root)
        with Store.open(root) as store:
            found = [pair for entries, rows in store.batches() for pair in pairs(entries, rows)]
            _expect(len(found) == len(store) and set(found) <= added, "other entries than those that were added")
            _expect(len({entry for entry, _ in found}) == len(found), "an entry twice")
            ids = [one.id for entries in store.entries() for one in entries]
            _expect(store.contains(ids).all(), "an id that is not found")
            matches = store.search(np.eye(1, store.space.dimensions, dtype=np.float32), 9)[0]
            _expect({one.entry for one in matches} <= {entry for entry, _ in found}, "matches that are no entries")
            _expect(len(matches) == min(9, len(store)), f"{len(matches)} matches")
            _expect(store.kind is None or store.kind in ("images", "tracklets"), "a kind")
            _expect(store.verify() == [], "it can be read, and is damaged")

    return Prepared(contents, load, str(root))


def sightings(folder: Path) -> Prepared:
    from reid.runtime.sightings import read_sightings

    def load(path: Path) -> None:
        for identity, seen in read_sightings(path).items():
            _expect(identity and seen.camera != "", "an empty name")
            _expect(seen.time_s is None or np.isfinite(seen.time_s), f"time {seen.time_s}")

    contents = [b"id,camera,time_s\r\n0002_c003_00000030_0.jpg,c003,1.5\r\n000002.jpg,,-3\r\n", b"time_s,id\n7,a b\n"]
    return _in_file(folder / "sightings.csv", contents, load)


def _is_text(value: str) -> bool:
    try:
        return all(ord(character) < 0x110000 for character in value)
    except SystemError:  # NumPy makes strings of numbers that are no characters
        return False


def self_check(folder: Path) -> Prepared:
    from reid.runtime.bundle import Bundle
    from reid.runtime.self_check import check_session
    from reid.runtime.sessions.host import HostSession
    from reid.runtime.sessions.opened import Reference
    from reid.runtime.sessions.session import SessionInfo

    for name, content in seeds.bundle().items():
        (folder / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "bundle" / name).write_bytes(content)
    bundle = Bundle.open(folder / "bundle")
    _, embeddings = bundle.reference()
    ran: list[int] = []

    def infer(frames: Any, pooling: Any) -> tuple[Any, Any]:  # noqa: ANN401 - arrays
        place = sum(ran)
        ran.append(len(frames))
        return embeddings[place : place + len(frames)], pooling @ embeddings[place : place + len(frames)]

    session = HostSession(SessionInfo("onnxruntime", "1", "CPU", "fp32", bundle.card), infer)
    reference = Reference(bundle, bundle.graph("fp32").sha256)
    memory = folder / "memory"
    check_session(session, reference, memory=memory)
    (entry,) = memory.iterdir()
    sound = entry.read_bytes()

    def load(content: bytes) -> None:
        ran.clear()
        entry.write_bytes(content)
        check_session(session, reference, memory=memory)
        _expect(ran or content == sound, "a damaged entry counts as a passed check")

    return Prepared([sound], load, str(folder))


def graph(folder: Path) -> Prepared:
    return _lone_graph(folder, "onnxruntime:cpu")


def graph_openvino(folder: Path) -> Prepared:
    return _lone_graph(folder, "openvino")


def _lone_graph(folder: Path, backend: str) -> Prepared:
    from reid.runtime.embedding import embed
    from reid.runtime.opening import open_session
    from reid.runtime.tracklet import Tracklet

    tracklets = [Tracklet("a", (seeds.noise(seeds.SIDE, seeds.SIDE, 3),) * 2), Tracklet("b", (seeds.noise(5, 9, 3),))]

    def load(path: Path) -> None:
        with open_session(path, backend) as session:
            for entry in embed(session, tracklets):
                vector = entry.embedding
                _expect(vector is not None and vector.shape == (session.info.card.dimensions,), "another embedding")

    return _in_file(folder / "graph.onnx", [seeds.graph()], load)


def opened_bundle(folder: Path) -> Prepared:
    """Prepare to open a bundle as a command does: with its graph in ONNX Runtime, and checked on its crops."""
    from reid.runtime.embedding import embed
    from reid.runtime.imaging import decode
    from reid.runtime.opening import open_session
    from reid.runtime.tracklet import Tracklet

    (folder / "graph.onnx").write_bytes(seeds.graph())
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    crops = [decode(seeds.encoded(".png", seeds.crop(place)), "crop") for place in range(4)]
    with open_session(folder / "graph.onnx", "onnxruntime:cpu") as session:
        entries = list(embed(session, [Tracklet(str(place), (crop,)) for place, crop in enumerate(crops)]))
    (folder / "graph.onnx").unlink()
    vectors = np.stack([entry.embedding for entry in entries if entry.embedding is not None])
    root = folder / "bundle"

    def load(content: bytes) -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        _unpacked(content, root)
        with open_session(root, "onnxruntime:cpu") as session:
            found = [entry.embedding for entry in embed(session, [Tracklet("a", (crops[0],))])]
        _expect(found[0] is not None and float(found[0] @ vectors[0]) > 0.99, "another model, which passes its check")

    return Prepared([seeds.packed(seeds.bundle(seeds.graph(), vectors))], load, str(root))


def triton_config(folder: Path) -> Prepared:
    from reid.export.triton import write_triton_repository
    from reid.runtime.bundle import Bundle

    for name, content in seeds.bundle(seeds.graph()).items():
        (folder / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "bundle" / name).write_bytes(content)
    bundle, repository = Bundle.open(folder / "bundle"), folder / "repository"
    write_triton_repository(bundle, repository, precisions=["fp32"])
    config = repository / "reid_frames_fp32" / "config.pbtxt"
    sound = config.read_bytes()

    def load(path: Path) -> None:
        written = write_triton_repository(bundle, repository, precisions=["fp32"])
        for version in written:
            shutil.rmtree(version)
        same_model = path.read_bytes().partition(b"\n")[0].rstrip(b"\r") == sound.partition(b"\n")[0]
        _expect(same_model, "a version was added to another model")

    return _in_file(config, [sound], load)
