"""The graphs that other libraries are given in environments of their own are the same network."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from reid.bench.models import frames_of, read_model

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "peers"))

from exported_graph import with_float_input
from limited_threads import limit_threads


@pytest.mark.parametrize("pixels", ["0..1", "normalized"])
def test_floats_give_the_embeddings_of_the_pixels(pixels: str, bundle: Path, tmp_path: Path) -> None:
    model = read_model(bundle)
    frames = frames_of(model, 3)
    images = frames.pixels.astype(np.float32) / 255
    if pixels == "normalized":
        mean, std = (
            np.float32(one)[:, None, None] for one in (model.card.preprocessing.mean, model.card.preprocessing.std)
        )
        images = (images - mean) / std
    with_float_input(bundle, tmp_path / "graph.onnx", pixels)
    session = onnxruntime.InferenceSession(str(tmp_path / "graph.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in (*session.get_inputs(), *session.get_outputs())] == ["images", "frame_embedding"]
    found = session.run(None, {"images": images})[0]
    assert frames.expected is not None
    assert (found * frames.expected).sum(axis=1).min() > 0.99999


def test_threads_are_limited_where_a_library_says_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SessionOptions", "InferenceSession"):
        monkeypatch.setattr(onnxruntime, name, getattr(onnxruntime, name))  # restored afterwards
    limit_threads(3)
    graph, providers = str(bundle / "model.fp32.onnx"), ["CPUExecutionProvider"]
    for options in (None, onnxruntime.SessionOptions()):
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
        assert session.get_session_options().intra_op_num_threads == 3
