"""A stored verification is read as it was written, one of version 1 too, and any damage is one line."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reid.evaluation.verification.failures import Told
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import (
    EngineFacts,
    LayerInFp32,
    PrecisionVerification,
    ReferenceCrops,
    ReferenceData,
    Similarity,
    Tolerance,
    Verification,
    WorstQuery,
)
from reid.evaluation.verification.sentences import engine_sentence, failure_sentence
from reid.pages.verification.report import write_verification_report
from reid.runtime.errors import ModelError

SIMILARITY: dict[str, Any] = {
    "frames": 9,
    "levels": [{"level": "all", "minimum": 0.9, "first_percentile": 0.91, "median": 0.95}],
    "counts": [8, 1],
    "edges": [0.1],
    "spread": 0.5,
}


def version_1(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the file held
    """What reid 0.1 stored."""
    precision = {
        "precision": "fp16",
        "session": "ONNX Runtime on CPU",
        "similarity": SIMILARITY,
        "protocols": [],
        "worst_queries": [],
        "drift": [],
        "kept_in_fp32": {"node_conv_3": 17000.5},
        "failures": ["fp16, i2i: mAP fell by 1.20 points", "fp16: the least similar of 9 embeddings"],
        "unreadable": ["a.jpg"],
        "queries_left_out": [],
    }
    data = {
        "name": "VeRi",
        "layout": "veri, held-out training vehicles",
        "query images": 26,
        "gallery images": 158,
        "unreadable frames, left out": 1,
    }
    return {
        "format_version": 1,
        "fingerprint": "ab" * 32,
        "reference": "PyTorch on CPU",
        "data": data,
        "retrieval": True,
        "tolerance": {"map": 50.0, "rank": 0.5, "similarity": 0.99, "int8_similarity": 0.9},
        "precisions": [precision],
        "engines": ["fp16 for sm89 by tensorrt-rtx 1.7; layers 3 in fp16"],
        **changes,
    }


def stored(folder: Path, content: Any) -> Path:  # noqa: ANN401
    path = folder / "verification.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_version_1_is_read_and_what_it_has_as_text_stays_text(tmp_path: Path) -> None:
    found = read_verification(stored(tmp_path, version_1()))
    assert found == Verification(
        fingerprint="ab" * 32,
        reference="PyTorch on CPU",
        judged_on=ReferenceData(
            name="VeRi", layout="veri", held_out=True, query_images=26, gallery_images=158, unreadable=1
        ),
        tolerance=Tolerance(map=50),
        precisions=(
            PrecisionVerification(
                precision="fp16",
                session="ONNX Runtime on CPU",
                similarity=Similarity.model_validate(SIMILARITY),
                in_fp32=(LayerInFp32(layer="node_conv_3", amax=17000.5),),
                failures=(
                    Told(precision="fp16", text="i2i: mAP fell by 1.20 points"),
                    Told(precision="fp16", text="the least similar of 9 embeddings"),
                ),
                unreadable=("a.jpg",),
            ),
        ),
        engines=("fp16 for sm89 by tensorrt-rtx 1.7; layers 3 in fp16",),
    )
    assert found.format_version == 3
    assert failure_sentence(found.failures[1]) == "fp16: the least similar of 9 embeddings"


def test_version_1_of_reference_crops_and_of_other_data_is_read(tmp_path: Path) -> None:
    crops = read_verification(stored(tmp_path, version_1(data={"reference crops": 32}, retrieval=False)))
    assert crops.judged_on == ReferenceCrops(crops=32)
    assert not crops.retrieval
    data = version_1()["data"] | {"layout": "cityflow"}
    found = read_verification(stored(tmp_path, version_1(data=data))).judged_on
    assert isinstance(found, ReferenceData)
    assert (found.layout, found.held_out) == ("cityflow", False)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    engine = EngineFacts(
        precision="fp16", flavor="tensorrt", version="10.3", device="Orin", layers={"fp16": 3}, source="engine"
    )
    written = read_verification(stored(tmp_path, version_1())).model_copy(update={"engines": (engine, "text")})
    assert read_verification(stored(tmp_path, written.model_dump_json())) == written


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("[]", "the verification is not valid"),
        ("3", "the verification is not valid"),
        ("{}", "the verification is not valid"),
        ({"format_version": 4, "of": "the future"}, "format version 4 is newer than 3: update reid"),
        ({"format_version": 1}, "the verification is not valid"),
        (version_1(data=None), "the verification is not valid"),
        (version_1(data={"name": "VeRi"}), "layout"),
        (version_1(precisions=[{}]), "precision"),
        (version_1(precisions=7), "the verification is not valid"),
        (version_1(tolerance={"map": "much"}), "tolerance.map"),
        (version_1() | {"format_version": 2}, "the verification is not valid"),
    ],
    ids=range(13),
)
def test_damage_is_one_line_that_names_the_file_and_the_remedy(tmp_path: Path, content: Any, named: str) -> None:  # noqa: ANN401
    path = stored(tmp_path, content)
    with pytest.raises(ModelError, match=named) as caught:
        read_verification(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert message.endswith("; export the bundle again")


def test_every_cut_of_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    text = json.dumps(version_1())
    for length in range(0, len(text), 31):
        with pytest.raises(ModelError, match=r"verification\.json"):
            read_verification(stored(tmp_path, text[:length]))


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    for path, named in ((tmp_path / "absent.json", "No such file"), (tmp_path, "a folder, not a file")):
        with pytest.raises(ModelError, match=f"{path}: {named}.*; export the bundle again"):
            read_verification(path)


def test_what_is_no_file_or_too_large_is_refused_without_reading(tmp_path: Path) -> None:
    pipe, huge = tmp_path / "pipe.json", tmp_path / "huge.json"
    os.mkfifo(pipe)
    huge.touch()
    os.truncate(huge, 1 << 40)
    for path, named in ((pipe, "a named pipe, not a file"), (huge, "1,099,511,627,776 bytes, more than")):
        with pytest.raises(ModelError, match=f"{path}: {named}.*; export the bundle again"):
            read_verification(path)


def test_names_that_are_not_utf8_are_stored_with_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    query = WorstQuery(
        protocol="i2i", query=name, average_precision=(9, 1), before=((name, True),), after=((name, False),)
    )
    precision = PrecisionVerification(
        precision="fp16",
        session="ONNX Runtime on CPU",
        similarity=Similarity.model_validate(SIMILARITY),
        worst_queries=(query,),
        unreadable=(name,),
        queries_left_out=(name,),
    )
    written = read_verification(stored(tmp_path, version_1())).model_copy(update={"precisions": (precision,)})
    found = read_verification(stored(tmp_path, written.model_dump_json())).precisions[0]
    assert found == precision
    assert found.unreadable == found.queries_left_out == (r"caf\udce9.jpg",)
    assert found.worst_queries[0].query == found.worst_queries[0].after[0][0] == r"caf\udce9.jpg"


COMPARED = {
    "protocol": "i2i",
    "reference": {"mAP": 60.0},
    "candidate": {"mAP": 50.0},
    "difference": {"mAP": -10.0},
    "interval": {"mAP": [-11.0, -9.0]},
    "exceeded": ["mAP"],
    "first_match_changed": 1.0,
    "queries": 26,
}
COMPARED_3 = {
    "protocol": "i2i",
    "post_processing": "re-ranking",
    "changes": [
        {
            "measure": "mAP",
            "reference": 60.0,
            "candidate": 50.0,
            "interval": [-11.0, -9.0],
            "p_value": 0.01,
            "allowed": 0.5,
            "verdict": "undecided",
            "settled_by": 900,
        }
    ],
    "first_match_changed": 1.0,
    "queries": 26,
}
DRIFT = {"layer": "a", "op": "Conv", "position": 1, "relative_error": 0.5, "largest_error": 1.0, "peak": 2.0}
WORST = {"protocol": "i2i", "query": "q", "average_precision": [9, 1], "before": [["a", True]], "after": []}
LEVEL = {"level": "level3", "minimum": 0.5}
FAILURES = [
    {"kind": "unusable", "precision": "fp16", "defect": {"frames": 9, "defective": 2, "length": 0.5}},
    {
        "kind": "dissimilar",
        "precision": "fp16",
        "frames": 9,
        "minimum": 0.5,
        "required": 0.9,
        "tolerance": 0.9,
        "spread": 1.0,
        "furthest": LEVEL,
        "first": LEVEL,
    },
    {"kind": "wrong sums", "precision": "fp16", "similarity": 0.5, "required": 0.9},
    {
        "kind": "fallen",
        "precision": "fp16",
        "protocol": "i2i",
        "metric": "mAP",
        "reference": 60.0,
        "candidate": 50.0,
        "allowed": 0.5,
        "interval": [-11.0, -9.0],
        "queries": 26,
    },
]
ENGINE = {
    "precision": "fp16",
    "flavor": "tensorrt",
    "version": "10.3",
    "device": "Orin",
    "layers": {"fp16": 3},
    "source": "engine",
    "reason": "",
}


def full(version: int) -> dict[str, Any]:
    """A file with a value for every field."""
    facts = version_1()
    levels = [*SIMILARITY["levels"], {**SIMILARITY["levels"][0], "level": "level3"}]
    similarity = {**SIMILARITY, "levels": levels, "counts": [8, 0, 1], "edges": [0.1, 0.5]}
    shown = {"similarity": similarity, "protocols": [COMPARED], "drift": [DRIFT], "worst_queries": [WORST]}
    facts["precisions"][0] |= shown
    if version > 1:
        del facts["retrieval"], facts["precisions"][0]["kept_in_fp32"]
        facts["precisions"][0] |= {"failures": FAILURES, "in_fp32": [{"layer": "a", "amax": 1e5}]}
        data = {"name": "VeRi", "layout": "veri", "held_out": True}
        counts = {"query_images": 26, "gallery_images": 158, "unreadable": 1}
        del facts["data"]
        facts |= {"format_version": version, "judged_on": {"kind": "data", **data, **counts}, "engines": [ENGINE]}
    if version == 3:
        facts["precisions"][0]["protocols"] = [COMPARED_3]
    return facts


HOSTILE = (None, -1, 10**30, -1e308, 5e-324, math.nan, "x", "\ud800", "a\nb\0", [], {}, [None, None], [5e-324, 1e-323])


def damaged(facts: Any, of: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield `facts` with each value within `of`, which is a part of it, absent or replaced by something else."""
    for key in list(of) if isinstance(of, dict) else range(len(of)):
        before = of[key]
        for other in HOSTILE:
            of[key] = copy.deepcopy(other)
            yield facts
        if isinstance(of, dict):
            del of[key]
            yield facts
        of[key] = before
        if isinstance(before, dict | list):
            yield from damaged(facts, before)


