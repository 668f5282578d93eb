"""`python -m reid.bench.host OPENER [STARTED]`: answer the requests on stdin; see `reid.bench.host`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from reid.bench.host.protocol import Host, answer


def main() -> None:
    """Answer until stdin ends. STARTED: when the process was started, in seconds of `time.monotonic`."""
    opener, *started = sys.argv[1:]
    startup_s = time.monotonic() - float(started[0]) if started else 0.0
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    # Libraries print to descriptor 1 and may read 0; their own children inherit neither of the copies.
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    answer(Host(opener, startup_s), requests, replies.write)


def _end_with_parent(parent: int) -> None:
    """End this process, and what it started, soon after its parent was killed: stdin is not read during a request."""
    while os.getppid() == parent:
        time.sleep(1)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


main()
