from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from torch.utils.data import DataLoader, Dataset

from reid.runtime.errors import DataError, ReidError
from reid.runtime.tracklet import Tracklet
from reid.train.data.images import Images, training_batches
from reid.train.data.sampler import Sample
from reid.train.epoch import Epoch
from reid.train.epoch_metrics import EpochMetrics
from reid.train.recipe import Recipe


def epoch() -> Epoch:
    return Epoch(1, 1, cast(Any, None), Recipe(), EpochMetrics())


class Killed(Dataset[Any]):
    """Kills the process that asks for a sample, as the system does when its memory is full."""

    def __getitem__(self, index: int) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_decoding_process_that_is_killed_is_explained() -> None:
    with pytest.raises(ReidError, match=r"a decoding process ended, .*--batch"):
        next(epoch().take(DataLoader(Killed(), sampler=[0], num_workers=1)))


def test_another_failure_of_a_decoding_process_keeps_its_traceback() -> None:
    def batches() -> Iterator[Any]:
        yield from ()
        raise RuntimeError("a fault in the code")

    with pytest.raises(RuntimeError, match="a fault in the code"):
        next(epoch().take(batches()))


def test_an_error_of_a_decoding_process_stays_on_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "60000")  # one worker
    images = Images([Tracklet("a", (tmp_path / "a: b.jpg",), vehicle="v: 1")], 32)
    batches = training_batches(images, [[Sample(0, 0)]], pin_memory=False)
    with pytest.raises(DataError) as raised:
        next(epoch().take(batches))
    missing = f"{tmp_path / 'a: b.jpg'}: No such file or directory"
    assert str(raised.value) == f"no image of vehicle v: 1 can be read: {missing}"
