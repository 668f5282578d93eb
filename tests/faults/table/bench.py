"""`reid-bench`: results, models, outputs, numbers."""

from __future__ import annotations

from table.changes import GONE, external, other_card, without_card
from table.makers import (
    KINDS,
    circle,
    cut,
    fifo,
    folder,
    forbidden,
    foreign,
    graph,
    json_with,
    link,
    listed,
    nested,
    removed,
    sparse,
    text,
)
from table.numbers import NO_INTEGERS
from table.row import Row

__all__ = ["MODELS", "NUMBERS", "OUTPUTS", "RESULTS"]

_COMPARE = "reid-bench compare it bench.json"
_AGAIN = "reid-bench compare bench.json bench.json"
_INVALID = "the benchmark result is not valid"

RESULTS = (
    Row("reid-bench compare nowhere bench.json", says="nowhere: No such file.*; give a bench.json", then=_AGAIN),
    Row("reid-bench compare bench.json nowhere --json", says="nowhere: No such file"),
    *(Row(_COMPARE, make("it"), f"it: {says}") for make, says in KINDS[:3]),
    Row(_COMPARE, folder("it"), "it/bench.json: No such file"),
    Row(_COMPARE, fifo("it/bench.json"), "it/bench.json: a named pipe"),
    Row(_COMPARE, circle("it"), "it: .*symbolic links"),
    Row(_COMPARE, sparse("it"), "it: 274,877,906,944 bytes, more than"),
    Row(_COMPARE, nested("it"), f"it: {_INVALID}"),
    *(
        Row(_COMPARE, text("it", content), f"it: {_INVALID}")
        for content in (b"", b"{}", b"[]", b"\xff\xfe", b"\x1b[2J", b"1" * 5000, b'{"a":' * 9999)
    ),
    Row("reid-bench compare bundle/model.json bench.json", says=f"bundle/model.json: {_INVALID}"),
    Row("reid-bench compare bench.json bench.json", cut("bench.json"), f"bench.json: {_INVALID}"),
    *(
        Row("reid-bench compare bench.json bench.json", json_with("bench.json", changes), f"{_INVALID} .*{says}")
        for changes, says in (
            ({"format_version": 2}, "format version 2 is newer"),
            ({"format_version": 0}, "format_version"),
            ({"subjects:1:name": "openvino fp32"}, "holds 'openvino fp32' twice"),
            ({"subjects:0:batches:0:frames": 0}, "frames"),
            ({"subjects:0:batches:0:frames_per_s:low": -1}, "figure of 'openvino fp32'"),
            ({"subjects:0:batches:0:frames_per_s:value": float("nan")}, "value"),
            ({"settings:threads": 0}, "threads"),
            ({"environment:processor": GONE}, "processor"),
            ({"more": 1}, "more"),
        )
    ),
    Row(
        "reid-bench compare bench.json bench.json",
        json_with("bench.json", {"subjects:0:name": "a\x1b[2Jb", "notes": ["\x1b[2J"]}),
        "No regression",
        0,
    ),
    Row("reid-bench compare bench.json bench.json", forbidden("bench.json"), "ermission denied", unprivileged=True),
    Row("reid-bench compare bench.json", says="AFTER", code=2),
    Row("reid-bench compare", says="BEFORE", code=2),
    Row("reid-bench compare bench.json bench.json bench.json", says="unexpected extra argument", code=2),
)

