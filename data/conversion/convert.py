"""Write a data set in another layout: its images byte for byte, and the lists of that layout."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reid.data.conversion.comparison import losses
from reid.data.conversion.content import content_of
from reid.data.conversion.labels import NAMES_FILE, Labels, names_file
from reid.data.conversion.targets import TARGETS
from reid.data.conversion.targets.target import Names
from reid.data.dataset import Dataset
from reid.data.layout import read_dataset
from reid.runtime.errors import DataError
from reid.runtime.files.names import check_relative_name
from reid.runtime.files.storage import atomic_directory
from reid.runtime.imaging import read_image
from reid.runtime.progress import SILENT, Progress

__all__ = ["Conversion", "check_target", "convert"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written.

    Attributes:
        layout: the layout.
        images: the number of files with images.
        vehicles: the number of vehicles.
        cameras: the number of cameras.
        renamed: the number of vehicles and cameras that have another name, listed in names.csv.
        unreadable: the images that could not be read and are left out, with the reasons.
        losses: what the layout does not hold of the data set, a sentence for each kind.
        notes: what else people should know.
    """

    layout: str
    images: int
    vehicles: int
    cameras: int
    renamed: int
    unreadable: tuple[str, ...]
    losses: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    dataset: Dataset, output: Path, layout: str, *, inputs: Iterable[Path] = (), progress: Progress = SILENT
) -> Conversion:
    """Write a data set in another layout; `output` is whole or absent afterwards.

    What was written is read again and compared with the data set.

    Args:
        dataset: the data set.
        output: the folder to write; it must not exist, or be empty.
        layout: a name from TARGETS.
        inputs: more paths that the output must be apart from, such as the one that was given for the data set.
        progress: follows the images as they are copied.

    Raises:
        DataError: the layout is unknown or cannot hold the data set, or there is nothing to write.
        ReidError: `output` is in use, or is not apart from the data set.
    """
    check_target(layout)
    target = TARGETS[layout]
    content = content_of(dataset, pooled=not target.is_split)
    if not content.shots:
        raise DataError(f"{dataset.root} holds no usable images; `{dataset.inspect_command}` says why")
    labels = target.labels(content)
    names = target.names(content, labels)
    with atomic_directory(output, records=None, inputs=[dataset.root, *inputs]) as folder:
        unreadable = _copy(names, folder, progress)
        content = content.without(unreadable)
        names = {shot: name for shot, name in names.items() if shot.source not in unreadable}
        lists = {**target.lists(content, labels, names), NAMES_FILE: names_file(labels)}
        _write_lists({name: text for name, text in lists.items() if text}, folder)
        result, notes = _read_again(folder, layout, output)
        read = content_of(result, pooled=not target.is_split)
        lost = losses(content, labels, names, read, result)
    notes += _notes(dataset, labels, pooled=not target.is_split)
    return Conversion(
        layout=layout,
        images=len(set(names.values())),
        vehicles=len({shot.vehicle for shot in names} - {None}),
        cameras=len({shot.camera for shot in names} - {None}),
        renamed=len(labels.renamed),
        unreadable=tuple(unreadable.values()),
        losses=tuple(lost),
        notes=tuple(notes),
    )


def check_target(layout: str) -> None:
    """Raise DataError if a layout cannot be written."""
    if layout == "cityflow":
        raise DataError(
            "CityFlow-ReID's test images have no identities, so its layout cannot hold a data set's queries and "
            "gallery; choose another --to, such as veri"
        )
    if layout not in TARGETS:
        raise DataError(f"unknown layout {layout!r}; choose one of: {', '.join(TARGETS)}")


def _copy(names: Names, folder: Path, progress: Progress) -> dict[Path, str]:
    """Copy images; return those that cannot be read -> why."""
    sources = {name: shot.source for shot, name in names.items()}
    progress.begin("copying", len(sources), "images")
    unreadable = {}
    for name, source in sources.items():
        try:
            content = read_image(source)
        except DataError as error:
            unreadable[source] = str(error)
        else:
            path = folder / check_relative_name(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        progress.advance()
    return unreadable


def _write_lists(lists: dict[str, str], folder: Path) -> None:
    for name, text in lists.items():
        path = folder / check_relative_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


def _read_again(folder: Path, layout: str, output: Path) -> tuple[Dataset, list[str]]:
    """Read what was written, as it will be recognized; else say that its layout has to be given."""
    with suppress(DataError):
        found = read_dataset(folder)
        if found.layout == layout and not any(problem.kind == "implausible" for problem in found.problems):
            return found, []
    return read_dataset(folder, layout), [f"{output} is recognized only with --layout {layout}"]


def _notes(dataset: Dataset, labels: Labels, *, pooled: bool) -> list[str]:
    notes = []
    if labels.renamed:
        kinds = {kind: sum(one == kind for one, *_ in labels.renamed) for kind in ("vehicle", "camera")}
        number = " and ".join(f"{count:,} {kind}s" for kind, count in kinds.items() if count)
        notes.append(f"{number} have other names, which {NAMES_FILE} lists")
    if dataset.split_facts and not pooled:
        notes.append("queries and gallery are held-out training vehicles: the data set has none of its own")
    if dataset.challenge:
        number = f"{len(dataset.challenge.query) + len(dataset.challenge.gallery):,}"
        notes.append(f"the challenge's {number} images have no identities and are not written")
    return notes
