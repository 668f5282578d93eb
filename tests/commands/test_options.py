"""The choices of shared options are those of the library."""

from __future__ import annotations

from typing import get_args

from reid.calibration.amax import METHODS
from reid.commands.options import LayoutName, RangeMethod
from reid.data.layout import READERS


def test_layouts_are_those_that_have_a_reader() -> None:
    assert get_args(LayoutName) == tuple(READERS)


def test_range_methods_are_auto_and_those_of_calibration() -> None:
    assert get_args(RangeMethod) == ("auto", *METHODS)
