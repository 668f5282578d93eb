"""`reid-export`: checkpoints of strangers, outputs, data, scales, tolerances, engines, repositories, numbers."""

from __future__ import annotations

import numpy as np

from table.changes import (
    GONE,
    dimmed,
    npy,
    other_shape,
    other_type,
    other_value,
    with_card,
    with_weight,
    without_reference,
    without_weight,
)
from table.makers import (
    KINDS,
    KINDS_OF_FOLDERS,
    circle,
    cut,
    edited,
    emptied,
    fifo,
    folder,
    forbidden,
    foreign,
    graph,
    json_with,
    link,
    listed,
    nested,
    own,
    removed,
    sidecar,
    socket,
    sound,
    sparse,
    tensors,
    text,
    with_crop,
    zero,
)
from table.numbers import FAR, NO_INTEGERS
from table.row import Make, Row

__all__ = ["BUNDLES", "CHECKPOINTS", "NUMBERS", "OPTIONS", "OUTPUTS"]

_FILE = "run/checkpoint.safetensors"
_CARD = "the model card is not valid"
_RTX = "--engine tensorrt-rtx --compute-capability 8.9 --optimization-level 0"


def _edited_card(name: str) -> Make:
    """Let an engine's card say something else."""
    return json_with(name, {"device": "another"})


def _newer_card(name: str) -> Make:
    """Let an engine's card be of a later version."""
    return json_with(name, {"format_version": 99})


CHECKPOINTS = (
    # names of tensors that would be paths
    *(
        Row(
            "reid-export run", tensors(_FILE, {f"reference.{name}": b"\xff\xd8\xff"}), "is no reference crop .*its name"
        )
        for name in (
            "/absolute/path.jpg",
            "/tmp/x.jpg",
            "../x.jpg",
            "../../x.jpg",
            "a/b.jpg",
            "./x.jpg",
            "..",
            ".",
            "",
            ".hidden.jpg",
            "a\\b.jpg",
            "C:\\x.jpg",
            "embeddings.npy",
            "x.txt",
            "x",
            "\x1b[2J.jpg",
            "a\nb.jpg",
            "\u202ex.jpg",
            "n" * 256 + ".jpg",
        )
    ),
    # reference crops that are none
    Row("reid-export run", tensors(_FILE, {"reference.x.jpg": b"no picture"}), "x.jpg: not a readable image"),
    Row("reid-export run", tensors(_FILE, {"reference.x.jpg": b""}), "x.jpg"),
    Row("reid-export run", tensors(_FILE, {"reference.x.jpg": np.zeros(9)}), "x.jpg.*does not hold bytes"),
    Row("reid-export run", tensors(_FILE, {"reference.x.jpg": np.zeros((2, 2), np.uint8)}), "x.jpg.*hold bytes"),
    Row("reid-export run", with_crop(_FILE, "big.png"), "30,000 x 30,000 pixels", at_most=300),
    # tensors of a model
    *(
        Row("reid-export run", edited(_FILE, change), f"{_FILE} .*{says}")
        for change, says in (
            (without_weight, "it has no tensor"),
            (with_weight, "no place for tensor"),
            (other_shape, r"\[31, 32, 3, 3\], not .*\[32, 32, 3, 3\]"),
            (other_type, "float16.*, not .*float32"),
            (other_value, "is damaged .*fingerprint"),
        )
    ),
    # texts
    Row("reid-export run", tensors(_FILE, {}, {"card": GONE}), "carries no model card"),
    Row("reid-export run", tensors(_FILE, {}, {"card": ""}), _CARD),
    Row("reid-export run", tensors(_FILE, {}, {"card": "[" * 100_000}), _CARD),
    Row("reid-export run", tensors(_FILE, {}, {"architecture": '{"pooling": "x"}'}), "architecture is not valid"),
    Row("reid-export run", tensors(_FILE, {}, {"architecture": '{"new": 1}'}), "architecture is not valid"),
    Row("reid-export run", tensors(_FILE, {}, {"architecture": '{"ibn": true}'}), f"{_FILE}"),
    Row("reid-export run", tensors(_FILE, {}, {"quantization": "{}"}), f"{_FILE}"),
    Row("reid-export run", tensors(_FILE, {}, {"quantization": "[" * 100_000}), f"{_FILE}"),
    *(
        Row("reid-export run", edited(_FILE, with_card(changes)), f"{_FILE}.*{says}", at_most=600)
        for changes, says in (
            ({"format_version": 2}, "format version 2 is newer than 1: update reid"),
            ({"levels:0:size": 2_000_000}, "levels.0.size"),
            ({"levels:0:size": 65_536}, "does not fit its own card"),
            ({"levels:0:name": "level"}, "levels.0.name"),
            ({"levels:0:name": "levelx"}, "levels.0.name"),
            ({"levels:0:name": "neck"}, "levels.0.name"),
            ({"levels:0:name": "level99"}, "has no level"),
            ({"levels:0:name": "level\u0663"}, "levels.0.name"),
            ({"levels": []}, "levels"),
            ({"backbone": "no_such_model"}, "has no model 'no_such_model'"),
            ({"backbone": "../../etc/passwd"}, "has no model"),
            ({"backbone": "hf-hub:stranger/model"}, "has no model"),
            ({"backbone": "resnet50"}, "tensor"),
            ({"backbone": "\x1b[2J"}, "has no model"),
            ({"preprocessing:height": 10**9}, "height"),
            ({"fingerprint": "0" * 64}, "is damaged .*fingerprint"),
        )
    ),
    # files
    Row("reid-export", says="runs/latest holds no checkpoint.safetensors; `reid-train` writes one"),
    Row("reid-export nowhere", says="nowhere holds no checkpoint"),
    *(Row("reid-export it", make("it"), f"it.*({says}|holds no checkpoint)") for make, says in KINDS),
    *(Row("reid-export run", make(_FILE), f"{_FILE}: {says}") for make, says in KINDS[:3]),
    Row("reid-export run", (removed(_FILE), folder(_FILE)), f"{_FILE}.*a folder"),
    Row("reid-export run", (removed(_FILE), link(_FILE, "gone")), "run holds no checkpoint"),
    Row("reid-export run", (removed(_FILE), circle(_FILE)), f"{_FILE}.*symbolic links|holds no checkpoint"),
    Row("reid-export run", emptied(_FILE), f"{_FILE} is damaged"),
    Row("reid-export run", cut(_FILE), f"{_FILE} is damaged"),
    Row("reid-export run", cut(_FILE, 0.00001), f"{_FILE} is damaged"),
    Row("reid-export run", text(_FILE), f"{_FILE} is damaged"),
    Row("reid-export run", text(_FILE, (2**63).to_bytes(8, "little") + b"{}"), f"{_FILE} is damaged", at_most=300),
    Row("reid-export run", text(_FILE, (50 << 20).to_bytes(8, "little") + bytes(99)), f"{_FILE} is damaged"),
    Row("reid-export run", sparse(_FILE), f"{_FILE} is damaged"),
    Row("reid-export run", sound(_FILE, "saved.npz"), f"{_FILE} is damaged"),
    Row("reid-export run", sound(_FILE, "weights.pth"), f"{_FILE} is damaged"),
    Row("reid-export run", forbidden(_FILE), f"{_FILE}: [Pp]ermission denied", unprivileged=True),
    Row("reid-export bundle/model.fp32.onnx", says="model.fp32.*"),
    Row(
        "reid-export run",
        edited(_FILE, without_reference),
        "the checkpoint has no reference crops",
    ),
)

