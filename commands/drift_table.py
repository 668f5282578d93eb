"""What `reid-infer --check` says of the cameras: a table, JSON, and an error on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reid.commands.terminal import print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.data_drift.comparison import CameraCheck

__all__ = ["check_facts", "print_checks", "refuse_drift"]


def print_checks(checks: Sequence[CameraCheck]) -> None:
    """Print a line for each camera."""
    from rich.table import Table

    from reid.runtime.data_drift.comparison import FALSE_ALARM_RATE
    from reid.runtime.data_drift.sentences import camera_name, changes_phrase, likely_causes

    rate = f"at most {FALSE_ALARM_RATE:.0%} of runs in which nothing has changed report a change"
    title = f"crops beside those of the verification; {rate}"
    table = Table("camera", "tracklets", "compared with", "found", "likely cause", title=title, title_justify="left")
    for one in checks:
        found = f"changed: {changes_phrase(one)}" if one.verdict == "changed" else one.verdict
        beside = "itself" if one.known else "all cameras"
        row = (camera_name(one.camera), f"{one.tracklets:,}", beside, found, "; ".join(likely_causes(one)))
        table.add_row(*map(printable, row))
    print_tables(table, width=140)


def check_facts(checks: Sequence[CameraCheck]) -> dict[str, Any]:
    """Return what was found, for programs."""
    from reid.runtime.data_drift.comparison import FALSE_ALARM_RATE
    from reid.runtime.data_drift.sentences import likely_causes

    cameras = [
        {
            "camera": one.camera,
            "tracklets": one.tracklets,
            "compared_with": "itself" if one.known else "all cameras",
            "verdict": one.verdict,
            "likely_causes": likely_causes(one),
            "quantities": {
                change.quantity: {
                    "value": change.value,
                    "reference": change.reference,
                    "reference_range": [change.lowest, change.highest],
                    "standard_error": change.error,
                    "spread": change.spread,
                    "p_value": change.p_value,
                    "changed": change.is_change,
                }
                for change in one.compared
            },
        }
        for one in checks
    ]
    return {"false_alarm_rate": FALSE_ALARM_RATE, "cameras": cameras}


def refuse_drift(checks: Sequence[CameraCheck]) -> None:
    """Raise GateError where a camera has changed."""
    from reid.runtime.data_drift.sentences import camera_name, changes_phrase
    from reid.runtime.errors import GateError

    changed = [one for one in checks if one.verdict == "changed"]
    if changed:
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        first = f"camera {camera_name(changed[0].camera)} changed: {changes_phrase(changed[0])}"
        raise GateError(f"{first}{more}; look at its crops, or verify the model on such data")
