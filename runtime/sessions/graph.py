"""How every session opens an ONNX graph: with its bundle's hashes, and with the card that the graph carries."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from reid.runtime.bundle import CARD_FILE, Bundle, graph_file
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.opened import Opened, Reference
from reid.runtime.sessions.session import Session, SessionInfo

__all__ = ["CARD_KEY", "PRECISION_KEY", "GraphSession", "open_graph", "parse_card", "precision_of"]

logger = logging.getLogger(__name__)

CARD_KEY = "reid.model_card"
"""Under this key of its metadata, a graph carries the model's card."""

PRECISION_KEY = "reid.precision"
"""Under this key of its metadata, a graph says its precision; graphs of reid 0.1 do not."""


class GraphSession(Session, Protocol):
    """A session of a graph, which knows its card from there; within a bundle, the bundle's card says more."""

    info: SessionInfo


def open_graph(model: Path, precision: Precision, load: Callable[[Path], GraphSession]) -> Opened:
    """Open a bundle's graph of a precision, or an .onnx file.

    Args:
        model: a bundle, a graph within one, or a graph on its own, which has no reference to be checked against.
        precision: the precision of the bundle's graph to open.
        load: the function that makes a session from a graph's file.

    Raises:
        ModelError: the bundle or graph is damaged, or their cards differ.
        SessionError: a precision is asked of an .onnx file, or what `load` raises.
    """
    if model.is_dir():
        return _open_in_bundle(Bundle.open(model), precision, load)
    bundle = _bundle_around(model)
    if bundle is not None:  # a graph in a bundle is held to what the bundle says of it
        own = _precision_in(bundle, model)
        if precision in ("fp32", own):
            return _open_in_bundle(bundle, own, load)
    if precision != "fp32":
        raise SessionError(
            f"{model} is a single graph, whose precision is fixed; leave out --precision, or give its bundle"
        )
    return Opened(load(model))


def parse_card(metadata: Mapping[str, str], graph: Path) -> ModelCard:
    """Read the card from a graph's metadata. Raises ModelError where it is absent or not valid."""
    if CARD_KEY not in metadata:
        raise ModelError(f"{graph} carries no model card: use a graph that `reid-export` wrote")
    return ModelCard.parse(metadata[CARD_KEY], graph)


def precision_of(metadata: Mapping[str, str], graph: Path) -> Precision:
    """Return the precision that a graph's metadata states, or its name within a bundle where it states none.

    Raises:
        ModelError: the precision is none of ours.
    """
    stated = metadata.get(PRECISION_KEY)
    for precision in PRECISIONS:
        if stated == precision or (stated is None and graph.name == graph_file(precision)):
            return precision
    if stated is not None:
        raise ModelError(f"{graph} is in {stated}, which this version of reid does not know: update reid")
    logger.warning("%s does not state its precision; assuming fp32", graph)
    return "fp32"


def _bundle_around(graph: Path) -> Bundle | None:
    """Return the bundle that a graph's file lies in, or that a link leads into."""
    for folder in (graph.parent, Path(os.path.realpath(graph)).parent):
        if (folder / CARD_FILE).is_file():
            return Bundle.open(folder)
    return None


def _precision_in(bundle: Bundle, graph: Path) -> Precision:
    """Return the precision of a graph within its bundle. Raises ModelError where the bundle lists no such graph."""
    for precision in bundle.precisions:
        if graph.samefile(bundle.graph(precision).path):
            return precision
    raise ModelError(f"{graph} is not one of the graphs of {bundle.root}; give one of these, or the bundle")


def _open_in_bundle(bundle: Bundle, precision: Precision, load: Callable[[Path], GraphSession]) -> Opened:
    graph = bundle.graph(precision)
    session = load(graph.path)
    # The graph's copy of the card was written before the other files were, and before anything was verified.
    if session.info.card != bundle.card.model_copy(update={"files": {}, "similarity": {}, "operating_points": {}}):
        session.close()
        raise ModelError(f"{bundle.root / CARD_FILE} is not the card of its graph; export it again")
    if session.info.precision != precision:
        session.close()
        raise ModelError(f"{graph.path} is a graph in {session.info.precision}, not in {precision}; export it again")
    session.info = replace(session.info, card=bundle.card)
    return Opened(session, Reference(bundle, graph.sha256))
