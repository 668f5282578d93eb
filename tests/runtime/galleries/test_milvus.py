"""A gallery in Milvus ranks as a loop does, whatever names, ties and rounding it meets; the server is milvus-lite."""

from __future__ import annotations

import itertools
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stored_galleries import DIMENSIONS, SPACE, Model, make_entries, naive_search, unit

from reid.runtime.errors import DataError, ModelError
from reid.runtime.galleries.conditions import ANY, Condition, Travel
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.ranking import exact_distances, product_error
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.summary import summarize
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.space import Space

pymilvus = pytest.importorskip("pymilvus")
milvus_lite = pytest.importorskip("milvus_lite")

from reid.runtime.galleries.milvus import MilvusGallery, gallery, indexes, is_current, rebuild_index  # noqa: E402
from reid.runtime.galleries.milvus import collection as collections  # noqa: E402
from reid.runtime.galleries.milvus import server as servers  # noqa: E402
from reid.runtime.galleries.milvus.address import Address  # noqa: E402
from reid.runtime.galleries.milvus.collection import Collection  # noqa: E402
from reid.runtime.galleries.milvus.rows import decoded, encoded  # noqa: E402
from reid.runtime.galleries.milvus.search import found_in  # noqa: E402
from reid.runtime.galleries.milvus.server import Server  # noqa: E402
from reid.runtime.galleries.milvus.versions import name_behind  # noqa: E402

