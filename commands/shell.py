"""What every command shares: one-line errors, notes and progress on standard error, signals, plain help."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand

from reid.commands.terminal import check_output, prepare_streams, print_error, print_result
from reid.runtime.errors import ReidError
from reid.runtime.sessions.threads import thread_limit
from reid.runtime.text import clipped, one_line, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task
    from typing_extensions import Self

    from reid.data.dataset import Dataset
    from reid.runtime.progress import Progress

__all__ = ["ProgressBar", "application", "note_problems", "print_json", "run", "signed"]

_REMEMBERED_SECONDS = 3600.0
"""How far back a bar looks to estimate the time left."""

_UsageError: Any = typer.BadParameter.__base__  # click's, or that of typer's copy of click

logger = logging.getLogger(__name__)


def application() -> typer.Typer:
    """Return an empty command line, without shell completion and without decorated tracebacks."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class _PlainCommand(TyperCommand):
    """A command whose help lists its options under the headings of their panels, as plain text without boxes."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's types, or typer's copy of them
        """Write arguments, then general options, then one section per panel."""
        sections: dict[str, list[Any]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            general = "Arguments" if parameter.param_type_name == "argument" else "Options"
            if record is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or general, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def run(app: typer.Typer) -> None:
    """Run a command; a user's mistake ends in one line on standard error and a non-zero exit code."""
    for command in app.registered_commands:
        command.cls = _PlainCommand
    prepare_streams()
    # Read when OpenCV is imported: what it prints about damaged pictures, our errors say.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    with _unwinding_on_signals() as received, _logging_to_standard_error():
        code = _exit_code(app, received)
    sys.exit(code)


def _exit_code(app: typer.Typer, received: list[int]) -> int:
    """Run a command and print what went wrong; the signals that were received end it, whatever came of them."""
    try:
        return _call(app)
    except KeyboardInterrupt:
        return 128 + (received or [signal.SIGINT])[0]
    except _UsageError as error:
        print_error(_usage(error))
        return 2
    except Exception as error:
        if received:  # a library turned Ctrl-C into an error of its own
            return 128 + received[0]
        sentence = _sentence(_lost_output(error) or error)
        if sentence is None:
            raise
        print_error(clipped(f"error: {one_line(sentence)}"))
        return error.exit_code if isinstance(error, ReidError) else 1


def _call(app: typer.Typer) -> int:
    """Do what the command line says; return the exit code."""
    check_output()
    command = typer.main.get_command(app)
    # Not command.main(), which has sentences and exit codes of its own.
    try:
        with command.make_context(Path(sys.argv[0]).name, sys.argv[1:]) as context:
            thread_limit()  # raises before the work where the variable makes no sense
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    check_output()
    return 0


def _usage(error: Any) -> str:  # noqa: ANN401 - see _UsageError
    message = clipped(f"Error: {one_line(error.format_message())}")
    if error.ctx is None:
        return message
    name = printable(error.ctx.command_path)
    return f"{error.ctx.get_usage()}\nTry '{name} --help' for help.\n\n{message}"


def _lost_output(error: Exception) -> ReidError | None:
    """Return what to say instead of an error that came from printing help where nothing more is taken."""
    if isinstance(error, OSError):
        try:
            check_output()
        except ReidError as lost:
            return lost
    return None


