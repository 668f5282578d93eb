"""What was found in a folder and is not used, with the reason for each, so that nothing vanishes in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reid.runtime.imaging import is_image
from reid.runtime.listing import Listing, joined

__all__ = ["NOT_NEEDED", "LeftOut", "count_sentence", "left_out", "names_sentence"]

NO_IMAGE = "not an image by its name"
HIDDEN = "hidden"
EMPTY = "empty"
NOT_NEEDED = "a list that is not needed"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file, or a folder with everything in it, that is not used.

    Attributes:
        where: its name relative to the root, with a slash at the end of a folder's.
        reason: why it is not used.
        files: the number of files that this stands for.
    """

    where: str
    reason: str
    files: int = 1


def left_out(
    listing: Listing, used: Collection[str], reasons: Mapping[str, str], *, otherwise: str = "not used"
) -> tuple[LeftOut, ...]:
    """List everything in a listing that is not used.

    A folder in which nothing is used, and everything is left out for one reason, is listed as one.

    Args:
        listing: what there is.
        used: the paths of the files that are used, as images or as lists.
        reasons: the name of a file or folder -> why it is not used, where something found that out.
        otherwise: the reason for an image that nothing is known of.
    """
    found: dict[str, list[LeftOut]] = {}
    for folder in reversed(list(listing.contents)):  # the inner ones first
        found[folder] = _of_folder(listing, folder, used, reasons, otherwise, found)
    rest = found.get("", [])
    rest += [LeftOut(name, reason) for name, reason in listing.passed_over.items()]
    rest += [LeftOut(f"{name}/", reason) for name, reason in listing.unreadable.items()]
    return tuple(sorted(rest, key=lambda one: one.where))


def _of_folder(
    listing: Listing,
    folder: str,
    used: Collection[str],
    reasons: Mapping[str, str],
    otherwise: str,
    found: dict[str, list[LeftOut]],
) -> list[LeftOut]:
    """List what is left out in a folder, given what is in the folders within."""
    inside = listing.folder(folder)
    path = os.path.join(listing.path(folder), "")  # text: to make a Path of every file takes as long as all the rest
    here = [
        LeftOut(joined(folder, name), reasons.get(joined(folder, name)) or (otherwise if is_image(name) else NO_IMAGE))
        for name in inside.files
        if f"{path}{name}" not in used
    ]
    is_whole = len(here) == len(inside.files)
    for name in inside.folders:
        inner = found.pop(joined(folder, name), [])
        is_whole = is_whole and len(inner) == 1 and inner[0].where == f"{joined(folder, name)}/"
        here += inner
    if folder and not here and not inside.files and not inside.folders:
        return [LeftOut(f"{folder}/", reasons.get(folder, EMPTY), 0)]
    whys = {one.reason for one in here}
    if folder and here and is_whole and (len(whys) == 1 or folder in reasons):
        return [LeftOut(f"{folder}/", reasons.get(folder) or whys.pop(), sum(one.files for one in here))]
    return here


def count_sentence(entries: Iterable[LeftOut], total: int) -> str:
    """Return what is left out in one line: "46 of 204 files are not used (40 not an image by its name, 6 hidden)"."""
    counts = Counter[str]()
    for one in entries:
        counts[one.reason] += one.files
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3) if count)
    return f"{sum(counts.values()):,} of {total:,} files are not used ({reasons or EMPTY})"


def names_sentence(entries: Sequence[LeftOut]) -> str:
    """Return what is left out in one line, with the first names: "2 files are not used: a.txt (...), b.gz (...)"."""
    first = ", ".join(f"{one.where} ({one.reason})" for one in entries[:3])
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return f"{sum(one.files for one in entries):,} files are not used: {first}{more}"
