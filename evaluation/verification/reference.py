"""What graphs are compared with: PyTorch's embeddings of the reference crops, and of a data set where there is one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.protocols import EmbeddedData, Protocol, embed_data, protocols_of
from reid.evaluation.same_camera import OwnView
from reid.evaluation.verification.records import JudgedOn, Tolerance
from reid.evaluation.verification.retrieval import Ranked, rank
from reid.evaluation.verification.sentences import data_sentence, defect_sentence
from reid.evaluation.verification.similarity import defect_of
from reid.runtime.errors import ModelError
from reid.runtime.model_card import Level
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session

__all__ = ["Crops", "Reference", "Retrieval", "embed_retrieval", "embed_splits"]


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The reference crops, and what PyTorch makes of them.

    Attributes:
        frames: the crops, uint8 [n, 3, H, W], resized as the card says.
        embeddings: PyTorch's embeddings, float32 [n, D].
    """

    frames: NDArray[np.uint8]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """A data set's embeddings by PyTorch, and what they find.

    Attributes:
        query: the queries and their own tracklets, as they were given.
        gallery: the gallery images and tracklets, as they were given.
        data: the embeddings of both.
        ranked: the rankings, one for each protocol.
        session: the session that made the embeddings, for people.
    """

    query: Split
    gallery: Split
    data: EmbeddedData
    ranked: tuple[Ranked, ...]
    session: str


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
    progress: Progress = SILENT,
) -> Retrieval:
    """Embed queries and gallery with PyTorch, and rank by each protocol.

    Args:
        session: the PyTorch session.
        query: the queries and their own tracklets.
        gallery: the gallery images and tracklets.
        protocols: the protocols to rank by; None for those that the data has entries for.
        view: what rankings leave out; see embed_data.
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
    ranked = tuple(rank(data, protocol) for protocol in protocols)
    return Retrieval(query, gallery, data, ranked, str(session.info))


def embed_splits(
    session: Session, splits: tuple[Split, Split], view: OwnView | None, stage: str, progress: Progress
) -> EmbeddedData:
    """Embed queries and gallery; an embedding that overflows is a finding of the comparison, and not an error here."""
    with np.errstate(invalid="ignore", over="ignore"):
        return embed_data(session, *splits, view=view, stage=stage, progress=progress)
