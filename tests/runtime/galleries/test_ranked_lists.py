"""Rankings: the verdict on a match, and files that give back what went in."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.galleries.ranked_lists import Match, Ranking, Verdict, verdict, write_csv, write_json
from reid.runtime.operating_point import Estimate, OperatingPoint
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

FRAME = np.zeros((1, 1, 3), np.uint8)


def tracklet(name: str, camera: str | None = None, vehicle: str | None = None) -> Tracklet:
    return Tracklet(name, (FRAME,), camera, vehicle)


def ranking(query: Tracklet, *matches: Tracklet) -> Ranking:
    return Ranking(query, tuple(Match(entry_of(match), 0.5) for match in matches))


# NUL is in no file name, and Python 3.10 cannot read it back from a CSV file.
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
scores = st.floats(-1, 1, width=32)
tracklets = st.builds(tracklet, names)
lists_of_rankings = st.lists(
    st.builds(Ranking, tracklets, st.lists(st.builds(Match, st.builds(Entry, names), scores), max_size=3).map(tuple)),
    max_size=4,
)


def test_files_say_which_matches_reach_the_threshold_as_they_are_written(tmp_path: Path) -> None:
    matches = tuple(Match(Entry(f"g{score}"), score) for score in (0.9, 0.7000004, 0.6999996, 0.6999994))
    decided = Ranking(tracklet("q"), matches).decided(0.7)
    assert [match.same for match in decided.matches] == [True, True, True, False]
    assert decided.is_new_vehicle is False
    assert Ranking(tracklet("q"), matches[3:]).decided(0.7).is_new_vehicle is True
    assert Ranking(tracklet("q"), matches).is_new_vehicle is None
    threshold = Estimate(value=0.7, interval=(0.6, 0.8))
    point = OperatingPoint(
        false_match_rate=1e-3,
        threshold=threshold,
        true_match_rate=threshold,
        measured_rate=threshold,
        impostor_pairs=1,
        genuine_pairs=1,
        vehicles=2,
        confused=3,
    )
    space = Space("f", "int8", 4)
    write_json(tmp_path / "r.json", [decided], space=space, unreadable=[], operating_point=point)
    written = json.loads((tmp_path / "r.json").read_text())
    assert (written["false_match_rate"], written["threshold"]) == (1e-3, 0.7)
    (query,) = written["queries"]
    assert [match["same"] for match in query["matches"]] == [match["score"] >= 0.7 for match in query["matches"]]
    write_csv(tmp_path / "r.csv", [decided], decided=True)
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["same"] for row in rows] == ["true", "true", "true", "false"]
    assert [row["score"] for row in rows] == ["0.9", "0.7", "0.7", "0.699999"]
    write_csv(tmp_path / "r.csv", [Ranking(tracklet("q"), ())], decided=True)
    assert (tmp_path / "r.csv").read_text().splitlines() == ["query,rank,match,score,same", "q,,,,"]


@given(rankings=lists_of_rankings, fingerprint=names, unreadable=st.lists(names, max_size=3))
def test_json_gives_back_what_went_in(
    tmp_path_factory: pytest.TempPathFactory,
    rankings: list[Ranking],
    fingerprint: str,
    unreadable: list[str],
) -> None:
    path = tmp_path_factory.getbasetemp() / "rankings.json"
    made = {"post_processing": "plain", "score": "cosine similarity"}
    write_json(path, iter(rankings), space=Space(fingerprint, "int8", 4), unreadable=unreadable)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "model": fingerprint,
        "precision": "int8",
        **made,
        "queries": [
            {
                "tracklet": r.query.id,
                "matches": [{"tracklet": m.entry.id, "score": round(m.score, 6)} for m in r.matches],
            }
            for r in rankings
        ],
        "unreadable": unreadable,
    }


@given(rankings=lists_of_rankings)
def test_csv_gives_back_what_went_in(tmp_path_factory: pytest.TempPathFactory, rankings: list[Ranking]) -> None:
    path = tmp_path_factory.getbasetemp() / "rankings.csv"
    write_csv(path, iter(rankings))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["query", "rank", "match", "score"]
    # A name that begins with an apostrophe and a sign may come from either; every other name comes back.
    found = [(as_text(query), rank, as_text(match), score and float(score)) for query, rank, match, score in rows[1:]]
    expected: list[tuple[object, ...]] = []
    for r in rankings:
        expected += [
            (as_text(r.query.id), str(rank), as_text(m.entry.id), round(m.score, 6))
            for rank, m in enumerate(r.matches, start=1)
        ] or [(as_text(r.query.id), "", "", "")]
    assert found == expected


SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def as_text(cell: str) -> str:
    """Return what a spreadsheet shows in a cell of text."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple(SIGNS) else cell


