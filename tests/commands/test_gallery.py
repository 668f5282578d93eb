"""`reid-gallery`: what each action does to the folder, what it says, and how it fails."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import Run, assert_one_line_of_error
from stored_galleries import SPACE, contents, files_of, make_entries, unit

from reid.commands.gallery import main
from reid.commands.infer import main as infer_main
from reid.runtime import appending
from reid.runtime.embedding import Embedded
from reid.runtime.file_names import parse_name
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.travel_times import TravelTimes
from reid.runtime.sessions.session import Session
from reid.runtime.shards import Shard
from reid.runtime.tracklet import Tracklet

DOCS = Path(__file__).parents[2] / "docs" / "galleries.md"


@pytest.fixture
def run(run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, in a folder of its own: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return partial(run_main, main, "reid-gallery")


@pytest.fixture
def crops(veri: Path, bundle: Path, tmp_path: Path) -> Path:
    """A folder of a track of four frames and six loose images; beside it lie queries and the bundle."""
    images = sorted((veri / "image_test").iterdir())
    for target, chosen in (("crops/track", images[:4]), ("crops", images[10:16]), ("query", images[30:33])):
        (tmp_path / target).mkdir(parents=True, exist_ok=True)
        for image in chosen:
            shutil.copy(image, tmp_path / target)
    (tmp_path / "bundle").symlink_to(bundle)
    return tmp_path / "crops"


def make_store(path: Path, ids: list[str], seed: int = 0) -> Path:
    with Store.create(path, SPACE) as store:
        if ids:
            store.add(make_entries(ids, seed), unit(len(ids), seed=seed))
    return path


def ids_of(path: Path) -> list[str]:
    with Store.open(path) as store:
        return list(contents(store))


def test_what_is_appended_ranks_as_the_folder_does_with_pictures(crops: Path, run: Run, run_main: Run) -> None:
    code, out, err = run("append", "store", "crops")
    assert (code, out) == (0, "store: 7 added; 7 entries\n"), err
    infer = partial(run_main, infer_main, "reid-infer")
    for gallery in ("store", "crops"):
        assert infer(gallery, "query", "--output", f"results of {gallery}")[0] == 0
    results = [Path(f"results of {gallery}") for gallery in ("store", "crops")]
    for name in ("rankings.json", "rankings.csv"):
        assert (results[0] / name).read_bytes() == (results[1] / name).read_bytes()
    assert not (results[0] / "gallery.npz").exists()
    assert (results[0] / "report.html").read_text().count("data:image/jpeg") >= 3 + 7

    with Store.open("store") as store:
        saved = MemoryGallery.open(results[1] / "gallery.npz", store.space)
        (entries, embeddings), *rest = store.batches()
    assert rest == []
    np.testing.assert_array_equal(embeddings, saved.embeddings)
    assert [(one.id, one.camera, one.vehicle, one.picture) for one in entries] == [
        (one.id, one.camera, one.vehicle, one.picture) for one in saved.members
    ]
    assert {one.id: one.frames for one in entries} == {one.id: 4 if one.id == "track" else 1 for one in entries}
    assert any(entry.camera and entry.vehicle for entry in entries)


def test_ids_that_are_there_are_an_error_before_any_work_or_left_out(
    crops: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = shutil.copy(next(crops.glob("*.jpg")), crops.parent / "new.jpg")
    assert run("append", "store", "crops", "--storage", "fp16", "--json")[0] == 0
    Path(new).rename(crops / "a new.jpg")
    (crops / "notes.txt").write_text("all my work")
    (crops / "broken.jpg").write_text("no picture")
    with monkeypatch.context() as patch:
        patch.setattr(appending, "embed", lambda *arguments, **options: pytest.fail("work began"))
        sentence = assert_one_line_of_error(*run("append", "store", "crops"))
        assert "store has 7 of 9 tracklets already" in sentence
        assert "--skip-known" in sentence
        sentence = assert_one_line_of_error(*run("append", "store", "crops", "--storage", "fp32"))
        assert "store stores fp16, not fp32" in sentence
    code, out, err = run("append", "store", "crops", "--skip-known", "--json")
    assert code == 0
    found = json.loads(out)
    assert {name: found[name] for name in ("added", "known", "entries", "frames")} == {
        "added": 1,
        "known": 7,
        "entries": 8,
        "frames": 2,
    }
    assert "1 of 2 frames could not be read: crops/broken.jpg" in err
    assert "notes.txt" in err
    assert ids_of(Path("store"))[-1] == "a new.jpg"
    code, out, err = run("append", "store", "crops", "--skip-known")
    assert (code, out) == (0, "store: 0 added, 8 were there already; 8 entries\n")
    assert "1 of 1 frames could not be read" in err


def test_what_was_added_before_a_failure_stays_and_is_gone_on_with(
    crops: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "_PIECE", 2)
    real = appending.embed

    def failing(session: Session, tracklets: Iterable[Tracklet], **_: object) -> Iterator[Embedded]:
        for number, one in enumerate(real(session, tracklets)):
            if number == 5:
                raise OSError(28, "No space left on device")
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(appending, "embed", failing)
        code, out, err = run("append", "store", "crops")
    assert (code, out) == (1, "")
    assert "note: 4 of 7 tracklets were added; --skip-known adds the others\n" in err
    assert "the disk is full" in err.splitlines()[-1]
    assert len(ids_of(Path("store"))) == 4
    assert run("append", "store", "crops", "--skip-known")[1] == "store: 3 added, 4 were there already; 7 entries\n"
    assert sorted(ids_of(Path("store"))) == sorted(["track", *(path.name for path in crops.glob("*.jpg"))])


def test_what_failed_first_is_told_where_the_gallery_fails_then_too(
    crops: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(store: Store, *_: object) -> None:
        store.close()
        raise OSError(5, "Input/output error", "store/gallery.json")

    monkeypatch.setattr(Store, "add", failing)
    assert "Input/output error" in assert_one_line_of_error(*run("append", "store", "crops"))


def test_sightings_say_when_and_where_and_a_shard_takes_its_part(crops: Path, run: Run, tmp_path: Path) -> None:
    names = ["track", *sorted(path.name for path in crops.glob("*.jpg"))]
    rows = [f"{name},{camera},{time}" for name, camera, time in ((names[0], "north", 2.5), (names[1], "", -3))]
    (tmp_path / "seen.csv").write_text("\n".join(["id,camera,time_s", *rows, "nobody,,1"]))
    for number in (1, 2):
        code, _, err = run(
            *("append", f"part{number}", "crops", "--shard", f"{number}/2", "--sightings", "seen.csv", "--json")
        )
        assert code == 0, err
        assert "1 of 3 sightings are of tracklets that are not in crops" in err
    parts = [ids_of(tmp_path / f"part{number}") for number in (1, 2)]
    assert sorted(parts[0] + parts[1]) == sorted(names)
    assert parts[0]
    assert parts[1]
    assert run("merge", "all", "part1", "part2")[1] == "all: 7 added; 7 entries\n"
    with Store.open("all") as store:
        entries = {entry.id: entry for entry, _ in contents(store).values()}
    assert (entries["track"].camera, entries["track"].time_s) == ("north", 2.5)
    by_name = parse_name(names[1])
    assert by_name
    assert (entries[names[1]].camera, entries[names[1]].time_s) == (by_name.camera, -3)
    assert {entry.time_s for entry in entries.values() if entry.id not in names[:2]} == {None}
    (crops / "broken.jpg").write_text("no picture")  # which is not added, with a time or without
    assert "5 tracklets have no time in the sightings" in run("append", "whole", "crops", "--sightings", "seen.csv")[2]


def test_sightings_of_something_else_are_an_error_before_any_work(crops: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "seen.csv").write_text("id,time_s\nnobody,1")
    sentence = assert_one_line_of_error(*run("append", "store", "crops", "--sightings", "seen.csv"))
    assert "the sightings name no tracklet of crops; write ids as they are there" in sentence
    assert not Path("store").exists()
    assert run("append", "store", "crops", "--shard", "3/2")[0] == 2


def test_a_shard_of_which_nothing_can_be_read_leaves_it_to_the_others(crops: Path, run: Run) -> None:
    others = [path.name for path in crops.iterdir()]
    (crops / "broken.jpg").write_text("no picture")
    shards = [Shard(number, 100) for number in range(1, 101)]
    alone = next(one for one in shards if one.has("broken.jpg") and not any(map(one.has, others)))
    code, out, err = run("append", "store", "crops", "--shard", alone)
    assert (code, out) == (0, "store: 0 added; 0 entries\n")
    assert "1 of 1 frames could not be read: crops/broken.jpg" in err


def test_the_gate_keeps_out_what_is_blurred_and_says_so(crops: Path, run: Run) -> None:
    """The rendered crops are too smooth for the gate: of noise, one frame in a track and an image are blurred."""
    shutil.rmtree(crops)
    (crops / "track").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name, is_sharp in (("track/0", True), ("track/1", False), ("track/2", True), ("a", True), ("b", False)):
        cv2.imwrite(str(crops / f"{name}.png"), noise if is_sharp else noise // 64)
    (crops / "c.png").write_text("no picture")
    code, out, err = run("append", "store", "crops", "--gate", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["added"], found["frames"], len(found["refused"]), len(found["unreadable"])) == (2, 6, 2, 1)
    assert re.search(
        r"2 of 6 frames did not pass the gate: crops/b.png: sharpness [\d.]+, below 40; crops/track/1", err
    )
    with Store.open("store") as store:
        assert {name: entry.frames for name, (entry, _) in contents(store).items()} == {"a.png": 1, "track": 2}
    for name in ("a.png", "c.png", "track/0.png", "track/2.png"):
        (crops / name).unlink()
    sentence = assert_one_line_of_error(*run("append", "other", "crops", "--gate"))
    assert "no image of crops passes the gate: crops/b.png: sharpness" in sentence


def test_a_migrated_store_is_as_if_the_new_model_had_made_it_and_goes_back(
    crops: Path, run: Run, whole_bundle: Path
) -> None:
    new = ["--model", str(whole_bundle), "--precision", "fp16"]
    assert run("append", "store", "crops", "--model", str(whole_bundle))[0] == 0
    assert run("append", "expected", "crops", *new)[0] == 0
    before = {name: (Path("store") / name).read_bytes() for name in files_of(Path("store"))}
    code, out, err = run("migrate", "store", *new)
    assert (code, out.splitlines()[0]) == (0, "store: 7 embedded; 7 entries"), err
    assert "store.before is the gallery as it was" in out
    with Store.open("store") as store, Store.open("expected") as expected:
        assert store.space == expected.space
        assert list(contents(store).items()) == list(contents(expected).items())
    assert {name: (Path("store.before") / name).read_bytes() for name in before if name != "lock"} == {
        name: content for name, content in before.items() if name != "lock"
    }
    assert run("migrate", "store", *new)[1] == "store: all 7 entries are of this model already\n"
    code, out, err = run("migrate", "store", "--model", str(whole_bundle), "--json")
    found = json.loads(out)
    assert (code, found["embedded"], found["known"], found["before"]) == (
        0,
        0,
        7,
        str(Path("store.before").absolute()),
    ), err
    with Store.open("store") as store:
        assert store.space.precision == "fp32"


def test_migrate_says_what_is_missing(crops: Path, run: Run, whole_bundle: Path) -> None:
    new = ["--model", str(whole_bundle), "--precision", "fp16"]
    assert run("append", "store", "crops", "--model", str(whole_bundle))[0] == 0
    for frame in sorted((crops / "track").iterdir())[:2]:
        frame.unlink()
    next(crops.glob("*.jpg")).unlink()
    sentence = assert_one_line_of_error(*run("migrate", "store", *new))
    assert "1 of 7 entries of" in sentence
    assert "leave these entries out with --skip-missing" in sentence
    code, out, err = run("migrate", "store", *new, "--skip-missing", "--json")
    assert (code, json.loads(out)["entries"]) == (0, 6), err
    assert "1 entries were left out: " in err
    assert "1 tracklets were embedded by one picture: their other frames are not beside it" in err


def sightings(journeys: int) -> list[Entry]:
    seen = [(f"{n}", camera, time) for n in range(journeys) for camera, time in (("a", 0.0), ("b", 10.0 + n))]
    seen += [("0", "c", 500.0)]
    return [Entry(f"{n}", camera, vehicle, time) for n, (vehicle, camera, time) in enumerate(seen)]


def test_travel_times_of_a_gallery_say_how_many_journeys_they_rest_on(run: Run, tmp_path: Path) -> None:
    with Store.create(tmp_path / "store", SPACE) as store:
        store.add(sightings(99), unit(199))
    code, out, err = run("learn-travel", "store", "--json")
    assert code == 0, err
    assert json.loads(out) == {
        "output": "travel-times.json",
        "pairs": [{"start": "a", "end": "b", "least_s": 10, "most_s": 108, "journeys": 99}],
        "without_limits": [{"start": "a", "end": "c", "journeys": 1}, {"start": "b", "end": "c", "journeys": 1}],
    }
    assert TravelTimes.load("travel-times.json").limits == {("a", "b"): (10, 108)}
    code, out, _ = run("learn-travel", "store", "--share", "0.9", "--output", "other.json")
    assert re.search(r"a +\S b +\S 14.0 s +\S 104.0 s +\S 99 ", out)
    assert "2 pairs with fewer journeys, up to 1, have no limits\nother.json\n" in out
    sentence = assert_one_line_of_error(*run("learn-travel", "store", "--share", "0.999"))
    assert "no two cameras have the 1,999 journeys that --share 0.999 takes, the most is 99" in sentence


def test_travel_times_of_a_data_set(run: Run, tmp_path: Path) -> None:
    """Forty training vehicles that pass a camera at 1000 s and another 20 to 59 s later, at 25 frames a second."""
    for part in ("train", "test", "query"):
        (tmp_path / "data" / f"image_{part}").mkdir(parents=True)
    for number in range(40):
        for camera, time in ((1, 25_000), (2, 25_000 + 25 * (20 + number))):
            (tmp_path / "data" / "image_train" / f"{number:04}_c{camera:03}_{time:08}_0.jpg").touch()
    code, out, err = run("learn-travel", "data", "--layout", "veri", "--share", "0.9", "--json")
    assert code == 0, err
    (pair,) = json.loads(out)["pairs"]
    assert pair == {"start": "c001", "end": "c002", "least_s": 21, "most_s": 58, "journeys": 40}
    assert run("learn-travel", "data", "--layout", "veri", "--share", "0.9", "--clock", "50", "--json")[0] == 0
    assert TravelTimes.load("travel-times.json").limits == {("c001", "c002"): (10.5, 29)}


def test_travel_times_need_times(run: Run, tmp_path: Path) -> None:
    with Store.create(tmp_path / "store", SPACE) as store:
        store.add([Entry("a", "c1", "7"), Entry("b", "c2", "7", 3.0)], unit(2))
    sentence = assert_one_line_of_error(*run("learn-travel", "store"))
    assert "store shows no vehicle twice at a known time; give a data set" in sentence
    assert not Path("travel-times.json").exists()


def test_a_new_store_that_gets_nothing_is_not_left_behind(crops: Path, run: Run) -> None:
    (crops.parent / "bad").mkdir()
    (crops.parent / "bad" / "a.jpg").write_text("no picture")
    sentence = assert_one_line_of_error(*run("append", "deep/store", "bad"))
    assert "no image of bad can be read: bad/a.jpg: not a readable image" in sentence
    assert not Path("deep/store").exists()


def test_a_store_of_another_model_is_refused_by_both_commands(
    crops: Path, run: Run, run_main: Run, tmp_path: Path
) -> None:
    make_store(tmp_path / "store", ["a"])
    for code, out, err in (
        run("append", "store", "crops"),
        run_main(infer_main, "reid-infer", "store", "query"),
    ):
        assert "store was made by model ffffffffffff, this one is" in assert_one_line_of_error(code, out, err)
    assert not Path("results").exists()
    assert ids_of(Path("store")) == ["a"]


def test_info_counts_what_is_there(run: Run, tmp_path: Path) -> None:
    entries = [Entry("a", "c1", None, 2.0), Entry("b", "c1", "7", -1.5), Entry("c", None, None, None), Entry("d", "c2")]
    with Store.create(tmp_path / "store", SPACE, storage="fp16") as store:
        store.add([*entries, Entry("e", "gone", None, 99.0)], unit(5))
        store.remove(["e"])
    code, out, _ = run("info", "store", "--json")
    assert code == 0
    size = sum((tmp_path / "store" / name).stat().st_size for name in files_of(tmp_path / "store"))
    assert json.loads(out) == {
        "store": "store",
        "fingerprint": SPACE.fingerprint,
        "precision": "fp32",
        "dimensions": SPACE.dimensions,
        "storage": "fp16",
        "entries": 4,
        "cameras": {"c1": 2, "c2": 1},
        "without_camera": 1,
        "seen_s": [-1.5, 2.0],
        "without_time": 2,
        "segments": 1,
        "size": size,
    }
    code, out, _ = run("info", "store")
    assert code == 0
    for line in (
        "embeddings: 6 numbers, computed in fp32, stored in fp16",
        "entries: 4",
        "seen: -1.500 s to 2.000 s, 2 without a time",
        f"size: {size:,} bytes, entries in 1 file",
    ):
        assert f"{line}\n" in out
    assert re.search(r"c1 +\S 2 ", out)
    assert re.search(r"\(not known\) +\S 1 ", out)


def test_info_of_an_empty_store(run: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "store", [])
    assert "entries: 0\nseen: no times\n" in run("info", "store")[1]
    assert json.loads(run("info", "store", "--json")[1])["seen_s"] is None


def test_remove_takes_ids_or_a_file_of_them(run: Run, tmp_path: Path) -> None:
    names = ["a", "b c", "d/e.jpg", "not \udcff utf-8", "z"]
    make_store(tmp_path / "store", names)
    assert run("remove", "store", "z", "y", "z")[:2] == (0, "store: 1 removed, 1 were not there; 4 entries\n")
    (tmp_path / "ids").write_bytes(b"b c\r\n\nnot \xff utf-8\nx")
    code, out, _ = run("remove", "store", "--ids", "ids", "--json")
    assert (code, json.loads(out)) == (0, {"store": "store", "removed": 2, "absent": 1, "entries": 2})
    assert ids_of(tmp_path / "store") == ["a", "d/e.jpg"]


@pytest.mark.parametrize("arguments", [[], ["a", "--ids", "ids"]])
def test_remove_needs_ids_from_one_place(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    make_store(tmp_path / "store", ["a"])
    code, out, err = run("remove", "store", *arguments)
    assert (code, out) == (2, "")
    assert "give ids, or a file with --ids" in err


@pytest.mark.parametrize("is_new", [True, False])
def test_merge_takes_all_entries_in_order_and_leaves_the_others_as_they_are(
    run: Run, tmp_path: Path, is_new: bool
) -> None:
    shards = [make_store(tmp_path / name, [f"{name}{number}" for number in range(3)]) for name in ("north", "south")]
    if not is_new:
        make_store(tmp_path / "all", ["old"])
    before = [{name: (shard / name).read_bytes() for name in files_of(shard)} for shard in shards]
    old = [] if is_new else ["old"]
    assert run("merge", "all", "north", "south")[:2] == (0, f"all: 6 added; {6 + len(old)} entries\n")
    assert ids_of(tmp_path / "all") == [*old, "north0", "north1", "north2", "south0", "south1", "south2"]
    assert [{name: (shard / name).read_bytes() for name in files_of(shard)} for shard in shards] == before


def test_a_saved_gallery_is_told_of_and_merged(run: Run, tmp_path: Path) -> None:
    entries = make_entries("abc")
    MemoryGallery(tuple(entries), unit(3), SPACE).save(tmp_path / "gallery.npz")
    assert json.loads(run("info", "gallery.npz", "--json")[1])["entries"] == 3
    assert run("merge", "all", "gallery.npz")[1] == "all: 3 added; 3 entries\n"
    with Store.open("all") as store:
        assert [entry for entry, _ in contents(store).values()] == entries


def test_a_merge_that_fails_adds_nothing(run: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "north", ["a", "b"])
    make_store(tmp_path / "south", ["c", "b"])
    sentence = assert_one_line_of_error(*run("merge", "all", "north", "south"))
    assert "there is an entry 'b' already" in sentence
    assert not (tmp_path / "all").exists()
    assert "is north, which is an input" in assert_one_line_of_error(*run("merge", "north", "south", "north"))
    assert ids_of(tmp_path / "north") == ["a", "b"]


def test_a_gallery_goes_to_lancedb_and_comes_back(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="pip install 'reid[lance]'")
    for name, ids in (("north", ["a", "b", "c"]), ("south", ["d", "e"])):
        make_store(tmp_path / name, ids, seed=len(ids))
    assert run("merge", "lance://there", "north", "south")[1] == "lance://there: 5 added; 5 entries\n"
    assert "there is an entry 'd' of south already" in run("merge", "lance://there", "south")[2]
    assert run("remove", "lance://there", "b", "x")[1] == "lance://there: 1 removed, 1 were not there; 4 entries\n"
    assert run("compact", "lance://there")[1] == "lance://there: compacted; 4 entries\n"
    assert json.loads(run("info", "lance://there", "--json")[1])["entries"] == 4
    assert run("merge", "back", "lance://there")[1] == "back: 4 added; 4 entries\n"
    expected = {}
    for name in ("north", "south"):
        with Store.open(name) as store:
            expected |= contents(store)
    del expected["b"]
    with Store.open("back") as store:
        assert list(contents(store).items()) == list(expected.items())


def test_a_merge_of_nothing_into_nothing_is_an_error(run: Run, tmp_path: Path) -> None:
    for name in ("north", "south"):
        make_store(tmp_path / name, [])
    sentence = assert_one_line_of_error(*run("merge", "all", "north", "south"))
    assert "there is nothing to merge in north, south" in sentence
    assert files_of(tmp_path) == {"north", "south"}
    make_store(tmp_path / "old", ["a"])
    assert run("merge", "old", "north")[:2] == (0, "old: 0 added; 1 entries\n")


def test_compact_gives_back_space(run: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "store", [f"{number}" for number in range(2000)])
    run("remove", "store", *range(1500))
    code, out, _ = run("compact", "store", "--json")
    found = json.loads(out)
    assert (code, found["entries"]) == (0, 500)
    assert found["size"] == sum((tmp_path / "store" / name).stat().st_size for name in files_of(tmp_path / "store"))
    assert found["size"] < found["size_before"] / 3
    assert ids_of(tmp_path / "store") == [f"{number}" for number in range(1500, 2000)]


@pytest.mark.parametrize("as_json", [False, True])
def test_verify_names_every_damaged_file(run: Run, tmp_path: Path, as_json: bool) -> None:
    store = make_store(tmp_path / "store", [f"{number}" for number in range(8)])
    with Store.open(store, write=True) as opened:
        opened.add(make_entries(["more"]), unit(1))
    options = ["--json"] if as_json else []
    code, out, _ = run("verify", "store", *options)
    assert code == 0
    assert json.loads(out)["problems"] == [] if as_json else out == "store: all 9 entries are as they were written\n"
    segments = sorted(store.glob("segment-*"))
    assert len(segments) == 2
    for segment in segments:
        content = bytearray(segment.read_bytes())
        content[3] ^= 1
        segment.write_bytes(content)
    code, out, err = run("verify", "store", *options)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: ")
    for segment in segments:
        assert re.search(rf"{segment.name} is damaged", err)
        assert not as_json or segment.name in str(json.loads(out)["problems"])
    assert as_json or out == ""


@pytest.mark.parametrize("action", ["info", "remove", "compact", "verify"])
def test_what_is_no_store_is_said_so(run: Run, tmp_path: Path, action: str) -> None:
    (tmp_path / "folder").mkdir()
    ids = ["a"] if action == "remove" else []
    for name in ("nowhere", "folder"):
        sentence = assert_one_line_of_error(*run(action, name, *ids))
        assert f"{name}/gallery.json: No such file or directory; give the folder of a gallery" in sentence
    assert files_of(tmp_path) == {"folder"}
    assert files_of(tmp_path / "folder") == set()


def test_a_store_that_another_writes_to_is_left_alone(run: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "store", ["a"])
    with Store.open(tmp_path / "store", write=True):
        for arguments in (["remove", "store", "a"], ["compact", "store"]):
            assert "store is being written by process" in assert_one_line_of_error(*run(*arguments))
        assert run("info", "store")[0] == 0


def test_the_example_of_the_documents_runs_as_it_stands(
    crops: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, section = DOCS.read_text().split("## From Python\n")
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(crops.parent)
    exec(compile(code, "docs/galleries.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert ids_of(crops.parent / "store")
