"""A stored verification is read as it was written, one of version 1 too, and any damage is one line."""

from __future__ import annotations

import json
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
)
from reid.evaluation.verification.sentences import failure_sentence
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
    assert found.format_version == 2
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
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "is not a valid verification"),
        ("3", "is not a valid verification"),
        ("{}", "is not a valid verification"),
        ({"format_version": 3, "of": "the future"}, "format version 3 is newer than 2; update reid"),
        ({"format_version": 1}, "is not a valid verification"),
        (version_1(data=None), "is not a valid verification"),
        (version_1(data={"name": "VeRi"}), "layout"),
        (version_1(precisions=[{}]), "precision"),
        (version_1(precisions=7), "is not a valid verification"),
        (version_1(tolerance={"map": "much"}), "tolerance.map"),
        (version_1() | {"format_version": 2}, "is not a valid verification"),
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
    assert message.endswith(("export the bundle again", "update reid"))


def test_every_cut_of_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    text = json.dumps(version_1())
    for length in range(0, len(text), 31):
        with pytest.raises(ModelError, match=r"verification\.json"):
            read_verification(stored(tmp_path, text[:length]))


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            read_verification(path)
