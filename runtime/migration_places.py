"""The folders of a migration: the store, the new one beside it, the one before, and how they change places."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.files.publishing import copy_access, exchange, finish_exchange, has_to_be_in_place
from reid.runtime.files.storage import atomic_directory, clear_abandoned, workspace_for
from reid.runtime.galleries.store.lock import LOCK_FILE
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store.writing import flush_folder
from reid.runtime.galleries.store_folder import aside_of, is_stored
from reid.runtime.space import Space

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is, in one folder: what is renamed stays on its file system.

    Attributes:
        store: the store.
        beside: the new one, until it is whole.
        before: the store as it was before the last migration.
        aside: where the store is for a moment, on file systems that cannot exchange folders.
    """

    store: Path
    beside: Path
    before: Path
    aside: Path

    @classmethod
    def of(cls, gallery: Path) -> Places:
        """Return the places of a store, which may be a link."""
        real = Path(os.path.realpath(gallery))
        beside, before = (real.with_name(f"{real.name}.{end}") for end in ("migrating", "before"))
        return cls(real, beside, before, aside_of(real))

    def mend(self) -> None:
        """Make good what a kill between the steps of `switch` left. Raises DataError where others changed it since."""
        if is_stored(self.aside):
            if self.store.exists() and self.before.exists():
                raise DataError(f"{self.aside} is {self.store} as it was once; move it elsewhere, or back")
            finish_exchange(self.store, self.before, self.aside)
        clear_abandoned(self.before)

    def check(self, store: Store, space: Space) -> None:
        """Raise DataError where something is in the way; to go back to the model of before begins with a copy of it."""
        for place in filter(has_to_be_in_place, (self.store, self.before)):
            raise DataError(f"{place} cannot be replaced: it is a mount point, or where you are; copy it elsewhere")
        if os.path.lexists(self.before):
            if not is_stored(self.before) or _space_of(self.before) != space:
                raise DataError(f"{self.before} is there, of an earlier migration; remove it, or move it elsewhere")
            self._check_before(store)
            if not os.path.lexists(self.beside):
                _copy_by_links(self.before, self.beside)
        if os.path.lexists(self.beside) and (not is_stored(self.beside) or _space_of(self.beside) != space):
            raise DataError(f"{self.beside} is not of this model; go on with the one it was begun for, or remove it")

    def _check_before(self, store: Store) -> None:
        """Raise DataError where the store of before has what would be lost with it."""
        lost: list[str] = []
        with Store.open(self.before) as before:
            for entries in before.entries():
                ids = [entry.id for entry in entries]
                lost += compress(ids, ~store.contains(ids))
        if lost:
            raise DataError(
                f"{self.before} has {len(lost):,} entries that {self.store} has not, {lost[0]!r} first: move it "
                f"elsewhere to keep them, or to {self.beside} to go on without them"
            )

    def switch(self) -> None:
        """Let the new store take the place of the old one, and that the place of the one before it, which goes."""
        with workspace_for(self.before) if self.before.exists() else nullcontext() as workspace:
            if workspace:
                self.before.rename(workspace / "replaced")  # which comes back if this is killed
            self.beside.rename(self.before)
            flush_folder(self.store.parent)
            exchange(self.store, self.before, self.aside)
            flush_folder(self.store.parent)
            if workspace:
                shutil.rmtree(workspace / "replaced", ignore_errors=True)


def _space_of(folder: Path) -> Space:
    with Store.open(folder) as store:
        return store.space


def _copy_by_links(source: Path, target: Path) -> None:
    """Copy a store, with links to its files where these can be made: none of them ever changes."""
    with atomic_directory(target, records=None) as partial:
        copy_access(source, partial)
        for path in source.iterdir():
            if path.name == LOCK_FILE or not path.is_file():
                continue
            try:
                os.link(path, partial / path.name)
            except OSError:  # not on every file system
                shutil.copy2(path, partial / path.name)
