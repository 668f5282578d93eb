"""What there is to say of a layout to write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from reid.data.conversion.content import Content, Shot
from reid.data.conversion.labels import Labels

__all__ = ["Lists", "Names", "Target", "no_lists"]

Names: TypeAlias = Mapping[Shot, str]
"""The images that are written -> their paths below the root, with slashes; several may be one file."""

Lists: TypeAlias = Mapping[str, str]
"""The paths of lists below the root -> their text."""


def no_lists(content: Content, labels: Labels, names: Names) -> Lists:
    """Return the lists of a layout that has none."""
    return {}


@dataclass(frozen=True, slots=True)
class Target:
    """A layout that can be written.

    Attributes:
        labels: finds the names of vehicles and cameras.
        names: finds the names of the files. May raise DataError where the layout cannot hold the data set at all.
        lists: makes the lists.
        is_split: whether the layout always has queries and a gallery.
    """

    labels: Callable[[Content], Labels]
    names: Callable[[Content, Labels], Names]
    lists: Callable[[Content, Labels, Names], Lists] = no_lists
    is_split: bool = False