MODELS = (
    Row("reid-bench nowhere", says="nowhere: no such model; give a bundle"),
    Row("reid-bench", says="bundle: no such model; give a bundle"),
    *(Row("reid-bench it", make("it"), f"it.*({says}|neither a bundle)") for make, says in KINDS),
    *(Row("reid-bench it.onnx", make("it.onnx"), f"it.onnx.*({says}|not an ONNX graph)") for make, says in KINDS),
    Row("reid-bench it", link("it", "gone"), "it: no such model"),
    Row("reid-bench it.onnx", text("it.onnx"), "it.onnx is not an ONNX graph"),
    Row("reid-bench it.onnx", text("it.onnx", b""), "it.onnx is not an ONNX graph"),
    Row("reid-bench it.onnx", graph("it.onnx", without_card), "it.onnx carries no model card"),
    Row("reid-bench it.onnx", graph("it.onnx", other_card({"levels:0:size": 10**7})), "levels.0.size"),
    Row("reid-bench bundle nowhere", says="nowhere: no such model"),
    Row("reid-bench bench.json", says="bench.json: the model card is not valid"),
    Row("reid-bench bundle", removed("bundle/report.html"), "report.html is missing from the bundle"),
    Row("reid-bench bundle", nested("bundle/model.json"), "the model card is not valid"),
    Row("reid-bench bundle", cut("bundle/model.fp32.onnx"), "model.fp32.onnx is not the file that was exported"),
    Row(
        "reid-bench bundle",
        (cut("bundle/reference/embeddings.npy"), listed("bundle/reference/embeddings.npy")),
        "bundle: its reference embeddings cannot be read",
    ),
    Row("reid-bench run", cut("run/checkpoint.json"), "the model card is not valid"),
    Row("reid-bench bundle --session ''", says="unknown session ''"),
    Row(
        "reid-bench bundle --session quantum --no-peers",
        says="unknown session 'quantum'; choose one of: onnxruntime, ",
    ),
    Row("reid-bench bundle --session '\x1b[2J'", says="unknown session"),
    Row("reid-bench bundle --session torch", says="torch runs checkpoints.*name the run"),
    Row("reid-bench run --session openvino", says="openvino runs graphs.*export one with reid-export"),
    Row("reid-bench bundle --precision int8", says="no int8 graph.*choose one of: fp32"),
    Row("reid-bench bundle --precision half", says="unknown precision 'half'", code=2),
    Row("reid-bench bundle --peer mine", says="NAME=PYTHON:SCRIPT"),
    Row("reid-bench bundle --peer =", says="NAME=PYTHON:SCRIPT"),
    Row("reid-bench bundle --peer mine=nothing:script.py", text("script.py"), "there is no interpreter nothing"),
    Row("reid-bench bundle --peer mine=python:nowhere.py", says="there is no script nowhere.py"),
    Row(
        "reid-bench bundle --predict abacus",
        says="no device 'abacus' is known.*orin-nx",
        then="reid-bench bundle --predict orin-nx",
    ),
    Row("reid-bench run --predict t4", says="run has no graph.*export it", then="reid-bench bundle --predict t4"),
    Row(
        "reid-bench it.onnx --predict t4",
        graph("it.onnx", external("/etc/passwd")),
        "it.onnx",
    ),
)

OUTPUTS = (
    Row("reid-bench bundle --output bundle", says="bundle is bundle, which is an input"),
    Row("reid-bench bundle --output bundle/bench", says="lies in bundle, which is an input"),
    Row("reid-bench bundle --output it", text("it"), "it exists and is not a folder; choose another --output"),
    Row("reid-bench bundle --output it", foreign("it/thesis.tex"), "it holds thesis.tex, which is not as reid wrote"),
    Row(
        "reid-bench bundle --output it", text("it/bench.json", "{}"), "it holds bench.json, which is not as reid wrote"
    ),
    Row("reid-bench bundle --output file/bench", text("file"), "file.*(Not a directory|not a folder)"),
    Row("reid-bench bundle --output /proc/bench", says="/proc"),
    Row(
        "reid-bench bundle --output it/bench",
        (folder("it"), forbidden("it", 0o555)),
        "it.*: permission denied",
        unprivileged=True,
    ),
)

NUMBERS = (
    *(
        Row(f"reid-bench bundle --batch {value}", says="--batch", code=2)
        for value in (*NO_INTEGERS, "0", "1,,2", "4097")
    ),
    Row("OMP_NUM_THREADS=none reid-bench bundle", says="OMP_NUM_THREADS is 'none': set it to an integer"),
    Row("REID_MAX_PIXELS=none reid-bench bundle", says="REID_MAX_PIXELS is 'none'"),
)
