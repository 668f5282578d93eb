"""What a check found, in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from reid.runtime.data_drift.comparison import CameraCheck, Change
from reid.runtime.data_drift.quantities import Quantity

__all__ = ["camera_name", "change_phrase", "changes_phrase", "check_summary", "likely_causes"]

_SHOWN = 3

_ONE_SHAPE, _SHAPES = 0.03, 0.06
"""Standard deviations of `shape`: below the first, crops have one shape; from the second on, they do not."""

_SAME_SHAPE = 0.15
"""How far `shape` may be from the opposite of what it was, where sides were swapped."""

_PHRASES: dict[Quantity, tuple[str, Callable[[float], str]]] = {
    "size": ("shorter side", lambda value: f"{math.exp(value):.0f} pixels"),
    "shape": ("width / height", lambda value: f"{math.exp(value):.2f}"),
    "sharpness": ("sharpness", lambda value: f"{math.expm1(value):.0f}"),
    "detail": ("fine detail", lambda value: f"{math.expm1(value):.0f}"),
    "brightness": ("brightness", lambda value: f"{100 * value:.0f} %"),
    "color": ("red - blue", lambda value: f"{100 * value:+.1f} %"),
    "edges": ("horizontal / vertical edges", lambda value: f"{math.exp(value):.2f}"),
    "border": ("flat border", lambda value: f"{100 * value:.0f} %"),
    "likeness": ("similarity to the reference", lambda value: f"{value:.3f}"),
    "agreement": ("similarity of a tracklet's frames", lambda value: f"{math.tanh(value):.3f}"),
    "score": ("best scores beside other cameras'", lambda value: f"{value:+.2f}"),
}


def camera_name(camera: str | None) -> str:
    """Return a camera's name for people."""
    return "unknown camera" if camera is None else camera


def change_phrase(change: Change) -> str:
    """Return what has changed, and how far: "brightness 21 %, was 43 %"."""
    title, text = _PHRASES[change.quantity]
    if change.lowest == change.highest:
        return f"{title} {text(change.value)}, was {text(change.reference)}"
    return f"{title} {text(change.value)}, cameras of the reference {text(change.lowest)} to {text(change.highest)}"


def changes_phrase(check: CameraCheck) -> str:
    """Return the changes of a camera, the surest first; of many, the first few."""
    phrases = [change_phrase(one) for one in check.changes]
    more = [f"{len(phrases) - _SHOWN} more"] if len(phrases) > _SHOWN else []
    return "; ".join([*phrases[:_SHOWN], *more])


def likely_causes(check: CameraCheck) -> tuple[str, ...]:
    """Return what the changes of a camera point at; nothing where they point at several things alike."""
    return tuple(_causes({one.quantity: one for one in check.compared}, {one.quantity for one in check.changes}))


def check_summary(checks: Sequence[CameraCheck]) -> str:
    """Return what was found of all cameras, in one line."""
    changed = [camera_name(one.camera) for one in checks if one.verdict == "changed"]
    unsaid = sum(one.verdict in ("too few crops", "no reference") for one in checks)
    said = f"changed: {', '.join(changed)}" if changed else f"no change found in {len(checks) - unsaid} cameras"
    return f"{said}; nothing can be said of {unsaid}" if unsaid else said


def _causes(compared: dict[Quantity, Change], changed: set[Quantity]) -> Iterator[str]:
    shape = compared.get("shape")
    padded = "border" in changed and compared["border"].difference > 0
    sides_swapped = shape is not None and abs(shape.value + shape.reference) <= _SAME_SHAPE
    by_shape = _is_mirrored("shape", compared, changed) and "edges" in changed
    if by_shape or (_is_mirrored("edges", compared, changed) and sides_swapped):  # a front is as wide as it is high
        yield "turned by 90 degrees"
    if padded:
        yield "padded, as by letterboxing"
    elif shape is not None and shape.deviation < _ONE_SHAPE and shape.spread >= _SHAPES:
        yield "resized to one shape before they came here"
    if _is_mirrored("color", compared, changed) and "brightness" not in changed:
        yield "red and blue swapped"
    if "detail" in changed and compared["detail"].difference < 0 and not padded:
        smaller = "size" in changed and compared["size"].difference < 0
        yield "smaller crops" if smaller else "out of focus, or enlarged from fewer pixels"
    if "brightness" in changed and not padded:
        yield "darker" if compared["brightness"].difference < 0 else "brighter"
    if changed and changed <= {"likeness", "agreement", "score"}:
        yield "the pictures measure as before, and the model sees something else in them"


def _is_mirrored(quantity: Quantity, compared: dict[Quantity, Change], changed: set[Quantity]) -> bool:
    """Return whether a quantity has changed its sign, and is nearer to the opposite than to what it was."""
    if quantity not in changed:
        return False
    one = compared[quantity]
    return one.value * one.reference < 0 and 3 * abs(one.value + one.reference) < abs(one.difference)
