"""Reading a stored verification, of this format or of version 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reid.evaluation.verification.records import FORMAT_VERSION, Verification
from reid.runtime.errors import ModelError
from reid.runtime.validation import first_problem

__all__ = ["read_verification"]

_HELD_OUT = ", held-out training vehicles"
"""What version 1 wrote behind the name of a layout."""


def read_verification(path: Path) -> Verification:
    """Read a verification.json. What version 1 stored only as text stays text.

    Raises:
        ModelError: the file is missing, damaged, or of a newer format.
    """
    try:
        facts = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); export the bundle again") from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is not JSON; export the bundle again") from None
    version = facts.get("format_version") if isinstance(facts, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelError(f"{path}: format version {version} is newer than {FORMAT_VERSION}; update reid")
    try:
        return Verification.model_validate_json(json.dumps(_from_version_1(facts) if version == 1 else facts))
    except ValidationError as error:
        reason = first_problem(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # version 1 lacks a fact, or has another type
        reason = f"{type(error).__name__}: {error}"
    raise ModelError(f"{path} is not a valid verification ({' '.join(reason.split())}); export the bundle again")


def _from_version_1(facts: dict[str, Any]) -> dict[str, Any]:
    renamed = {"format_version", "data", "retrieval", "precisions"}
    return {
        **{name: value for name, value in facts.items() if name not in renamed},
        "format_version": FORMAT_VERSION,
        "judged_on": _judged_on(facts["data"]),
        "precisions": [_precision(one) for one in facts["precisions"]],
    }


def _judged_on(data: dict[str, Any]) -> dict[str, Any]:
    if "reference crops" in data:
        return {"kind": "reference crops", "crops": data["reference crops"]}
    return {
        "kind": "data",
        "name": data["name"],
        "layout": data["layout"].removesuffix(_HELD_OUT),
        "held_out": data["layout"].endswith(_HELD_OUT),
        "query_images": data["query images"],
        "gallery_images": data["gallery images"],
        "unreadable": data["unreadable frames, left out"],
    }


def _precision(facts: dict[str, Any]) -> dict[str, Any]:
    name = facts["precision"]
    return {
        **{key: value for key, value in facts.items() if key != "kept_in_fp32"},
        "in_fp32": [{"layer": layer, "amax": amax} for layer, amax in facts["kept_in_fp32"].items()],
        "failures": [{"kind": "told", "precision": name, "text": _text(name, one)} for one in facts["failures"]],
    }


def _text(precision: str, sentence: str) -> str:
    """Remove the precision's name, with which version 1 began every sentence."""
    return sentence.removeprefix(f"{precision}: ").removeprefix(f"{precision}, ")
