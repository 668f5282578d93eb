"""Reading a stored result, as everything does that compares, shows or collects results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import RootModel, model_validator

from reid.bench.result import FORMAT_VERSION, RESULT_FILE, BatchResult, BenchResult
from reid.runtime.errors import DataError
from reid.runtime.files.validation import read_stored, refuse_newer

__all__ = ["read_result"]


def read_result(path: Path) -> BenchResult:
    """Read what `reid-bench` wrote.

    Args:
        path: a bench.json, or the folder that holds it.

    Raises:
        DataError: the file is missing, damaged, or of a newer format.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    remedy = "give a bench.json that reid-bench wrote, or run reid-bench again"
    return read_stored(_Stored, file, what="benchmark result", remedy=remedy, error=DataError).root


class _Stored(RootModel[BenchResult]):
    """A result of any version."""

    @model_validator(mode="before")
    @classmethod
    def _check_version(cls, stored: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        return refuse_newer(stored, FORMAT_VERSION)

    @model_validator(mode="after")
    def _check_subjects(self) -> _Stored:
        """Refuse what could not be told apart, and figures that no measurement can have."""
        names = [subject.name for subject in self.root.subjects]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"it holds {twice[0]!r} twice")
        for subject in self.root.subjects:
            sizes = [batch.frames for batch in subject.batches]
            if sizes != sorted(set(sizes)):
                raise ValueError(f"the batch sizes of {subject.name!r} do not ascend")
            if not all(map(_is_possible, subject.batches)):
                raise ValueError(f"a figure of {subject.name!r} is not positive, or outside its own interval")
        return self


def _is_possible(batch: BatchResult) -> bool:
    latency = batch.latency_ms
    figures = (batch.frames_per_s, latency.p50, latency.p90, latency.p99)
    return all(0 < one.low <= one.value <= one.high for one in figures)
