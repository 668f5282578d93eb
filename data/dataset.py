"""A data set as read from disk: splits of images and tracklets, and every problem found on the way."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from reid.runtime.left_out import LeftOut
from reid.runtime.tracklet import Tracklet

__all__ = ["Challenge", "Dataset", "Problem", "ProblemKind", "Split", "TestSet"]

ProblemKind = Literal[
    "missing file",
    "unreadable folder",
    "unexpected depth",
    "not in label file",
    "not in name list",
    "label and name disagree",
    "name and folder disagree",
    "unknown identity",
    "not in a track",
    "mixed track",
    "damaged list",
    "unreadable image",
    "duplicate",
    "identity in train and test",
    "empty split",
    "implausible",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a data set: the kind, where (relative to its root), and details."""

    kind: ProblemKind
    where: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """Images, each a tracklet of one frame, and the tracklets that they form.

    In a query split, `tracklets[i]` is the tracklet that the query `images[i]` was taken from.
    """

    images: tuple[Tracklet, ...] = ()
    tracklets: tuple[Tracklet, ...] = ()


@dataclass(frozen=True, slots=True)
class Challenge:
    """The AI City challenge's test data, without identities: images in the order of their numbers."""

    query: tuple[Tracklet, ...]
    gallery: tuple[Tracklet, ...]


@dataclass(frozen=True, slots=True)
class TestSet:
    """One of the test sets of a data set that defines several.

    Attributes:
        name: its name, such as "800" for VehicleID's 800 vehicles.
        query: labeled images to search for.
        gallery: labeled images to search in.
        draws: how often the gallery is drawn anew, one random image of each vehicle, all others being queries: `query`
            and `gallery` then both hold all images. 0 where both are as they are.
    """

    __test__: ClassVar[bool] = False  # pytest takes it for a test otherwise

    name: str
    query: Split
    gallery: Split
    draws: int = 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set as read from disk; its images have not been opened.

    Attributes:
        layout: a name from READERS.
        root: the data set's folder or archive.
        train: labeled images to train on.
        query: labeled images to search for.
        gallery: labeled images to search in.
        problems: everything found wrong with the lists.
        challenge: CityFlow's unlabeled test data; None for other layouts.
        split_facts: the facts of how query and gallery were chosen; empty if the data set itself defines them.
        test_sets: the test sets of a data set that defines several; `query` and `gallery` are the first one's.
        lists: the names of the lists that were read, relative to the root.
        left_out: every file and folder below the root that is not used, with the reason.
        files: the number of files below the root.
        notes: what people should know of how the folder was read.
        layout_was_given: whether the layout was chosen, and not recognized.
    """

    layout: str
    root: Path
    train: Split
    query: Split
    gallery: Split
    problems: tuple[Problem, ...] = ()
    challenge: Challenge | None = None
    split_facts: Mapping[str, Any] = field(default_factory=dict)
    test_sets: tuple[TestSet, ...] = ()
    lists: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    files: int = 0
    notes: tuple[str, ...] = ()
    layout_was_given: bool = False

    def facts(self) -> dict[str, Any]:
        """Return what is known of the reading, for JSON: nothing that is left out is missing here."""
        return {
            "path": str(self.root),
            "layout": self.layout,
            "problems": len(self.problems),
            "files": self.files,
            "left_out": [asdict(one) for one in self.left_out],
            "notes": list(self.notes),
        }

    @property
    def inspect_command(self) -> str:
        """The command that lists every problem of this data set."""
        layout = f" --layout {self.layout}" if self.layout_was_given else ""
        place = self.root / self.lists[0] if self.layout == "table" and self.lists else self.root
        return f"reid-data inspect {shlex.quote(str(place))}{layout}"
