"""Retrieval on rendered vehicles: FP32, FP16 and INT8 graphs through ONNX Runtime's CUDA provider beside PyTorch."""

from __future__ import annotations

import torch
from proving import Proof, prove
from raw_onnxruntime import raw_session
from subjects import checkpoint, graph_of, rendered

from reid.data.dataset import Dataset
from reid.evaluation.evaluate import evaluate
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import Session
from reid.train.session import torch_session

_MOST_LOST: dict[Precision, float] = {"fp32": 0.1, "fp16": 0.5, "int8": 10.0}
"""Percentage points of mAP that a graph may lose; INT8's ranges are those of a few crops, see section `model`."""


def accuracy(proof: Proof) -> None:
    """Evaluate PyTorch, then each graph."""
    dataset, stored = rendered(proof), checkpoint(proof)
    with torch_session(stored.model, stored.card, torch.device(proof.device)) as session:
        reference = _scores(session, dataset)
    proof.note("PyTorch", reference)
    raw_session(graph_of(proof, "fp32"), proof.device)  # Skipped where the provider is missing
    for precision in PRECISIONS:
        with load_onnxruntime(graph_of(proof, precision), proof.device) as session:
            scores = _scores(session, dataset)
        lost = reference["mAP"] - scores["mAP"]
        most = _MOST_LOST[precision]
        proof.check(f"{precision} loses at most {most} points of mAP", lost <= most, {**scores, "lost": round(lost, 3)})


def _scores(session: Session, dataset: Dataset) -> dict[str, float]:
    summary = evaluate(session, dataset, ["i2i"])["i2i"].summary()
    return {name: round(float(summary[name]), 3) for name in ("mAP", "R-1", "queries", "gallery")}


if __name__ == "__main__":
    prove(accuracy)
