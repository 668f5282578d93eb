"""What graphs are compared with: PyTorch's embeddings of the reference crops, and of a data set where there is one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Dataset, Split
from reid.data.held_out import is_held_out
from reid.evaluation.operating_points.distributions import ScoreDistributions, distributions_of
from reid.evaluation.protocols import EmbeddedData, Protocol, embed_data, protocols_of
from reid.evaluation.same_camera import OwnView
from reid.evaluation.verification.records import JudgedOn, ReferenceData, Tolerance
from reid.evaluation.verification.retrieval import Ranked, pairs_of, rank
from reid.evaluation.verification.sentences import data_sentence, defect_sentence
from reid.evaluation.verification.similarity import defect_of
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.imaging import read_frame, resize
from reid.runtime.model_card import Level
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session

__all__ = ["Crops", "Reference", "Retrieval", "embed_retrieval", "embed_splits", "facts_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The reference crops, and what PyTorch makes of them.

    Attributes:
        frames: the crops, uint8 [n, 3, H, W], resized as the card says.
        embeddings: PyTorch's embeddings, float32 [n, D].
    """

    frames: NDArray[np.uint8]
    embeddings: NDArray[np.float32]

    @classmethod
    def of(cls, bundle: Bundle) -> Crops:
        """Read a bundle's crops. Raises ModelError where they cannot be read."""
        paths, embeddings = bundle.reference()
        size = bundle.card.preprocessing
        crops = (resize(read_frame(path), size.height, size.width) for path in paths)
        return cls(np.stack([crop.transpose(2, 0, 1) for crop in crops]), embeddings)


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """A data set's embeddings by PyTorch, and what they find.

    Attributes:
        query: the queries and their own tracklets, as they were given.
        gallery: the gallery images and tracklets, as they were given.
        data: the embeddings of both.
        ranked: the rankings, one for each protocol; then those of a post-processing, if there is one.
        session: the session that made the embeddings, for people.
        stand_in: whether it was not PyTorch, but a graph that stands in for it.
    """

    query: Split
    gallery: Split
    data: EmbeddedData
    ranked: tuple[Ranked, ...]
    session: str
    stand_in: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Everything that a graph is compared with.

    Attributes:
        levels: the levels of the model, in the order of their concatenation.
        crops: the reference crops.
        retrieval: the embedded data set; None where the crops alone are compared.
        judged_on: facts about the data that is compared on.
        tolerance: the largest permitted fall of a graph below PyTorch.
    """

    levels: tuple[Level, ...]
    crops: Crops
    retrieval: Retrieval | None
    judged_on: JudgedOn
    tolerance: Tolerance

    @property
    def session(self) -> str:
        """The session that everything is compared with, for people."""
        return self.retrieval.session if self.retrieval else "PyTorch on CPU"

    def scores(self) -> tuple[ScoreDistributions, ...]:
        """Return the distributions of the scores of each protocol; empty where nothing was ranked."""
        return distributions_of(pairs_of(self.retrieval.ranked)) if self.retrieval else ()

    @property
    def stand_in(self) -> bool:
        """Whether a graph stands in for PyTorch."""
        return self.retrieval is not None and self.retrieval.stand_in

    @property
    def title(self) -> str:
        """What graphs are compared on, for people."""
        return data_sentence(self.judged_on)

    def digest(self) -> str:
        """Return a hash of all of PyTorch's embeddings, which tells one reference from another."""
        digest = hashlib.sha256(self.crops.embeddings.tobytes())
        for embedding in self.retrieval.data.embeddings.values() if self.retrieval else ():
            digest.update(embedding.tobytes())
        return digest.hexdigest()


def embed_retrieval(
    session: Session,
    query: Split,
    gallery: Split,
    *,
    protocols: Sequence[Protocol] | None = None,
    view: OwnView | None = None,
    post_processing: PostProcessing = PLAIN,
    progress: Progress = SILENT,
) -> Retrieval:
    """Embed queries and gallery with PyTorch, and rank by each protocol.

    Args:
        session: the PyTorch session.
        query: the queries and their own tracklets.
        gallery: the gallery images and tracklets.
        protocols: the protocols to rank by; None for those that the data has entries for.
        view: what rankings leave out; see embed_data.
        post_processing: what else is done before a ranking, by which all protocols are ranked after the plain way.
        progress: the progress to advance by each frame.

    Raises:
        DataError: the data does not serve a protocol.
        ModelError: the embeddings cannot be ranked.
    """
    data = embed_splits(session, (query, gallery), view, f"embedding with {session.info}", progress)
    # Before the ranking, which would blame the embeddings on whoever made them. Without any, the ranking says so.
    if data.embeddings and (defect := defect_of(data.rows(data.embeddings))):
        raise ModelError(f"{session.info}: {defect_sentence(defect)}; train the model again")
    if protocols is None:
        protocols = protocols_of(query, gallery, None)
    steps = dict.fromkeys((PLAIN, post_processing))
    ranked = tuple(rank(data, protocol, step) for step in steps for protocol in protocols)
    return Retrieval(query, gallery, data, ranked, str(session.info))


def facts_of(dataset: Dataset, retrieval: Retrieval) -> ReferenceData:
    """Return the facts about a data set on which graphs are compared."""
    return ReferenceData(
        name=dataset.root.resolve().name,
        layout=dataset.layout,
        held_out=is_held_out(dataset),
        query_images=len(dataset.query.images),
        gallery_images=len(dataset.gallery.images),
        unreadable=len(retrieval.data.unreadable),
        same_camera=retrieval.data.same_camera,
    )


def embed_splits(
    session: Session, splits: tuple[Split, Split], view: OwnView | None, stage: str, progress: Progress
) -> EmbeddedData:
    """Embed queries and gallery; an embedding that overflows is a finding of the comparison, and not an error here."""
    with np.errstate(invalid="ignore", over="ignore"):
        return embed_data(session, *splits, view=view, stage=stage, progress=progress)
