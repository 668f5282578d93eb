"""`reid-export`: turn a checkpoint into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid.runtime.commands.shell import application, note, print_json, run

app = application()


@app.command(epilog="Example: reid-export runs/latest --output bundle")
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run or a checkpoint.")] = Path("runs/latest"),
    output: Annotated[Path, typer.Option(help="Folder of the bundle.")] = Path("bundle"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a bundle: one fused ONNX graph, checked against PyTorch, with everything needed to run it."""
    from reid.export.bundle import FP32_TOLERANCE, write_bundle
    from reid.train.checkpoint import load_checkpoint

    result = write_bundle(load_checkpoint(model), output)
    note(
        f"fp32 graph: differs from PyTorch by at most {result.largest_difference:.1e} (tolerance {FP32_TOLERANCE:.0e})"
    )
    if as_json:
        facts = {"bundle": str(output), "fingerprint": result.card.fingerprint, "opset": result.card.opset}
        print_json({**facts, "fp32": {"largest_difference": result.largest_difference, "tolerance": FP32_TOLERANCE}})
    else:
        print(output)


def main() -> None:
    """Entry point."""
    run(app)
