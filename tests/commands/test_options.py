"""The choices of shared options are those of the library, and every number that an option takes has a range."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from command_line import Run
from typer.models import ParameterInfo

from reid.calibration.amax import METHODS
from reid.commands.data import StyleName
from reid.commands.options import DEFAULT_PIXELS, LARGEST_SEED, LayoutName, RangeMethod, whole_number
from reid.data.layout import READERS
from reid.data.synthesis.styles import STYLES
from reid.data.synthesis.veri import CAMERAS, VEHICLES
from reid.runtime.imaging import pixel_limit


def test_layouts_are_those_that_have_a_reader() -> None:
    assert get_args(LayoutName) == tuple(READERS)


def test_range_methods_are_auto_and_those_of_calibration() -> None:
    assert get_args(RangeMethod) == ("auto", *METHODS)


def test_styles_are_those_that_are_rendered() -> None:
    assert get_args(StyleName) == tuple(STYLES)


@dataclass(frozen=True)
class Number:
    """An option that takes a number.

    Attributes:
        main: the entry point of its script.
        words: the words of its command.
        name: the option's name.
        kinds: the types that it takes.
        info: what it is declared with.
    """

    main: Callable[[], None]
    words: tuple[str, ...]
    name: str
    kinds: frozenset[type]
    info: ParameterInfo

    def __str__(self) -> str:
        return " ".join((*self.words, self.name))


def types_in(annotation: object) -> Iterator[object]:
    """Yield an annotation and all that it consists of."""
    yield annotation
    for part in get_args(annotation):
        yield from types_in(part)


def numbers() -> Iterator[Number]:
    for point in distribution("reid").entry_points:
        if point.group != "console_scripts":
            continue
        module = importlib.import_module(point.module)
        commands = module.app.registered_commands
        for command in commands:
            name = command.callback.__name__.replace("_", "-")
            words = (point.name,) if len(commands) == 1 else (point.name, name)
            for name, hint in get_type_hints(command.callback, include_extras=True).items():
                kinds = frozenset({int, float}) & {one for one in types_in(hint) if isinstance(one, type)}
                if kinds:
                    assert get_origin(hint) is Annotated, f"{point.name}: {name} has no range"
                    (info,) = (one for one in get_args(hint) if isinstance(one, ParameterInfo))
                    yield Number(module.main, words, f"--{name.replace('_', '-')}", kinds, info)


NUMBERS = list(numbers())


def test_the_walk_finds_the_numbers_of_every_command() -> None:
    found = {(number.words[0], number.name) for number in NUMBERS}
    assert {name for _, name in found} >= {"--seed", "--top-k", "--epochs", "--tolerance-map", "--vehicles"}
    assert {script for script, name in found if name == "--max-pixels"} == {
        point.name for point in distribution("reid").entry_points if point.group == "console_scripts"
    } - {"reid-bench", "reid-doctor"}  # which read no images but a bundle's own


@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_every_number_has_a_range_and_what_is_out_of_it_is_wrong_usage(
    number: Number, run_main: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    least, most = number.info.min, number.info.max
    assert least is not None, "no lower bound"
    assert most is not None, "no upper bound"
    assert -math.inf < least < most < math.inf
    monkeypatch.delenv("REID_MAX_PIXELS", raising=False)
    wrong = [
        str(least - 1),
        str(most + 1),
        str(10**30),
        "-" + "9" * 30,
        "1" * 5000,
        "nan",
        "inf",
        "-inf",
        "1e400",
        "x",
        "",
    ]
    for value in wrong:
        code, out, err = run_main(number.main, number.words[0], *number.words[1:], f"{number.name}={value}")
        assert (code, out) == (2, ""), value
        (line,) = (line for line in err.splitlines() if line.startswith("Error: "))
        assert err.endswith(f"{line}\n")
        assert number.name in line
        assert len(line) <= 2000
    assert "REID_MAX_PIXELS" not in os.environ


@pytest.mark.parametrize(
    ("words", "option", "wrong"),
    [
        (
            ("reid-train", "data"),
            "--batch",
            ["4097x2", "2x4097", "0x1", "1x1", "2x0", "2x", "2x2x2", "-2x2", "\u0662x2", "2" * 5000 + "x2"],
        ),
        (
            ("reid-export", "run"),
            "--profile",
            ["1,1,65537:1,1,1", "1,1,1:1,1,65537", "0,1,1:1,1,1", "1,1:1,1,1", "1,1,1", f"1,1,{'9' * 5000}:1,1,1"],
        ),
    ],
)
def test_numbers_within_a_word_have_ranges(
    words: tuple[str, ...], option: str, wrong: list[str], run_main: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REID_MAX_PIXELS", str(DEFAULT_PIXELS))
    (number,) = (one for one in NUMBERS if one.words == words[:1] and one.name == "--max-pixels")
    for value in wrong:
        code, out, err = run_main(number.main, *words, f"{option}={value}")
        assert (code, out) == (2, ""), value
        assert value[:100] in " ".join(err.splitlines()[-1:])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("9", 9),
        ("009", None),
        ("10", None),
        ("0", None),
        ("", None),
        ("+1", None),
        (" 1", None),
        ("1_0", None),
    ],
)
def test_a_whole_number_is_written_in_digits(text: str, number: int | None) -> None:
    assert whole_number(text, most=9) == number


def test_every_generator_takes_every_seed() -> None:
    np.random.default_rng([LARGEST_SEED, 1])
    np.random.RandomState(LARGEST_SEED)
    torch.Generator().manual_seed(LARGEST_SEED)


def test_the_ranges_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: dict[str, Any] = {number.name: (number.info.min, number.info.max) for number in NUMBERS}
    assert ranges["--vehicles"] == (VEHICLES[0], VEHICLES[-1])
    assert ranges["--cameras"] == (CAMERAS[0], CAMERAS[-1])
    monkeypatch.delenv("REID_MAX_PIXELS", raising=False)
    assert pixel_limit() == DEFAULT_PIXELS
    for limit in ranges["--max-pixels"]:
        monkeypatch.setenv("REID_MAX_PIXELS", str(limit))
        assert pixel_limit() == limit


def test_the_largest_image_is_told_to_all_processes_of_a_command(
    veri: Path, run_main: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reid.commands.data import main

    monkeypatch.setenv("REID_MAX_PIXELS", "16")
    assert run_main(main, "reid-data", "inspect", veri)[1].count("--max-pixels") > 100
    assert os.environ["REID_MAX_PIXELS"] == "16"
    assert run_main(main, "reid-data", "inspect", veri, "--max-pixels", 10**6)[1].count("no problems") == 1
    assert os.environ["REID_MAX_PIXELS"] == "1000000"
    monkeypatch.setenv("REID_MAX_PIXELS", "many")
    code, _, err = run_main(main, "reid-data", "inspect", veri)
    assert code == 2
    assert "REID_MAX_PIXELS" in err
