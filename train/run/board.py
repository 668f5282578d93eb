"""What a run writes for TensorBoard."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["Board"]


class Board:
    """A file of events. Use it as a context manager.

    PyTorch's SummaryWriter writes in a thread, which prints a traceback of its own when the disk is full.

    Args:
        folder: the folder for the file, made if it is absent.
        epoch: the first epoch that will be written; what earlier files say of it and later ones no longer counts.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names: the later one counts.
        seconds, rest = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{seconds:010}.{rest:09}.{platform.node()}.{os.getpid()}"
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._add(file_version="brain.Event:2")
        self._add(step=epoch, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, content: Summary, epoch: int) -> None:
        """Add a number or a histogram, made by the functions of torch.utils.tensorboard.summary."""
        self._add(step=epoch, summary=content)

    def flush(self) -> None:
        """Give everything so far to the operating system.

        Raises:
            OSError: the disk is full.
        """
        self._file.flush()

    def _add(self, **content: Any) -> None:  # noqa: ANN401 - the fields of an event
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
