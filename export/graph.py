"""The fused ONNX graph: normalization, backbone, levels, aggregation and pooling in one."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from reid.calibration.quantize import QDQ_OPSET
from reid.export.graphs import check_onnx, save_graph
from reid.runtime.errors import ModelError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.graph import CARD_KEY
from reid.train.model.multi_level import FusedReID, MultiLevelReID

__all__ = ["OPSET", "export_graph"]

OPSET = QDQ_OPSET
"""Every TensorRT from 10 on reads it, and an INT8 graph can be made from it."""


def export_graph(model: MultiLevelReID, card: ModelCard, path: Path) -> None:
    """Write the model as one ONNX file, with its card in the metadata, and check it.

    Inputs: frames uint8 [N, 3, H, W], pooling float32 [T, N]. Outputs: frame_embedding float32 [N, D], pooled float32
    [T, D]. N and T are free; H and W are the card's.

    Raises:
        ModelError: the exporter cannot express the backbone, or the checker refuses the graph.
    """
    size = card.preprocessing
    # The sizes are neither 0 nor 1, nor equal: the exporter would take them for constants.
    example = (torch.zeros(4, 3, size.height, size.width, dtype=torch.uint8), torch.ones(3, 4))
    frames, tracklets = torch.export.Dim("frames"), torch.export.Dim("tracklets")
    try:
        with _quiet():
            program = torch.onnx.export(
                FusedReID(model).eval(),
                example,
                dynamo=True,
                input_names=[FRAMES, POOLING],
                output_names=[FRAME_EMBEDDING, POOLED],
                dynamic_shapes={"frames": {0: frames}, "pooling": {0: tracklets, 1: frames}},  # of FusedReID.forward
                opset_version=OPSET,
            )
    except (torch.onnx.errors.OnnxExporterError, torch.onnx.OnnxExporterError) as error:
        raise ModelError(
            f"{card.backbone} cannot be exported to ONNX ({str(error).splitlines()[0]}); train another backbone"
        ) from error
    assert program is not None  # dynamo=True always gives one
    proto = program.model_proto
    _forget_places(proto)
    onnx.helper.set_model_props(proto, {CARD_KEY: card.model_copy(update={"opset": OPSET}).model_dump_json()})
    check_onnx(proto, f"the graph of {card.backbone}", "train another backbone")
    save_graph(proto, path, "fp32")


def _forget_places(proto: onnx.ModelProto) -> None:
    """Drop the paths on this machine that the exporter notes: a model's graph is the same wherever it is exported.

    Scale files and engines know a graph by its hash, and a bundle tells nobody where it was made.
    """
    for node in proto.graph.node:
        remaining = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(remaining)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its libraries' warnings off the user's screen."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
