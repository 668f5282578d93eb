"""Pictures that come with entries: kept as they came, in a folder beside the store, and shown smaller."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from reid.runtime.errors import DataError
from reid.runtime.files.names import check_relative_name
from reid.runtime.files.storage import atomic_write, companion
from reid.runtime.galleries.entry import Entry
from reid.runtime.image_headers.reading import read_header
from reid.runtime.imaging import read_frame, resize

__all__ = ["Picture", "Pictures", "shown"]

_SUFFIXES = {
    **{"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WebP": ".webp", "TIFF": ".tiff", "PNM": ".ppm", "GIF": ".gif"},
    **{"AVIF": ".avif", "JPEG 2000": ".jp2", "Sun raster": ".ras"},
}

_WIDEST = 4
"""How many times as wide as high a shown picture is, at most."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a client sent.

    Attributes:
        name: what the client calls it; for messages only.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Pictures:
    """The folder of pictures, one folder an entry.

    An entry's folder is named by chance, and within it is one named by its id, as `reid-gallery migrate` finds all
    frames of an entry.
    """

    folder: Path

    @classmethod
    def beside(cls, store: Path) -> Pictures:
        """Return the folder that belongs to a store; it is made with the first picture."""
        return cls(companion(store, "pictures").absolute())

    @contextlib.contextmanager
    def keeping(self, entry: Entry, pictures: Sequence[Picture]) -> Iterator[Entry]:
        """Write the pictures of an entry, and yield it with the place of the middle one; they go if the block fails."""
        own = self.folder / secrets.token_hex(16)
        try:
            files = _written(own, entry.id, pictures)
            yield replace(entry, picture=str(files[len(files) // 2]))
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise

    def forget(self, entry: Entry) -> None:
        """Remove the pictures of an entry, if they were kept here."""
        with contextlib.suppress(ValueError):
            within = Path(entry.picture).relative_to(self.folder)
            if within.parts and ".." not in within.parts:
                shutil.rmtree(self.folder / within.parts[0], ignore_errors=True)


def _written(folder: Path, identity: str, pictures: Sequence[Picture]) -> list[Path]:
    """Write pictures below a folder, under an entry's id; return the files. Raises ValueError where it is no name."""
    within = folder / check_relative_name(identity)
    within.mkdir(parents=True)
    files = []
    for number, picture in enumerate(pictures):
        file = within / f"{number:03d}{_SUFFIXES[read_header(picture.content).format]}"
        atomic_write(file, picture.content)
        files.append(file)
    return files


def shown(entry: Entry, height: int) -> bytes | None:
    """Return an entry's picture as a JPEG of a height in pixels; None where it is gone, or cannot be read."""
    if not entry.picture:
        return None
    try:
        pixels = read_frame(Path(entry.picture))
    except DataError:
        return None
    width = min(max(1, round(pixels.shape[1] * height / pixels.shape[0])), _WIDEST * height)
    _, content = cv2.imencode(".jpg", cv2.cvtColor(resize(pixels, height, width), cv2.COLOR_RGB2BGR))
    return content.tobytes()
