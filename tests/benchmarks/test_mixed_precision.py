"""The peer's mAP is the one that `reid` measures, and the table says what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mixed_precision
import numpy as np
import pytest
from nncf_peer import mean_average_precision, open_model

from reid.bench.models import frames_of, read_model
from reid.evaluation.metrics import Labels, evaluate
from reid.runtime.bundle import graph_file
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.sessions.openvino import import_openvino
from reid.runtime.tracklet import Tracklet


def tracklets(random: np.random.Generator, count: int, frames: int) -> list[Tracklet]:
    return [
        Tracklet(
            f"{frames}-{index}",
            [f"{frame}.jpg" for frame in random.choice(40, frames, replace=False)],
            camera=f"c{random.integers(3)}",
            vehicle=f"{random.integers(4)}",
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("frames", [1, 3])
def test_the_peers_mean_average_precision_is_ours(frames: int) -> None:
    random = np.random.default_rng(frames)
    embeddings = random.normal(size=(40, 8)).astype(np.float32)
    query, gallery = tracklets(random, 6, 1), tracklets(random, 20, frames)
    position = {f"{frame}.jpg": frame for frame in range(40)}
    sides = {"query": mixed_precision.facts(query, position), "gallery": mixed_precision.facts(gallery, position)}
    protocol = {side + what: array for side, found in sides.items() for what, array in found.items()}

    def rows(shown: list[Tracklet]) -> np.ndarray[Any, np.dtype[np.float32]]:
        means = np.stack([embeddings[[position[str(one)] for one in each.frames]].mean(axis=0) for each in shown])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    labels = [Labels([one.vehicle for one in side], [one.camera for one in side]) for side in (query, gallery)]
    expected = evaluate(distance_rows(rows(query), rows(gallery)), *labels).summary()["mAP"]
    assert mean_average_precision(embeddings, protocol) == pytest.approx(expected, abs=1e-4)


def test_the_model_that_is_timed_embeds_the_crops(bundle: Path) -> None:
    pytest.importorskip("openvino")
    import_openvino()  # without its telemetry
    frames = frames_of(read_model(bundle), 4)
    opened = open_model({"model": str(bundle / graph_file("fp32"))})
    assert opened.facts["backend"].startswith("OpenVINO 20")
    np.testing.assert_allclose(opened.embed(frames.pixels), frames.expected, atol=1e-4)
    opened.close()


def test_the_table_has_a_row_for_each() -> None:
    result = {
        "command": "python benchmarks/mixed_precision.py RUN DATA",
        "model": {"backbone": "resnet18", "image_size": 128},
        "data": {"query_images": 100, "gallery_images": 653},
        "protocols": ["i2i"],
        "reid": {"evaluations": 3, "seconds": 90, "int8_percent": 98.76},
        "nncf": {"version": "3.4.0", "evaluations": 7, "seconds": 600, "int8_percent": 87.0},
        "mAP": {"fp32": {"i2i": 80.0}, "reid": {"i2i": 79.5}, "nncf": {"i2i": 80.25}},
        "frames_per_s": {
            name: {"value": rate, "low": rate - 3, "high": rate + 3}
            for name, rate in {"fp32": 50.0, "reid": 100.0, "nncf": 90.04}.items()
        },
    }
    lines = mixed_precision.table(result).splitlines()
    assert lines[2] == "|  | evaluations | minutes | work in INT8 | I2I mAP | frames/s |"
    assert lines[4:] == [
        "| FP32 |  |  |  | 80.00 | 50 ± 3 |",
        "| reid | 3 | 1.5 | 98.8 % | 79.50 (-0.50) | 100 ± 3 |",
        "| NNCF | 7 | 10.0 | 87.0 % | 80.25 (+0.25) | 90 ± 3 |",
    ]
