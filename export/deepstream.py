"""A folder for NVIDIA DeepStream: graphs that take what nvinfer and nvtracker give, and their configuration files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from reid.export.deepstream_config import BATCH, ReidModel, nvinfer_config, tracker_section, trtexec_command
from reid.export.frames_graph import write_float_frames_graph
from reid.runtime.bundle import CARD_FILE, Bundle
from reid.runtime.files.storage import atomic_directory
from reid.runtime.precision import Precision

__all__ = ["write_deepstream_folder"]


def write_deepstream_folder(bundle: Bundle, folder: Path, precisions: Sequence[Precision]) -> list[Path]:
    """Write the graphs of a bundle for DeepStream, with configuration files, the model card and a README.

    A folder that holds anything is never replaced: DeepStream would go on using an engine of the graph before.

    Args:
        bundle: the bundle, with its hashes checked.
        folder: the folder to make; it may exist if it is empty.
        precisions: the precisions of the graphs to write.

    Returns:
        The written graphs.

    Raises:
        ModelError: the bundle has no such graph, or `reid-export` did not write it.
        ReidError: the folder holds something, is none, or is not apart from the bundle.
    """
    models = [ReidModel(precision, bundle.card) for precision in precisions]
    with atomic_directory(folder, records=None, inputs=[bundle.root], last="README.md") as partial:
        for model in models:
            write_float_frames_graph(bundle.graph(model.precision).path, partial / model.graph)
            (partial / f"config_infer_secondary_reid_{model.precision}.txt").write_text(nvinfer_config(model))
            (partial / f"config_tracker_reid_{model.precision}.yml").write_text(tracker_section(model))
        shutil.copyfile(bundle.root / CARD_FILE, partial / CARD_FILE)
        (partial / "README.md").write_text(_readme(models))
    return [folder / model.graph for model in models]


def _readme(models: Sequence[ReidModel]) -> str:
    card = models[0].card
    size = card.preprocessing
    rows = "\n".join(
        f"| {model.precision} | `{model.graph}` | `config_infer_secondary_reid_{model.precision}.txt` "
        f"| `config_tracker_reid_{model.precision}.yml` |"
        for model in models
    )
    commands = "\n".join(trtexec_command(model) for model in models)
    return f"""\
# Vehicle re-identification for DeepStream

Model {models[0].fingerprint}, written by `reid-export --deepstream`. `model.json` is its card.

| precision | graph | nvinfer | nvtracker |
|---|---|---|---|
{rows}

Every graph takes `frames`, float32 [N, 3, {size.height}, {size.width}], RGB from 0 to 255, N from 1 to {BATCH},
and returns `embedding`, float32 [N, {card.dimensions}], of length 1. Embeddings of two precisions, or of another model,
must never be compared.

## Build the engine

On the device, in this folder (on a Jetson, `trtexec` is in `/usr/src/tensorrt/bin`):

```
{commands}
```

nvinfer of DeepStream 9 also builds it by itself when it starts. nvtracker, and nvinfer of older versions, need this
command: they have no `strongly-typed`, and would compute FP16 and INT8 graphs in another way or refuse them. TensorRT
has to be 10.3 or newer (DeepStream 7.1, JetPack 6.1). Remove the engine when TensorRT or the GPU changes.

## Run it

As a secondary model, behind detector and tracker:

```
... ! nvinfer config-file-path=detector.txt ! nvtracker ll-lib-file=... ll-config-file=... !
nvinfer config-file-path=config_infer_secondary_reid_{models[-1].precision}.txt ! ...
```

In `operate-on-gie-id` and `operate-on-class-ids`, write your detector's id and its classes that are vehicles. Each
object then carries an NvDsInferTensorMeta with its embedding, in every frame.

In the tracker instead: replace the section `ReID` of a copy of `config_tracker_NvDCF_accuracy.yml`, and put that copy
into this folder. Where the tracker does not find the engine, write absolute paths.
"""
