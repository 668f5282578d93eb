"""`reid-calibrate`: models, data, scale files, journals, outputs, numbers."""

from __future__ import annotations

from table.changes import external, other_card, without_card
from table.makers import (
    KINDS,
    KINDS_OF_FOLDERS,
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
    own,
    removed,
    socket,
    sound,
    sparse,
    text,
    zero,
)
from table.numbers import FAR, NO_INTEGERS
from table.row import Row

__all__ = ["MEASUREMENTS", "NUMBERS", "OUTPUTS", "STORED"]

_STORED = "the scale file is not valid"
_TWO = "reid-calibrate --diff scales.json"
_SENSITIVE = "reid-calibrate bundle data --sensitivity"
_JOURNAL = "calibration.progress.json"

STORED = (
    Row("reid-calibrate --inspect nowhere.json", says="nowhere.json: No such file"),
    *(Row("reid-calibrate --inspect it", make("it"), f"it: {says}") for make, says in KINDS),
    Row("reid-calibrate --inspect it", circle("it"), "it: .*symbolic links"),
    Row("reid-calibrate --inspect it", sparse("it"), "it: 274,877,906,944 bytes, more than"),
    Row("reid-calibrate --inspect it", sound("it", "saved.npz"), f"it: {_STORED}"),
    Row("reid-calibrate --inspect bundle/model.json", says=_STORED),
    *(
        Row("reid-calibrate --inspect it", text("it", content), f"it: {_STORED}")
        for content in (
            b"",
            b"{}",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"\x1b[2J",
            b"1" * 5000,
            b"[" * 100_000,
            b'{"a":' * 9999,
        )
    ),
    Row("reid-calibrate --inspect scales.json", cut("scales.json"), _STORED),
    *(
        Row("reid-calibrate --inspect scales.json", json_with("scales.json", changes), f"{_STORED} .*{says}")
        for changes, says in (
            ({"format_version": 2}, "format version 2 is newer"),
            ({"format_version": 0}, "format_version"),
            ({"tensors": {"x": 1}}, "tensors"),
            ({"tensors": {"x": {}}}, "tensors"),
            ({"calibration": None}, "calibration"),
            ({"calibration:count": 0}, "count"),
            ({"calibration:seed": 2**64}, "seed"),
            ({"calibration:cameras": {"c1": -1}}, "cameras"),
            ({"more": 1}, "more"),
        )
    ),
    Row("reid-calibrate --inspect scales.json", forbidden("scales.json"), "[Pp]ermission denied", unprivileged=True),
    Row(f"{_TWO} nowhere.json", says="nowhere.json: No such file"),
    *(Row(f"{_TWO} it", make("it"), f"it: {says}") for make, says in KINDS),
    Row(f"{_TWO} it", text("it", "{}"), f"it: {_STORED}"),
    Row("reid-calibrate --diff it scales.json", fifo("it"), "it: a named pipe"),
    Row("reid-calibrate --diff scales.json", says="--diff", code=2),
    Row("reid-calibrate --inspect scales.json bundle data", says="use only one of", code=2),
    Row("reid-calibrate --inspect scales.json --diff scales.json scales.json", says="use only one of", code=2),
)

