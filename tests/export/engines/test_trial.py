"""The engines that `reid-doctor` tries TensorRT with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reid.export.engines.trial import add_tensorrt_rtx_engine
from reid.runtime.doctor.trial import TINY
from reid.runtime.engine_card import EngineCard


@pytest.mark.rtx
def test_the_tiny_bundle_becomes_an_engine(tmp_path: Path) -> None:
    bundle = add_tensorrt_rtx_engine(Path(shutil.copytree(TINY, tmp_path / "tiny")))
    (sidecar,) = (bundle / "engines").glob("*.json")
    card = EngineCard.read(sidecar)
    assert (card.flavor, card.precision, card.profiles[0].frames) == ("tensorrt-rtx", "fp32", (1, 8, 8))
