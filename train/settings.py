"""Settings of a recipe as people write them: NAME=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reid.runtime.errors import ReidError
from reid.train.recipe import Recipe

__all__ = ["parse_settings"]

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Read assignments, each to a field of Recipe, of its type.

    Args:
        assignments: such as "clip_norm=5" or "levels=3,4".

    Raises:
        ReidError: no such field, one twice, or a value of another type.
    """
    types_of = get_type_hints(Recipe)
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ReidError(f"{assignment}: write NAME=VALUE")
        if name not in types_of:
            raise ReidError(f"{assignment}: no setting {name}; there are {', '.join(sorted(types_of))}")
        if name in settings:
            raise ReidError(f"{assignment}: {name} is set twice; set it once")
        try:
            settings[name] = _parse(text, types_of[name])
        except ValueError:
            raise ReidError(f"{assignment}: {name} takes {_describe(types_of[name])}") from None
    return settings


def _parse(text: str, kind: Any) -> Any:  # noqa: ANN401 - any type of a field
    """Read a value of a type. Raises ValueError."""
    if kind is bool:
        return _among(text.lower(), _TRUTHS)
    if kind in (int, float, str):
        return kind(text)
    if get_origin(kind) is Literal:
        return _among(text, {str(choice): choice for choice in get_args(kind)})
    if get_origin(kind) is tuple:
        return tuple(_parse(part, get_args(kind)[0]) for part in text.split(",") if text)
    raise TypeError(f"a setting of type {kind} cannot be read from text")


def _among(text: str, choices: dict[str, Any]) -> Any:  # noqa: ANN401 - any type of a field
    if text not in choices:
        raise ValueError(text)
    return choices[text]


def _describe(kind: Any) -> str:  # noqa: ANN401 - any type of a field
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        return f"{_describe(get_args(kind)[0])}, or several of them with commas between"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[kind]
