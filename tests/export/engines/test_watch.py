"""What a signal's handler raises stops a build, wherever in a callback it comes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from reid.export.engines.watch import BuildWatch
from reid.runtime.progress import SILENT


class Terminated(BaseException):
    """What a handler of SIGTERM raises."""


@pytest.fixture
def watch() -> Iterator[BuildWatch]:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    former = signal.signal(signal.SIGTERM, terminate), signal.signal(signal.SIGINT, signal.default_int_handler)
    yield BuildWatch(SILENT, "building")
    signal.signal(signal.SIGTERM, former[0])
    signal.signal(signal.SIGINT, former[1])


def call(callback: Callable[[], object]) -> None:
    """Call as the bindings do: an exception is printed, and the build goes on."""
    try:
        callback()
    except BaseException as error:
        pytest.fail(f"{error!r} passed through C++")


def interrupt(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)], ids=str
)
def test_a_signal_that_comes_in_a_callback_ends_the_build_at_its_next_step(
    watch: BuildWatch, number: int, raised: type[BaseException]
) -> None:
    with watch.keeping_signals():
        call(lambda: watch.start("build", 2))
        assert watch.step("build", 0)
        call(lambda: interrupt(number))  # in the logger, say, before anything of it is run
        assert not watch.step("build", 1)
    with pytest.raises(raised):
        watch.raise_interruption()


def test_handlers_are_as_before_after_the_build(watch: BuildWatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="no build"), watch.keeping_signals():
        raise ValueError("no build")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(KeyboardInterrupt):
        interrupt(signal.SIGINT)


def test_signals_that_are_ignored_stay_so(watch: BuildWatch) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with watch.keeping_signals():
        interrupt(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    watch.raise_interruption()


def test_a_build_in_another_thread_sets_no_handlers(watch: BuildWatch) -> None:
    done: list[bool] = []

    def build() -> None:
        with watch.keeping_signals():
            done.append(watch.step("build", 0))

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert done == [True]


def test_errors_that_are_overlooked_are_given_and_forgotten(watch: BuildWatch) -> None:
    watch.log(True, "first")
    with watch.overlooking() as said:
        watch.log(True, "the timing cache does not match")
    watch.log(True, "last")
    assert (said, watch.errors) == (["the timing cache does not match"], ["first", "last"])