@pytest.mark.parametrize("sign", SIGNS)
def test_no_name_becomes_a_formula(tmp_path: Path, sign: str) -> None:
    labeled = f"{sign}1_c1s1_000401_+HYPERLINK(1).jpg"
    for name in (f"{sign}HYPERLINK(1)", f"{sign}1+1.jpg", f"{sign}", f"{sign}a/b", labeled):
        write_csv(tmp_path / "r.csv", [ranking(tracklet(name), tracklet(name))])
        with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
            _, (query, _, match, _) = csv.reader(file)
        assert query == match == f"'{name}"


@pytest.mark.parametrize(
    "name", ["-1_c1s1_000401_03.jpg", "-12_c003_00084255_0.jpg", "a=b", "\u7532.jpg", "1-1/a", " =1", "'=1"]
)
def test_a_name_that_is_none_stays_as_it_is(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path / "r.csv", [ranking(tracklet(name), tracklet("g"))])
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1][0] == name


def test_a_negative_score_is_a_number(tmp_path: Path) -> None:
    write_csv(tmp_path / "r.csv", [Ranking(tracklet("q"), (Match(Entry("g"), -0.5),))])
    assert (tmp_path / "r.csv").read_text().splitlines()[1] == "q,1,g,-0.5"


def test_json_puts_a_query_on_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rankings.json"
    rankings = [ranking(tracklet(name), tracklet("g")) for name in ("a\nb", "c")]
    write_json(path, rankings, space=Space("f", "fp32", 4), unreadable=[])
    first, *queries, last = path.read_text(encoding="utf-8").splitlines()
    made = '"post_processing": "plain", "score": "cosine similarity"'
    assert first == f'{{"model": "f", "precision": "fp32", {made}, "queries": ['
    assert [json.loads(line.rstrip(","))["tracklet"] for line in queries] == ["a\nb", "c"]
    assert last == '], "unreadable": []}'


def test_json_reads_the_unreadable_after_the_rankings(tmp_path: Path) -> None:
    unreadable: list[str] = []

    def found_on_the_way() -> list[Ranking]:
        unreadable.append("broken.jpg")
        return [ranking(tracklet("q"))]

    path = tmp_path / "rankings.json"
    write_json(path, (r for r in found_on_the_way()), space=Space("f", "fp32", 4), unreadable=unreadable)
    assert json.loads(path.read_text())["unreadable"] == ["broken.jpg"]


def test_scores_of_numpy_are_rounded_to_six_decimals(tmp_path: Path) -> None:
    # A NumPy scalar is what `embeddings @ gallery.T` gives; type checkers see a float.
    found = Ranking(tracklet("q"), (Match(Entry("g"), np.float32(0.123456789)),))  # type: ignore[arg-type]
    write_json(tmp_path / "r.json", [found], space=Space("f", "fp32", 4), unreadable=[])
    write_csv(tmp_path / "r.csv", [found])
    assert '"score": 0.123457}' in (tmp_path / "r.json").read_text()
    assert (tmp_path / "r.csv").read_text().splitlines()[1] == "q,1,g,0.123457"


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    found = Ranking(tracklet("q"), (Match(Entry("g"), float("nan")),))
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "r.json", [found], space=Space("f", "fp32", 4), unreadable=[])


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    found = [ranking(tracklet(name), tracklet("g"))]
    write_json(tmp_path / "r.json", found, space=Space("f", "fp32", 4), unreadable=[name])
    write_csv(tmp_path / "r.csv", found)
    assert json.loads((tmp_path / "r.json").read_text())["queries"][0]["tracklet"] == name
    assert b"caf\xe9,1,g,0.5" in (tmp_path / "r.csv").read_bytes()


@pytest.mark.parametrize(
    ("query", "match", "expected"),
    [
        (("1", "a"), ("1", "b"), Verdict.RIGHT),
        (("1", "a"), ("2", "b"), Verdict.WRONG),
        (("1", "a"), ("2", "a"), Verdict.WRONG),
        (("1", "a"), ("1", "a"), Verdict.SAME_CAMERA),
        (("1", None), ("1", None), Verdict.RIGHT),
        (("1", "a"), ("1", None), Verdict.RIGHT),
        ((None, "a"), ("1", "a"), Verdict.UNKNOWN),
        (("1", "a"), (None, "b"), Verdict.UNKNOWN),
        ((None, None), (None, None), Verdict.UNKNOWN),
    ],
)
def test_verdict(query: tuple[str | None, str | None], match: tuple[str | None, str | None], expected: Verdict) -> None:
    def of(vehicle: str | None, camera: str | None) -> Tracklet:
        return tracklet("t", camera, vehicle)

    assert verdict(of(*query), of(*match)) is expected


def test_first_verdict_leaves_out_the_same_camera() -> None:
    query = tracklet("q", "a", "1")
    same, right, wrong = tracklet("s", "a", "1"), tracklet("r", "b", "1"), tracklet("w", "a", "2")
    assert ranking(query, same, right, wrong).first_verdict is Verdict.RIGHT
    assert ranking(query, same, same, wrong, right).first_verdict is Verdict.WRONG
    assert ranking(query, same).first_verdict is Verdict.UNKNOWN
    assert ranking(query).first_verdict is Verdict.UNKNOWN
