from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stored_galleries import DIMENSIONS, SPACE, Model, contents, make_entries, naive_search, unit

from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.galleries.conditions import Condition, Travel
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.lance import gallery as galleries
from reid.runtime.galleries.lance import search
from reid.runtime.galleries.lance.filters import has_id
from reid.runtime.galleries.lance.gallery import LanceGallery
from reid.runtime.galleries.lance.texts import from_stored, to_stored
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.ranking import top_k
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.summary import summarize
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.space import Space

lancedb = pytest.importorskip("lancedb")

HELPERS = Path(__file__).parents[2] / "helpers"
DOCS = Path(__file__).parents[3] / "docs" / "galleries.md"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[LanceGallery]:
    with LanceGallery.create(f"lance://{tmp_path}/gallery", SPACE) as gallery:
        yield gallery


def model_of(entries: list[Entry], seed: int = 0) -> Model:
    rows = unit(len(entries), seed=seed).tolist()
    return {entry.id: (entry, tuple(row)) for entry, row in zip(entries, rows, strict=True)}


def fill(gallery: GrowingGallery, model: Model) -> None:
    embeddings = np.array([row for _, row in model.values()], np.float32).reshape(-1, gallery.space.dimensions)
    gallery.add([entry for entry, _ in model.values()], embeddings)


# ---- conditions ----

_HOSTILE = [
    "",
    "'",
    "''",
    '"',
    "a' OR '1'='1",
    "a\\",
    "\\u0041",
    "\\udcff",
    "x\ny",
    "NULL",
    "\0",
    "%",
    "/*",
    "--",
    "é💩",
]
_NAMES = st.sampled_from(["c1", "c2", *_HOSTILE[1:], "\udcff"]) | st.text(
    st.characters(codec=None), min_size=1, max_size=3
)
_TIMES = st.sampled_from([-0.0, 0.0, 5e-324, 0.1, 1.0, 2.0, 3.0, -1.0, 1e22, 1.7976931348623157e308])
_BOUNDS = _TIMES | st.sampled_from([np.inf, -np.inf, np.nan])


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[Entry], list[Condition]]:
    """Draw entries and conditions that name the same few cameras."""
    cameras = st.sampled_from(draw(st.lists(_NAMES, min_size=1, max_size=4, unique=True)))
    limits = st.dictionaries(
        st.tuples(cameras, cameras), st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 2.0, np.inf]))
    ).map(lambda found: TravelTimes({pair: (least, least + more) for pair, (least, more) in found.items()}))
    conditions = st.builds(
        Condition,
        cameras=st.none() | st.frozensets(cameras),
        not_cameras=st.frozensets(cameras),
        time_s=st.none() | st.tuples(_BOUNDS, _BOUNDS),
        travel=st.none()
        | st.builds(Travel, times=limits, seen=st.builds(Sighting, camera=cameras, time_s=_TIMES.filter(bool))),
    )
    facts = st.tuples(st.none() | cameras, st.none() | _NAMES, st.none() | _TIMES)
    entries = [
        Entry(f"{number}{camera}", camera, vehicle, time_s, f"{vehicle}".replace("\0", ""), number)
        for number, (camera, vehicle, time_s) in enumerate(draw(st.lists(facts, min_size=1, max_size=8)))
    ]
    return entries, draw(st.lists(conditions, min_size=1, max_size=3))


@pytest.mark.parametrize("create", [LanceGallery.create, Store.create])
def test_found_is_what_a_condition_allows_and_nothing_else(
    create: Callable[[Path, Space], GrowingGallery],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)

    @settings(max_examples=30, deadline=None)
    @given(_cases())
    def check(case: tuple[list[Entry], list[Condition]]) -> None:
        entries, conditions = case
        folder = tmp_path_factory.mktemp("case")
        gallery = create(folder / "gallery", SPACE)
        gallery.add(entries, unit(len(entries)))
        for found, condition in zip(gallery.search(unit(len(conditions)), 9, conditions), conditions, strict=True):
            assert {one.entry for one in found} == {entry for entry in entries if condition.allows(entry)}
        for condition in conditions:  # alone, it is filtered by in another way
            (found,) = gallery.search(unit(1), 9, [condition])
            assert {one.entry for one in found} == {entry for entry in entries if condition.allows(entry)}
        gallery.close()
        shutil.rmtree(folder)

    check()


@given(st.text(st.characters(codec=None)) | st.sampled_from(_HOSTILE))
def test_any_text_can_be_stored(text: str) -> None:
    to_stored(text).encode()
    assert from_stored(to_stored(text)) == text


