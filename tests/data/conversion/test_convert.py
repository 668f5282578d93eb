"""Every layout to every other: what comes back, compared without the code that converts."""

from __future__ import annotations

import csv
import hashlib
import shutil
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.data.conversion.convert import convert
from reid.data.conversion.targets import TARGETS
from reid.data.dataset import Dataset, Split
from reid.data.layout import read_dataset
from reid.data.readers.table import COLUMNS
from reid.runtime.errors import DataError, ReidError
from reid.runtime.tracklet import Tracklet

CANNOT_HOLD = {
    "veri": {"tracks of train", "no camera", "tracks of queries apart", "no split"},
    "vehicleid": {"cameras", "tracks", "which are queries", "distractors", "no split", "copies"},
    "veriwild": {"tracks", "no split"},
    "tracklets": {"tracks of queries in the gallery", "distractors"},
    "vehicle-folders": {"tracks of queries apart", "tracks without cameras", "distractors"},
    "camera-vehicle": {"tracks of queries in the gallery", "no camera", "distractors"},
    "flat": {"tracks of queries apart", "tracks without cameras", "distractors"},
    "table": set(),
}
"""What each layout cannot hold of what is compared here; everything else has to come back."""

Group = frozenset[object]


def digest(frame: object) -> str:
    assert isinstance(frame, Path)
    parts = next((i for i, part in enumerate(frame.parts) if part.endswith(".zip")), None)
    if parts is None:
        return hashlib.md5(frame.read_bytes()).hexdigest()
    with zipfile.ZipFile(Path(*frame.parts[: parts + 1])) as archive:
        return hashlib.md5(archive.read("/".join(frame.parts[parts + 1 :]))).hexdigest()


def pictures(entries: Iterable[Tracklet]) -> set[str]:
    return {digest(frame) for entry in entries for frame in entry.frames}


def grouped(entries: Iterable[Tracklet], label: str) -> set[Group]:
    """Which pictures share a vehicle, or a camera: what it is called does not matter. None is a group, too."""
    groups: dict[str | None, set[str]] = defaultdict(set)
    for entry in entries:
        groups[getattr(entry, label)] |= pictures([entry])
    return {frozenset(members) for members in groups.values()}


def tracks(entries: Iterable[Tracklet]) -> set[tuple[str, ...]]:
    """The tracks of several pictures, each in its order."""
    return {tuple(map(digest, entry.frames)) for entry in entries if len(entry.frames) > 1}


def own_tracks(query: Split) -> set[tuple[str, tuple[str, ...]]]:
    pairs = zip(query.images, query.tracklets, strict=True)
    return {(digest(image.frames[0]), tuple(map(digest, own.frames))) for image, own in pairs if len(own.frames) > 1}


def images(dataset: Dataset) -> tuple[Tracklet, ...]:
    return (*dataset.train.images, *dataset.query.images, *dataset.gallery.images)


def compare(source: Dataset, result: Dataset, cannot: set[str]) -> None:
    """Check that two data sets are the same, up to what the second cannot hold."""
    if source.split_facts and "no split" not in cannot:
        assert result.split_facts
        parts: list[tuple[Iterable[Tracklet], Iterable[Tracklet]]] = [(images(source), images(result))]
        pooled = [(s.train.tracklets, s.gallery.tracklets) for s in (source, result)]
        compared_tracks = [(pooled[0][0] + pooled[0][1], pooled[1][0] + pooled[1][1])]
    else:
        parts = [
            (source.train.images, result.train.images),
            ((*source.query.images, *source.gallery.images), (*result.query.images, *result.gallery.images)),
        ]
        if "which are queries" not in cannot:
            parts += [(source.query.images, result.query.images), (source.gallery.images, result.gallery.images)]
        compared_tracks = [(source.gallery.tracklets, result.gallery.tracklets)]
        if "tracks of train" not in cannot:
            compared_tracks.append((source.train.tracklets, result.train.tracklets))
    for before, after in parts:
        assert pictures(before) == pictures(after)
    if "which are queries" not in cannot:
        assert grouped(images(source), "vehicle") == grouped(images(result), "vehicle")
    if "cameras" not in cannot:
        assert grouped(images(source), "camera") == grouped(images(result), "camera")
    if "tracks" not in cannot:
        for one, other in compared_tracks:
            assert tracks(one) == tracks(other)


