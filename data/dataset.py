"""A data set as read from disk: splits of images and tracklets, and every problem found on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reid.runtime.tracklet import Tracklet

__all__ = ["Challenge", "Dataset", "Problem", "ProblemKind", "Split"]

ProblemKind = Literal[
    "missing file",
    "unreadable folder",
    "not in label file",
    "not in name list",
    "label and name disagree",
    "unknown identity",
    "not in a track",
    "mixed track",
    "damaged list",
    "unreadable image",
    "duplicate",
    "identity in train and test",
    "empty split",
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
class Dataset:
    """A data set as read from disk; its images have not been opened.

    Attributes:
        layout: veri, cityflow, tracklets or flat.
        root: the data set's folder.
        train: labeled images to train on.
        query: labeled images to search for.
        gallery: labeled images to search in.
        problems: everything found wrong with the lists.
        challenge: CityFlow's unlabeled test data; None for other layouts.
        split_facts: the facts of how query and gallery were chosen; empty if the data set itself defines them.
    """

    layout: str
    root: Path
    train: Split
    query: Split
    gallery: Split
    problems: tuple[Problem, ...] = ()
    challenge: Challenge | None = None
    split_facts: Mapping[str, Any] = field(default_factory=dict)
