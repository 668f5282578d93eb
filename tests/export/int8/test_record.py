"""The records in `int8.json`, of now and of before."""

from __future__ import annotations

import json

from reid.evaluation.verification.records import ReferenceCrops
from reid.export.int8.record import EngineTimes, Int8Record, TrainedInt8Record

SENSITIVITY = {
    "layers": [
        {
            "layer": "conv1", "op": "Conv", "share": 0.25, "error": 0.5, "worst": 0.75, "map_change": 1.5,
            "tensor": "x", "method": "mse",
        }
    ],
    "method_errors": {"mse": 0.5},
    "thresholds": {"x": 2.5},
}  # fmt: skip
FORMER = {
    "format_version": 1,
    "judged_on": "26 queries of data (veri)",
    "kept_in_fp16": ["conv1"],
    "int8_share": 75.0,
    "predicted_speedup": 1.6,
    "evaluations": [{"kept": ["conv1"], "failures": [], "changes": {"i2i mAP": 0.5}, "similarity": 0.99}],
    "sensitivity": SENSITIVITY,
}


def test_a_record_of_before_loads_and_is_stored_under_the_names_of_now() -> None:
    record = Int8Record.model_validate_json(json.dumps(FORMER))
    assert (record.in_fp16, record.int8_percent) == (("conv1",), 75.0)
    assert record.evaluations[0].in_fp16 == ("conv1",)
    assert record.sensitivity.amax == {"x": 2.5}
    assert record.judged_on == "26 queries of data (veri)"
    assert (record.judged_by, record.budget, record.objective, record.times) == ("", None, "macs", None)
    content = record.model_dump_json()
    assert Int8Record.model_validate_json(content) == record
    assert not any(f'"{name}"' in content for name in ("kept_in_fp16", "int8_share", "kept", "share", "thresholds"))


def test_a_record_of_a_trained_graph_of_before_loads() -> None:
    former = {
        "format_version": 1, "scales": "trained", "kept_in_fp16": [], "int8_share": 99.5, "predicted_speedup": 1.99
    }  # fmt: skip
    record = TrainedInt8Record.model_validate_json(json.dumps(former))
    assert (record.in_fp16, record.int8_percent) == ((), 99.5)
    assert TrainedInt8Record.model_validate_json(record.model_dump_json()) == record


def test_what_judged_is_a_record() -> None:
    facts = {**FORMER, "judged_on": {"kind": "reference crops", "crops": 32}}
    assert Int8Record.model_validate_json(json.dumps(facts)).judged_on == ReferenceCrops(crops=32)


def test_measured_times_are_stored() -> None:
    times = EngineTimes(int8=2.0, fp16=3.0)
    assert times.speedup == 1.5
    record = Int8Record.model_validate(FORMER | {"objective": "latency", "times": times, "budget": 15})
    assert Int8Record.model_validate_json(record.model_dump_json()) == record
