"""What every command shares: errors, notes and progress on standard error."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from command_line import Run

from reid.commands import shell
from reid.commands.shell import ProgressBar, application, signed
from reid.runtime.errors import GateError, ModelError

RunFunction: TypeAlias = Callable[[Callable[[], None]], tuple[int, str, str]]


@pytest.fixture
def run(run_main: Run) -> RunFunction:
    """Run a function as a command: (exit code, standard output, standard error)."""

    def run_function(function: Callable[[], None]) -> tuple[int, str, str]:
        app = application()
        app.command()(function)
        return run_main(lambda: shell.run(app), "reid-test")

    return run_function


@pytest.mark.parametrize("package", sorted(shell._EXTRAS))
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


def test_a_stage_that_ends_before_its_first_step_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as progress:
        progress.begin("opening", 3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "+0.50"), (-1.254, "-1.25"), (0.0, "+0.00"), (-0.0, "+0.00"), (-0.001, "+0.00")]
)
def test_a_signed_number_is_never_minus_zero(value: float, text: str) -> None:
    assert signed(value, 2) == text
