"""What a machine does not tell, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from reid.runtime.installs import how_to_install

__all__ = ["Cause", "Missing", "Quantity", "sentence"]

Quantity: TypeAlias = Literal["energy", "clock", "throttling", "other processes", "stolen time", "GPU"]

Cause: TypeAlias = Literal["absent", "not_permitted", "no_library", "no_answer", "virtual", "divided"]

_WHY: dict[Cause, str] = {
    "absent": "there is no {where}",
    "not_permitted": "{where} is readable by root only; run: sudo chmod a+r {where}",
    "no_library": "the package {where} is not installed; run: {install}",
    "no_answer": "{where} does not tell",
    "virtual": "a virtual machine shows only the nominal clock",
    "divided": "{where} is divided (MIG), and counts that of all its parts together",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A quantity that is not measured here.

    Attributes:
        quantity: what is not measured.
        cause: why not.
        where: the file, package or device that would tell.
    """

    quantity: Quantity
    cause: Cause
    where: str


def sentence(missing: Missing) -> str:
    """Return why a quantity is not measured, with what would mend it."""
    why = _WHY[missing.cause].format(where=missing.where, install=how_to_install(missing.where))
    return f"{missing.quantity}: {why}"
