"""Crops in parts, embedded by workers in this process instead of Ray's: what is embedded, kept, refused and said."""

from __future__ import annotations

import contextlib
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stored_galleries import contents

from reid.runtime.appending import append
from reid.runtime.embedding import Embedded, embed
from reid.runtime.embedding_jobs import driver, parts, parts_folder, tries
from reid.runtime.embedding_jobs.driver import Collected, Request, embed_on_cluster
from reid.runtime.embedding_jobs.on_ray import Cluster
from reid.runtime.embedding_jobs.part_file import file_of, read_facts, read_part, write_part
from reid.runtime.embedding_jobs.parts import Part, Task, cut
from reid.runtime.embedding_jobs.worker import Job, Report, Worker
from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.folders import read_folder
from reid.runtime.galleries.store.store import Store
from reid.runtime.opening import open_session
from reid.runtime.pipeline.tracks import Unreadable
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

SPACE = Space("f" * 64, "fp32", 4)


class KilledError(BaseException):
    """What a kill is to a process that cannot catch it."""


@pytest.fixture
def crops(veri: Path, tmp_path: Path) -> Path:
    """Two tracks of 20 frames, one of which straddles batches, seven loose images, and a picture that is none."""
    images = sorted((veri / "image_test").iterdir())
    for target, chosen in (("crops/a", images[:20]), ("crops/b", images[20:40]), ("crops", images[50:57])):
        (tmp_path / target).mkdir(parents=True, exist_ok=True)
        for image in chosen:
            shutil.copy(image, tmp_path / target)
    (tmp_path / "crops" / "broken.jpg").write_text("no picture")
    return tmp_path / "crops"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The parts that workers have been given, in a stand-in for a cluster that has one worker, in this process."""
    given: list[int] = []

    @contextlib.contextmanager
    def connected(cluster: Cluster) -> Iterator[int]:
        yield 1

    def run_tasks(tasks: Sequence[Task], job: Job, cluster: Cluster, workers: int) -> Iterator[Report]:
        worker = Worker(pickle.loads(pickle.dumps(job)))
        for task in reversed(tasks):  # in no order that matters
            given.append(task.number)
            yield pickle.loads(worker({"task": pickle.dumps(task)})["report"])

    monkeypatch.setattr(driver, "connected", connected)
    monkeypatch.setattr(driver, "run_tasks", run_tasks)
    monkeypatch.setattr(parts, "_FRAMES", 8)
    return given


@pytest.fixture
def request_of(crops: Path, bundle: Path, tmp_path: Path) -> Callable[..., Request]:
    return lambda **changes: replace(Request(crops, tmp_path / "store", tmp_path / "store.parts", bundle), **changes)


def run(request: Request) -> Collected:
    return embed_on_cluster(request, Cluster("nowhere"))


def interrupted(request: Request, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until some parts are written, and stop there as a kill would."""
    real = driver.run_tasks

    def run_some(tasks: Sequence[Task], *rest: object) -> Iterator[Report]:
        for number, report in enumerate(real(tasks, *rest)):  # type: ignore[arg-type]
            if number == after:
                raise KilledError
            yield report

    with monkeypatch.context() as patch:
        patch.setattr(driver, "run_tasks", run_some)
        with pytest.raises(KilledError):
            run(request)


