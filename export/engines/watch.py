"""Listening to TensorRT's builder: its errors, its log of layers, its progress, and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from reid.export.engines.layers import is_log_of_layers
from reid.runtime.progress import Progress
from reid.runtime.tensorrt_api import TensorRT

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["PROGRESS_STEPS", "BuildWatch", "monitor_for"]

PROGRESS_STEPS = 1000
"""The steps of a whole build."""


class BuildWatch:
    """Keeps what the builder says in memory, and tells a progress how far it is: nothing is printed.

    The builder calls from C++, sometimes from several threads, and an exception must not pass through it: it is kept,
    stops the build at the next step, and `raise_interruption` raises it afterwards.

    Attributes:
        errors: the error messages, in order.
        layers: the messages that list an engine's layers.
    """

    def __init__(self, progress: Progress, stage: str) -> None:
        """Begin a stage of PROGRESS_STEPS."""
        self.errors: list[str] = []
        self.layers: list[str] = []
        self._progress = progress
        self._phases: dict[str, tuple[int, int]] = {}  # open phases, outermost first: (steps done, steps)
        self._reported = 0
        self._interruption: BaseException | None = None
        self._lock = threading.RLock()
        progress.begin(stage, PROGRESS_STEPS, "steps")

    @contextlib.contextmanager
    def _keeping_exceptions(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except BaseException as error:
            self._interruption = self._interruption or error

    @contextlib.contextmanager
    def keeping_signals(self) -> Iterator[None]:
        """Keep what handlers of Ctrl-C and of SIGTERM raise, too.

        Python runs them wherever it is, so also in the first lines of a callback, where what they raise would pass
        through C++, which prints it and goes on.
        """
        if threading.current_thread() is not threading.main_thread():  # where no handler runs
            yield
            return
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in former.items() if callable(handler)}
        for number, handler in handlers.items():
            signal.signal(number, self._keeping(handler))
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _keeping(self, handler: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            with self._keeping_exceptions():
                handler(number, frame)

        return handle

    @contextlib.contextmanager
    def overlooking(self) -> Iterator[list[str]]:
        """Forget the errors that are said inside: they are no reason of a later failure. Give them at the end."""
        former, said = len(self.errors), list[str]()
        try:
            yield said
        finally:
            said += self.errors[former:]
            del self.errors[former:]

    def log(self, is_error: bool, message: str) -> None:
        """Keep a message of the logger if it matters."""
        with self._keeping_exceptions():
            if is_error:
                self.errors.append(message)
            elif is_log_of_layers(message):
                self.layers.append(message)

    def start(self, phase: str, steps: int) -> None:
        """Note that a phase begins, inside the one that began last."""
        with self._keeping_exceptions():
            self._phases[phase] = (0, max(1, steps))

    def step(self, phase: str, index: int) -> bool:
        """Count a finished step of a phase, from 0; return whether the build may go on."""
        with self._keeping_exceptions():
            if phase in self._phases:
                self._phases[phase] = (index + 1, self._phases[phase][1])
            self._report(self._fraction_done())
        return self._interruption is None

    def finish(self, phase: str) -> None:
        """Note that a phase ends."""
        with self._keeping_exceptions():
            self._phases.pop(phase, None)

    def complete(self) -> None:
        """Report that the build is done."""
        self._report(1.0)

    def raise_interruption(self) -> None:
        """Raise the exception that stopped the build, if one did."""
        if self._interruption is not None:
            raise self._interruption

    def _fraction_done(self) -> float:
        fraction, width = 0.0, 1.0
        for done, steps in self._phases.values():
            fraction, width = fraction + width * done / steps, width / steps
        return min(fraction, 1.0)

    def _report(self, fraction: float) -> None:
        # Phases follow one another within one step of the phase around them: progress must never go back.
        done = int(fraction * PROGRESS_STEPS)
        if done > self._reported:
            steps, self._reported = done - self._reported, done
            self._progress.advance(steps)


def monitor_for(api: TensorRT, watch: BuildWatch) -> trt.IProgressMonitor:
    """Make a progress monitor, of the given TensorRT package, that reports to `watch`."""

    class Monitor(api.IProgressMonitor):  # type: ignore[misc,name-defined] # the API takes nothing but a subclass
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.finish(phase_name)

    monitor: trt.IProgressMonitor = Monitor()
    return monitor
