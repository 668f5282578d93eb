from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, backends, nn

from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run
from reid.train.device import exact_float32
from reid.train.mixed_precision import MixedPrecision
from reid.train.model.multi_level import FusedReID

OPERATORS = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)

pytestmark = pytest.mark.skipif(
    not hasattr(backends.cuda.matmul, "fp32_precision"), reason="PyTorch names the arithmetic of operators from 2.9 on"
)


def arithmetic() -> list[str]:
    return [operator.fp32_precision for operator in OPERATORS]


def allow_everything() -> None:
    backends.fp32_precision = "tf32"


def allow_convolutions() -> None:
    backends.cudnn.conv.fp32_precision = "tf32"


def allow_matmuls() -> None:
    torch.set_float32_matmul_precision("high")


@pytest.fixture
def as_before() -> Iterator[None]:
    whole, allowed = backends.fp32_precision, arithmetic()
    yield
    torch.set_float32_matmul_precision("highest")
    backends.fp32_precision = whole
    for operator, precision in zip(OPERATORS, allowed, strict=True):
        operator.fp32_precision = precision


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("allow", [lambda: None, allow_everything, allow_convolutions, allow_matmuls])
def test_float32_is_exact_within_and_as_the_program_had_it_afterwards(allow: Callable[[], None]) -> None:
    allow()
    before = arithmetic()
    with exact_float32():
        assert arithmetic() == ["ieee"] * 4
        nn.Linear(2, 2)(nn.Conv2d(1, 1, 1)(torch.rand(1, 1, 2, 2)))  # PyTorch refuses some mixtures only here
    assert arithmetic() == before


@pytest.mark.usefixtures("as_before")
def test_the_reference_is_computed_in_float32_whatever_the_program_allows(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = FusedReID.forward, []

    def forward(self: FusedReID, *inputs: Tensor) -> object:
        seen.append(arithmetic())
        return original(self, *inputs)

    monkeypatch.setattr(FusedReID, "forward", forward)
    allow_matmuls()
    with open_session(checkpoint, "torch:cpu") as session:
        run(session, np.zeros((1, 3, 64, 64), np.uint8), np.ones((1, 1), np.float32))
    assert seen[-1] == ["ieee"] * 4
    assert torch.get_float32_matmul_precision() == "high"


def test_the_reference_halves_a_batch_where_memory_is_short(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = FusedReID.forward

    def forward(self: FusedReID, frames: Tensor, pooling: Tensor) -> object:
        if len(frames) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, frames, pooling)

    frames, pooling = np.zeros((4, 3, 64, 64), np.uint8), np.ones((1, 4), np.float32)
    with open_session(checkpoint, "torch:cpu") as session:
        expected = run(session, frames, pooling)
        monkeypatch.setattr(FusedReID, "forward", forward)
        for actual, right in zip(run(session, frames, pooling), expected, strict=True):
            np.testing.assert_allclose(actual, right, atol=1e-5)
    assert caplog.messages == ["out of memory with 4 frames at a time: going on with 2"]


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(
    ("precision", "device", "tries", "exact"),
    [("fp32", "cuda", True, True), ("auto", "cuda", True, False), ("auto", "cpu", False, True)],
)
def test_steps_take_the_fastest_kernels_of_their_precision(
    precision: str, device: str, tries: bool, exact: bool
) -> None:
    allow_everything()
    with MixedPrecision(precision, torch.device(device)).kernels():
        assert backends.cudnn.benchmark == tries
        assert (arithmetic() == ["ieee"] * 4) == exact
    assert not backends.cudnn.benchmark
    assert arithmetic() == ["tf32"] * 4