def test_version_2_is_read_with_the_verdicts_of_its_own_rule(tmp_path: Path) -> None:
    (comparison,) = read_verification(stored(tmp_path, full(2))).precisions[0].protocols
    (change,) = comparison.changes
    assert (change.measure, change.reference, change.candidate, change.difference) == ("mAP", 60, 50, -10)
    assert (change.interval, change.p_value, change.allowed, change.verdict) == ((-11, -9), None, 50, "outside")
    assert (comparison.protocol, comparison.post_processing, comparison.queries) == ("i2i", "plain", 26)


def read_or_refusal(path: Path) -> Verification | str:
    try:
        return read_verification(path)
    except ModelError as error:
        return str(error)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_whatever_a_value_is_it_is_refused_in_one_line_or_can_be_shown(tmp_path: Path, version: int) -> None:
    facts = full(version)
    found = [read_or_refusal(stored(tmp_path, one)) for one in damaged(facts, facts)]
    accepted = [read_verification(stored(tmp_path, facts)), *(one for one in found if isinstance(one, Verification))]
    refused = [one for one in found if isinstance(one, str)]
    assert len(refused) > 500
    assert all(f"{tmp_path}/verification.json: the verification is not valid (" in line for line in refused)
    assert not [line for line in refused if "\n" in line]
    assert len(accepted) > 60
    for one in accepted[:: len(accepted) // 60]:
        write_verification_report(tmp_path / "report.html", one, title="x")
        assert all(map(failure_sentence, one.failures))
        assert all(map(engine_sentence, one.engines))
        assert read_verification(stored(tmp_path, one.model_dump_json())) == one
