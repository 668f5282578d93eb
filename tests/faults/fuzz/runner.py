"""Load mutants in a process of their own, and report what is neither right nor refused as it should be."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from fuzz.mutators import Mutator, mutate

__all__ = [
    "Finding",
    "Format",
    "Limits",
    "Prepared",
    "Tally",
    "WrongResultError",
    "begin",
    "folder_for",
    "judge",
    "mutant",
    "run_slice",
]

_MEBIBYTE = 1 << 20
_MOST_CHARACTERS = 2000
_MOST_DEATHS = 20
"""After so many processes have died in one slice, its rest is not run: all of them may cost the whole time limit."""


class WrongResultError(AssertionError):
    """Something was loaded, and it is not what the file says."""

    kind = "wrong result"


class _EscapeError(BaseException):
    """A loader was about to do what loading never does: stop it, past all its handlers."""

    kind = "more than reading"


@dataclass(frozen=True)
class Prepared:
    """A loader with files that it loads.

    Attributes:
        seeds: the contents of sound files.
        load: loads a content, or raises the ReidError that refuses it. Raises WrongResultError where what it loaded is
            wrong.
        names: what a refusal has to name: the file, or something within its path.
        sound: the number of seeds, from the first on, that have to load; None for all.
    """

    seeds: Sequence[bytes]
    load: Callable[[bytes], None]
    names: str
    sound: int | None = None


@dataclass(frozen=True)
class Format:
    """Something that reid reads.

    Attributes:
        name: the format's name.
        prepare: makes seeds and loader in a folder, which is the only place where the loader may write.
        mutators: how its files are damaged.
        modules: the modules that hold the loader, whose coverage counts, separated by spaces.
        share: about how many of a thousand mutants are of this format: more where loading takes less.
    """

    name: str
    prepare: Callable[[Path], Prepared]
    mutators: tuple[Mutator, ...]
    modules: str = ""
    share: int = 10


@dataclass(frozen=True)
class Limits:
    """What loading one input may cost.

    Attributes:
        cpu_seconds: the CPU time.
        seconds: the time by the clock, for loaders that wait.
        memory: the growth of the process, in bytes.
    """

    cpu_seconds: float = 2.0
    seconds: float = 60.0
    memory: int = 512 * _MEBIBYTE


@dataclass(frozen=True)
class Finding:
    """Something that escaped.

    Attributes:
        format: the format.
        mutant: the number of the mutant.
        kind: what went wrong, in a few words.
        detail: the error, with the place in reid's code that it came from.
    """

    format: str
    mutant: int
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        where = f"python -m fuzz --format {self.format!r} --mutant {self.mutant}"
        return f"{self.format}: {self.kind}: {self.detail} [{where}]"

    @property
    def cause(self) -> str:
        """What findings of the same cause have in common: kind, type of the error, and place."""
        where, colon, _ = self.detail.partition(": ")
        return f"{self.kind}: {where}" if colon else self.kind


@dataclass
class Tally:
    """What became of some mutants.

    Attributes:
        loaded: the number that were loaded.
        refused: the number that were refused as they should be.
        skipped: the number that were not run, because too many before them had ended their process.
        findings: the first finding of each cause.
        causes: cause -> number of findings.
        cpu_seconds: the CPU time of loading them.
    """

    loaded: int = 0
    refused: int = 0
    skipped: int = 0
    findings: list[Finding] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0

    @property
    def mutants(self) -> int:
        """The number that were run."""
        return self.loaded + self.refused + self.causes.total()

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if it is the first of its cause."""
        if not self.causes[finding.cause]:
            self.findings.append(finding)
        self.causes[finding.cause] += 1

    def merge(self, other: Tally) -> None:
        """Add what became of other mutants."""
        self.loaded += other.loaded
        self.refused += other.refused
        self.skipped += other.skipped
        self.cpu_seconds += other.cpu_seconds
        self.findings += [finding for finding in other.findings if not self.causes[finding.cause]]
        self.causes += other.causes


def mutant(form: Format, seeds: Sequence[bytes], number: int) -> bytes:
    """Return a mutant of a format, always the same for a number; the first are the seeds themselves."""
    if number < len(seeds):
        return seeds[number]
    return mutate(Random(f"{form.name}:{number}"), seeds, form.mutators)


