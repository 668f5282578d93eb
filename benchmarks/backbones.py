"""Backbones of the field, all the way from training to a verified bundle in FP32, FP16 and INT8.

Every backbone is trained by `reid-train` with the same budget, exported and verified by `reid-export` on the data's
queries and gallery, and timed by `reid-bench` on OpenVINO with one thread. With pretrained weights and a budget that
is long enough this compares accuracy; with `--weights none --epochs 1` it shows only that every backbone goes through::

    python benchmarks/backbones.py VeRi --epochs 60 --json benchmarks/results/backbones.json
    python benchmarks/backbones.py data --weights none --image-size 64 --epochs 1 --batch 4x4

Backbones that are finished are read from the work folder when the script runs again; give another one with `--work`
after a change of the recipe or of the data.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_files import command, environment, markdown_table, script_parser, write_result
from trials import Bench, Method, data_digest

from reid.runtime.errors import ReidError
from reid.runtime.files.storage import atomic_write
from reid.train.model.checkpoint import load_checkpoint

PRECISIONS = ("fp32", "fp16", "int8")
BACKBONES = (
    Method("ResNet50", ("--backbone", "resnet50")),
    Method("ResNet50-IBN-a", ("--backbone", "resnet50", "--set", "ibn=a")),
    Method("ResNet50-IBN-b", ("--backbone", "resnet50", "--set", "ibn=b")),
    Method("OSNet x1.0", ("--backbone", "osnet_x1_0")),
    Method("MobileNetV3-Large", ("--backbone", "mobilenetv3_large_100")),
    Method("EfficientNet-Lite0", ("--backbone", "tf_efficientnet_lite0")),
    Method("ConvNeXt-Tiny", ("--backbone", "convnext_tiny", "--levels", "1,2,3")),
    Method("ViT-Small", ("--backbone", "vit_small_patch16_224", "--levels", "3,7,11")),
    Method("CLIP ViT-Base", ("--backbone", "vit_base_patch16_clip_224", "--levels", "3,7,11")),
)
HEAD = (
    *("backbone", "verified", "parameters, M", "GFLOPs", "INT8 share, %"),
    *(f"mAP {precision.upper()}" for precision in PRECISIONS),
    *(f"ms {precision.upper()}" for precision in PRECISIONS),
)


def main() -> None:
    """Take every backbone through, print the table and write the result."""
    options = parse()
    bench = Bench(options.data, options.work, budget(options))
    try:
        facts = {"command": command(), "data": data_digest(bench.data), "environment": environment()}
        rows: dict[str, Any] = {}
        for backbone in chosen(options.backbones):
            rows[backbone.name] = taken_through(backbone, bench, options)
            if options.json:
                write_result(options.json, facts | {"backbones": rows}, page(facts["command"], rows))
    except ReidError as error:
        sys.exit(f"error: {error}")
    print(page(facts["command"], rows), end="")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="data set to train, calibrate and judge on")
    parser.add_argument("--backbones", type=lambda text: text.split(","), metavar="NAME,...", help="[default: all]")
    parser.add_argument("--work", type=Path, default=Path("runs/backbones"), help="[default: runs/backbones]")
    parser.add_argument("--frames", type=int, default=256, help="frames to calibrate on [default: 256]")
    parser.add_argument("--minutes", type=float, default=0.5, help="how long reid-bench measures each [default: 0.5]")
    given = parser.add_argument_group("budget, passed to every reid-train, whose defaults hold for what is left out")
    for option in ("weights", "image-size", "epochs", "batch", "seed"):
        given.add_argument(f"--{option}")
    return parser.parse_args(words)


def budget(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the options of `reid-train` that every backbone gets."""
    given = {name: getattr(options, name.replace("-", "_")) for name in ("weights", "image-size", "epochs", "batch")}
    given |= {"recipe": "strong", "seed": options.seed}
    return tuple(word for name, value in given.items() if value is not None for word in (f"--{name}", value))


def chosen(names: Sequence[str] | None) -> list[Method]:
    """Return the backbones of these names, or all. Raises ReidError for a name that is not in the table."""
    known = {backbone.name: backbone for backbone in BACKBONES}
    if unknown := [name for name in names or () if name not in known]:
        raise ReidError(f"--backbones: unknown backbone {unknown[0]!r}; choose from: {', '.join(known)}")
    return [known[name] for name in names or known]


