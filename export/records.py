"""Which files of a bundle reid wrote, so that another may take its place."""

from __future__ import annotations

import contextlib
from pathlib import Path

from reid.runtime.bundle import CARD_FILE, ENGINES_FOLDER
from reid.runtime.engine_card import EngineCard
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import Records
from reid.runtime.model_card import ModelCard

__all__ = ["RECORDS"]


def _written_files(bundle: Path) -> dict[str, str]:
    """List what reid wrote into a bundle, engines included: relative name -> SHA-256."""
    files = dict(ModelCard.read(bundle / CARD_FILE).files)
    for sidecar in (bundle / ENGINES_FOLDER).glob("*.json"):
        with contextlib.suppress(ModelError):
            card = EngineCard.read(sidecar)
            files[f"{ENGINES_FOLDER}/{sidecar.name}"] = sha256_of(sidecar)
            files[f"{ENGINES_FOLDER}/{sidecar.stem}.engine"] = card.engine_sha256
    return files


RECORDS = Records(CARD_FILE, _written_files)
"""The card of a bundle, and what it lists."""
