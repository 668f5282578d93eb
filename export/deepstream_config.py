"""Configuration files for DeepStream's nvinfer and nvtracker: docs/deepstream.md gives the reasons for each value."""

from __future__ import annotations

from dataclasses import dataclass

from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import DEFAULT_LIMITS
from reid.runtime.text import one_line

__all__ = ["BATCH", "ReidModel", "nvinfer_config", "tracker_section", "trtexec_command"]

BATCH = DEFAULT_LIMITS.frames
"""The most crops of a batch."""


@dataclass(frozen=True, slots=True)
class ReidModel:
    """A graph for DeepStream.

    Attributes:
        precision: the precision that the types in the graph have.
        card: the model's card.
    """

    precision: Precision
    card: ModelCard

    @property
    def graph(self) -> str:
        """The name of the ONNX file."""
        return f"reid.{self.precision}.onnx"

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint in one line: a stranger's card must not write further lines of configuration."""
        return one_line(self.card.fingerprint)

    @property
    def engine(self) -> str:
        """The name of the engine: the one that nvinfer gives to what it builds, where network-mode is 0."""
        return f"{self.graph}_b{BATCH}_gpu0_fp32.engine"


def nvinfer_config(model: ReidModel) -> str:
    """Return the configuration of an nvinfer element that embeds the objects of a detector."""
    size = model.card.preprocessing
    return f"""\
# Embeds vehicles with the {model.precision} graph of model {model.fingerprint}.
[property]
gpu-id=0
gie-unique-id=2
process-mode=2

# The detector's gie-unique-id, and its classes that are vehicles. Change both to your detector's.
operate-on-gie-id=1
operate-on-class-ids=0
input-object-min-width=32
input-object-min-height=32

onnx-file={model.graph}
model-engine-file={model.engine}
batch-size={BATCH}
infer-dims=3;{size.height};{size.width}
network-input-order=0

# Types, casts and Q/DQ pairs in the graph say what is computed in which precision. 0 adds no flag to that, in any
# precision; 1 would ask for a calibration cache. strongly-typed is for DeepStream 9: for older ones, see README.md.
network-mode=0
strongly-typed=1

# RGB from 0 to 255: normalization is in the graph.
model-color-format=0
net-scale-factor=1
offsets=0;0;0

# Bilinear, on the GPU, to the whole picture.
maintain-aspect-ratio=0
scaling-filter=1
scaling-compute-hw=1

# No parser: the embedding is attached to each object as it is. Only classifiers can be asynchronous.
network-type=100
output-tensor-meta=1
classifier-async-mode=0
"""


def tracker_section(model: ReidModel) -> str:
    """Return the section ReID of a configuration of nvtracker's NvMultiObjectTracker."""
    size = model.card.preprocessing
    return f"""\
# Replaces the section ReID in a copy of config_tracker_NvDCF_accuracy.yml. The {model.precision} graph of model
# {model.fingerprint}. Build the engine with trtexec first: see README.md.
ReID:
  reidType: 2                  # for re-association; 1 for NvDeepSORT
  outputReidTensor: 1          # attach the embeddings to the batch
  batchSize: {BATCH}
  workspaceSize: 1000          # MB
  reidFeatureSize: {model.card.dimensions}
  reidHistorySize: 100
  inferDims: [3, {size.height}, {size.width}]
  networkMode: 0               # adds no flag to the types in the graph
  inputOrder: 0                # NCHW
  colorFormat: 0               # RGB
  offsets: [0.0, 0.0, 0.0]     # normalization is in the graph
  netScaleFactor: 1.0
  keepAspc: 0                  # the whole picture, as in training
  useVPICropScaler: 1
  addFeatureNormalization: 0   # the graph returns vectors of length 1
  onnxFile: "{model.graph}"
  modelEngineFile: "{model.engine}"
"""


def trtexec_command(model: ReidModel) -> str:
    """Return the command that builds the engine that both configurations name."""
    size = model.card.preprocessing
    shape = f"3x{size.height}x{size.width}"
    return (
        f"trtexec --onnx={model.graph} --stronglyTyped --minShapes=frames:1x{shape} --optShapes=frames:{BATCH}x{shape} "
        f"--maxShapes=frames:{BATCH}x{shape} --saveEngine={model.engine}"
    )
