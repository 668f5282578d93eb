"""The folder of parts, on a file system that all machines share: what is there of a job, and what is missing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.embedding_jobs.part_file import PartFacts, file_of, read_facts
from reid.runtime.embedding_jobs.parts import Part
from reid.runtime.embedding_jobs.tries import TRIES
from reid.runtime.errors import DataError
from reid.runtime.galleries.comparable import check_space
from reid.runtime.space import Space

__all__ = ["PartsFolder", "space_of"]

_SECONDS = 60.0
"""How long a network file system may hide what another machine has written: the default of NFS."""


@dataclass(frozen=True, slots=True)
class PartsFolder:
    """The folder of a job's parts.

    Attributes:
        path: the folder.
    """

    path: Path

    def begin(self, parts: Sequence[Part]) -> dict[int, PartFacts]:
        """Make the folder, and return what an earlier run left in it: number of a part -> what its file says.

        Raises:
            DataError: what is there is of other tracklets, or cannot be used.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for file in self.path.glob(f"*{TRIES}"):
            file.unlink()
        names = {file.name for file in self.path.glob("part-*.npz")}
        found = {part.number: self._facts(part) for part in parts if file_of(part.number) in names}
        if len(found) < len(names):
            raise self._strange()
        return found

    def wait_for(self, parts: Sequence[Part]) -> dict[int, PartFacts]:
        """Return what the files of all parts say, once they can be seen from here. Raises DataError if they cannot."""
        deadline = time.monotonic() + _SECONDS
        while absent := sorted({file_of(part.number) for part in parts} - {file.name for file in self.path.iterdir()}):
            if time.monotonic() > deadline:
                raise DataError(f"{self.path} lacks {absent[0]}, which a worker wrote: all machines have to share it")
            time.sleep(1)
        return {part.number: self._facts(part) for part in parts}

    def remove(self) -> None:
        """Remove the parts: they are in the gallery; and the folder, unless somebody put something else there."""
        for file in self.path.glob("part-*.npz"):
            file.unlink()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _facts(self, part: Part) -> PartFacts:
        facts = read_facts(self.path / file_of(part.number))
        if facts is None or facts.digest != part.digest:
            raise self._strange()
        return facts

    def _strange(self) -> DataError:
        return DataError(
            f"{self.path} holds parts of other crops, or of crops that have changed; remove it to begin again"
        )


def space_of(folder: PartsFolder, found: Mapping[int, PartFacts]) -> Space | None:
    """Return the space of parts, None where there are none. Raises ReidError where they are of several."""
    spaces = {number: facts.space for number, facts in found.items()}
    first = next(iter(spaces.values()), None)
    for number, space in spaces.items():
        check_space(folder.path / file_of(number), space, first or space)
    return first
