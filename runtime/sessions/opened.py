"""What a backend returns when it opens a model: the session, and what it has to be checked against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from reid.runtime.bundle import Bundle
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import Session

__all__ = ["Opened", "Opener", "Reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference that a session of a bundle is checked against.

    Attributes:
        bundle: the bundle, with its hashes checked.
        artifact_sha256: the hash of the graph or engine that the session runs.
        remedy: the end of the error's sentence where the check fails.
        lasting: whether a passed check holds as long as the hash does; not on a server, which others may change.
    """

    bundle: Bundle
    artifact_sha256: str
    remedy: str = "run `reid-export` again, on this device"
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened.

    Attributes:
        session: the session; whoever receives it closes it.
        reference: the reference to check it against; None for a checkpoint or a lone graph, which have none.
        note: what whoever opens it should know, in a sentence; empty for nothing.
    """

    session: Session
    reference: Reference | None = None
    note: str = ""


Opener: TypeAlias = Callable[[Path, str | None, Precision], Opened]
"""(model, device or None for the best one present, precision) -> session; a backend's entry point."""
