"""`reid-doctor`: models and sessions."""

from __future__ import annotations

from table.makers import json_with, removed
from table.row import Row

__all__ = ["DOCTOR"]

DOCTOR = (
    Row("reid-doctor nowhere", says="nowhere: no such model"),
    Row("reid-doctor data", says="data holds neither a bundle"),
    Row("reid-doctor --session quantum", says="unknown session 'quantum'; choose one of: onnxruntime, openvino"),
    Row("reid-doctor bundle", removed("bundle/model.fp32.onnx"), "bundle/model.fp32.onnx is missing"),
    Row("reid-doctor bundle", json_with("bundle/model.json", {"levels:0:size": 10**7}), "levels.0.size"),
    Row("OMP_NUM_THREADS=none reid-doctor", says="OMP_NUM_THREADS is 'none': set it to an integer"),
)
