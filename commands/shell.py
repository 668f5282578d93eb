"""What every command shares: one-line errors, progress on standard error, results on standard output, plain help."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand

from reid.runtime.errors import ReidError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task
    from typing_extensions import Self

    from reid.data.dataset import Dataset

__all__ = ["ProgressBar", "application", "note_problems", "print_json", "run", "signed"]

_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnx": "onnx",
    "onnxscript": "export",
}

_INTERRUPTED = 128 + signal.SIGINT

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
    interrupted = _watch_for_interrupt()
    try:
        with _logging_to_standard_error():
            app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if interrupted.is_set():  # a library turned Ctrl-C into an error of its own
            sys.exit(_INTERRUPTED)
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"error: {sentence}".replace("\n", " "), file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, ReidError) else 1)


class _StandardError(logging.Handler):
    """Print what the library logs: information as it is, warnings as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "note: " if record.levelno >= logging.WARNING else ""
        print(f"{prefix}{record.getMessage()}", file=sys.stderr)  # where a progress bar may have put itself


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


def _watch_for_interrupt() -> threading.Event:
    interrupted = threading.Event()

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        interrupted.set()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    return interrupted


def _sentence(error: Exception) -> str | None:
    """Return one line about something that the user can put right; None for a fault in the code."""
    if isinstance(error, ReidError):
        return str(error)
    if isinstance(error, OSError):
        return _about_files(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in _EXTRAS:
            return f"this needs {package}, which is not installed: pip install 'reid[{_EXTRAS[package]}]'"
    return None


def _about_files(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    remedies = {
        errno.ENOSPC: "the disk is full; nothing was left half-written, free some space and run it again",
        errno.EDQUOT: "the disk quota is used up; nothing was left half-written, free some space and run it again",
        errno.EACCES: "permission denied; choose another folder or ask its owner",
        errno.EROFS: "the file system is read-only; choose another --output",
    }
    return where + remedies.get(error.errno or 0, f"{error.strerror or error}; check the path")


def note_problems(dataset: Dataset) -> None:
    """Log that a data set has problems, and how to list them."""
    if dataset.problems:
        first = dataset.problems[0]
        more = f" and {len(dataset.problems) - 1} more" if len(dataset.problems) > 1 else ""
        listing = f"`reid-data inspect {dataset.root}` lists them all"
        logger.warning("%s: %s%s; %s", first.kind, first.where, more, listing)


def print_json(result: Mapping[str, Any]) -> None:
    """Print a command's result for machines."""
    print(json.dumps(result, indent=2))


def signed(value: float, digits: int) -> str:
    """Return a number with its sign and so many decimal places: "+0.50", "-1.25", and never "-0.00"."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


class ProgressBar:
    """A `Progress` on standard error: a bar for the current stage, with its rate and the time left.

    Use it as a context manager. Nothing is shown before the first step: a failure before that is one line.
    """

    def __init__(self) -> None:
        self._bar: RichProgress | None = None

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        """See Progress.begin."""
        self._close()
        self._bar = _rich_bar(unit)
        self._bar.add_task(stage, total=total)  # time is counted from here

    def advance(self, steps: int = 1) -> None:
        """See Progress.advance."""
        if self._bar is not None:
            self._bar.start()
            self._bar.advance(self._bar.task_ids[0], steps)

    def _close(self) -> None:
        if self._bar is not None and self._bar.live.is_started:
            self._bar.stop()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()


def _rich_bar(unit: str) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            seconds = task.finished_time or task.elapsed  # the first steps may have come all at once
            rate = f"{task.completed / seconds:,.1f} {unit}/s" if seconds else ""
            return Text(rate, style="progress.data.speed")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
