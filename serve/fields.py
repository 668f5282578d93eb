"""From the fields of a form to an entry of the gallery."""

from __future__ import annotations

import math
from collections.abc import Mapping

from reid.runtime.errors import DataError
from reid.runtime.files.names import check_relative_name
from reid.runtime.galleries.entry import Entry

__all__ = ["entry_of_fields"]

_LONGEST_ID, _LONGEST_CAMERA = 512, 128
_MOST_SECONDS = 1e12


def entry_of_fields(fields: Mapping[str, str], frames: int) -> Entry:
    """Return the entry that a form describes, without a picture.

    Args:
        fields: id, and camera and time where they are known; one that is empty is not.
        frames: the number of its pictures.

    Raises:
        DataError: a field cannot be used.
    """
    identity = fields.get("id", "")
    try:
        check_relative_name(identity)
    except ValueError:
        raise DataError(
            f"the id {identity[:80]!r} is no name: use letters, digits, dots, and / between names"
        ) from None
    if len(identity) > _LONGEST_ID:
        raise DataError(f"the id has {len(identity)} characters: use at most {_LONGEST_ID}")
    camera = fields.get("camera") or None
    if camera is not None and (len(camera) > _LONGEST_CAMERA or not camera.isprintable()):
        raise DataError(f"the camera {camera[:80]!r} is no name: use up to {_LONGEST_CAMERA} printable characters")
    return Entry(identity, camera, None, _time(fields.get("time", "")), "", frames)


def _time(text: str) -> float | None:
    if not text:
        return None
    try:
        time_s = float(text)
    except ValueError:
        time_s = math.nan
    if not abs(time_s) <= _MOST_SECONDS:  # as it is not of NaN
        raise DataError(f"the time {text[:80]!r} is no number of seconds: send one, or leave it out")
    return time_s
