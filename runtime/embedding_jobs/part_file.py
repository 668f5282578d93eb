"""The file of an embedded part: written once, whole or not at all, and read by whoever adds it to a gallery."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reid.runtime.embedding import Embedded
from reid.runtime.embedding_jobs.parts import Task
from reid.runtime.errors import DataError
from reid.runtime.files.arrays import Archive, open_arrays
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import first_problem
from reid.runtime.pipeline.tracks import Unreadable
from reid.runtime.precision import Precision
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["PartFacts", "file_of", "read_facts", "read_part", "write_part"]

_FORMAT_VERSION = 1
_Place = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PartFacts(_Record):
    """What a file says of its part.

    Attributes:
        format_version: the version of the file's format.
        digest: that of the part.
        fingerprint: of the space: the model.
        precision: of the space.
        dimensions: of the space.
        places: the tracklets that were embedded, or could not be: their places in the part, ascending.
        unreadable: the frames that were left out: place of the tracklet, index of the frame, reason.
    """

    format_version: Annotated[int, Field(ge=1, le=_FORMAT_VERSION)] = _FORMAT_VERSION
    digest: str
    fingerprint: str
    precision: Precision
    dimensions: Annotated[int, Field(ge=1)]
    places: list[_Place]
    unreadable: list[tuple[_Place, _Place, str]]

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return Space(self.fingerprint, self.precision, self.dimensions)

    def has(self, task: Task) -> bool:
        """Return whether everything of a task has been done."""
        return self.digest == task.digest and task.tracklets.keys() <= set(self.places)


def file_of(number: int) -> str:
    """Return the name of the file of a part, by its number."""
    return f"part-{number:08d}.npz"


def write_part(path: Path, task: Task, space: Space, embedded: Iterable[Embedded]) -> None:
    """Write what came of a task: its tracklets, embedded, in their order."""
    places = dict(zip(task.tracklets, embedded, strict=True))
    unreadable = [(place, one.frame_index, one.reason) for place, found in places.items() for one in found.unreadable]
    facts = PartFacts(digest=task.digest, **asdict(space), places=list(places), unreadable=unreadable)
    found = [one.embedding for one in places.values() if one.embedding is not None]
    rows = np.stack(found) if found else np.empty((0, space.dimensions), np.float32)
    content = io.BytesIO()
    np.savez(content, facts=np.frombuffer(json.dumps(facts.model_dump()).encode(), np.uint8), embeddings=rows)
    atomic_write(path, content.getvalue())


def read_facts(path: Path) -> PartFacts | None:
    """Return what a file says of its part; None where there is no file. Raises DataError if it cannot be used."""
    try:
        with open_arrays(path) as arrays:
            return _facts(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None


def read_part(path: Path, tracklets: Sequence[Tracklet]) -> Iterator[Embedded]:
    """Yield the tracklets of a part that a file has, in their order. Raises DataError if it cannot be used.

    Args:
        path: the file.
        tracklets: all tracklets of its part.
    """
    try:
        with open_arrays(path) as arrays:
            facts, embeddings = _facts(arrays), arrays.read("embeddings")
        yield from _embedded(facts, embeddings, tracklets)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None


def _facts(arrays: Archive) -> PartFacts:
    try:
        return PartFacts.model_validate_json(arrays.read("facts").tobytes())
    except ValidationError as problem:
        raise ValueError(first_problem(problem)) from None


def _embedded(facts: PartFacts, embeddings: NDArray[np.float32], tracklets: Sequence[Tracklet]) -> Iterator[Embedded]:
    left_out: dict[int, list[Unreadable]] = {place: [] for place in facts.places}
    for place, frame, reason in facts.unreadable:
        left_out[place].append(Unreadable(frame, reason))
    readable = [place for place in facts.places if len(left_out[place]) < len(tracklets[place].frames)]
    if embeddings.dtype != np.float32 or embeddings.shape != (len(readable), facts.dimensions):
        raise ValueError(f"embeddings {embeddings.dtype} {embeddings.shape} of {len(readable)} tracklets")
    rows = dict(zip(readable, embeddings, strict=True))
    for place in facts.places:
        yield Embedded(tracklets[place], rows.get(place), {}, tuple(left_out[place]))


def _unusable(path: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(f"{path} cannot be used ({reason}); remove it and run the command again")
