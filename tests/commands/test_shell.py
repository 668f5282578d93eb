"""What every command shares: errors, notes and progress on standard error."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import typer
from command_line import Run, assert_one_line_of_error

from reid.commands import shell
from reid.commands.shell import ProgressBar, application, signed
from reid.runtime.errors import GateError, ModelError
from reid.runtime.progress import SILENT, nested

RunFunction: TypeAlias = Callable[[Callable[[], None]], tuple[int, str, str]]


@pytest.fixture
def run(run_main: Run) -> RunFunction:
    """Run a function as a command: (exit code, standard output, standard error)."""

    def run_function(function: Callable[[], None]) -> tuple[int, str, str]:
        app = application()
        app.command()(function)
        return run_main(lambda: shell.run(app), "reid-test")

    return run_function


PACKAGES = ("onnx", "onnxscript", "pyarrow", "safetensors", "tensorboard", "timm", "torch", "torchvision")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_answered_with_the_extra_that_brings_it(run: RunFunction, package: str) -> None:
    def command() -> None:
        raise ModuleNotFoundError(f"No module named '{package}.part'", name=f"{package}.part")

    code, out, err = run(command)
    assert (code, out) == (1, "")
    found = re.fullmatch(r"error: this needs (\w+), which is not installed: pip install 'reid\[(\w+)\]'\n", err)
    assert found
    assert found[1] == package
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (requirements,) = re.findall(rf"^{found[2]} = \[(.*?)\]$", project, flags=re.MULTILINE | re.DOTALL)
    assert f'"{package}>=' in requirements


def test_a_module_that_no_extra_brings_is_a_fault_of_ours() -> None:
    assert shell._sentence(ModuleNotFoundError("No module named 'reid.nonsense'", name="reid.nonsense")) is None
    assert shell._sentence(ZeroDivisionError()) is None


@pytest.mark.parametrize(("error", "code"), [(ModelError("a\nb"), 1), (GateError("a b"), 3)])
def test_a_users_mistake_is_one_line_with_the_errors_exit_code(run: RunFunction, error: Exception, code: int) -> None:
    def command() -> None:
        raise error

    assert run(command) == (code, "", "error: a b\n")


def not_enough_memory() -> None:
    np.empty(1 << 60, np.uint8)


def too_deep() -> None:
    too_deep()


def of_the_system(number: int, *names: object) -> Callable[[], None]:
    def command() -> None:
        raise OSError(number, os.strerror(number), *names)

    return command


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (not_enough_memory, r"there is not enough memory \(Unable to allocate .*\); .*"),
        (too_deep, r"an input is nested too deeply to be read; .*"),
        (of_the_system(errno.EIO), r"Input/output error; check the disk.*"),
        (of_the_system(errno.EMFILE, 7), r"Too many open files; check .* the limits .*"),
        (of_the_system(errno.ENOENT, b"a\xff"), r"a\\udcff: No such file or directory; check the path"),
        (of_the_system(errno.EACCES, "in/put"), r"in/put: permission denied; ask its owner for access, or use .*"),
        (of_the_system(errno.EROFS, "out"), r"out: the file system is read-only; choose another place .* is written"),
    ],
)
def test_what_the_system_refuses_is_one_line(run: RunFunction, command: Callable[[], None], sentence: str) -> None:
    assert re.fullmatch(f"error: {sentence}", assert_one_line_of_error(*run(command)))


def test_an_error_is_one_line_however_long(run: RunFunction) -> None:
    def command() -> None:
        raise ModelError("the cause\n" + "\n".join(["line"] * 5000) + "\nthe remedy")

    sentence = assert_one_line_of_error(*run(command))
    assert re.fullmatch(r"error: the cause line .* line the remedy", sentence)
    assert len(sentence) == 2000


def test_wrong_usage_ends_in_one_line_below_the_usage(run: RunFunction) -> None:
    def command() -> None:
        raise typer.BadParameter("a\nb\x1b[0m")

    code, out, err = run(command)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: reid-test [OPTIONS]\nTry 'reid-test --help' for help.\n\n")
    assert err.splitlines()[3:] == [r"Error: Invalid value: a b\x1b[0m"]


def test_signals_are_as_they_were_when_the_command_has_ended(run: RunFunction) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    within: list[object] = []
    assert run(lambda: within.extend(signal.getsignal(number) for number in numbers))[0] == 0
    assert not set(within) & set(before)
    assert [signal.getsignal(number) for number in numbers] == before


def test_the_librarys_log_is_printed_and_a_warning_is_a_note(
    run: RunFunction,
) -> None:
    def command() -> None:
        logger = logging.getLogger("reid.some.module")
        logger.debug("hidden")
        logger.info("epoch %d", 1)
        logger.warning("%d frames left out", 2)
        logging.getLogger("another.library").info("hidden")
        print("result")

    assert run(command) == (0, "result\n", "epoch 1\nnote: 2 frames left out\n")
    assert not any(type(handler).__module__ == shell.__name__ for handler in logging.getLogger("reid").handlers)


def test_progress_shows_each_stage_with_its_unit_once_it_has_begun(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as progress:
        progress.begin("opening", 3, "images")
        assert capfd.readouterr().err == ""
        progress.advance()
        progress.advance(2)
        progress.begin("embedding", 5)
        progress.advance(4)
    shown = capfd.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if line.strip()]
    assert re.search(r"^opening .*\b3/3 .*images/s", lines[0])
    assert re.search(r"^embedding .*\b4/5", lines[-1])


def test_progress_shows_the_stage_within_a_step_below_it(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as progress:
        progress.begin("evaluations, at most", 15, "evaluations")
        inner = nested(progress)
        for _ in range(2):
            inner.begin("verifying int8", 4)
            inner.advance(3)
            progress.advance()
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert re.search(r"^evaluations, at most .*\b2/15 ", lines[-2])
    assert re.search(r"^  verifying int8 .*\b3/4 ", lines[-1])


def test_what_cannot_show_stages_within_a_step_is_not_asked_to() -> None:
    assert nested(SILENT) is SILENT


def test_a_stage_that_ends_before_its_first_step_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as progress:
        progress.begin("opening", 3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "+0.50"), (-1.254, "-1.25"), (0.0, "+0.00"), (-0.0, "+0.00"), (-0.001, "+0.00")]
)
def test_a_signed_number_is_never_minus_zero(value: float, text: str) -> None:
    assert signed(value, 2) == text
