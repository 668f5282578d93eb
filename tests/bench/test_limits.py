"""What is added to a result from the machine's peaks, and what is said of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_results import ENVIRONMENT, result, subject
from machine_tree import recorded

from reid.bench import limits
from reid.bench.costs.record import Roofline
from reid.bench.environment import Gpu
from reid.bench.meters.opening import open_meters
from reid.bench.models import read_model
from reid.bench.run_notes import notes_of
from reid.runtime.errors import SessionError


def test_costs_stay_where_the_peaks_cannot_be_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str, threads: int) -> Roofline:
        raise SessionError("no peaks here")

    monkeypatch.setattr(limits, "measure_peaks", fail)
    found = limits.with_limits(result(subject("a fp32", 50), notes=("first",)), [read_model(bundle)])
    assert found.costs["fp32"].flops > 0
    assert found.roofline is None
    assert found.subjects[0].roofline_percent is None
    assert found.notes == ("first", "roofline: no peaks here")


def test_the_peaks_are_those_of_what_computed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(device: str, threads: int) -> Roofline:
        asked.append(device)
        return Roofline(operations_per_s={"fp32": 1e12}, bytes_per_s=1e11, source="made up")

    monkeypatch.setattr(limits, "measure_peaks", measure)
    for device in ("CPU", "NVIDIA T4"):
        limits.with_limits(result(subject("a fp32", 50, device=device)), [read_model(bundle)])
    assert asked == ["cpu", "cuda"]


def test_who_else_had_the_gpu_is_said(tmp_path: Path) -> None:
    meters = open_meters(recorded(tmp_path, "amd-desktop"), locate=lambda ordinal: None)

    def said(others: int) -> list[str]:
        gpu = Gpu(name="NVIDIA T4", other_processes=others)
        shared = result(environment=ENVIRONMENT.model_copy(update={"gpus": (gpu,)}))
        return [note for note in notes_of(shared, meters) if "NVIDIA T4" in note]

    assert said(0) == []
    words = "had NVIDIA T4 open when the run began: what they computed on it is in its figures"
    assert said(1) == [f"1 other process {words}"]
    assert said(2) == [f"2 other processes {words}"]