def taken_through(backbone: Method, bench: Bench, given: argparse.Namespace) -> dict[str, Any]:
    """Train, export and time a backbone, or read what an earlier call found."""
    folder = bench.work / backbone.name.lower().replace(" ", "-").replace("/", "-")
    done = folder / "result.json"
    options = [*backbone.options, *bench.budget]
    if done.exists() and (stored := json.loads(done.read_text()))["options"] == options:
        return dict(stored)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(backbone.name, file=sys.stderr, flush=True)
    run, log = str(folder / "run"), folder / "log.txt"
    bench.run("reid-train", str(bench.data), *options, "--output", run, log=log)
    result = {"options": options, "parameters": parameters(Path(run)), **exported(bench, folder, given.frames)}
    words = ("--session", "openvino", "--batch", "8", "--threads", "1", "--minutes", str(given.minutes), "--no-peers")
    timed = bench.run("reid-bench", str(folder / "bundle"), *words, "--output", str(folder / "bench"), log=log)
    result |= {"flops": timed["costs"]["fp32"]["flops"], "precisions": by_precision(timed)}
    atomic_write(done, json.dumps(result, indent=2).encode())
    return result


def parameters(run: Path) -> int:
    """Return how many numbers the backbone has, cut to its levels."""
    return sum(parameter.numel() for parameter in load_checkpoint(run).model.backbone.parameters())


def exported(bench: Bench, folder: Path, frames: int) -> dict[str, Any]:
    """Export in all precisions, or without INT8 where the gate refuses it, and return what was found."""
    data, log = str(bench.data), folder / "log.txt"
    words = (str(folder / "run"), "--output", str(folder / "bundle"), "--fp16", "--verify", data)
    try:
        calibration = ("--int8", "--calibration", data, "--calibration-frames", str(frames))
        bundle = bench.run("reid-export", *words, *calibration, log=log)
    except ReidError as error:
        bench.run("reid-export", *words, log=log)
        return {"verified": str(error).partition(": ")[2].rpartition(";")[0], "int8_percent": None, "in_fp16": None}
    found = bundle["int8"]
    return {"verified": "passed", "int8_percent": found["int8_percent"], "in_fp16": found["in_fp16"]}


def by_precision(timed: dict[str, Any]) -> dict[str, Any]:
    """Return mAP, similarity and CPU time of every precision that `reid-bench` measured."""
    return {
        subject["precision"]: {
            "i2i mAP": subject["quality"]["map_percent"]["i2i"],
            "similarity": subject["quality"]["least_similarity"],
            "cpu_ms_per_frame": subject["batches"][0]["cpu_ms_per_frame"],
        }
        for subject in timed["subjects"]
    }


def page(words: str, rows: dict[str, Any]) -> str:
    """Return the table with its caption."""
    table = markdown_table(HEAD, [line(name, row) for name, row in rows.items()], texts=2)
    return (
        f"`{words}`\n\nOne seed. mAP is I2I, in percent, of the bundle's graphs; ms are milliseconds of CPU time per "
        "frame with OpenVINO, one thread, batches of 8; parameters are the backbone's, cut to its levels; the INT8 "
        "share is one of multiply-accumulates. *Passed* means within tolerance, or too few queries to decide, as "
        f"without `--strict`.{untrained(words)}\n\n{table}"
    )


def untrained(words: str) -> str:
    """Return what has to be said about a run from random weights."""
    if "--weights none" not in words:
        return ""
    return (
        " **The weights are random and the budget is tiny: these runs show that every backbone goes through training, "
        "export, INT8 and verification, and what it costs. They say nothing about accuracy.**"
    )


def line(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    """Return a backbone's row."""
    of = [row["precisions"].get(precision, {}) for precision in PRECISIONS]
    return (
        name,
        row["verified"],
        f"{row['parameters'] / 1e6:.1f}",
        f"{row['flops'] / 1e9:.2f}",
        *(number(value, 1) for value in (row["int8_percent"], *(one.get("i2i mAP") for one in of))),
        *(number(one.get("cpu_ms_per_frame"), 2) for one in of),
    )


def number(value: float | None, digits: int) -> str:
    """Return a number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