# ---- what it is ----


def test_a_gallery_is_a_dictionary_and_ranks_as_a_loop_does(
    gallery: LanceGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where LanceDB moves rows, so that they are not in the order in which they were added."""
    monkeypatch.setattr(search, "BATCH", 4)
    monkeypatch.setattr(search, "_QUERIES", 2)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    random, model, cameras = Random(0), Model(), ["c1", "c2", "c3"]
    for step in range(45):
        match random.choice(["add", "add", "remove", "compact", "reopen"]):
            case "add":
                new = model_of(make_entries([f"{step}.{row}" for row in range(random.randrange(7))], step), step % 3)
                fill(gallery, new)
                model |= new
            case "remove":
                gone = random.sample(sorted(model), min(len(model), 4))
                assert gallery.remove([*gone, "nobody"]) == len(gone)
                for identity in gone:
                    del model[identity]
            case "compact":
                gallery.compact()
            case "reopen":
                gallery.close()
                gallery = LanceGallery.open(gallery.path, SPACE, write=True)
        assert len(gallery) == len(model)
        assert list(contents(gallery).items()) == list(model.items())
        asked = [*list(model)[::2], "nobody"]
        assert gallery.contains(asked).tolist() == [True] * (len(asked) - 1) + [False]
        queries, k = unit(3, seed=step), random.randrange(1, 9)
        conditions = [Condition(not_cameras=frozenset(random.sample(cameras, count))) for count in range(3)]
        assert gallery.search(queries, k, conditions) == naive_search(model, queries, k, conditions)
        assert gallery.search(queries, k) == naive_search(model, queries, k, [Condition()] * 3)
    gallery.close()


def test_scores_are_those_of_arrays_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BATCH", 300)
    embeddings, queries = unit(1500, 64), unit(40, 64, seed=3)
    embeddings[700:1400] = embeddings[3]  # more ties than are kept
    with LanceGallery.create(tmp_path / "gallery", Space("f", "fp32", 64)) as gallery:
        for start in range(0, 1500, 500):
            gallery.add([Entry(str(row)) for row in range(start, start + 500)], embeddings[start : start + 500])
        for k in (1, 7, 130):
            indices, scores = top_k(np.concatenate([queries, embeddings[3:4]]), embeddings, k)
            found = gallery.search(np.concatenate([queries, embeddings[3:4]]), k)
            assert [[int(match.entry.id) for match in one] for one in found] == indices.tolist()
            assert [[match.score for match in one] for one in found] == scores.tolist()


def test_what_it_holds_is_told_by_frames(gallery: LanceGallery) -> None:
    assert (len(gallery), gallery.kind, gallery.search(unit(2), 3)) == (0, None, [(), ()])
    gallery.add([Entry("one", frames=1)], unit(1))
    assert gallery.kind == "images"
    gallery.add([Entry("not known")], unit(1))
    assert gallery.kind is None
    gallery.add([Entry("many", frames=2)], unit(1))
    assert gallery.kind == "tracklets"


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([Entry("new"), Entry("old")], "there is an entry 'old' already"),
        ([Entry("new"), Entry("new")], "'new' is there twice"),
        ([Entry("new"), Entry("newer", time_s=float("nan"))], "its time is nan"),
        ([Entry("new")], "1 entries and 2 embeddings"),
    ],
)
def test_all_is_added_or_nothing(gallery: LanceGallery, entries: list[Entry], reason: str) -> None:
    gallery.add([Entry("old")], unit(1))
    with pytest.raises(DataError, match=reason):
        gallery.add(entries, unit(2))
    with pytest.raises(DataError, match="do not fit a gallery of 6 dimensions"):
        gallery.add([Entry("new")], unit(1, 8))
    assert list(contents(gallery)) == ["old"]


def test_entries_come_in_order_without_embeddings(gallery: LanceGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BATCH", 4)
    entries, read = make_entries("fedcbahgji"), list[str]()
    for start in range(0, 10, 5):
        gallery.add(entries[start : start + 5], unit(5))
    gallery.remove(["d"])
    gallery.compact()

    def take(table: object, rows: NDArray[np.int64], columns: list[str]) -> Iterator[object]:
        read.extend(columns)
        return search.take(table, rows, columns)

    monkeypatch.setattr(galleries, "take", take)
    assert [entry for some in gallery.entries() for entry in some] == [one for one in entries if one.id != "d"]
    assert summarize(gallery).entries == 9
    assert "id" in read
    assert "embedding" not in read


def test_ids_are_looked_for_in_pieces(gallery: LanceGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """LanceDB takes kilobytes for each id of one question."""
    monkeypatch.setattr(galleries, "_IDS", 3)
    asked = list[int]()

    def noted(ids: Sequence[str]) -> str:
        asked.append(len(ids))
        return has_id(ids)

    monkeypatch.setattr(galleries, "has_id", noted)
    gallery.add(make_entries("abcdefgh"), unit(8))
    assert gallery.contains([*"hxayb", "\udcff"]).tolist() == [True, False, True, False, True, False]
    assert asked == [3, 3, 2, 3, 3]
    assert gallery.remove([*"xaygh"]) == 3
    assert list(contents(gallery)) == list("bcdef")


def test_crops_are_kept_where_that_was_asked(tmp_path: Path) -> None:
    picture = tmp_path / "'a'.jpg"
    picture.write_bytes(b"\xff\xd8\0picture")
    with LanceGallery.create(tmp_path / "gallery", SPACE, crops=True) as gallery:
        gallery.add([Entry("a", picture=str(picture)), Entry("b")], unit(2))
        with pytest.raises(DataError, match=r"gone\.jpg: No such file or directory; this gallery keeps the crops"):
            gallery.add([Entry("c", picture=str(tmp_path / "gone.jpg"))], unit(1))
    picture.unlink()
    with LanceGallery.open(tmp_path / "gallery") as reader:
        assert reader.keeps_crops
        assert reader.crops(["a", "b", "c"]) == {"a": b"\xff\xd8\0picture"}
        assert list(contents(reader)) == ["a", "b"]


# ---- writers and readers ----


def test_one_writer_at_a_time_and_readers_change_nothing(gallery: LanceGallery) -> None:
    with pytest.raises(DataError, match="is being written by process"):
        LanceGallery.open(gallery.path, write=True)
    reader = LanceGallery.open(f"lance://{gallery.path}")
    gallery.add(make_entries("abc"), unit(3))
    assert (len(reader), reader.refresh(), len(reader), reader.refresh()) == (0, True, 3, False)
    for change in (
        reader.compact,
        reader.drop,
        reader.index,
        lambda: reader.remove("a"),
        lambda: reader.add([], unit(0)),
    ):
        with pytest.raises((DataError, TypeError), match=r"is open for reading|give a list of ids"):
            change()
    gallery.close()
    gallery.close()
    with pytest.raises(ValueError, match="is closed"):
        gallery.search(unit(1), 1)


def test_who_reads_while_a_writer_compacts_is_told_to_open_it_again(gallery: LanceGallery) -> None:
    gallery.add(make_entries("abcdef"), unit(6))
    gallery.add(make_entries("gh"), unit(2))
    reader = LanceGallery.open(gallery.path)
    gallery.remove(["b", "d"])
    gallery.compact()
    with pytest.raises(DataError, match="open it again if it was compacted meanwhile"):
        contents(reader)
    reader.refresh()
    assert "".join(contents(reader)) == "acefgh"


def test_kills_leave_all_that_was_acknowledged_and_nothing_half(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, HELPERS / "struck_lance.py", tmp_path, "20", "0"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (counted,) = done.stdout.splitlines()
    assert json.loads(counted)["kills"] == 20
    assert json.loads(counted)["acknowledged"] >= 10


# ---- what is refused ----


@pytest.mark.parametrize(
    ("space", "error", "reason"),
    [
        (Space("e" * 64, "fp32", DIMENSIONS), ModelError, "was made by model ffffffffffff"),
        (Space("f" * 64, "int8", DIMENSIONS), ModelError, "was embedded in fp32"),
        (Space("f" * 64, "fp32", 9), DataError, "embeddings of 6 numbers"),
    ],
)
def test_a_gallery_of_another_space_is_refused(
    gallery: LanceGallery, space: Space, error: type[ReidError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        LanceGallery.open(gallery.path, space)


def test_what_is_no_gallery_is_refused(tmp_path: Path) -> None:
    for uri in ("lance://", "lance://?probes=20", "lance://a?probe=20", "lance://a?probes=x", "lance://a?probes=20?"):
        with pytest.raises(DataError, match="names no folder"):
            LanceGallery.open(uri)
    assert not LanceGallery.exists(f"lance://{tmp_path}")
    with pytest.raises(DataError, match="holds no gallery in LanceDB"):
        LanceGallery.open(tmp_path, write=True)
    lancedb.connect(tmp_path / "other").create_table("entries", [{"embedding": [1.0, 2.0]}])
    assert LanceGallery.exists(tmp_path / "other")
    with pytest.raises(DataError, match="holds a table of other software"):
        LanceGallery.open(tmp_path / "other")
    with pytest.raises(ReidError, match="not an empty folder"):
        LanceGallery.create(tmp_path, SPACE)


def test_a_gallery_that_is_dropped_is_gone_but_for_what_is_not_its_own(gallery: LanceGallery) -> None:
    (gallery.path / "notes").write_text("mine")
    gallery.drop()
    assert [path.name for path in gallery.path.iterdir()] == ["notes"]


def test_a_file_cut_short_is_an_error_or_does_not_matter(gallery: LanceGallery, tmp_path: Path) -> None:
    model = model_of(make_entries("abcdefgh"))
    fill(gallery, model)
    gallery.remove(["b"])
    whole, copy = contents(gallery), tmp_path / "copy"
    refused = 0
    for path in sorted(gallery.path.rglob("*.*")):
        if path.is_dir():
            continue
        shutil.copytree(gallery.path, copy)
        place = copy / path.relative_to(gallery.path)
        place.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        try:
            with LanceGallery.open(copy) as reader:
                assert contents(reader) in (whole, model)
                assert len(reader.search(unit(1), 9)[0]) >= len(whole)
        except DataError:
            refused += 1
        shutil.rmtree(copy)
    assert refused >= 2


def test_without_lancedb_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(ReidError, match=r"lancedb is not installed: pip install 'reid\[lance\]'"):
        LanceGallery.create(tmp_path / "gallery", SPACE)
    assert not list(tmp_path.iterdir())


def test_lancedb_is_imported_when_it_is_used_and_not_before() -> None:
    code = "import sys, reid.runtime.galleries.lance.gallery; sys.exit(bool({'lancedb', 'pyarrow'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- the index ----


def test_an_index_finds_most_of_what_exact_search_finds_with_the_same_scores(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    size, rows = 64, 3000
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, size))[rng.integers(0, 60, rows)] + 0.7 * rng.standard_normal((rows, size))
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries = embeddings[::50] + 0.02 * rng.standard_normal((60, size)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    conditions = [Condition(not_cameras=frozenset({f"c{row % 5}"})) for row in range(60)]
    uri = f"lance://{tmp_path}/gallery"
    with warnings.catch_warnings(), LanceGallery.create(uri, Space("f", "fp32", size)) as gallery:
        warnings.simplefilter("error")
        gallery.add([Entry(str(row), f"c{row % 5}") for row in range(rows)], embeddings)
        with pytest.raises(DataError, match=r"has no index; search it exactly, without \?probes=20"):
            LanceGallery.open(f"{uri}?probes=20")
        recall = gallery.index()
        assert (recall.k, recall.queries, recall.probes) == (10, 100, 20)
        assert 0.9 < recall.share <= 1
        gallery.add([Entry("new", "c9")], queries[:1])
        gallery.remove(["0", "50"])
        exact = gallery.search(queries, 10, conditions)
        with LanceGallery.open(f"{uri}?probes=20") as near:
            found = near.search(queries, 10, conditions)
            assert near.search(queries[:1], 1)[0][0].entry.id == "new"
    shares = []
    for some, best, condition in zip(found, exact, conditions, strict=True):
        assert len(some) == 10
        assert all(condition.allows(one.entry) for one in some)
        assert list(some) == sorted(some, key=lambda one: -one.score)
        scores = {one.entry: one.score for one in best}
        assert all(scores.get(one.entry, one.score) == one.score for one in some)
        shares.append(len(set(some) & set(best)) / 10)
    assert np.mean(shares) > 0.9
    assert capfd.readouterr() == ("", "")


def test_the_example_of_the_documents_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"## LanceDB\n[^#]*?^```python\n(.*?)^```$", DOCS.read_text(), flags=re.MULTILINE | re.DOTALL)
    entries, space = [Entry(str(row)) for row in range(300)], Space("f", "fp32", 16)
    names = {"space": space, "entries": entries, "embeddings": unit(300, 16)}
    exec(code.replace("/data/cars", f"{tmp_path}/cars"), names)
    assert capsys.readouterr().out.startswith("Recall(share=")
    assert len(names["near"].search(unit(1, 16), 5)[0]) == 5
