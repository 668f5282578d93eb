"""The judgment on an engine: made of a verification, and kept in the engine's sidecar."""

from __future__ import annotations

from pathlib import Path

from reid.evaluation.verification.records import JudgedOn, PrecisionVerification, ReferenceData
from reid.evaluation.verification.sentences import data_sentence
from reid.runtime.engine_card import EngineCard
from reid.runtime.engine_judgment import LONGEST_LINE, EngineJudgment
from reid.runtime.files.storage import amended_directory

__all__ = ["judgment_of", "record_judgment"]


def judgment_of(found: PrecisionVerification, judged_on: JudgedOn, reference: str) -> EngineJudgment:
    """Return the judgment on an engine.

    Args:
        found: how it compares.
        judged_on: the data that it was run on. Reference crops are too few: all that they show is that it runs.
        reference: the session that it was compared with, for people.
    """
    if not isinstance(judged_on, ReferenceData):
        return EngineJudgment(reason=f"only on {data_sentence(judged_on)}")
    return EngineJudgment(verdict=found.verdict, data=_line(data_sentence(judged_on)), reference=_line(reference))


def _line(text: str) -> str:
    """Return a text that a sidecar takes, whatever a folder is called."""
    return "".join(one if one.isprintable() else "?" for one in text)[:LONGEST_LINE]


def record_judgment(engine: Path, judgment: EngineJudgment) -> None:
    """Write a judgment into an engine's sidecar. The bundle's card lists no engines, so its hashes stay right.

    Args:
        engine: the engine's file, in a bundle.
        judgment: the judgment.

    Raises:
        ReidError: the bundle may not be changed, or its sidecar is damaged.
    """
    sidecar = engine.with_suffix(".json")
    card = EngineCard.read(sidecar).model_copy(update={"judged": judgment})
    with amended_directory(sidecar.parent, last="*.json") as amended:
        (amended / sidecar.name).unlink()
        (amended / sidecar.name).write_text(card.to_json())
