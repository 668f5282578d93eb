"""How every session opens an ONNX graph: with its bundle's hashes, the card that it carries, and the self-check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from reid.runtime.bundle import CARD_FILE, Bundle, graph_file
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.model_card import ModelCard
from reid.runtime.self_check import check_session
from reid.runtime.sessions.session import Session

__all__ = ["CARD_KEY", "open_graph", "parse_card"]

CARD_KEY = "reid.model_card"
"""Under this key of its metadata, a graph carries the model's card."""

AnySession = TypeVar("AnySession", bound=Session)


def open_graph(model: Path, precision: str, *, load: Callable[[Path], AnySession], backend: str) -> AnySession:
    """Open a bundle's graph of a precision, or an .onnx file.

    Args:
        model: a bundle, a graph within one, or a graph on its own, which is loaded without a self-check.
        precision: which of the bundle's graphs.
        load: makes a session of a graph's file.
        backend: name and version of what runs it; see check_session.

    Raises:
        ModelError: the bundle or graph is damaged, their cards differ, or the self-check fails.
        SessionError: a precision is asked of an .onnx file, or what `load` raises.
    """
    if model.is_dir():
        return _open_in_bundle(Bundle.open(model), precision, load, backend)
    own = _within_bundle(model)
    if own and precision in ("fp32", own[1]):  # a graph in a bundle is held to what the bundle says of it
        return _open_in_bundle(*own, load, backend)
    if precision != "fp32":
        raise SessionError(f"{model} is one graph, in its own precision; leave out --precision, or give its bundle")
    return load(model)


def parse_card(text: str | None, graph: Path) -> ModelCard:
    """Read the card that a graph's metadata holds. Raises ModelError where it is absent or not valid."""
    if text is None:
        raise ModelError(f"{graph} carries no model card: use a graph that `reid-export` wrote")
    return ModelCard.parse(text, graph)


def _within_bundle(graph: Path) -> tuple[Bundle, str] | None:
    """Give the bundle that a graph's file lies in, and its precision there."""
    if not (graph.parent / CARD_FILE).is_file():
        return None
    bundle = Bundle.open(graph.parent)
    return next(((bundle, one) for one in bundle.precisions if bundle.graph(one).name == graph.name), None)


def _open_in_bundle(bundle: Bundle, precision: str, load: Callable[[Path], AnySession], backend: str) -> AnySession:
    session = load(bundle.graph(precision))
    try:
        # The card holds the hashes of all other files, but its own: the graph's copy of it takes that part.
        if session.card != bundle.card.model_copy(update={"files": {}}):
            raise ModelError(f"{bundle.root / CARD_FILE} is not the card of its graph; export it again")
        digest = bundle.card.files[graph_file(precision)]
        check_session(session, bundle, artifact_sha256=digest, precision=precision, backend=backend)
    except BaseException:
        session.close()
        raise
    return session