def judge(form: Format, prepared: Prepared, number: int, limits: Limits, *, show: bool = False) -> str | Finding:
    """Load a mutant: return "loaded", "refused", or what is wrong; `show` prints the error."""
    content = mutant(form, prepared.seeds, number)
    has_to_load = number < (len(prepared.seeds) if prepared.sound is None else prepared.sound)
    memory = _peak_memory()
    error = _error_of(prepared.load, content, limits)
    grown = _peak_memory() - memory
    if show and error:
        traceback.print_exception(error)
    problem = _problem(error, prepared.names, has_to_load)
    if not problem and grown > limits.memory:
        problem = "too much memory", f"{grown >> 20:,} MiB for {len(content):,} bytes"
    return Finding(form.name, number, *problem) if problem else "refused" if error else "loaded"


def _error_of(load: Callable[[bytes], None], content: bytes, limits: Limits) -> BaseException | None:
    try:
        with _limited(limits), warnings.catch_warnings():
            warnings.simplefilter("error")
            load(content)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        return error
    return None


def _problem(error: BaseException | None, names: str, has_to_load: bool) -> tuple[str, str] | None:
    """Return kind and detail of what is wrong with the end of a loading, if anything is."""
    from reid.runtime.errors import ReidError

    if error is None:
        return None
    if isinstance(error, WrongResultError | _EscapeError):
        return error.kind, str(error)
    shown = str(error)[:300].encode(errors="backslashreplace").decode(errors="replace")
    where = f"{type(error).__name__} in {_place(error)}: {shown!r}"
    if not isinstance(error, ReidError):
        return "not a ReidError", where
    complaint = "a sound file is refused" if has_to_load else _complaint(str(error), names)
    return (complaint, where) if complaint else None


def _complaint(message: str, names: str) -> str:
    if not _is_one_line(message):
        return "a message that is not one printable line"
    if len(message) > _MOST_CHARACTERS:
        return f"a message of more than {_MOST_CHARACTERS:,} characters"
    return "" if names in message else "a message that does not name the file"


def _is_one_line(message: str) -> bool:
    try:
        return all(one.isprintable() or unicodedata.category(one) == "Zs" for one in message)
    except SystemError:  # it is no text at all: arrays of NumPy may hold numbers that are no characters
        return False


def _place(error: BaseException) -> str:
    """Return the innermost line of reid's own code that an error passed through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/fuzz/" not in frame.filename]
    foreign = re.compile(r"site-packages|/lib/python|^<")
    own = [frame for frame in frames if not foreign.search(frame.filename)]
    if not own:
        return "no code of reid"
    return f"{'/'.join(Path(own[-1].filename).parts[-3:])} {own[-1].name}"


# Limits


@contextlib.contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    """End the process by a signal, which no native code survives, if the block takes too long."""
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    _watch.active = True
    try:
        yield
    finally:
        _watch.active = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


_SIGNALS = {signal.SIGPROF: "takes too long", signal.SIGALRM: "waits", signal.SIGKILL: "too much memory"}


def _peak_memory() -> int:
    """Return the most memory that this process has had, in bytes; forget a peak before the next input."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > _watch.usual_peak + 64 * _MEBIBYTE:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        _watch.usual_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak


# What a loader may not do


class _Watch:
    """An audit hook that lets loaders write only in their folder, and start or ask nothing.

    Attributes:
        active: whether something is being loaded.
        folder: the folder.
        usual_peak: the memory of this process after the last large input.
    """

    _WRITES = frozenset(
        f"os.{name}" for name in ("chmod", "chown", "link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate")
    )
    _STARTS = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "webbrowser.")

    def __init__(self) -> None:
        self.active = False
        self.folder = ""
        self.usual_peak = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._check(event, path)
        elif event in self._WRITES:
            path = arguments[1 if event in ("os.link", "os.rename", "os.symlink") else 0]
            folder = arguments[-1] if event != "os.truncate" else -1
            self._check(event, path, folder)
        elif event.startswith(self._STARTS):
            raise _EscapeError(f"{event}: {arguments!r}"[:300])

    def _check(self, event: str, path: object, folder: int = -1) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            around = os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")
            name = os.path.normpath(os.path.join(around, os.fsdecode(path)))
            if not name.startswith((self.folder, "/dev/null")):
                raise _EscapeError(f"{event}: {name}"[:300])


_watch = _Watch()


# Processes


