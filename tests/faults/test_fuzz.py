"""No damaged file gets past a loader: 20,000 mutants of everything that reid reads, and the fuzzer's own faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzz.campaign import prepare_server, share_of
from fuzz.faulty import FAULTY, SOUND
from fuzz.formats import FORMATS
from fuzz.mutators import mutate
from fuzz.runner import Format, Limits, run_slice

import reid

MUTANTS = 20_000


@pytest.fixture(autouse=True, scope="module")
def _server() -> None:
    prepare_server()


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_damaged_file_is_refused_in_one_line_or_read_right(form: Format) -> None:
    count = share_of(form, FORMATS, MUTANTS)
    tally = run_slice(form, range(count))
    assert not tally.findings, "\n".join(f"{tally.causes[one.cause]} x {one}" for one in tally.findings)
    assert tally.mutants == count
    assert tally.loaded > 0 or form.name == "other images"  # the seeds are


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_modules_whose_coverage_is_measured_exist(form: Format) -> None:
    package = Path(reid.__file__).parent
    assert form.modules
    assert [one for one in form.modules.split() if not (package / f"{one.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize("form", FAULTY, ids=lambda form: form.name)
def test_a_loader_that_is_wrong_is_found(form: Format) -> None:
    # Only what exceeds a time may end by it: on a slow machine, everything else takes long, too.
    kind = FAULTY[form]
    limits = Limits(
        cpu_seconds=0.3 if kind == "takes too long" else 20.0,
        seconds=1.0 if kind == "waits" else 60.0,
        memory=64 << 20,
    )
    mutants = range(1, 2) if FAULTY[form] != "a sound file is refused" else range(1)
    tally = run_slice(form, mutants, limits=limits)
    assert [(one.kind, one.mutant) for one in tally.findings] == [(FAULTY[form], mutants.start)]
    assert (tally.loaded, tally.refused) == (0, 0)
    assert f"--format {form.name!r} --mutant {mutants.start}" in str(tally.findings[0])
    assert not Path(__file__).with_name("fuzz").joinpath("written by a loader").exists()


def test_nothing_is_found_where_the_loader_is_right() -> None:
    tally = run_slice(SOUND, range(100))
    assert tally.findings == []
    assert tally.loaded >= 1
    assert tally.loaded + tally.refused == 100


def test_other_mutants_are_judged_after_one_that_ends_the_process() -> None:
    (form,) = (form for form in FAULTY if form.name == "crashes")
    tally = run_slice(form, range(8))
    assert tally.causes.total() + tally.loaded == 8
    assert tally.causes.total() > 1
    assert [one.mutant for one in tally.findings] == [1]


def test_a_number_always_gives_the_same_mutant() -> None:
    script = """
import hashlib
from random import Random
from fuzz.formats import FORMATS
from fuzz.mutators import mutate
seeds = [b'{"a": [1, {"b": "c"}]}', bytes(range(256)), b"PK" + b"x" * 30]
every = hashlib.sha256()
for form in FORMATS:
    for number in range(20):
        every.update(mutate(Random(f"{form.name}:{number}"), seeds, form.mutators))
print(every.hexdigest())
"""
    path = os.pathsep.join(sys.path)
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_mutants_differ_from_each_other_and_from_their_seeds(form: Format) -> None:
    seeds = [b'{"a": [1, {"b": "c"}], "d": "e"}', bytes(range(256))]
    mutants = {mutate(Random(number), seeds, form.mutators) for number in range(100)}
    assert len(mutants - set(seeds)) > 80