OUTPUTS = (
    Row("reid-export run --output run", says="run is run, which is an input; choose another place for it"),
    Row("reid-export run --output run/bundle", says="run/bundle lies in run, which is an input"),
    Row("reid-export run --output run/deep/er", own("run"), "run/deep/er lies in run, which is an input"),
    Row("reid-export run --output .", own("run"), r"^error: \. holds run, which is an input"),
    Row("reid-export run --output it", link("it", "run"), "it is run, which is an input"),
    Row("reid-export run --fp16 --verify data --output data", says="data is data, which is an input"),
    Row("reid-export run --verify data --output data/bundle", says="data/bundle lies in data, which is an input"),
    Row("reid-export run --int8 --calibration data --output data/b", says="data/b lies in data, which is an input"),
    Row("reid-export run --output it", text("it"), "it exists and is not a folder; choose another --output"),
    *(Row("reid-export run --output it", make("it"), "it exists and is not a folder") for make in (fifo, socket, zero)),
    Row("reid-export run --output it", link("it", "gone"), "it exists and is not a folder"),
    Row("reid-export run --output it", circle("it"), "it"),
    Row("reid-export run --output it", foreign("it/thesis"), "it holds thesis, which is not as reid wrote it"),
    Row(
        "reid-export run --output it",
        (foreign("it/thesis"), text("it/model.json", "{}")),
        "it holds .*not as reid wrote",
    ),
    Row("reid-export run --output it", text("it/model.json", "{}"), "it holds model.json, which is not as reid wrote"),
    Row("reid-export run", foreign("bundle/thesis"), "bundle holds thesis, which is not as reid wrote it"),
    Row("reid-export run", foreign("bundle/engines/thesis"), "bundle holds engines/thesis, which is not as"),
    Row("reid-export run", foreign("bundle/reference/own.jpg"), "bundle holds reference/own.jpg, which is not as"),
    Row(
        "reid-export run",
        link("bundle/report.html", "model.json"),
        "holds report.html",
    ),
    Row("reid-export run", text("bundle/report.html"), "bundle holds report.html, which is not as reid wrote it"),
    Row("reid-export run --output file/bundle", text("file"), "file.*(Not a directory|not a folder)"),
    Row("reid-export run --output /proc/bundle", says="/proc"),
    Row(f"reid-export run --output {'n' * 256}", says="n{200}.*: File name too long"),
    Row(
        "reid-export run --output it/b",
        (folder("it"), forbidden("it", 0o555)),
        "[Pp]ermission denied",
        unprivileged=True,
    ),
)