def run_slice(
    form: Format,
    numbers: range,
    *,
    limits: Limits = Limits(),
    method: str = "forkserver",
    coverage: Path | None = None,
) -> Tally:
    """Judge mutants in other processes: a new one goes on where one ends before its time.

    Args:
        form: the format.
        numbers: the numbers of the mutants.
        limits: what an input may cost.
        method: how multiprocessing starts processes.
        coverage: the file to write the coverage of reid's branches to; None to measure none.
    """
    context: Any = multiprocessing.get_context(method)
    state = context.Array("d", [numbers.start, 0, 0, 0], lock=False)
    tally = Tally()
    deaths = 0
    while int(state[0]) < numbers.stop and deaths < _MOST_DEATHS:
        with folder_for(form) as folder:
            receiver, sender = context.Pipe(duplex=False)
            first = int(state[0])
            arguments = (form, range(first, numbers.stop), limits, folder, state, sender, coverage)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            sender.close()
            has_begun = False
            for finding in _received(receiver, process.pid, limits):
                has_begun = True
                if finding is not None:
                    tally.add(finding)
            process.join()
            noise = (folder / "output").read_text(errors="replace")[-300:] if (folder / "output").exists() else ""
        if process.exitcode != 0:
            if not has_begun:
                raise RuntimeError(f"no seeds or loader of {form.name}: see the error above")
            deaths += 1
            tally.add(_death(form, int(state[0]), process.exitcode or 0, noise))
            state[0] += 1
    tally.loaded, tally.refused, tally.cpu_seconds = int(state[1]), int(state[2]), state[3]
    tally.skipped = numbers.stop - int(state[0])
    return tally


@contextlib.contextmanager
def folder_for(form: Format) -> Iterator[Path]:
    """Yield a folder in memory where there is room, because every mutant is a file."""
    shared = Path("/dev/shm")
    in_memory = os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 256 * _MEBIBYTE
    path = Path(tempfile.mkdtemp(prefix=f"fuzz-{form.name.split()[0]}-", dir=shared if in_memory else None)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _received(receiver: Connection, pid: int | None, limits: Limits) -> Iterator[Finding | None]:
    """Yield None when the process begins, and its findings; end it if it takes so much memory that others suffer."""
    usual = None
    while True:
        try:
            if receiver.poll(0.05):
                yield receiver.recv()
                usual = usual or _memory_of(pid)
                continue
        except EOFError:
            return
        if usual is not None and _memory_of(pid) > usual + 3 * limits.memory and pid is not None:
            os.kill(pid, signal.SIGKILL)
            usual = None


def _memory_of(pid: int | None) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _death(form: Format, number: int, code: int, noise: str) -> Finding:
    if code > 0:
        return Finding(form.name, number, "the process ends", f"exit code {code}: {noise!r}")
    name = signal.Signals(-code)
    kind = _SIGNALS.get(name, "crashes")
    return Finding(form.name, number, kind, f"{name.name}: {noise!r}")


def _work(
    form: Format,
    numbers: range,
    limits: Limits,
    folder: Path,
    state: Any,  # noqa: ANN401 - an array of shared numbers: the next mutant, loaded, refused, CPU seconds
    sender: Connection,
    coverage: Path | None,
) -> None:
    with _measured(coverage, folder):
        prepared = begin(form, folder)
        _redirect_output(folder)
        sender.send(None)
        for number in numbers:
            state[0] = number
            began = time.process_time()
            outcome = judge(form, prepared, number, limits)
            state[3] += time.process_time() - began
            if isinstance(outcome, Finding):
                sender.send(outcome)
            else:
                state[1 if outcome == "loaded" else 2] += 1
        state[0] = numbers.stop


def begin(form: Format, folder: Path) -> Prepared:
    """Prepare this process to load mutants of a format."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    # Rights such as root's would hide what a loader must not rely on; signals have to end the process.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    inner = folder / "files"
    inner.mkdir()
    prepared = form.prepare(inner)
    _watch.folder = str(folder)
    _watch.usual_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.addaudithook(_watch)
    return prepared


def _redirect_output(folder: Path) -> None:
    """Send what native libraries print into a file, whose end tells why a process crashed."""
    file = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)


@contextlib.contextmanager
def _measured(coverage: Path | None, folder: Path) -> Iterator[None]:
    """Measure the coverage of reid's branches; to be entered before any of it is imported."""
    if coverage is None:
        yield
        return
    from coverage import Coverage

    measured = Coverage(data_file=coverage, branch=True, source_pkgs=["reid"], messages=False)
    with measured.collect():
        yield
    measured.save()
