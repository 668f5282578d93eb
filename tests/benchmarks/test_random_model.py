"""A random model's bundle has an INT8 graph, which opens, and embeds as PyTorch does."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_model

from reid.bench.models import frames_of, read_model
from reid.calibration.selection import select_frames
from reid.data.layout import open_dataset
from reid.export.bundle import ExportRequest
from reid.runtime.bundle import Bundle, graph_file
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run

pytestmark = pytest.mark.torch


def test_the_bundle_has_a_graph_in_int8(
    checkpoint: Path, whole_bundle: Path, veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(_: object, output: Path, request: ExportRequest) -> SimpleNamespace:
        """Leave what an export of the checkpoint has left before, which takes seconds."""
        assert request.fp16
        shutil.copytree(whole_bundle, output)
        (output / graph_file("int8")).unlink()
        card = Bundle.open(whole_bundle).card
        kept = {name: digest for name, digest in card.files.items() if name != graph_file("int8")}
        return SimpleNamespace(card=card.model_copy(update={"files": kept}))

    monkeypatch.setattr(random_model, "write_bundle", exported)
    frames = select_frames(open_dataset(veri, needs="train"), 8, seed=0)
    random_model.write_precisions(tmp_path / "bundle", checkpoint, frames)
    model = read_model(tmp_path / "bundle")
    assert model.precisions == ("fp32", "fp16", "int8")
    crops = frames_of(model, 4)
    with open_session(tmp_path / "bundle", "onnxruntime:cpu", "int8") as session:
        found = run(session, crops.pixels, np.ones((1, 4), np.float32)).frame_embedding
    assert crops.expected is not None
    assert float((found * crops.expected).sum(axis=1).min()) > 0.9