_SCALES = "reid-export run --int8 --calibration data --scales"
_TOLERANCES = "reid-export run --tolerances"

OPTIONS = (
    # data
    Row("reid-export run --verify nowhere", says="nowhere: no such folder"),
    *(Row("reid-export run --verify it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-export run --verify it", folder("it"), "it holds no images"),
    Row("reid-export run --int8 --calibration nowhere", says="nowhere: no such folder"),
    *(Row("reid-export run --int8 --calibration it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-export run --int8 --calibration it", folder("it"), "it holds no images"),
    Row("reid-export run --int8 --calibration query", says="query is a folder of evaluation images"),
    Row("reid-export run --int8", says="--int8 needs --calibration DATA", code=2),
    Row("reid-export run --calibration data", says="add --int8", code=2),
    Row("reid-export run --scales scales.json", says="add --int8", code=2),
    Row("reid-export run --verify data --layout nonsense", says="--layout", code=2),
    # scales
    Row(f"{_SCALES} nowhere.json", says="nowhere.json: No such file"),
    *(Row(f"{_SCALES} it", make("it"), f"it: {says}") for make, says in KINDS),
    Row(f"{_SCALES} it", text("it", b""), "it: the scale file is not valid"),
    Row(f"{_SCALES} it", text("it", "[]"), "it: the scale file is not valid"),
    Row(f"{_SCALES} it", nested("it"), "it: the scale file is not valid"),
    Row(f"{_SCALES} it", sparse("it"), "it: 274,877,906,944 bytes, more than"),
    Row(f"{_SCALES} scales.json", cut("scales.json"), "scales.json: the scale file is not valid"),
    Row(f"{_SCALES} scales.json", json_with("scales.json", {"format_version": 9}), "format version 9 is newer"),
    Row(f"{_SCALES} scales.json", json_with("scales.json", {"tensors": []}), "the scale file is not valid .*tensors"),
    Row(f"{_SCALES} scales.json", json_with("scales.json", {"extra": 1}), "the scale file is not valid .*extra"),
    Row(f"{_SCALES} scales.json", json_with("scales.json", {"calibration:seed": -1}), "the scale file is not valid"),
    Row(f"{_SCALES} scales.json", json_with("scales.json", {"calibration:count": 0}), "the scale file is not valid"),
    # tolerances
    Row(f"{_TOLERANCES} nowhere.json", says="nowhere.json: No such file"),
    *(Row(f"{_TOLERANCES} it", make("it"), f"it: {says}") for make, says in KINDS),
    *(
        Row(f"{_TOLERANCES} it", text("it", content), "it: the tolerance is not valid")
        for content in (
            b"",
            b"[]",
            b"0.5",
            b"\xff",
            b'{"map": NaN}',
            b'{"map": -1}',
            b'{"map": 1e999}',
            b'{"map": "a lot"}',
            b'{"mAP": 0.5}',
            b'{"similarity": 2}',
            b"[" * 100_000,
        )
    ),
    Row(f"{_TOLERANCES} it --tolerance-map 1", text("it", "{}"), "leave out --tolerance-map", code=2),
    # engines
    Row("reid-export run --precision fp32", says="add --engine", code=2),
    Row("reid-export run --engine tensorrt-rtx --precision int4", says="unknown precision 'int4'", code=2),
    Row("reid-export run --engine tensorrt-rtx --precision fp16", says="add --fp16", code=2),
    Row("reid-export run --engine tpu", says="--engine", code=2),
    *(
        Row(f"reid-export bundle {_RTX} --timing-cache it", make("it"), f"timing cache it: {says}", code=2)
        for make, says in KINDS
    ),
    Row(f"reid-export bundle {_RTX} --timing-cache it", sparse("it"), "timing cache it: 274,877,906,944 bytes", code=2),
    Row("reid-export bundle --engine tensorrt", says="tensorrt|TensorRT"),
    *(
        Row(f"reid-export run --engine tensorrt-rtx --profile {value}", says="profile", code=2)
        for value in (
            "1",
            "1,2,3",
            "1,2,3:3,2,1",
            "0,1,1:1,1,1",
            "1,2,3:1,2,4",
            f"1,1,{FAR}:1,1,1",
            "a,b,c:d,e,f",
            "1,1,65537:1,1,1",
            "-1,1,1:1,1,1",
            "\u0661,1,1:1,1,1",
            "2,2,2:1,1,1",
            "''",
        )
    ),
    Row("reid-export run --engine tensorrt-rtx --compute-capability x", says="must look like 8.6", code=2),
    Row(f"reid-export run --engine tensorrt-rtx --compute-capability {FAR}", says="must look like 8.6", code=2),
    Row("reid-export bundle --engine tensorrt-rtx --compute-capability 99.9", own("bundle"), "99.9"),
)

_ENGINES = f"reid-export bundle {_RTX}"
_TRITON = "reid-export bundle --triton"
_DEEPSTREAM = "reid-export bundle --deepstream"

BUNDLES = (
    Row("reid-export bundle", says="--engine adds engines to it, --triton writes a repository", code=2),
    Row("reid-export bundle --fp16", says="for an FP16 graph, export its checkpoint with --fp16", code=2),
    Row("reid-export bundle --engine tensorrt-rtx --output new", says="leave out --output", code=2),
    Row("reid-export bundle --triton repo --verify data", says="to verify them here, use reid-verify", code=2),
    Row("reid-export bundle --engine tensorrt-rtx --verify nowhere", says="nowhere: no such folder"),
    Row(
        "reid-export bundle --engine tensorrt-rtx --precision int8",
        says="bundle has no int8 graph; choose one of: fp32",
    ),
    Row("reid-export bundle --hub-card", text("bundle/README.md"), "README.md is there already.*move it out"),
    Row(
        "reid-export bundle --hub-card",
        (removed("bundle/verification.json"), json_with("bundle/model.json", {"files:verification.json": GONE})),
        "verification.json",
    ),
    Row(
        "reid-export bundle --hub-card",
        (text("bundle/verification.json", b"{}"), listed("bundle/verification.json")),
        "verification.json: the verification is not valid",
    ),
    # a bundle that is not what was exported
    Row(_ENGINES, text("bundle/model.json", b""), _CARD),
    Row(_ENGINES, nested("bundle/model.json"), _CARD),
    Row(_ENGINES, fifo("bundle/model.json"), "bundle"),
    Row("reid-export bundle --fp16", text("bundle/model.json", b""), _CARD),
    Row("reid-export bundle --fp16", sparse("bundle/model.json"), "model.json: 274,877,906,944 bytes, more than"),
    Row(_ENGINES, removed("bundle/report.html"), "report.html is missing from the bundle"),
    Row(_ENGINES, cut("bundle/model.fp32.onnx"), "model.fp32.onnx is not the file that was exported"),
    Row(_ENGINES, (graph("bundle/model.fp32.onnx", dimmed), listed("bundle/model.fp32.onnx")), "unlike PyTorch"),
    Row(_ENGINES, (text("bundle/model.fp32.onnx"), listed("bundle/model.fp32.onnx")), "model.fp32.onnx"),
    Row(
        _ENGINES,
        (text("bundle/reference/embeddings.npy", npy(np.zeros((2, 2)))), listed("bundle/reference/embeddings.npy")),
        "reference crops and their embeddings do not match",
    ),
    Row(_ENGINES, (removed("bundle/verification.json"),), "verification.json is missing"),
    Row(
        _ENGINES,
        (removed("bundle/verification.json"), json_with("bundle/model.json", {"files:verification.json": GONE})),
        "verification.json",
    ),
    *(
        Row(
            _ENGINES,
            (text("bundle/verification.json", content), listed("bundle/verification.json")),
            "verification is not",
        )
        for content in (
            b"",
            b"{}",
            b"[]",
            b"\xff",
            b"[" * 100_000,
            b'{"format_version": 1}',
            b'{"format_version": NaN}',
        )
    ),
    *(
        Row(
            _ENGINES,
            (json_with("bundle/verification.json", changes), listed("bundle/verification.json")),
            f"verification.json: the verification is not valid .*{says}",
        )
        for changes, says in (
            ({"format_version": 99}, "format version 99 is newer"),
            ({"precisions": {}}, "precisions"),
            ({"precisions:0:precision": "fp64"}, "precision"),
            ({"precisions:0:similarity": None}, "similarity"),
            ({"precisions:0:failures": [{"kind": "new"}]}, "failures"),
            ({"judged_on": {"kind": "new"}}, "judged_on"),
            ({"judged_on": {"crops": 1}}, "judged_on"),
            ({"tolerance": {"map": "x"}}, "tolerance"),
            ({"fingerprint": None}, "fingerprint"),
            ({"engines": 1}, "engines"),
        )
    ),
    # engines that are there
    *(
        Row("reid-export engined --triton repo", (own("engined"), sidecar(make)), f"json.*{says}")
        for make, says in (
            *((make, says) for make, says in KINDS[:3]),
            (emptied, "card is not valid"),
            (cut, "card is not valid"),
            (text, "card is not valid"),
            (nested, "card is not valid"),
            (_edited_card, "it was edited"),
            (_newer_card, "format version 99 is newer"),
        )
    ),
    # repositories
    Row(f"{_TRITON} it", text("it"), "it"),
    *(Row(f"{_TRITON} it", make("it"), "it") for make in (fifo, socket, zero)),
    Row(f"{_TRITON} it", circle("it"), "it"),
    Row(f"{_TRITON} bundle", own("bundle"), "bundle.*which is an input"),
    Row(f"{_TRITON} bundle/repo", own("bundle"), "bundle.*which is an input"),
    Row(f"{_TRITON} /proc/repo", says="/proc"),
    Row(f"{_TRITON} it", foreign("it/reid_frames_fp32/config.pbtxt"), "config.pbtxt belongs to another model"),
    Row(f"{_TRITON} it", fifo("it/reid_frames_fp32/config.pbtxt"), "config.pbtxt"),
    Row(f"{_TRITON} it", zero("it/reid_frames_fp32/config.pbtxt"), "config.pbtxt"),
    Row(
        f"{_TRITON} it", text("it/reid_frames_fp32/config.pbtxt", b"\xff\xfe"), "config.pbtxt belongs to another model"
    ),
    Row(f"{_TRITON} it", text("it/reid_frames_fp32"), "it/reid_frames_fp32"),
    Row(f"{_TRITON} it", (folder("it"), forbidden("it", 0o555)), "[Pp]ermission denied", unprivileged=True),
    Row(f"{_TRITON} it", foreign("it/other_model/config.pbtxt"), "bundle", 0, changes=("it",)),
    # a folder for DeepStream
    Row(f"{_DEEPSTREAM} it", text("it"), "it exists and is not a folder"),
    Row(f"{_DEEPSTREAM} it", fifo("it"), "it exists and is not a folder"),
    Row(f"{_DEEPSTREAM} it", foreign("it/reid.fp32.onnx"), "it exists and is not an empty folder; remove it or choose"),
    Row(f"{_DEEPSTREAM} bundle/ds", own("bundle"), "bundle.*which is an input"),
    Row(f"{_DEEPSTREAM} it", (folder("it"), forbidden("it", 0o555)), "[Pp]ermission denied", unprivileged=True),
    # adding an engine where nothing can be written
    Row(_ENGINES, foreign("bundle/engines"), "engines"),
    Row(_ENGINES, (own("bundle"), link("bundle/engines", "gone")), "engines"),
    Row(_ENGINES, fifo("bundle/engines"), "engines"),
)

_HALF = ("nan", "inf", "-inf", "-1", "-0.1", "101", "1e30", FAR, "x", "''")

NUMBERS = (
    *(Row(f"reid-export run --tolerance-map {value}", says="--tolerance-map", code=2) for value in _HALF),
    *(Row(f"reid-export run --tolerance-rank {value}", says="--tolerance-rank", code=2) for value in _HALF),
    *(
        Row(f"reid-export run --workspace {value}", says="--workspace", code=2)
        for value in ("0", "1048577", *NO_INTEGERS)
    ),
    *(
        Row(f"reid-export run --optimization-level {value}", says="--optimization-level", code=2)
        for value in ("6", *NO_INTEGERS)
    ),
    *(
        Row(f"reid-export run --calibration-frames {value}", says="--calibration-frames", code=2)
        for value in ("0", "1000001", *NO_INTEGERS)
    ),
    *(Row(f"reid-export run --max-pixels {value}", says="--max-pixels", code=2) for value in ("0", *NO_INTEGERS)),
    *(Row(f"OMP_NUM_THREADS={value} reid-export run", says="OMP_NUM_THREADS") for value in ("0", "abc", FAR)),
    Row("reid-export one two", says="two", code=2),
)
