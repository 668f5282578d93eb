"""`reid-serve`: answer queries against a gallery over HTTP."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.options import (
    DEFAULT_PIXELS,
    FalseMatchRate,
    MaxPixels,
    PrecisionOption,
    SessionOption,
    finite,
)
from reid.commands.shell import application, run
from reid.commands.terminal import print_result
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.sessions.session import SessionInfo
    from reid.serve.holding import Holding

app = application()

NETWORK = "Network"
LIMITS = "Limits"


@app.command(epilog="Example: reid-serve bundle store --precision fp16")
def serve(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, an .onnx file, a checkpoint or a run.")],
    gallery: Annotated[
        str,
        typer.Argument(
            metavar="GALLERY",
            help="Folder of reid-gallery, a saved gallery (.npz), lance://FOLDER, or milvus://HOST:PORT/NAME.",
        ),
    ],
    false_match_rate: FalseMatchRate = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Let no client add or remove entries.")] = False,
    deadline: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=0,
            max=10_000,
            callback=finite,
            help="How long a picture waits for others to share a batch with, in milliseconds.",
        ),
    ] = 5.0,
    host: Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=NETWORK)] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.", rich_help_panel=NETWORK)
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that clients have to send. [default: REID_TOKEN, or none on this machine alone]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    max_pictures: Annotated[
        int, typer.Option(min=1, max=1024, help="Most pictures of a request.", rich_help_panel=LIMITS)
    ] = 16,
    max_bytes: Annotated[
        int, typer.Option(min=1024, max=2**30, help="Most bytes of a request.", rich_help_panel=LIMITS)
    ] = 8 << 20,
    max_rate: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1e6,
            callback=finite,
            help="Most requests per second of a client, on average.",
            rich_help_panel=LIMITS,
        ),
    ] = 50.0,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    session: SessionOption = "auto",
    precision: PrecisionOption = "fp32",
) -> None:
    """Answer queries against a gallery over HTTP, and show a page to ask them.

    Serves until Ctrl-C or SIGTERM, and then finishes what it has begun.
    """
    from reid.runtime.opening import open_session
    from reid.serve.deciding import NOTHING, Decider
    from reid.serve.holding import Holding
    from reid.serve.refusals import Limits
    from reid.serve.server import listen, read_token
    from reid.serve.server import serve as serve_until_signal
    from reid.serve.service import Service

    token = read_token(token_file)
    limits = Limits(max_pictures, max_bytes, max_rate)
    with (
        closing(listen(host, port, token)) as listening,  # first: it fails at once
        open_session(bundle, session, precision) as opened,
        closing(Holding.open(gallery, opened.info.space, read_only=read_only)) as holding,
    ):
        decider = NOTHING
        if false_match_rate is not None:
            is_empty = not len(holding.gallery)
            decider = Decider.of(opened.info, false_match_rate, holding.facts().kind, is_empty=is_empty)
        with Service(opened, holding, decider, limits=limits, deadline_s=deadline / 1000) as service:
            serve_until_signal(
                service, listening, token, lambda url: print_result(printable(_started(url, opened.info, holding)))
            )


def _started(url: str, info: SessionInfo, holding: Holding) -> str:
    kind = "" if holding.store is not None else ", read only"
    entries = f"{len(holding.gallery):,} entries{kind}"
    return f"{url}: model {info.card.fingerprint[:12]} in {info.precision} by {info}, {entries}"


def main() -> None:
    """Entry point."""
    # After each search, OpenBLAS's threads would go on spinning for a while, on cores that the session needs. It is
    # told before NumPy loads it.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    run(app)