@pytest.fixture(autouse=True, scope="module")
def _unflushed() -> Iterator[None]:
    """Leave out what only matters where the power fails."""
    with patch("os.fsync"):
        yield


@pytest.fixture(scope="module")
def small(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the rendered vehicles, as a table: every third image, with its track and its time."""
    source, root = read_dataset(veri), tmp_path_factory.mktemp("small") / "set"
    rows = []
    for part, split in (("train", source.train), ("gallery", source.gallery)):
        for number, track in enumerate(split.tracklets):
            rows += [(track, str(number), str(time), frame, part) for time, frame in enumerate(track.frames)][:6:3]
    own = {id(track): str(number) for number, track in enumerate(source.gallery.tracklets)}
    pairs = zip(source.query.images, source.query.tracklets, strict=True)
    rows += [(image, own[id(track)], "0", image.frames[0], "query") for image, track in pairs]
    table(
        root,
        [
            (Path(str(frame)).relative_to(veri).as_posix(), str(one.vehicle), str(one.camera), track, time, part)
            for one, track, time, frame, part in rows
        ],
    )
    for *_, frame, _ in rows:
        assert isinstance(frame, Path)
        shutil.copyfile(frame, root / frame.relative_to(veri))
    return root


@pytest.fixture(scope="module")
def sources(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """These vehicles in every layout."""
    root = tmp_path_factory.mktemp("sources")
    for layout in TARGETS:
        convert(read_dataset(small), root / layout, layout)
    return {layout: root / layout for layout in TARGETS}


@pytest.mark.parametrize("layout", TARGETS)
def test_a_layout_holds_everything_but_what_is_listed(sources: dict[str, Path], layout: str, small: Path) -> None:
    source, result = read_dataset(small), read_dataset(sources[layout])
    assert result.layout == layout
    assert result.problems == ()
    compare(source, result, CANNOT_HOLD[layout])
    lost = CANNOT_HOLD[layout] & {"tracks", "tracks of queries in the gallery"}
    assert (own_tracks(source.query) == own_tracks(result.query)) == (not lost)


@pytest.mark.parametrize("layout", TARGETS)
def test_what_a_layout_does_not_hold_is_said(
    sources: dict[str, Path], layout: str, small: Path, tmp_path: Path
) -> None:
    said = convert(read_dataset(small), tmp_path / "out", layout).losses
    assert any("cameras of" in one for one in said) == ("cameras" in CANNOT_HOLD[layout])
    assert any("tracks of gallery" in one for one in said) == ("tracks" in CANNOT_HOLD[layout])
    assert any("which test images are queries" in one for one in said) == ("which are queries" in CANNOT_HOLD[layout])
    lost = CANNOT_HOLD[layout] & {"tracks", "tracks of queries in the gallery"}
    assert any("queries are not kept" in one and "tracks of" in one for one in said) == bool(lost)


def test_the_rendered_vehicles_as_a_table_have_all_that_they_had(veri: Path, tmp_path: Path) -> None:
    conversion = convert(read_dataset(veri), tmp_path / "out", "table")
    assert (conversion.losses, conversion.notes, conversion.renamed) == ((), (), 0)
    source, result = read_dataset(veri), read_dataset(tmp_path / "out")
    compare(source, result, set())
    assert own_tracks(source.query) == own_tracks(result.query)
    assert sorted(map(str, {one.vehicle for one in images(source)})) == sorted(
        {str(one.vehicle) for one in images(result)}
    )


@pytest.mark.parametrize("before", TARGETS)
@pytest.mark.parametrize("after", TARGETS)
def test_every_layout_becomes_every_other(sources: dict[str, Path], before: str, after: str, tmp_path: Path) -> None:
    source = read_dataset(sources[before])
    no_cameras = before == "vehicleid"
    if no_cameras and after == "camera-vehicle":
        with pytest.raises(DataError, match="tells none; choose --to vehicle-folders or table"):
            convert(source, tmp_path / "out", after)
        assert not (tmp_path / "out").exists()
        return
    conversion = convert(source, tmp_path / "out", after)
    result = read_dataset(tmp_path / "out")  # recognized
    assert result.layout == after
    assert result.problems == ()
    assert conversion.images == len({frame for image in images(result) for frame in image.frames}) or after in (
        "vehicleid",
        "tracklets",
        "camera-vehicle",
        "table",
    )
    cannot = set(CANNOT_HOLD[after])
    if no_cameras and after == "veri":
        cannot |= {"tracks"}  # the train images of a vehicle and the placeholder camera are taken for a track
    compare(source, result, cannot)


# ---- held-out data, letters, distractors, several test sets ----


def table(root: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write a table, and files of distinct bytes; conversion never decodes them."""
    root.mkdir(parents=True)
    with (root / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    for number, row in enumerate(rows):
        path = root / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(b"%d" % number)
    return root


LETTERS = [
    (f"{vehicle} {camera} {k}.jpg", vehicle, camera, str(k // 2), str(k), split)
    for vehicle, split in [("=car a", "train"), ("Ä", "train"), ("c7", "gallery"), ("train", "gallery")]
    for camera in ("north", "south gate")
    for k in range(4)
] + [("q.jpg", "c7", "north", "0", "9", "query"), ("q2.jpg", "train", "south gate", "0", "9", "query")]


@pytest.mark.parametrize("layout", TARGETS)
def test_names_that_a_layout_cannot_hold_get_others_which_a_list_tells(tmp_path: Path, layout: str) -> None:
    source = read_dataset(table(tmp_path / "set", LETTERS))
    conversion = convert(source, tmp_path / "out", layout)
    result = read_dataset(tmp_path / "out")
    assert result.layout == layout
    compare(source, result, CANNOT_HOLD[layout])
    with (tmp_path / "out" / "names.csv").open(newline="") as file:
        names = {(row["what"], row["was"]): row["is"] for row in csv.DictReader(file)}
    assert len(names) == conversion.renamed > 0
    assert not any(was.startswith("=") for _, was in names)
    by_picture = {digest(image.frames[0]): image for image in images(result)}
    for image in images(source):
        written = by_picture.get(digest(image.frames[0]))
        vehicle = str(image.vehicle)
        key = ("vehicle", vehicle if vehicle[0].isalnum() else f"'{vehicle}")
        assert written is None or written.vehicle == names.get(key, vehicle)
        if written is not None and written.camera is not None:
            assert written.camera == names.get(("camera", str(image.camera)), image.camera)


@pytest.mark.parametrize("layout", TARGETS)
def test_images_without_a_vehicle_stay_nobodys_right_answer(tmp_path: Path, layout: str) -> None:
    rows = [
        (f"{v}{c}{k}.jpg", v, c, "", "", s)
        for v, s in zip("1234", ["train", "train", "gallery", "gallery"], strict=True)
        for c in ("c1", "c2")
        for k in range(2)
    ]
    rows += [
        ("q.jpg", "3", "c1", "", "", "query"),
        ("x.jpg", "", "c1", "", "", "gallery"),
        ("y.jpg", "", "c2", "", "", "gallery"),
    ]
    conversion = convert(read_dataset(table(tmp_path / "set", rows)), tmp_path / "out", layout)
    result = read_dataset(tmp_path / "out", layout)
    queries = {image.vehicle for image in result.query.images}
    strange = [
        image
        for image in result.gallery.images
        if digest(image.frames[0]) in map(digest, [tmp_path / "set" / "x.jpg", tmp_path / "set" / "y.jpg"])
    ]
    assert all(image.vehicle not in queries for image in strange)
    said = [sentence for sentence in conversion.losses if "no known vehicle" in sentence]
    expected = {"table": [], "vehicleid": ["2 images of the gallery that show no known vehicle are left out"]}
    assert said == expected.get(layout, ["2 images of the gallery that show no known vehicle are of vehicle 0000"])
    assert len(strange) == (0 if layout == "vehicleid" else 2)


@pytest.mark.parametrize("layout", TARGETS)
def test_data_without_splits_stays_so_where_the_layout_allows_it(tmp_path: Path, layout: str) -> None:
    rows = [(f"{v}{c}{k}.jpg", f"{v}", c, "", "", "") for v in range(8) for c in ("c1", "c2") for k in range(2)]
    source = read_dataset(table(tmp_path / "set", rows))
    conversion = convert(source, tmp_path / "out", layout)
    result = read_dataset(tmp_path / "out")
    assert bool(result.split_facts) == ("no split" not in CANNOT_HOLD[layout])
    assert any("held-out training vehicles" in note for note in conversion.notes) == (not result.split_facts)
    compare(source, result, CANNOT_HOLD[layout] | ({"cameras"} if layout == "vehicleid" else set()))


def several_sets(root: Path) -> Path:
    """VehicleID in small, with two test sets."""
    lists = root / "train_test_split"
    lists.mkdir(parents=True)
    (root / "image").mkdir()
    for number in range(24):
        (root / "image" / f"{number:07d}.jpg").write_bytes(b"%d" % number)
    for name, numbers in (("train_list", range(8)), ("test_list_2", range(8, 16)), ("test_list_4", range(8, 24))):
        (lists / f"{name}.txt").write_text("".join(f"{n:07d} {n // 4}\n" for n in numbers))
    return root


def test_several_test_sets_stay_where_the_layout_has_them(tmp_path: Path) -> None:
    source = read_dataset(several_sets(tmp_path / "set"))
    assert [one.name for one in source.test_sets] == ["2", "4"]
    for layout in ("vehicleid", "veriwild"):
        convert(source, tmp_path / layout, layout)
        result = read_dataset(tmp_path / layout)
        assert [one.name for one in result.test_sets] == ["2", "4"]
        for one, other in zip(source.test_sets, result.test_sets, strict=True):
            members = [(*s.query.images, *s.gallery.images) for s in (one, other)]
            assert pictures(members[0]) == pictures(members[1])
            assert grouped(members[0], "vehicle") == grouped(members[1], "vehicle")
    drawn = {digest(image.frames[0]) for image in source.gallery.images}
    assert pictures(read_dataset(tmp_path / "veriwild").gallery.images) == drawn
    conversion = convert(source, tmp_path / "flat", "flat")
    assert "of the test sets 2, 4, only the first is kept" in conversion.losses


# ---- files ----


def test_an_archive_is_converted_as_its_folder_is(sources: dict[str, Path], tmp_path: Path) -> None:
    archive = tmp_path / "VeRi.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sources["veri"].rglob("*"):
            packed.write(path, f"VeRi/{path.relative_to(sources['veri'])}")
    for data, name in ((sources["veri"], "one"), (archive, "other")):
        convert(read_dataset(data), tmp_path / name, "tracklets", inputs=[data])
    found = [
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "other")
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 80


def test_images_that_cannot_be_read_are_named_and_left_out_of_the_lists(tmp_path: Path) -> None:
    root = table(tmp_path / "set", LETTERS)
    (root / LETTERS[0][0]).unlink()
    (root / LETTERS[0][0]).symlink_to("nowhere")
    conversion = convert(read_dataset(root), tmp_path / "out", "veri")
    (reason,) = conversion.unreadable
    assert LETTERS[0][0] in reason
    assert "missing file" not in {problem.kind for problem in read_dataset(tmp_path / "out").problems}
    assert conversion.images == len(LETTERS) - 1


def test_names_that_no_table_can_hold_are_made_new(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for vehicle in ("v1", "v2", "v3", "v4"):
        for name in (f"{vehicle}\n.jpg", " b.jpg", "c.jpg"):
            (root / vehicle).mkdir(parents=True, exist_ok=True)
            (root / vehicle / name).write_bytes(f"{vehicle}{name}".encode())
    source = read_dataset(root)
    convert(source, tmp_path / "out", "table")
    result = read_dataset(tmp_path / "out")
    assert result.problems == ()
    assert grouped(images(source), "vehicle") == grouped(images(result), "vehicle")
    assert (tmp_path / "out" / "images" / "v1" / "c.jpg").exists()


def test_what_is_in_the_way_stays_and_the_source_is_never_an_output(tmp_path: Path) -> None:
    root = table(tmp_path / "set", LETTERS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis").touch()
    for output in (tmp_path / "out", root, root / "in", tmp_path):
        with pytest.raises(ReidError):
            convert(read_dataset(root), output, "flat", inputs=[root])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis"]


def test_a_challenge_and_a_wrong_target_are_said(cityflow: Path, tmp_path: Path) -> None:
    conversion = convert(read_dataset(cityflow), tmp_path / "out", "table")
    assert any("have no identities and are not written" in note for note in conversion.notes)
    assert read_dataset(tmp_path / "out").split_facts
    with pytest.raises(DataError, match="test images have no identities"):
        convert(read_dataset(cityflow), tmp_path / "other", "cityflow")
    with pytest.raises(DataError, match="unknown layout 'coco'; choose one of: veri, "):
        convert(read_dataset(cityflow), tmp_path / "other", "coco")


# ---- any table ----

_LABEL = st.sampled_from(
    [
        "1",
        "01",
        "0000",
        "7",
        "12345678",
        "c1",
        "C1",
        "c001",
        "track_1",
        "part1",
        "x y",
        "-x",
        "é",
        "a.jpg",
        "query",
        "3.0",
    ]
)
_ROW = st.tuples(
    _LABEL,
    st.sampled_from(["", "c1", "c01", "c000", "north", "7", "cam3", "c_1"]),
    st.sampled_from(["", "1", "2"]),
    st.sampled_from(["train", "query", "gallery"]),
)


@settings(max_examples=40)
@given(rows=st.lists(_ROW, min_size=1, max_size=24), layout=st.sampled_from(sorted(TARGETS)))
def test_whatever_a_table_says_comes_back_or_is_refused(rows: list[tuple[str, ...]], layout: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        order = np.random.default_rng(len(rows)).permutation(len(rows))
        full = [
            (f"i{k}.jpg", vehicle, camera, track, str(order[k]), part)
            for k, (vehicle, camera, track, part) in enumerate(rows)
        ]
        source = read_dataset(table(root / "set", full), "table")
        if layout == "camera-vehicle" and not any(image.camera for image in images(source)):
            with pytest.raises(DataError, match="tells none"):
                convert(source, root / "out", layout)
            return
        if layout == "veriwild" and bool(source.query.images) != bool(source.gallery.images):
            with pytest.raises(DataError, match="would not be read as they were"):
                convert(source, root / "out", layout)
            return
        convert(source, root / "out", layout)
        result = read_dataset(root / "out", layout)
        cannot = set(CANNOT_HOLD[layout])
        if any(image.camera is None for image in images(source)):
            cannot |= {"cameras", "tracks"} & ({"tracks"} if layout != "table" else set())
        compare(source, result, cannot | ({"tracks"} if layout in ("veri", "flat", "vehicle-folders") else set()))
