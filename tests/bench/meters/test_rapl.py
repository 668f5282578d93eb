from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_tree import plant, recorded

from reid.bench.meters.missing import Missing, sentence
from reid.bench.meters.rapl import Rapl, open_rapl
from reid.bench.meters.tree import Tree

RANGE = 1_000_000
RAPL = Rapl(Tree(), ("zone",), (RANGE,), "")


def opened(root: str) -> Rapl:
    rapl = open_rapl(Tree(root))
    assert isinstance(rapl, Rapl)
    return rapl


def test_a_server_counts_packages_and_memory_once_even_where_a_counter_wraps(tmp_path: Path) -> None:
    rapl = opened(recorded(tmp_path, "intel-server"))
    assert rapl.source == "RAPL (package-0, dram, package-1)"
    before = rapl.read()
    plant(
        tmp_path,
        "sys/class/powercap/intel-rapl:0/energy_uj = 671149\n"  # wrapped: 328,850 before the end, and one for the 0
        "sys/class/powercap/intel-rapl:0:0/energy_uj = 3000000\n"
        "sys/class/powercap/intel-rapl:1/energy_uj = 9000000\n"
        "sys/class/powercap/intel-rapl:1:0/energy_uj = 65712500000",
    )
    after = rapl.read()
    assert before
    assert after
    assert rapl.joules(before, after) == pytest.approx(1.0 + 2.0 + 4.0 + 0.5)


@pytest.mark.parametrize(("machine", "shows"), [("intel-laptop", 52649883221), ("amd-desktop", 65532000000)])
def test_parts_of_the_package_and_the_same_counter_once_more_are_left_out(
    machine: str, shows: int, tmp_path: Path
) -> None:
    rapl = opened(recorded(tmp_path, machine))
    assert rapl.source == "RAPL (package-0)"
    assert rapl.read() == (shows,)


@settings(max_examples=40)
@given(st.integers(0, RANGE), st.lists(st.integers(0, RANGE), min_size=2, max_size=20).map(sorted))
def test_the_energies_of_the_parts_of_a_window_add_up(first: int, marks: list[int]) -> None:
    shown = [((first + mark) % (RANGE + 1),) for mark in marks]
    whole = (marks[-1] - marks[0]) / 1e6
    assert sum(RAPL.joules(old, new) for old, new in pairwise(shown)) == pytest.approx(whole)
    assert RAPL.joules(shown[0], shown[-1]) == pytest.approx(whole)


@settings(max_examples=40)
@given(st.integers(0, RANGE), st.lists(st.integers(0, RANGE), max_size=20))
def test_a_counter_may_wrap_once_between_any_two_readings(first: int, steps: list[int]) -> None:
    true = list(accumulate(steps, initial=first))
    shown = [(value % (RANGE + 1),) for value in true]
    assert sum(RAPL.joules(old, new) for old, new in pairwise(shown)) == pytest.approx(sum(steps) / 1e6)


def test_why_there_is_no_counter_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = open_rapl(Tree(str(tmp_path)))
    assert isinstance(absent, Missing)
    assert sentence(absent) == f"energy: there is no {tmp_path}/sys/class/powercap/intel-rapl:0"

    root = recorded(tmp_path, "amd-desktop")

    def refusing(path: str, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        if path.endswith("energy_uj"):
            raise PermissionError(path)
        return open(path, *arguments, **named)

    monkeypatch.setattr("reid.bench.meters.tree.open", refusing, raising=False)
    refused = open_rapl(Tree(root))
    assert isinstance(refused, Missing)
    assert sentence(refused) == (
        f"energy: {root}/sys/class/powercap/intel-rapl*/energy_uj is readable by root only; "
        f"run: sudo chmod a+r {root}/sys/class/powercap/intel-rapl*/energy_uj"
    )


def test_a_counter_that_stops_answering_gives_no_energy(tmp_path: Path) -> None:
    rapl = opened(recorded(tmp_path, "amd-desktop"))
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    assert rapl.read() is None