class _StandardError(logging.Handler):
    """Print what the library logs: information as it is, warnings as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "note: " if record.levelno >= logging.WARNING else ""
        print_error(f"{prefix}{one_line(record.getMessage())}")


@contextlib.contextmanager
def _logging_to_standard_error() -> Iterator[None]:
    library, handler = logging.getLogger("reid"), _StandardError()
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)


@contextlib.contextmanager
def _unwinding_on_signals() -> Iterator[list[int]]:
    """Let SIGTERM raise KeyboardInterrupt as Ctrl-C does, so that temporary folders go; yield the signals received."""
    received: list[int] = []

    def unwind(signum: int, frame: FrameType | None) -> NoReturn:
        received.append(signum)
        raise KeyboardInterrupt

    former = {}
    if threading.current_thread() is threading.main_thread():
        former = {number: signal.signal(number, unwind) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _sentence(error: Exception) -> str | None:
    """Return one line about something that the user can put right; None for a fault in the code."""
    if isinstance(error, ReidError):
        return str(error)
    if isinstance(error, OSError):
        return _about_files(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f' ({error})' if str(error) else ''}; free some, or give smaller inputs"
    if isinstance(error, RecursionError):
        return "an input is nested too deeply to be read; give one with fewer levels"
    if isinstance(error, ModuleNotFoundError):
        from reid.runtime.installs import PACKAGES, how_to_install  # not for --help

        package = (error.name or "").partition(".")[0].replace("_", "-")
        if package in PACKAGES:
            return f"this needs {package}, which is not installed: {how_to_install(package)}"
    return None


def _about_files(error: OSError) -> str:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # whatever file it was: it may be a temporary one
    names_file = not is_full and error.filename is not None and not isinstance(error.filename, int)
    where = f"{os.fsdecode(error.filename)}: " if names_file else ""
    remedies = {
        errno.ENOSPC: "the disk is full; nothing was left half-written, free some space and run it again",
        errno.EDQUOT: "the disk quota is used up; nothing was left half-written, free some space and run it again",
        errno.EACCES: "permission denied; ask its owner for access, or use another path",
        errno.EPIPE: "the reader of the output has gone; let it read everything",
        errno.EROFS: "the file system is read-only; choose another place for what is written",
    }
    check = "check the path" if names_file else "check the disk, the memory and the limits (ulimit -a) of this machine"
    return where + remedies.get(error.errno or 0, f"{error.strerror or error}; {check}")


def note_problems(dataset: Dataset) -> None:
    """Log how a data set was read, what of it is not used, that it has problems, and how to list everything."""
    from reid.runtime.left_out import NOT_NEEDED, count_sentence

    for note in dataset.notes:
        logger.warning("%s", note)
    left_out = [one for one in dataset.left_out if one.files and one.reason != NOT_NEEDED]
    if left_out:
        logger.warning("%s; `%s` lists them", count_sentence(left_out, dataset.files), dataset.inspect_command)
    if dataset.problems:
        first = dataset.problems[0]
        more = f" and {len(dataset.problems) - 1} more" if len(dataset.problems) > 1 else ""
        detail = f" ({first.detail})" if first.kind == "implausible" else ""
        logger.warning(
            "%s: %s%s%s; `%s` lists them all", first.kind, first.where, detail, more, dataset.inspect_command
        )


def print_json(result: Mapping[str, Any]) -> None:
    """Print a command's result for machines."""
    print_result(json.dumps(result, indent=2))


def signed(value: float, digits: int) -> str:
    """Return a number with its sign and so many decimal places: "+0.50", "-1.25", and never "-0.00"."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


class ProgressBar:
    """A `Progress` on standard error: a bar for the current stage, with its rate and the time left.

    Below it is a bar for the stage within a step, where the work has such stages. Use it as a context manager. Nothing
    is shown before the first step of either: a failure before that is one line.
    """

    def __init__(self) -> None:
        self._bar: RichProgress | None = None

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        """See Progress.begin."""
        self._close()
        self._bar = _rich_bar()
        self._bar.add_task(stage, total=total, unit=unit, note="")  # time is counted from here

    def advance(self, steps: int = 1) -> None:
        """See Progress.advance."""
        self._advance(0, steps)

    def within(self) -> Progress:
        """See Nesting.within."""
        return _Within(self)

    def note(self, text: str) -> None:
        """See Noting.note."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], note=text)

    def _begin_within(self, stage: str, total: int, unit: str) -> None:
        if self._bar is not None:
            for former in self._bar.task_ids[1:]:
                self._bar.remove_task(former)
            self._bar.add_task(f"  {stage}", total=total, unit=unit, note="")

    def _advance(self, row: int, steps: int) -> None:
        if self._bar is not None and row < len(self._bar.task_ids):
            self._bar.start()
            self._bar.advance(self._bar.task_ids[row], steps)

    def _close(self) -> None:
        if self._bar is not None and self._bar.live.is_started:
            self._bar.stop()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()


@dataclass(frozen=True, slots=True)
class _Within:
    """The stages within a step of a bar's stage."""

    bar: ProgressBar

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        """See Progress.begin."""
        self.bar._begin_within(stage, total, unit)

    def advance(self, steps: int = 1) -> None:
        """See Progress.advance."""
        self.bar._advance(1, steps)


def _rich_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            seconds = task.finished_time or task.elapsed  # the first steps may have come all at once
            rate = f"{task.completed / seconds:,.1f} {task.fields['unit']}/s" if seconds else ""
            return Text(rate, style="progress.data.speed")

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    # The default of 30 s forgets a step that takes longer, and then knows no time left.
    return Progress(*columns, console=Console(stderr=True), speed_estimate_period=_REMEMBERED_SECONDS)
