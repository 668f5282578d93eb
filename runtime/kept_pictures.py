"""The pictures that an entry of a gallery was made of, as far as they are still where they were."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath

from reid.runtime.admission import admitted_frames
from reid.runtime.errors import DataError
from reid.runtime.files.archives import split_virtual
from reid.runtime.files.reading import size_of
from reid.runtime.galleries.entry import Entry
from reid.runtime.listing import Listing, list_tree, why_unreadable
from reid.runtime.pipeline.events import read_crop

__all__ = ["KeptPictures", "why_missing"]


def why_missing(entry: Entry) -> str:
    """Return why there is no picture of an entry, in a few words that name it; "" where there is one."""
    if not entry.picture:
        return f"{entry.id!r} was added without a picture"
    try:
        size_of(Path(entry.picture))
    except OSError as error:
        return f"{entry.picture}: {why_unreadable(error)}"
    return ""


class KeptPictures:
    """Finds the frames of entries. An archive is listed once, as long as its entries follow one another."""

    def __init__(self) -> None:
        self._listed: Callable[[Path], Listing] = lru_cache(maxsize=1)(list_tree)

    def frames_of(self, entry: Entry) -> list[Path]:
        """Return the frames that an entry was made of, in order; of one whose frames are not known, its picture.

        `reid-gallery append` gives a tracklet the name of its folder. So they are known if the picture lies in a folder
        of the entry's name that holds as many images, or more: where just as many of these can be read, those; else
        where just as many pass the gate, those.
        """
        picture = Path(entry.picture)
        if entry.frames < 2 or not _is_named(picture.parent, entry.id):
            return [picture]
        frames = self._images_in(picture.parent)
        if picture not in frames or len(frames) < entry.frames:
            return [picture]
        if len(frames) == entry.frames:
            return frames
        readable = list(filter(_can_be_read, frames))
        if len(readable) == entry.frames:
            return readable
        passing = [Path(str(frame)) for frame in admitted_frames(readable, [])]
        return passing if len(passing) == entry.frames else frames

    def _images_in(self, folder: Path) -> list[Path]:
        try:
            if within := split_virtual(folder):
                archive, name = within
                return list(self._listed(archive).images(name).values())
            return list(list_tree(folder).images("").values())
        except DataError:
            return []


def _can_be_read(frame: Path) -> bool:
    try:
        read_crop(frame, frame.name)
    except DataError:
        return False
    return True


def _is_named(folder: Path, identity: str) -> bool:
    name = PurePosixPath(identity).parts
    return folder.parts[-len(name) :] == name
