"""The lists that VeRi-776 and CityFlow-ReID ship: label XML, name lists, track lists."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from reid.data.dataset import Problem
from reid.runtime.imaging import IMAGE_SUFFIXES

__all__ = ["Label", "read_labels", "read_names", "read_tracks"]


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
    text = _read_text(path, problems)
    if text is None:
        return None
    labels: dict[str, Label] = {}

    def collect(tag: str, attributes: dict[str, str]) -> None:
        if tag != "Item":
            return
        name = attributes.get("imageName", "").strip()
        if not name:
            problems.append(Problem("damaged list", path.name, f"an entry without imageName: {attributes}"))
            return
        if name in labels:
            problems.append(Problem("duplicate", path.name, f"{name} is labeled twice"))
        vehicle, camera = (attributes.get(key, "").strip() or None for key in ("vehicleID", "cameraID"))
        labels[name] = Label(vehicle, camera)

    parser = expat.ParserCreate()
    parser.StartElementHandler = collect
    try:
        parser.Parse(_DECLARATION.sub("", text), True)
    except expat.ExpatError as error:
        problems.append(Problem("damaged list", path.name, f"not valid XML: {error}"))
    return labels


def read_names(path: Path, problems: list[Problem]) -> list[str] | None:
    """Read a name list, one image per line, without repetitions. If it is absent, note a problem and return None."""
    text = _read_text(path, problems)
    if text is None:
        return None
    counts = Counter(text.split())
    problems += [Problem("duplicate", path.name, f"{name} is listed {n} times") for name, n in counts.items() if n > 1]
    return list(counts)


def read_tracks(path: Path, problems: list[Problem]) -> list[tuple[str, list[str]]] | None:
    """Read a track list: (the track's name or "", its images) for each line that has any.

    Two forms are in circulation: with and without a leading track name. The first word is the track's name if it is not
    an image's, or if the same image occurs again in its line. If the file is absent, note a problem and return None.
    """
    text = _read_text(path, problems)
    if text is None:
        return None
    tracks = []
    for words in filter(None, map(str.split, text.splitlines())):
        named = Path(words[0]).suffix.lower() not in IMAGE_SUFFIXES or words[0] in words[1:]
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


def _read_text(path: Path, problems: list[Problem]) -> str | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        problems.append(Problem("missing file", path.name))
        return None
    except OSError as error:
        problems.append(Problem("damaged list", path.name, error.strerror or str(error)))
        return None
    if not content.strip():
        problems.append(Problem("damaged list", path.name, "the file is empty"))
        return None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030", errors="replace")  # a superset of gb2312
