"""`reid-verify`, and what decides in `reid-infer`: bundles, data, references, tolerances, thresholds, outputs."""

from __future__ import annotations

from table.makers import KINDS, KINDS_OF_FOLDERS, fifo, folder, json_with, link, own, removed, text
from table.row import Row

__all__ = ["DECISIONS", "VERIFICATION"]

_TOLERANCES = "reid-verify bundle data --tolerances"

VERIFICATION = (
    # bundles
    Row("reid-verify nowhere data", says="nowhere holds neither a bundle"),
    *(Row("reid-verify it data", make("it"), f"it.*({says}|neither a bundle)") for make, says in KINDS),
    Row("reid-verify run data", says="run holds neither a bundle"),
    Row("reid-verify bundle data", removed("bundle/report.html"), "bundle/report.html is missing"),
    Row("reid-verify bundle data", json_with("bundle/model.json", {"levels:0:size": 10**7}), "levels.0.size"),
    Row("reid-verify bundle data", says="its FP32 graph would be compared with itself; choose another --precision or"),
    Row("reid-verify bundle data --precision fp16", says="bundle has no fp16 graph; choose one of: fp32"),
    Row("reid-verify bundle data --precision half", says="unknown precision 'half'", code=2),
    Row("reid-verify bundle data --session quantum", says="unknown session 'quantum'"),
    # data
    Row("reid-verify bundle nowhere", says="nowhere: no such folder"),
    *(Row("reid-verify bundle it", make("it"), f"it.*({says})") for make, says in KINDS_OF_FOLDERS),
    Row("reid-verify bundle it", folder("it"), "it holds no images"),
    Row("reid-verify bundle data --layout nonsense", says="--layout", code=2),
    # tolerances, post-processing
    *(Row(f"{_TOLERANCES} it", make("it"), f"it: {says}") for make, says in KINDS),
    Row(f"{_TOLERANCES} it", text("it", '{"match": -1}'), "it: the tolerance is not valid .*match"),
    Row(f"{_TOLERANCES} it", text("it", '{"false_match": 0.5}'), "it: the tolerance is not valid .*false_match"),
    Row(f"{_TOLERANCES} it", text("it", '{"strict": 7}'), "it: the tolerance is not valid .*strict"),
    *(
        Row(f"reid-verify bundle data --expand-queries {value}", says="--expand-queries", code=2)
        for value in ("-1", "1001", "x")
    ),
    # outputs
    Row("reid-verify bundle data --output data", says="data is data, which is an input"),
    Row("reid-verify bundle data --output bundle/it", own("bundle"), "bundle/it lies in bundle, which is an input"),
    Row("reid-verify bundle data --output it", link("it", "bundle"), "it is bundle, which is an input"),
    Row("reid-verify bundle data --output it", text("it"), "it exists and is not a folder"),
    Row("reid-verify bundle data --output it", fifo("it"), "it exists and is not a folder"),
    Row("reid-verify bundle data --output /proc/new", says="/proc"),
)

DECISIONS = (
    Row(
        "reid-infer gallery query --false-match-rate 1e-3",
        says="the model has no operating point in fp32: export it with `reid-export --verify DATA`",
    ),
    *(
        Row(f"reid-infer gallery query --false-match-rate {value}", says="--false-match-rate", code=2)
        for value in ("0", "1", "-1", "nan", "inf", "often")
    ),
    *(
        Row(f"reid-infer gallery query --expand-queries {value}", says="--expand-queries", code=2)
        for value in ("-1", "1001", "x")
    ),
    Row(
        "reid-infer gallery query --rerank --false-match-rate 1e-3", says="--false-match-rate|false-match rate", code=2
    ),
)