MEASUREMENTS = (
    # models
    Row("reid-calibrate nowhere data", says="nowhere holds no checkpoint"),
    *(Row("reid-calibrate it data", make("it"), f"it.*({says}|holds no checkpoint)") for make, says in KINDS),
    *(Row("reid-calibrate it.onnx data", make("it.onnx"), f"it.onnx: {says}") for make, says in KINDS),
    Row("reid-calibrate it.onnx data", text("it.onnx"), "it.onnx.*not an ONNX graph"),
    Row("reid-calibrate it.onnx data", text("it.onnx", b""), "it.onnx"),
    Row("reid-calibrate it.onnx data", sparse("it.onnx"), "it.onnx.*(bytes, more than|not an ONNX graph)"),
    Row("reid-calibrate it.onnx data", graph("it.onnx", without_card), "it.onnx carries no model card"),
    Row("reid-calibrate it.onnx data", graph("it.onnx", external("bundle/model.json")), "it.onnx.*other files"),
    Row("reid-calibrate it.onnx data", graph("it.onnx", external("/etc/passwd")), "it.onnx.*other files"),
    Row("reid-calibrate it.onnx data", graph("it.onnx", other_card({"levels:0:size": 10**7})), "levels.0.size"),
    Row(
        "reid-calibrate it.onnx data",
        graph("it.onnx", other_card({"preprocessing:height": 10**9})),
        "height",
        at_most=300,
    ),
    Row("reid-calibrate bundle data", removed("bundle/report.html"), "report.html is missing from the bundle"),
    Row("reid-calibrate bundle data", nested("bundle/model.json"), "the model card is not valid"),
    Row(
        "reid-calibrate bundle data",
        (graph("bundle/model.fp32.onnx", external("model.json")), listed("bundle/model.fp32.onnx")),
        "other files",
    ),
    Row("reid-calibrate run data", cut("run/checkpoint.safetensors"), "checkpoint.safetensors is damaged"),
    Row("reid-calibrate run data", zero("run/checkpoint.safetensors"), "checkpoint.safetensors: a device"),
    # data
    Row("reid-calibrate bundle nowhere", says="nowhere: no such folder"),
    *(Row("reid-calibrate bundle it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-calibrate bundle it", folder("it"), "it holds no images"),
    Row("reid-calibrate bundle query", says="query is a folder of evaluation images"),
    Row("reid-calibrate bundle query --layout veri", says="query is a folder of evaluation images"),
    Row("reid-calibrate bundle data --layout nonsense", says="--layout", code=2),
    Row("reid-calibrate bundle it", text("it/0001_c001_1.jpg"), "it"),
    Row("reid-calibrate bundle it --calibrate-on-evaluation-data", fifo("it/a.jpg"), "it.*a named pipe"),
    Row(
        "reid-calibrate bundle it --calibrate-on-evaluation-data",
        sound("it/a.jpg", "big.png"),
        "30,000 x 30,000 pixels",
        at_most=300,
    ),
    Row("reid-calibrate bundle data --max-pixels 100", says="more than the 100 of --max-pixels"),
    Row("reid-calibrate bundle data --ranges mse", says="--ranges needs --sensitivity", code=2),
    Row("reid-calibrate bundle", says="give MODEL and DATA", code=2),
    Row("reid-calibrate", says="give MODEL and DATA", code=2),
    # journals
    *(Row(_SENSITIVE, make(_JOURNAL), f"{_JOURNAL}: {says}") for make, says in KINDS),
    Row(_SENSITIVE, circle(_JOURNAL), f"{_JOURNAL}.*symbolic links"),
    Row(_SENSITIVE, sparse(_JOURNAL), f"{_JOURNAL}: 274,877,906,944 bytes"),
    *(
        Row(_SENSITIVE, text(_JOURNAL, content), f"{_JOURNAL}.*(not a journal|is not valid)")
        for content in (b"", b"my diary", b"{}", b"[]", b'{"facts": 1, "entries": 2}', b"[" * 100_000, b"\xff")
    ),
    Row(_SENSITIVE, (text(_JOURNAL, "{}"), forbidden(_JOURNAL)), _JOURNAL, unprivileged=True),
)

OUTPUTS = (
    Row("reid-calibrate bundle data --output bundle", says="bundle is bundle, which is an input"),
    Row("reid-calibrate bundle data --output bundle/c", says="bundle/c lies in bundle, which is an input"),
    Row("reid-calibrate bundle data --output data", says="data is data, which is an input"),
    Row("reid-calibrate bundle data --output data/image_train/c", says="lies in data, which is an input"),
    Row("reid-calibrate run data --output run", says="run is run, which is an input"),
    Row(
        "reid-calibrate bundle data --output .",
        (own("bundle"), own("data")),
        r"^error: \. holds bundle, which is an input",
    ),
    Row("reid-calibrate bundle data --output it", link("it", "data"), "it is data, which is an input"),
    Row(
        "reid-calibrate bundle/model.fp32.onnx data --output bundle",
        own("bundle"),
        "bundle holds bundle/model.fp32.onnx",
    ),
    Row("reid-calibrate bundle data --output it", text("it"), "it exists and is not a folder"),
    *(
        Row("reid-calibrate bundle data --output it", make("it"), "it exists and is not a folder")
        for make in (fifo, socket, zero)
    ),
    Row("reid-calibrate bundle data --output it", link("it", "gone"), "it exists and is not a folder"),
    Row("reid-calibrate bundle data --output it", circle("it"), "it"),
    Row(
        "reid-calibrate bundle data",
        foreign("calibration/thesis"),
        "calibration holds thesis, which is not as reid wrote",
    ),
    Row(
        "reid-calibrate bundle data",
        (foreign("calibration/thesis"), text("calibration/scales.json", "{}")),
        "calibration holds .*, which is not as reid wrote",
    ),
    Row(
        "reid-calibrate bundle data",
        text("calibration/scales.json", "{}"),
        "calibration holds scales.json, which is not",
    ),
    Row("reid-calibrate bundle data --output file/c", text("file"), "file.*(Not a directory|not a folder)"),
    Row("reid-calibrate bundle data --output /proc/c", says="/proc"),
    Row(f"reid-calibrate bundle data --output {'n' * 256}", says="n{200}.*: File name too long"),
    Row(
        "reid-calibrate bundle data --output it/c",
        (folder("it"), forbidden("it", 0o555)),
        "[Pp]ermission denied",
        unprivileged=True,
    ),
)

NUMBERS = (
    *(
        Row(f"reid-calibrate bundle data --seed {value}", says="--seed", code=2)
        for value in ("4294967296", *NO_INTEGERS)
    ),
    *(
        Row(f"reid-calibrate bundle data --frames {value}", says="--frames", code=2)
        for value in ("0", "1000001", *NO_INTEGERS)
    ),
    *(Row(f"reid-calibrate bundle data --max-pixels {value}", says="--max-pixels", code=2) for value in ("0", FAR)),
    *(
        Row(f"OMP_NUM_THREADS={value} reid-calibrate bundle data", says="OMP_NUM_THREADS")
        for value in ("0", "abc", FAR)
    ),
    Row("reid-calibrate bundle data --ranges none", says="--ranges", code=2),
)