DOCS = Path(__file__).parents[3] / "docs" / "galleries.md"
HOSTILE = ['"', "'", "\\", 'c" or 1 == 1 or camera == "', "c\n1", "\0", "%22", "ü \N{BLACK HEART SUIT}", "\udcff", "a]"]
_NAMES = st.sampled_from([*HOSTILE, "c1", "c2", "c3", "nowhere"])
_TIMES = st.integers(-1, 10).map(float) | st.sampled_from([-np.inf, np.inf, 1e300, -2.5e-9])
_LIMITS = st.dictionaries(
    st.tuples(_NAMES, _NAMES), st.tuples(st.integers(0, 4), st.sampled_from([0, 3, np.inf])), max_size=8
).map(lambda found: TravelTimes({pair: (float(least), least + most) for pair, (least, most) in found.items()}))
_SEEN = st.builds(Sighting, camera=_NAMES, time_s=st.integers(-1, 10).map(float))
_CONDITIONS = st.builds(
    Condition,
    cameras=st.none() | st.frozensets(_NAMES),
    not_cameras=st.just(frozenset()) | st.frozensets(_NAMES),
    time_s=st.none() | st.tuples(_TIMES, _TIMES),
    travel=st.none() | st.builds(Travel, times=_LIMITS, seen=_SEEN),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a file, whose server runs as long as these tests."""
    uri = f"milvus://{tmp_path_factory.mktemp('milvus') / 'index.db'}"
    with MilvusGallery.create(f"{uri}/held", SPACE):
        yield uri


@pytest.fixture
def uri(file: str, numbers: Iterator[int] = itertools.count()) -> str:  # noqa: B008 - one for all tests
    return f"{file}/cars_{next(numbers)}"


@pytest.fixture
def cars(uri: str) -> Iterator[MilvusGallery]:
    with MilvusGallery.create(uri, SPACE) as made:
        yield made


@pytest.fixture(scope="module")
def hostile(file: str) -> Iterator[tuple[MilvusGallery, Model]]:
    """A gallery of which half of the names are hostile."""
    plain = make_entries([f"{name}{number}" for number, name in enumerate(HOSTILE * 4)])
    names = itertools.cycle(HOSTILE)
    entries = [
        replace(entry, camera=next(names), vehicle=next(names), picture=f"/{entry.id}".replace("\0", ""))
        if number % 2
        else entry
        for number, entry in enumerate(plain)
    ]
    with MilvusGallery.create(f"{file}/hostile", SPACE) as made:
        made.add(entries, unit(len(entries)))
        yield made, model_of(entries, unit(len(entries)))


def model_of(entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> Model:
    return {entry.id: (entry, tuple(row)) for entry, row in zip(entries, embeddings.tolist(), strict=True)}


def contents(made: MilvusGallery | Store) -> Model:
    return {name: one for entries, rows in made.batches() for name, one in model_of(entries, rows).items()}


@contextmanager
def failing(method: str, after: int) -> Iterator[None]:
    """Let a method of the server fail when it is called once more than so often."""
    ask, calls = Server.ask, itertools.count()

    def asked(server: Server, called: str, *arguments: object, **options: object) -> object:
        if called == method and next(calls) == after:
            raise DataError("the disk is full")
        return ask(server, called, *arguments, **options)

    with patch.object(Server, "ask", asked):
        yield


def test_it_ranks_as_a_store_bit_for_bit_and_keeps_what_it_was_given(cars: MilvusGallery, tmp_path: Path) -> None:
    entries, embeddings = make_entries([f"g{number}" for number in range(150)]), unit(150)
    queries = np.concatenate([unit(20, seed=1), embeddings[:10]])
    with Store.create(tmp_path / "store", SPACE) as store:
        for one in (store, cars):
            for start, stop in ((0, 100), (100, 140), (140, 150)):
                one.add(entries[start:stop], embeddings[start:stop])
            assert one.remove(["g3", "g99", "g3", "nothing", "g149"]) == 3
        for k in (1, 7, 1000):
            assert cars.search(queries, k) == store.search(queries, k)
        assert list(contents(cars).items()) == list(contents(store).items())
        assert cars.contains(["g0", "g3", "", "g0"]).tolist() == [True, False, False, True]
        assert (len(cars), cars.space, cars.kind, cars.index) == (147, SPACE, "tracklets", "flat")
    assert cars.search(unit(0), 5) == []


def test_entries_come_in_order_without_embeddings(hostile: tuple[MilvusGallery, Model]) -> None:
    made, model = hostile
    ask, fields = Server.ask, list[object]()

    def asked(server: Server, called: str, *arguments: object, **options: object) -> object:
        if "output_fields" in options:
            fields.append(options["output_fields"])
        return ask(server, called, *arguments, **options)

    with patch.object(Server, "ask", asked):
        assert [entry for some in made.entries() for entry in some] == [entry for entry, _ in model.values()]
        assert summarize(made).entries == len(model)
    assert "id" in str(fields)
    assert "embedding" not in str(fields)


@settings(max_examples=40, deadline=None)
@given(conditions=st.lists(_CONDITIONS, min_size=1, max_size=3), k=st.sampled_from([1, 5, 100]))
def test_conditions_hold_before_the_search_whatever_the_names(
    hostile: tuple[MilvusGallery, Model], conditions: list[Condition], k: int
) -> None:
    made, model = hostile
    queries = unit(len(conditions), seed=2)
    assert made.search(queries, k, conditions) == naive_search(model, queries, k, conditions)


def test_an_empty_name_in_a_condition_is_not_what_is_not_known(hostile: tuple[MilvusGallery, Model]) -> None:
    made, model = hostile
    conditions = [Condition(cameras=frozenset({""})), Condition(not_cameras=frozenset({"", "c1"}))]
    found = made.search(unit(2), 100, conditions)
    assert found == naive_search(model, unit(2), 100, conditions)
    assert not found[0]


def test_hostile_ids_are_found_and_removed_alone(cars: MilvusGallery) -> None:
    cars.add([Entry("other"), *map(Entry, HOSTILE)], unit(1 + len(HOSTILE)))
    assert cars.contains(HOSTILE).all()
    for name in HOSTILE:
        assert cars.contains([f'{name}"', f"{name}\\", "other"]).tolist() == [False, False, True]
        assert cars.remove([name, f'{name}", "other']) == 1
    assert list(contents(cars)) == ["other"]


@given(text=st.text(st.characters(), max_size=20))
def test_any_text_is_stored_as_what_can_stand_in_an_expression(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.\-~/: %]*", encoded(text))
    assert decoded(encoded(text)) == text


@dataclass
class Wobbly:
    """A collection whose inner products are off by as much as an order of summation may let them be."""

    entries: list[Entry]
    embeddings: NDArray[np.float32]
    noise: NDArray[np.float64]
    asked: int = 0

    def nearest(
        self, queries: NDArray[np.float32], expression: str, limit: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        self.asked += 1
        sequences = np.arange(len(self.entries))
        for sign, bound in re.findall(r"sequence (<=|>) (\d+)", expression):
            sequences = sequences[sequences <= int(bound) if sign == "<=" else sequences > int(bound)]
        products = 1 - exact_distances(queries, self.embeddings[sequences]) + self.noise[sequences]
        orders = np.argsort(-products, axis=1)[:, :limit]
        return [(sequences[order], row[order]) for order, row in zip(orders, products, strict=True)]

    def rows(
        self, sequences: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], list[Entry], NDArray[np.float32]]]:
        for part in np.array_split(np.unique(sequences), 3):
            yield part, [self.entries[row] for row in part.tolist()], self.embeddings[part]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12), most=st.integers(12, 60), copies=st.integers(1, 60))
def test_rounding_and_ties_do_not_reach_the_ranking(seed: int, k: int, most: int, copies: int) -> None:
    """Neither do more ties than the server returns at a time."""
    random = np.random.default_rng(seed)
    embeddings = unit(80, seed=seed)
    embeddings[random.permutation(80)[:copies]] = embeddings[0]
    noise = random.uniform(-1, 1, 80) * product_error(DIMENSIONS)
    entries = [Entry(f"{row}") for row in range(80)]
    wobbly: Any = Wobbly(entries, embeddings, noise)
    queries = np.concatenate([embeddings[:1], unit(1, seed=seed + 1)])
    found = found_in(wobbly, queries, k, [ANY] * 2, most)
    assert found == naive_search(model_of(entries, embeddings), queries, k, [ANY] * 2)


def test_more_ties_than_the_server_returns_are_asked_for_in_parts(cars: MilvusGallery) -> None:
    entries, embeddings = make_entries(map(str, range(60))), np.repeat(unit(2), 30, axis=0)
    cars.add(entries, embeddings)
    held, condition = Collection.find(cars._server, name_behind(cars._server)), Condition(time_s=(2.0, 9.0))
    for conditions in ([ANY], [condition]):
        found = found_in(held, embeddings[:1], 5, conditions, most=6)
        assert found == naive_search(model_of(entries, embeddings), embeddings[:1], 5, conditions)


def test_one_question_suffices_where_nothing_is_near_the_limit() -> None:
    embeddings = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    wobbly: Any = Wobbly([Entry(str(row)) for row in range(500)], embeddings, np.zeros(500))
    found_in(wobbly, embeddings[:8], 5, [ANY] * 8)
    assert wobbly.asked == 1


def test_more_matches_than_the_server_returns_are_refused(cars: MilvusGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    cars.add(make_entries("abcd"), unit(4))
    assert len(cars.search(unit(1), 1_000_000)[0]) == 4
    monkeypatch.setattr(gallery, "MOST", 3)
    with pytest.raises(DataError, match="4 matches were asked for, and Milvus returns up to 3: ask for fewer"):
        cars.search(unit(1), 10)


@pytest.mark.parametrize(
    ("frames", "kind"), [([1, 1], "images"), ([1, 4], "tracklets"), ([0, 4], "tracklets"), ([0, 1], None)]
)
def test_the_kind_is_that_of_the_entries(cars: MilvusGallery, frames: list[int], kind: str | None) -> None:
    cars.add([Entry(str(number), frames=count) for number, count in enumerate(frames)], unit(2))
    assert cars.kind == kind


def test_the_order_goes_on_where_another_writer_opens_it(cars: MilvusGallery, uri: str) -> None:
    cars.add(make_entries("ab"), unit(1).repeat(2, axis=0))
    with MilvusGallery.open(uri, SPACE, write=True) as second:
        second.add(make_entries("c"), unit(1))
        cars.add(make_entries("d"), unit(1))
        second.add(make_entries("e"), unit(1))
    assert [one.entry.id for one in cars.search(unit(1), 9)[0]] == list("abcde")


def test_entries_are_added_all_or_none(cars: MilvusGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    cars.add(make_entries("a"), unit(1))
    before = contents(cars)
    for entries, message in (
        (make_entries("ba"), "there is an entry 'a' already: remove it first"),
        (make_entries("bb"), "entry 'b' is there twice"),
        ([Entry("b"), Entry("c", "")], "the camera is empty"),
        ([Entry("b"), Entry("c", picture="\n" * 30_000)], "its picture takes more than 65,535 bytes"),
    ):
        with pytest.raises(DataError, match=message):
            cars.add(entries, unit(2))
    with pytest.raises(DataError, match="L2-normalize"):
        cars.add(make_entries("b"), 2 * unit(1))
    monkeypatch.setattr(collections, "_PIECE_BYTES", 8 * DIMENSIONS)
    with failing("insert", 2), pytest.raises(DataError, match="the disk is full"):
        cars.add(make_entries("bcdefg"), unit(6))
    assert contents(cars) == before


def test_who_reads_cannot_change_it(cars: MilvusGallery, uri: str) -> None:
    with MilvusGallery.open(uri) as reader:
        with pytest.raises(DataError, match="is open for reading; open it for writing to change it"):
            reader.add(make_entries("a"), unit(1))
        with pytest.raises(DataError, match="is open for reading"):
            reader.remove(["a"])
    with pytest.raises(TypeError, match="give a list of ids"):
        cars.remove("a")
    with pytest.raises(ValueError, match="is closed; open it again"):
        len(reader)


def test_another_space_is_refused(cars: MilvusGallery, uri: str) -> None:
    with pytest.raises(ModelError, match="was made by model ffff"):
        MilvusGallery.open(uri, replace(SPACE, fingerprint="0" * 64))
    with pytest.raises(ModelError, match="was embedded in fp32, not int8"):
        MilvusGallery.open(uri, replace(SPACE, precision="int8"))
    with pytest.raises(DataError, match=r"embeddings \[1, 7\] do not fit a gallery of 6 dimensions"):
        cars.search(unit(1, 7), 1)


def test_what_is_there_already_or_not_or_of_others_is_named(cars: MilvusGallery, uri: str, file: str) -> None:
    assert MilvusGallery.exists(uri)
    with pytest.raises(DataError, match="is there already; give another name, or open it"):
        MilvusGallery.create(uri, SPACE)
    assert not MilvusGallery.exists(f"{file}/nowhere")
    with pytest.raises(DataError, match=r"there is no gallery at .*nowhere; mend the address, or create it"):
        MilvusGallery.open(f"{file}/nowhere")
    cars._server.ask("create_collection", "foreign", dimension=4)
    cars._server.ask("create_alias", "foreign", "also_foreign")
    for name in ("foreign", "also_foreign"):
        with pytest.raises(DataError, match=r"is a collection, but no gallery; give (it )?another name"):
            MilvusGallery.open(f"{file}/{name}")
    cars.drop()
    assert not MilvusGallery.exists(uri)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("{}", "Field required"),
        ('{"format_version": 2}', "format version 2 is newer than 1: update reid"),
        ("?", "JSON"),
    ],
)
def test_facts_that_cannot_be_read_are_refused(cars: MilvusGallery, uri: str, stored: str, reason: str) -> None:
    name = name_behind(cars._server)
    cars._server.ask("alter_collection_properties", name, {"reid.gallery": stored})
    with pytest.raises(DataError, match=f"cannot be used .*{reason}.*; rebuild it from its store"):
        MilvusGallery.open(uri)


def test_a_rebuilt_one_takes_its_place_in_one_step(cars: MilvusGallery, uri: str, tmp_path: Path) -> None:
    cars.add(make_entries(["old"]), unit(1))
    with Store.create(tmp_path / "store", SPACE) as store, MilvusGallery.open(uri) as reader:
        store.add(make_entries(map(str, range(20))), unit(20))
        cars._server.ask("release_collection", name_behind(cars._server))  # as a new process finds it
        with pytest.raises(DataError, match=r"has 1 entries that .*store lacks, .*: give another name, or remove them"):
            rebuild_index(store, uri)
        store.add(make_entries(["old"]), unit(1))
        assert not is_current(store, uri)
        seen = []

        class Watching:
            def begin(self, stage: str, total: int, unit: str = "frames") -> None:
                seen.append((stage, total, list(contents(reader))))

            def advance(self, steps: int = 1) -> None:
                seen.append((steps, list(contents(reader))))

        rebuild_index(store, uri, progress=Watching())
        assert [one[-1] for one in seen] == [["old"]] * 5
        assert [one[:-1] for one in seen] == [("inserting", 21), (20,), (1,), ("indexing", 1), (1,)]
        assert contents(reader) == contents(store)
        assert reader.search(unit(5), 7) == store.search(unit(5), 7)
        assert is_current(store, uri)
        assert sum(one.startswith(f"{uri.rpartition('/')[2]}_") for one in cars._server.ask("list_collections")) == 1

        cars.add(make_entries(["new"]), unit(1))
        cars.remove(["new"])
        assert not is_current(store, uri)  # nobody knows what was changed, and back
        rebuild_index(store, uri)
        cars.remove(["0"])
        store.remove(["1"])
        assert not is_current(store, uri)
        rebuild_index(store, uri)
        assert is_current(store, uri)


def test_the_example_of_the_documents_runs(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"## Milvus\n[^#]*?^```python\n(.*?)^```$", DOCS.read_text(), flags=re.MULTILINE | re.DOTALL)
    with Store.create(tmp_path / "store", SPACE) as store:
        store.add(make_entries("abc"), unit(3))
    monkeypatch.chdir(tmp_path)
    exec(code.replace("milvus://milvus.example:19530/cars", uri), {})
    with MilvusGallery.open(uri, SPACE) as made:
        assert list(contents(made)) == list("abc")


def test_a_rebuild_that_fails_leaves_the_one_before(cars: MilvusGallery, uri: str, tmp_path: Path) -> None:
    cars.add(make_entries(["old"]), unit(1))
    before = cars._server.ask("list_collections")
    with Store.create(tmp_path / "store", SPACE) as store:
        store.add(make_entries(["old", "a", "b"]), unit(3))
        with pytest.raises(DataError, match=r"milvus-lite has no diskann .*; use flat, hnsw or ivf"):
            rebuild_index(store, uri, index="diskann")
        for method in ("insert", "flush", "load_collection", "alter_alias"):
            with failing(method, 0), pytest.raises(DataError, match="the disk is full"):
                rebuild_index(store, uri)
    assert cars._server.ask("list_collections") == before
    assert list(contents(cars)) == ["old"]


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, NDArray[np.float32]]:
    """500 crops of 50 vehicles, and a query of each vehicle."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((50, 32))
    vectors = np.repeat(centers, 11, axis=0) + random.standard_normal((550, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries = np.arange(550) % 11 == 0
    store = Store.create(tmp_path_factory.mktemp("crops") / "store", Space("f" * 64, "fp32", 32))
    store.add([Entry(str(row)) for row in range(500)], vectors[~queries])
    return store, vectors[queries]


@pytest.mark.parametrize(
    ("index", "less", "recall"),
    [("hnsw", {"ef": 10}, 0.99), ("ivf", {"nprobe": 1}, 0.9)],
)
def test_the_recall_of_an_index_that_is_not_exact(
    crops: tuple[Store, NDArray[np.float32]],
    uri: str,
    index: indexes.Index,
    less: dict[str, int],
    recall: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, queries = crops
    rebuild_index(store, uri, index=index)
    exact = store.search(queries, 10)

    def share_found(made: MilvusGallery) -> float:
        found = made.search(queries, 10)
        return float(np.mean([len({*one} & {*other}) / 10 for one, other in zip(found, exact, strict=True)]))

    with MilvusGallery.open(uri, store.space) as made:
        assert made.index == index
        assert recall <= (full := share_found(made))
        weaker = replace(indexes.INDEXES[index], search=lambda limit: less)
        monkeypatch.setattr(collections, "INDEXES", {index: weaker})
        assert share_found(made) < full, "the index is not in use"


@pytest.mark.parametrize(
    ("uri", "server", "place", "name"),
    [
        ("milvus://host:19530/cars", "http://host:19530", None, "cars"),
        ("milvus://host/cars", "http://host", None, "cars"),
        ("milvus+tls://host:443/_1", "https://host:443", None, "_1"),
        ("milvus://[::1]:19530/cars", "http://[::1]:19530", None, "cars"),
        ("milvus:///a b/c.db/cars", "", Path("/a b/c.db"), "cars"),
    ],
)
def test_an_address_is_of_a_server_or_a_file(uri: str, server: str, place: Path | None, name: str) -> None:
    assert Address.parse(uri) == Address(uri, server, place, name)


@pytest.mark.parametrize(
    "uri",
    [
        "milvus://host:19530",
        "milvus://host:19530/",
        "milvus://host:port/cars",
        "milvus:///file/cars",
        "milvus:///cars",
        "milvus+tls:///a/file.db/cars",
        "milvus://host/1cars",
        "milvus://host/cars;",
        "milvus://host/db/cars",
        "http://host/cars",
        "host/cars",
    ],
)
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(DataError, match="is no address of a gallery in Milvus: write milvus://HOST:PORT/NAME"):
        Address.parse(uri)


def test_a_password_does_not_stand_in_an_address() -> None:
    with pytest.raises(DataError, match="set MILVUS_TOKEN") as error:
        Address.parse("milvus://root:secret@host/cars")
    assert "secret" not in str(error.value)


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    monkeypatch.setattr(
        pymilvus, "MilvusClient", lambda server, **options: asked.update(server=server, **options) or SimpleNamespace()
    )
    Server(Address.parse("milvus+tls://host:443/cars"))
    assert (asked["server"], asked["token"]) == ("https://host:443", "root:secret")


def test_a_server_that_does_not_answer_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        DataError, match=r"milvus://127.0.0.1:1/cars does not answer .*; start Milvus there, or mend the"
    ):
        MilvusGallery.open("milvus://127.0.0.1:1/cars")
    assert capfd.readouterr() == ("", "")


def test_a_server_that_takes_the_call_and_says_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"milvus://127.0.0.1:{silent.getsockname()[1]}/cars"
        with pytest.raises(DataError, match=f"{uri} does not answer"):
            MilvusGallery.open(uri)


@pytest.mark.parametrize("package", ["pymilvus", "milvus_lite.adapter.grpc.server"])
def test_a_package_that_is_missing_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=r"needs \S*milvus.*: pip install 'reid\[milvus\]'"):
        MilvusGallery.create(f"milvus://{tmp_path}/index.db/cars", SPACE)


def test_a_file_is_of_one_process_until_it_is_closed(tmp_path: Path) -> None:
    uri = f"milvus://{tmp_path}/index.db/cars"
    with pytest.raises(DataError, match=r"there is no .*index\.db; create the gallery first"):
        MilvusGallery.open(uri)
    assert not MilvusGallery.exists(uri)
    first = MilvusGallery.create(uri, SPACE)
    with MilvusGallery.open(uri):
        first.close()
        with pytest.raises(milvus_lite.DataDirLockedError):
            milvus_lite.MilvusLite(str(tmp_path / "index.db"))
    with (
        milvus_lite.MilvusLite(str(tmp_path / "index.db")),
        pytest.raises(DataError, match=r"index\.db cannot be opened by milvus-lite .*; close it in other processes"),
    ):
        MilvusGallery.open(uri)


def test_a_process_ends_that_closed_nothing(tmp_path: Path) -> None:
    code = "import sys; from reid.runtime.galleries.milvus import MilvusGallery as M; kept = M.open(sys.argv[1])"
    uri = f"milvus://{tmp_path}/index.db/cars"
    with MilvusGallery.create(uri, SPACE) as made:
        made.add(make_entries("a"), unit(1))
    ended = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with MilvusGallery.open(uri) as made:
        assert list(contents(made)) == ["a"]
