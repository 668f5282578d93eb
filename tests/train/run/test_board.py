from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard.summary import scalar

from reid.train.run.board import Board


def test_what_is_written_again_counts_once(tmp_path: Path) -> None:
    for first in range(1, 13):
        with Board(tmp_path, first) as board:
            for epoch in range(first, first + 3):
                board.add(scalar("loss", 100 * first + epoch), epoch)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    last = [(epoch, 100 * min(epoch, 12) + epoch) for epoch in range(1, 15)]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == last


FULL = """
import contextlib, resource, sys, time
from pathlib import Path
from torch.utils.tensorboard.summary import scalar
from reid.train.run.board import Board

with contextlib.suppress(OSError), Board(Path(sys.argv[1]), 1) as board:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for epoch in range(1000):
        board.add(scalar("loss", 1.0), epoch)
        board.flush()
    sys.exit("nothing was raised")
time.sleep(0.1)
"""


def test_a_file_that_cannot_grow_is_an_error_here_and_none_in_a_thread(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == 4096
