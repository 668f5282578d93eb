"""What a client uploads: pictures and fields of a form, and the pictures' pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode, resize
from reid.runtime.model_card import Preprocessing
from reid.runtime.text import printable
from reid.serve.pictures import Picture
from reid.serve.refusals import Limits, Refused

__all__ = ["Decoded", "Form", "NotRead", "decoded", "read_form"]

_FIELDS = ("id", "camera", "time")
_LONGEST_FIELD = 1024
_THIS = "this"


@dataclass(frozen=True, slots=True)
class Form:
    """A form that was sent.

    Attributes:
        pictures: the pictures, at least one.
        fields: the other fields, by their names.
    """

    pictures: Sequence[Picture]
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class NotRead:
    """A picture that was left out, and the reason."""

    picture: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The pixels of pictures.

    Attributes:
        crops: uint8 RGB [H, W, 3] each, at the model's size.
        left_out: the pictures that could not be read.
    """

    crops: Sequence[NDArray[np.uint8]]
    left_out: Sequence[NotRead]


async def read_form(request: Request, limits: Limits, fields: bool = False) -> Form:
    """Read a form, in memory.

    Args:
        request: the request.
        limits: how many pictures there may be, and how many bytes.
        fields: whether there may be other fields than pictures.

    Raises:
        Refused: it is no form, or has no pictures, too many, or other parts.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refused(415, "form", "the body is no form: send multipart/form-data with the field pictures")
    most = len(_FIELDS) if fields else 0
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=limits.pictures,
        max_fields=most,
        max_part_size=_LONGEST_FIELD,
    )
    parser.spool_max_size = limits.bytes  # nothing of it gets on a disk
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, LookupError) as error:
        reason = getattr(error, "message", str(error))
        remedy = f"send multipart/form-data with 1 to {limits.pictures} pictures"
        raise Refused(400, "form", f"the form cannot be read ({reason}): {remedy}") from None
    pictures, given = [], dict[str, str]()
    for name, part in form.multi_items():
        if isinstance(part, UploadFile) and name == "pictures":
            pictures.append(Picture(printable(part.filename or "picture")[:255], await part.read()))
        elif isinstance(part, str) and name in _FIELDS and name not in given:
            given[name] = part
        else:
            raise Refused(422, "form", f"the form has a part {name[:80]!r} that is not expected there: leave it out")
    if not pictures:
        raise Refused(422, "form", "the form has no picture: send at least one file in the field pictures")
    return Form(pictures, given)


def decoded(pictures: Sequence[Picture], size: Preprocessing) -> Decoded:
    """Decode pictures, and resize them as a session would; those that cannot be read are left out."""
    read = [_decoded(picture, size) for picture in pictures]
    return Decoded(
        [one for one in read if not isinstance(one, NotRead)], [one for one in read if isinstance(one, NotRead)]
    )


def _decoded(picture: Picture, size: Preprocessing) -> NDArray[np.uint8] | NotRead:
    try:
        return resize(decode(picture.content, _THIS), size.height, size.width)
    except DataError as error:
        return NotRead(picture.name, str(error).removeprefix(f"{_THIS}: "))
