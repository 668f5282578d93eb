"""The lists that VeRi-776 and CityFlow-ReID ship: label XML, name lists, track lists."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from reid.data.dataset import Problem
from reid.runtime.files.names import is_name
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.imaging import IMAGE_SUFFIXES
from reid.runtime.listing import why_unreadable

__all__ = [
    "LIST_AT_MOST",
    "Label",
    "decode_text",
    "read_labels",
    "read_names",
    "read_text",
    "read_tracks",
    "shown",
]

LIST_AT_MOST = 64 * MEBIBYTE
"""The largest list that is read; it labels some 600,000 images."""

_SHOWN = 80
"""How much of what a list holds is shown in a message, in characters."""

_WORD = re.compile(r"\S+")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


@dataclass(frozen=True, slots=True)
class Label:
    """A label file's entry for one image; None for what the entry lacks."""

    vehicle: str | None
    camera: str | None


def read_labels(path: Path, problems: list[Problem]) -> dict[str, Label] | None:
    """Read a label XML: image name -> label. If the file is absent, note a problem and return None.

    Both data sets declare gb2312, which expat does not decode, so the text is decoded here. The entries before any
    damage to the file are kept.
    """
    text = read_text(path, problems)
    if text is None:
        return None
    labels: dict[str, Label] = {}

    def collect(tag: str, attributes: dict[str, str]) -> None:
        if tag != "Item":
            return
        name, vehicle, camera = (attributes.get(key, "").strip() for key in ("imageName", "vehicleID", "cameraID"))
        if not name:
            problems.append(Problem("damaged list", path.name, f"an entry without imageName: {shown(attributes)}"))
        elif _are_names((name, *filter(None, (vehicle, camera))), path, problems):
            if name in labels:
                problems.append(Problem("duplicate", path.name, f"{name} is labeled twice"))
            labels[name] = Label(vehicle or None, camera or None)

    def refuse(*declaration: object) -> NoReturn:
        raise ValueError("it declares a document type, which labels have no use for")

    parser = expat.ParserCreate()
    parser.StartElementHandler = collect
    parser.StartDoctypeDeclHandler = refuse  # a few lines of entities may stand for gigabytes of text
    try:
        parser.Parse(_DECLARATION.sub("", text), True)
    except (expat.ExpatError, ValueError) as error:
        problems.append(Problem("damaged list", path.name, f"not valid XML: {error}"))
    return labels


def read_names(path: Path, problems: list[Problem]) -> list[str] | None:
    """Read a name list, one image per line, without repetitions. If it is absent, note a problem and return None."""
    text = read_text(path, problems)
    if text is None:
        return None
    counts = Counter(word[0] for word in _WORD.finditer(text))
    names = [name for name in counts if _are_names((name,), path, problems)]
    problems += [
        Problem("duplicate", path.name, f"{name} is listed {counts[name]} times") for name in names if counts[name] > 1
    ]
    return names


def read_tracks(path: Path, problems: list[Problem]) -> list[tuple[str, list[str]]] | None:
    """Read a track list: (the track's name or "", its images) for each line that has any.

    Two forms are in circulation: with and without a leading track name. The first word is the track's name if it is not
    an image's, or if the same image occurs again in its line. If the file is absent, note a problem and return None.
    """
    text = read_text(path, problems)
    if text is None:
        return None
    tracks = []
    for words in filter(None, map(str.split, text.splitlines())):
        words = [word for word in words if _are_names((word,), path, problems)]
        if not words:
            continue
        named = os.path.splitext(words[0])[1].lower() not in IMAGE_SUFFIXES or words[0] in words[1:]
        counts = Counter(words[1:] if named else words)
        problems += [
            Problem("duplicate", path.name, f"{image} occurs {n} times in the track of {words[0]}")
            for image, n in counts.items()
            if n > 1
        ]
        if counts:
            tracks.append((words[0] if named else "", list(counts)))
        else:
            problems.append(Problem("damaged list", path.name, f"track {words[0]} has no images"))
    return tracks


def _are_names(texts: Iterable[str], path: Path, problems: list[Problem]) -> bool:
    """Return whether everything in an entry is a name; if something is not, the entry is not used."""
    for text in texts:
        if not is_name(text):
            problems.append(Problem("damaged list", path.name, f"{shown(text)} is not a name; not used"))
            return False
    return True


def shown(value: object) -> str:
    """Return what a list holds as it is shown in messages: on one line, and not too long."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """Return a list's text, whatever its encoding. If it cannot be read, note a problem and return None."""
    try:
        content = read_file(path, at_most=LIST_AT_MOST)
    except FileNotFoundError:
        problems.append(Problem("missing file", path.name))
        return None
    except OSError as error:
        problems.append(Problem("damaged list", path.name, why_unreadable(error)))
        return None
    if not content.strip():
        problems.append(Problem("damaged list", path.name, "the file is empty"))
        return None
    return decode_text(content)


def decode_text(content: bytes) -> str:
    """Decode a list, whatever its encoding."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030", errors="replace")  # a superset of gb2312