def test_a_part_ends_with_the_tracklet_that_fills_it_and_its_digest_knows_ids_and_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "_FRAMES", 4)
    lengths = [1, 1, 1, 1, 2, 9, 3, 1, 1]
    tracklets = [Tracklet(f"t{n}", [Path(f"{f}.jpg") for f in range(length)]) for n, length in enumerate(lengths)]
    found = list(cut(tracklets))
    assert [[len(one.frames) for one in part.tracklets] for part in found] == [[1, 1, 1, 1], [2, 9], [3, 1], [1]]
    assert [part.number for part in found] == [0, 1, 2, 3]
    assert [one for part in found for one in part.tracklets] == tracklets
    assert list(cut([])) == []

    def digest(*tracklets: Tracklet) -> str:
        return next(cut(tracklets)).digest

    others = [
        digest(Tracklet("a", [Path("here/x.jpg")])),
        digest(Tracklet("a", [Path("there/x.jpg")])),
        digest(Tracklet("b", [Path("x.jpg")])),
        digest(Tracklet("a", [Path("x.jpg"), Path("y.jpg")])),
        digest(Tracklet("a", [Path("x.jpg")]), Tracklet("y.jpg", [Path("y.jpg")])),
        digest(Tracklet("\udcff", [Path("\udcff.jpg")])),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_digest_knows_the_pictures(kind: str, tmp_path: Path) -> None:
    """Trackers number from 1 each day, so that other pictures have the same names."""

    def digest(day: str, content: bytes) -> str:
        picture = tmp_path / day / "1" / "0000.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(content)
        root = tmp_path / day
        if kind == "archive":
            root = Path(shutil.make_archive(str(root), "zip", root))
        return next(cut(read_folder(root))).digest

    monday = digest("monday", b"one")
    assert next(cut(read_folder(tmp_path / ("monday" if kind == "folder" else "monday.zip")))).digest == monday
    assert len({monday, digest("tuesday", b"one"), digest("monday", b"other")}) == 3


def test_the_store_has_what_append_adds_in_its_order_with_the_bits_of_each_part(
    done: list[int], request_of: Callable[..., Request], crops: Path, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "store.parts").mkdir()
    (tmp_path / "store.parts" / "thesis").write_text("years of work")
    result = run(request_of())
    assert (result.added, result.known, result.entries, result.frames) == (9, 0, 9, 48)
    assert (result.parts, result.kept) == (len(done), 0)
    assert len(done) == len(set(done)) == 3
    assert result.unreadable == (f"{crops / 'broken.jpg'}: not a readable image",)
    assert [path.name for path in (tmp_path / "store.parts").iterdir()] == ["thesis"]

    with open_session(bundle) as session:
        append(session, tmp_path / "appended", crops)
        alone = [one for part in cut(read_folder(crops)) for one in embed(session, part.tracklets)]
    with Store.open(tmp_path / "store") as store, Store.open(tmp_path / "appended") as appended:
        mine, other = contents(store), contents(appended)
    assert [entry for entry, _ in mine.values()] == [entry for entry, _ in other.values()]
    for one in alone:
        if one.embedding is not None:
            assert mine[one.tracklet.id][1] == tuple(one.embedding)
    for name, (entry, embedding) in mine.items():
        if entry.frames == 1:
            assert embedding == other[name][1]
        else:  # whose sums are rounded where batches end
            np.testing.assert_allclose(embedding, other[name][1], atol=1e-6)


def test_a_run_that_was_killed_goes_on_from_what_was_whole(
    done: list[int], request_of: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(request_of(), 1, monkeypatch)  # the second part is written, too: only its report is lost
    assert len(done) == 2
    result = run(request_of())
    assert (result.added, result.parts, result.kept) == (9, 1, 2)
    assert len(done) == len(set(done)) == 3
    assert result.unreadable
    done.clear()
    again = run(request_of())  # what cannot be read is tried again: it may have been mended
    assert (again.added, again.known, again.entries, len(again.unreadable), again.frames) == (0, 9, 9, 1, 1)
    assert len(done) == 1


def test_a_run_that_was_killed_while_it_added_adds_the_rest(
    done: list[int], request_of: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.add

    def add(store: Store, *arguments: object) -> None:
        if len(store):
            raise KilledError
        real(store, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("reid.runtime.appending._PIECE", 4)
        patch.setattr(Store, "add", add)
        with pytest.raises(KilledError):
            run(request_of())
    done.clear()
    result = run(request_of())
    assert (result.added, result.known, result.entries) == (5, 4, 9)
    assert len(done) <= 1  # nothing was embedded: one worker looked whether it is the same model
    with Store.open(tmp_path / "store") as store:
        assert not store.verify()


def test_what_is_in_the_store_is_not_embedded_again(
    done: list[int], request_of: Callable[..., Request], crops: Path, veri: Path
) -> None:
    (crops / "broken.jpg").unlink()
    run(request_of())
    done.clear()
    assert run(request_of()) == Collected(0, 9, 9, 0, (), (), 0, 0)
    assert done == []
    shutil.copy(sorted((veri / "image_test").iterdir())[60], crops / "zz.jpg")
    result = run(request_of())
    assert (result.added, result.known, result.frames, result.parts) == (1, 9, 1, 1)


def test_parts_of_another_model_are_refused_whether_all_are_there_or_some(
    done: list[int], request_of: Callable[..., Request], crops: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "store.parts"
    folder.mkdir()
    for part in cut(read_folder(crops)):
        embedded = [Embedded(one, np.eye(1, 4, dtype=np.float32)[0], {}, ()) for one in part.tracklets]
        write_part(folder / file_of(part.number), part.without(set()), SPACE, embedded)
        with pytest.raises(ReidError, match=r"on .*: .*store.parts, which an earlier run left, was made by model ffff"):
            run(request_of())
    assert not (tmp_path / "store").exists()
    assert len(list(folder.iterdir())) == 3


def test_what_does_not_belong_to_these_crops_is_refused_before_any_work(
    done: list[int], request_of: Callable[..., Request], crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(request_of(), 2, monkeypatch)
    done.clear()
    (crops / "a" / "more.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"store.parts holds parts of other crops, or of crops that have changed"):
        run(request_of())
    (crops / "a" / "more.jpg").unlink()
    part = next((tmp_path / "store.parts").glob("*.npz"))
    part.with_name(file_of(77)).write_bytes(part.read_bytes())
    with pytest.raises(DataError, match="holds parts of other crops"):
        run(request_of())
    part.with_name(file_of(77)).unlink()
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"{part.name} cannot be used .*; remove it and run the command again"):
        run(request_of())
    assert done == []


def test_a_store_that_cannot_be_written_is_refused_before_any_work(
    done: list[int], request_of: Callable[..., Request], crops: Path, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis").write_text("years of work")
    with pytest.raises(DataError, match="store is there and no gallery"):
        run(request_of())
    Store.create(tmp_path / "other", SPACE).close()
    with pytest.raises(ReidError, match="other stores fp32, not fp16"):
        run(request_of(store=tmp_path / "other", storage="fp16"))
    with Store.open(tmp_path / "other", write=True), pytest.raises(DataError, match="other"):
        run(request_of(store=tmp_path / "other"))
    for changes in ({"store": crops / "store"}, {"parts": crops / "parts"}):
        with pytest.raises(ReidError, match="an input; choose another place"):
            run(request_of(**changes))
    assert done == []
    with pytest.raises(ReidError, match=r"on .*: .*other was made by model ffff"):
        run(request_of(store=tmp_path / "other"))
    assert len(done) == 1  # the first report ends it


def test_a_worker_says_what_its_machine_lacks(request_of: Callable[..., Request], crops: Path, tmp_path: Path) -> None:
    shared = tmp_path / "store.parts"
    task = next(cut(read_folder(crops))).without(set())

    def failure(**changes: Path) -> str:
        paths = {"model": request_of().model, "crops": crops, "parts": shared, **changes}
        job = Job(session="auto", precision="fp32", gallery="store", space=None, environment={}, **paths)
        report: Report = pickle.loads(Worker(job)({"task": pickle.dumps(task)})["report"])
        return report.failure

    assert failure() == f"{shared}: not found here; every machine needs it, at this path"
    shared.mkdir()
    assert (
        failure(crops=tmp_path / "a.zip" / "b")
        == f"{tmp_path}/a.zip/b: not found here; every machine needs it, at this path"
    )
    assert "no such model" in failure(model=tmp_path / "elsewhere")
    assert list(shared.iterdir()) == []
    assert failure() == ""
    assert [file.name for file in shared.iterdir()] == [file_of(0)]


def test_a_part_that_kills_its_workers_is_named_after_five_of_them(tmp_path: Path) -> None:
    file = tmp_path / file_of(0)
    for _ in range(9):
        with tries.counted_try(file, "a"):
            pass
    with contextlib.suppress(ValueError), tries.counted_try(file, "a"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    killed = [tries.counted_try(file, "a") for _ in range(5)]
    for one in killed:
        one.__enter__()  # and never leave it
    sixth = tries.counted_try(file, "a")
    with pytest.raises(DataError, match="5 workers died embedding 'a' or what follows it"):
        sixth.__enter__()
    parts_folder.PartsFolder(tmp_path).begin([])  # what the next run begins with
    with tries.counted_try(file, "a"):
        pass


def test_a_part_comes_back_from_its_file_and_says_what_it_has(tmp_path: Path) -> None:
    tracklets = tuple(
        Tracklet(name, [Path(f"{name}{frame}.jpg") for frame in range(3)]) for name in ("a", "b", "\udcff")
    )
    part = Part(5, "d" * 64, tracklets)
    embedded = [
        Embedded(tracklets[0], np.eye(1, 4, dtype=np.float32)[0], {}, (Unreadable(1, "a1.jpg: damaged"),)),
        Embedded(tracklets[2], None, {}, tuple(Unreadable(frame, "gone") for frame in range(3))),
    ]
    task = part.without({"b"})
    assert list(task.tracklets) == [0, 2]
    assert task.frames == 6
    write_part(tmp_path / "p", task, SPACE, embedded)
    facts = read_facts(tmp_path / "p")
    assert facts is not None
    assert facts.space == SPACE
    assert [facts.has(part.without(known)) for known in ({"b"}, {"a", "b"}, set[str]())] == [True, True, False]
    assert not facts.has(Part(5, "e" * 64, tracklets).without({"b"}))
    assert read_facts(tmp_path / "none") is None
    found = list(read_part(tmp_path / "p", tracklets))
    for mine, other in zip(found, embedded, strict=True):
        assert mine.tracklet is other.tracklet
        assert mine.unreadable == other.unreadable
        np.testing.assert_array_equal(mine.embedding, other.embedding)


def test_a_part_that_another_machine_wrote_elsewhere_is_missed(
    done: list[int], request_of: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_folder, "_SECONDS", 0)
    monkeypatch.setattr(driver, "run_tasks", lambda tasks, *_: iter([Report("far", 1, "", ())] * len(tasks)))
    with pytest.raises(DataError, match=r"store.parts lacks part-00000000.npz, which a worker wrote: all machines"):
        run(request_of())


def test_spaces_of_parts_must_agree(tmp_path: Path) -> None:
    folder = parts_folder.PartsFolder(tmp_path)
    for number, space in enumerate((SPACE, replace(SPACE, fingerprint="e" * 64))):
        write_part(tmp_path / file_of(number), Task(number, "", {}), space, [])
    found = {number: read_facts(tmp_path / file_of(number)) for number in range(2)}
    with pytest.raises(ModelError, match=r"part-00000001.npz was made by model eeee"):
        parts_folder.space_of(folder, {number: facts for number, facts in found.items() if facts})
