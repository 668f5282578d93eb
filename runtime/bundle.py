"""The bundle: one directory with the model's card, its graphs, and the crops that prove them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError
from reid.runtime.files.arrays import parse_array
from reid.runtime.files.reading import MEBIBYTE, read_file, sha256_of
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import PRECISIONS, Precision

__all__ = [
    "CARD_FILE",
    "ENGINES_FOLDER",
    "REFERENCE_EMBEDDINGS",
    "REFERENCE_RETRIEVAL",
    "Bundle",
    "Graph",
    "graph_file",
]

CARD_FILE = "model.json"
REFERENCE_EMBEDDINGS = "reference/embeddings.npy"
"""PyTorch's embeddings of the reference crops, which are the other files of that folder."""
REFERENCE_RETRIEVAL = "reference/retrieval.npz"
"""What PyTorch found on the data that the bundle was verified on; absent where it was verified on crops alone."""
ENGINES_FOLDER = "engines"

_LENGTH_TOLERANCE = 0.01

_EMBEDDINGS_AT_MOST = 64 * MEBIBYTE


def graph_file(precision: Precision) -> str:
    """Return the file name of a precision's graph within a bundle."""
    return f"model.{precision}.onnx"


@dataclass(frozen=True, slots=True)
class Graph:
    """The fused graph of a model in one precision.

    Attributes:
        precision: the precision that the types in the graph have.
        path: the ONNX file.
        sha256: the SHA-256 of the file.
    """

    precision: Precision
    path: Path
    sha256: str

    @classmethod
    def of(cls, precision: Precision, path: Path) -> Graph:
        """Describe a graph that was just written; hashes its file."""
        return cls(precision, path, sha256_of(path))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose card was read and whose files are those that the card lists."""

    root: Path
    card: ModelCard

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Bundle:
        """Open a bundle and check every file against its hash.

        Raises:
            ModelError: `folder` is not a bundle or is too new, or a file is missing or not the one that was exported.
        """
        root = Path(folder)
        card_path = root / CARD_FILE
        if not card_path.is_file():
            raise ModelError(
                f"{root} holds neither a bundle ({CARD_FILE}) nor a checkpoint; `reid-train` and `reid-export` "
                "make these"
            )
        card = ModelCard.read(card_path)
        for name, expected in card.files.items():
            _check_file(root, name, expected)
        return cls(root, card)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that the bundle has a graph of."""
        return tuple(precision for precision in PRECISIONS if graph_file(precision) in self.card.files)

    def graph(self, precision: Precision) -> Graph:
        """Return the graph of a precision. Raises ModelError where the bundle has none."""
        if precision not in self.precisions:
            there_are = ", ".join(self.precisions) or "none"
            raise ModelError(f"{self.root} has no {precision} graph; choose one of: {there_are}")
        name = graph_file(precision)
        return Graph(precision, self.root / name, self.card.files[name])

    def reference(self) -> tuple[list[Path], NDArray[np.float32]]:
        """Return the reference crops [n] and their PyTorch embeddings, float32 [n, D].

        Raises:
            ModelError: the bundle lists no such files, or they do not match.
        """
        others = (REFERENCE_EMBEDDINGS, REFERENCE_RETRIEVAL)
        crops = [name for name in self.card.files if name.startswith("reference/") and name not in others]
        if REFERENCE_EMBEDDINGS not in self.card.files:
            raise ModelError(f"{self.root} lists no reference embeddings; export it again")
        try:
            embeddings = parse_array(read_file(self.root / REFERENCE_EMBEDDINGS, at_most=_EMBEDDINGS_AT_MOST))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{self.root}: its reference embeddings cannot be read ({error}); export it again"
            ) from None
        if not crops or embeddings.dtype != np.float32 or embeddings.shape != (len(crops), self.card.dimensions):
            raise ModelError(f"{self.root}: its reference crops and their embeddings do not match; export it again")
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        if not (np.abs(lengths - 1) < _LENGTH_TOLERANCE).all():  # with NaN, whatever a session says would pass
            raise ModelError(f"{self.root}: its reference embeddings are not of length 1; export it again")
        return [self.root / name for name in sorted(crops)], embeddings


def _check_file(root: Path, name: str, expected: str) -> None:
    path = root / name
    if Path(os.path.realpath(path)) != Path(os.path.realpath(root), name):
        raise ModelError(f"{path} is a link, perhaps to outside of the bundle; put the file itself there")
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing from the bundle; export it again") from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; export it again") from None
    if found != expected:
        raise ModelError(f"{path} is not the file that was exported (its SHA-256 differs); export it again")
