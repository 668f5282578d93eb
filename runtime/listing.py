"""What a folder or an archive holds: one scan, of which readers are functions, so that nothing is overlooked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.files.archives import is_archive, members, split_virtual
from reid.runtime.imaging import is_image

__all__ = ["Contents", "Listing", "check_folder", "joined", "list_tree", "why_unreadable"]

_MOST_WAYS = 16
"""How often links may lead to one folder: where each folder links to the next twice, the ways double with every one."""

_MOST_ENTRIES = 4_000_000
"""The most files and folders that are listed, so that a whole disk is refused in seconds."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The names of what one folder holds, in their order. Hidden entries are left out.

    Attributes:
        files: everything that is not a folder.
        folders: folders, and links to folders.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything below a folder, or in an archive. Names are relative to it, with slashes.

    Attributes:
        root: the folder or the archive.
        contents: the name of a folder, "" being the root -> what it holds; the outer ones come first.
        unreadable: the name of a folder that cannot be listed -> why.
        passed_over: the names of other entries that are not in `contents` -> why: hidden ones, and what an archive
            holds that is no file.
    """

    root: Path
    contents: Mapping[str, Contents]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return the path of a file or folder; in an archive, one through it."""
        return self.root / name

    def folder(self, name: str) -> Contents:
        """Return what a folder holds: nothing if it is absent or cannot be listed."""
        return self.contents.get(name, Contents())

    def images(self, folder: str, *, or_folders: bool = False) -> dict[str, Path]:
        """Return the images directly in a folder, known by their suffix: file name -> path.

        Args:
            folder: the folder's name.
            or_folders: whether folders that are named like images are among them, as damaged ones.
        """
        path, inside = self.path(folder), self.folder(folder)
        names = sorted((*inside.files, *inside.folders)) if or_folders else inside.files
        return {name: path / name for name in names if is_image(name)}

    def has(self, name: str) -> bool:
        """Return whether there is a file or folder of this name."""
        folder, _, last = name.rpartition("/")
        inside = self.folder(folder)
        return last in inside.files or last in inside.folders

    def files(self) -> Iterator[str]:
        """Yield the names of all files, folder by folder."""
        for folder, inside in self.contents.items():
            yield from (joined(folder, name) for name in inside.files)

    def below(self, folder: str) -> Listing:
        """Return the listing of one of the folders, as if it had been listed alone."""
        start = f"{folder}/"

        def within(names: Mapping[str, str]) -> dict[str, str]:
            return {name.removeprefix(start): why for name, why in names.items() if name.startswith(start)}

        contents = {name.removeprefix(start): c for name, c in self.contents.items() if name.startswith(start)}
        inner = {"": self.folder(folder), **contents}
        return Listing(self.path(folder), inner, within(self.unreadable), within(self.passed_over))


def joined(folder: str, name: str) -> str:
    """Return the name of an entry of a folder; the folder "" is the root."""
    return f"{folder}/{name}" if folder else name


def list_tree(root: Path) -> Listing:
    """List everything below a folder, or in an archive (.zip or .tar) or a folder in one.

    Links to folders are followed, except where one leads back to a folder that contains it.

    Raises:
        DataError: the root does not exist, cannot be read, is neither a folder nor an archive, or holds too much.
    """
    if is_archive(root):
        return _list_archive(root)
    if within := split_virtual(root):
        archive, name = within
        if name not in (listing := _list_archive(archive)).contents:
            raise DataError(f"{root}: no such folder in {archive}")
        return listing.below(name)
    check_folder(root)
    contents: dict[str, Contents] = {}
    unreadable: dict[str, str] = {}
    hidden: dict[str, str] = {}
    ways = Counter[tuple[int, int]]()
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    entries = 0
    while waiting:
        name, ancestors = waiting.pop()
        folder = root / name
        try:
            status = os.stat(folder)
            identity = status.st_dev, status.st_ino
            if identity in ancestors:
                hidden[name] = "a link to a folder that holds it"
                continue
            ways[identity] += 1
            if ways[identity] > _MOST_WAYS:
                raise DataError(f"links lead to this folder in more than {_MOST_WAYS} ways; remove some of them")
            found, invisible = _list_folder(folder)
        except (OSError, DataError) as error:
            unreadable[name] = why_unreadable(error) if isinstance(error, OSError) else str(error)
            continue
        contents[name] = found
        hidden |= {joined(name, entry): "hidden" for entry in invisible}
        entries += len(found.files) + len(found.folders)
        if entries > _MOST_ENTRIES:
            raise DataError(f"{root} holds more than {_MOST_ENTRIES:,} files; give the folder of the data set in it")
        around = ancestors | {identity}
        waiting += [(joined(name, inner), around) for inner in reversed(found.folders)]
    return Listing(root, contents, unreadable, hidden)


def _list_folder(folder: Path) -> tuple[Contents, list[str]]:
    """List a folder: what it holds, and the names of its hidden entries."""
    files, folders, hidden = [], [], []
    os.stat(os.path.join(folder, os.curdir))  # what can be listed may still be out of reach
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                hidden.append(entry.name)
            elif _is_folder(entry):
                folders.append(entry.name)
            else:
                files.append(entry.name)
    return Contents(tuple(sorted(files)), tuple(sorted(folders))), hidden


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        return not is_image(entry.name)  # reading it will say what is wrong, as a folder or as a frame
    except OSError:  # a link that leads to itself
        return False


def _list_archive(archive: Path) -> Listing:
    try:
        found = members(archive)
    except OSError as error:
        raise DataError(f"{archive}: {why_unreadable(error)}") from None
    files: dict[str, list[str]] = {"": []}
    folders: dict[str, set[str]] = {"": set()}
    passed_over = dict(found.left_out)
    for name in found.files:
        parts = name.split("/")
        if any(part.startswith(".") for part in parts):
            passed_over[name] = "hidden"
            continue
        for depth in range(len(parts) - 1):
            outer, inner = "/".join(parts[:depth]), "/".join(parts[: depth + 1])
            folders[outer].add(parts[depth])
            files.setdefault(inner, [])
            folders.setdefault(inner, set())
        files["/".join(parts[:-1])].append(parts[-1])
    contents = {
        name: Contents(tuple(sorted(files[name])), tuple(sorted(folders[name])))
        for name in sorted(files, key=_by_parts)
    }
    return Listing(archive, contents, passed_over=passed_over)


def _by_parts(name: str) -> list[str]:
    return name.split("/") if name else []


def check_folder(folder: Path) -> None:
    """Raise DataError if a path is not that of a folder that can be read."""
    try:
        os.scandir(folder).close()
        os.stat(os.path.join(folder, os.curdir))  # what can be listed may still be out of reach
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is not a folder") from None
    except OSError as error:
        raise DataError(f"{folder}: {why_unreadable(error)}") from None


def why_unreadable(error: OSError) -> str:
    """Return why a file or folder of the user's data cannot be read."""
    if isinstance(error, PermissionError):
        return "permission denied; make it readable (chmod u+rX) or ask its owner to"
    return error.strerror or str(error)
