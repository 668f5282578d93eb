"""The page of a bundle on the Hugging Face hub: README.md, from what the bundle says of itself. Nothing is uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import (
    VERIFICATION_FILE,
    ProtocolComparison,
    ReferenceData,
    Verification,
)
from reid.evaluation.verification.sentences import data_sentence
from reid.runtime.bundle import CARD_FILE, Bundle
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import atomic_write
from reid.runtime.model_card import ModelCard
from reid.runtime.text import one_line

__all__ = ["HUB_CARD_FILE", "add_hub_card", "hub_card"]

HUB_CARD_FILE = "README.md"
"""Name of the page within a bundle, as the hub expects it."""

_TASK = "image-feature-extraction"
_METRICS = ("mAP", "R-1", "R-5", "R-10")
_PROTOCOLS = {"i2i": "images in images", "i2t": "images in tracklets", "t2t": "tracklets in tracklets"}
_VERDICTS = {
    "within": "Everything is within tolerance of PyTorch.",
    "undecided": "Nothing is outside tolerance of PyTorch, but so few queries do not decide everything.",
    "outside": "Something is outside tolerance of PyTorch.",
}


@dataclass(frozen=True, slots=True)
class _Result:
    """The metrics of one precision by one protocol, in percent."""

    precision: str
    comparison: ProtocolComparison

    @property
    def config(self) -> str:
        """What was measured, in one phrase: protocol, precision and post-processing."""
        return f"{self.comparison.protocol}, {self.precision}, {self.comparison.post_processing}"

    def value(self, metric: str) -> float:
        """Return a metric."""
        return round(self.comparison.change(metric).candidate, 2)


def add_hub_card(folder: Path) -> Path:
    """Write the page into a finished bundle, and list it in the bundle's card. The bundle is whole at every moment.

    Raises:
        ModelError: the folder is no bundle, a file in it is not what was exported, or a README.md is somebody else's.
    """
    bundle, page = Bundle.open(folder), folder / HUB_CARD_FILE
    if page.exists() and HUB_CARD_FILE not in bundle.card.files:
        raise ModelError(f"{page} is there already, and reid did not write it: move it out of the bundle")
    text = hub_card(bundle.card, read_verification(folder / VERIFICATION_FILE))
    others = {name: digest for name, digest in bundle.card.files.items() if name != HUB_CARD_FILE}
    _write_card(folder, bundle.card, others)
    atomic_write(page, text.encode())
    _write_card(folder, bundle.card, {**others, HUB_CARD_FILE: sha256_of(page)})
    return page


def _write_card(folder: Path, card: ModelCard, files: dict[str, str]) -> None:
    listed = card.model_copy(update={"files": dict(sorted(files.items()))})
    atomic_write(folder / CARD_FILE, (listed.model_dump_json(indent=2) + "\n").encode())


def hub_card(card: ModelCard, verification: Verification) -> str:
    """Return the page: YAML for the hub, then Markdown for people.

    Args:
        card: the bundle's card.
        verification: what was measured of its graphs; nothing else is claimed.
    """
    results = [_Result(one.precision, found) for one in verification.precisions for found in one.protocols]
    parts = (_front_matter(card, verification, results), *_body(card, verification, results))
    return "\n".join(parts)


def _front_matter(card: ModelCard, verification: Verification, results: Sequence[_Result]) -> str:
    lines = [
        "---",
        "library_name: reid",
        f"pipeline_tag: {_TASK}",
        "tags: [vehicle-re-identification, re-identification, metric-learning, onnx, tensorrt]",
        "# The license is yours to choose: put its identifier here, and leave out license_name.",
        "license: other",
        "license_name: not-chosen-yet",
    ]
    if results and isinstance(verification.judged_on, ReferenceData):
        lines += ["model-index:", f"- name: {_quoted(_name(card))}", "  results:"]
        lines += [line for one in results for line in _indexed(one, verification.judged_on)]
    return "\n".join([*lines, "---", ""])


def _indexed(one: _Result, data: ReferenceData) -> Iterator[str]:
    yield "  - task:"
    yield f"      type: {_TASK}"
    yield f"      name: {_quoted('vehicle re-identification, ' + _PROTOCOLS.get(one.comparison.protocol, ''))}"
    yield "    dataset:"
    yield f"      type: {_quoted(data.layout)}"
    yield f"      name: {_quoted(data.name)}"
    yield f"      config: {_quoted(one.config)}"
    yield f"      split: {'held-out' if data.held_out else 'test'}"
    yield "    metrics:"
    for metric in _METRICS:
        yield f"    - type: {metric}"
        yield f"      value: {one.value(metric)}"
        yield f"      name: {_quoted(f'{metric} ({one.config})')}"


def _body(card: ModelCard, verification: Verification, results: Sequence[_Result]) -> Iterator[str]:
    sizes = ", ".join(f"{level.name} {level.size}" for level in card.levels)
    size = f"{card.preprocessing.width} x {card.preprocessing.height}"
    yield f"# {_plain(_name(card))}\n"
    yield (
        f"A model that turns a picture of one vehicle into an embedding of {card.dimensions} numbers, by which the\n"
        "same vehicle is found again in the pictures of other cameras. This folder is a bundle of `reid`: ONNX graphs\n"
        f"and their proof. Backbone {_code(card.backbone)}, levels {sizes}, crops resized to {size} pixels.\n"
    )
    yield "## Use\n\n```python\nfrom reid import embed, open_session, read_folder\n"
    yield 'with open_session("PATH/OF/THIS/FOLDER") as session:'
    yield '    for one in embed(session, read_folder("crops")):\n        print(one.tracklet.id, one.embedding)\n```\n'
    yield f"## Verification\n\n{_verdict(verification)}\n"
    if results:
        yield _table(results)
    yield f"## Training\n\n{_training(card)}\n"
    yield (
        "## Limits\n\n"
        "- The figures hold for data like that on which they were measured; other cities and cameras give others.\n"
        "- Embeddings of another model or another precision must not be compared with these.\n"
        "- It takes crops of single vehicles; it does not find vehicles in pictures.\n"
    )


def _verdict(verification: Verification) -> str:
    precisions = ", ".join(one.precision for one in verification.precisions)
    judged_on = _plain(data_sentence(verification.judged_on))
    none = "" if verification.retrieval else " mAP and Rank-k were not measured."
    return f"Graphs: {precisions}. Compared with PyTorch on {judged_on}. {_VERDICTS[verification.verdict]}{none}"


def _table(results: Sequence[_Result]) -> str:
    lines = ["| protocol | precision | ranking | mAP | R-1 | R-5 | R-10 |", "|---|---|---|---:|---:|---:|---:|"]
    for one in results:
        values = " | ".join(f"{one.value(metric):.2f}" for metric in _METRICS)
        lines.append(f"| {one.comparison.protocol} | {one.precision} | {one.comparison.post_processing} | {values} |")
    return "\n".join([*lines, ""])


def _training(card: ModelCard) -> str:
    facts = card.training
    lines = [f"- command: {_code(facts.command)}"] if facts.command else []
    if facts.data:
        lines.append(f"- data: layout {_code(facts.data.layout)}, {facts.data.images:,} images")
        lines.append(f"- vehicles held out: {len(facts.data.held_out_vehicles):,}")
    if facts.best_epoch is not None:
        lines.append(f"- epoch of the weights: {facts.best_epoch}")
    lines.append(f"- fingerprint of the model: {_code(card.fingerprint)}")
    return "\n".join(lines)


def _name(card: ModelCard) -> str:
    return f"reid {card.backbone} {card.fingerprint[:12]}".strip()


def _quoted(text: str) -> str:
    """Return a text as a scalar of YAML: one of JSON is that, too."""
    return json.dumps(one_line(text))


def _code(text: str) -> str:
    """Return a text from outside as code, out of which it cannot get."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def _plain(text: str) -> str:
    """Return a text from outside as Markdown that means nothing but itself."""
    return "".join(f"\\{one}" if one in "\\`*_[]<>#|&!" else one for one in one_line(text))
