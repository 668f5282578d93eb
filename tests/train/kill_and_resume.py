"""Kill runs at chosen moments and resume them, each in a process of its own; leave the finished runs.

The moments of a run are counted: after every step, before a written file is flushed, before and after it is renamed.

Usage: kill_and_resume.py DATA OUTPUT MOMENTS ...
MOMENTS are the moments, such as 3,40, at which a run is killed, resumed, killed again and so on until it ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Imported once; nothing is computed before the processes fork, because PyTorch's threads do not survive a fork.
from reid.data.layout import open_dataset
from reid.train.loop import train
from reid.train.recipe import Recipe
from reid.train.run.folder import RunFolder

RECIPE = Recipe(
    backbone="test_resnet",
    weights="none",
    levels=(3, 4),
    embedding_size=8,
    image_size=32,
    vehicles_per_batch=5,
    images_per_vehicle=4,
    epochs=2,
    warmup_epochs=1,
    learning_rate=1e-3,
    bnneck=True,
    memory_size=32,
    average_decay=0.99,
    frozen_epochs=1,
    clip_norm=5.0,
)


def main() -> None:
    data, output, *histories = sys.argv[1:]
    for number, history in enumerate(histories):
        run = RunFolder(Path(output) / str(number), save_every=0)
        for moment in [int(text) for text in history.split(",") if text]:
            _in_a_process(lambda run=run, moment=moment: _train(Path(data), run, kill_at=moment), killed=True)
        _in_a_process(lambda run=run: _train(Path(data), run, kill_at=None), killed=False)


def _in_a_process(action: Callable[[], None], *, killed: bool) -> None:
    child = os.fork()
    if not child:
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == (signal.SIGKILL if killed else 0), status


def _train(data: Path, run: RunFolder, *, kill_at: int | None) -> None:
    moments = 0

    def moment(*anything: object) -> None:
        nonlocal moments
        moments += 1
        if moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    _surround(os, "fsync", moment, lambda: None)
    _surround(Path, "rename", moment, moment)
    run.check(resume=True)
    train(open_dataset(data, needs="train"), RECIPE, run, resume=True, progress=_Steps(moment))
    if kill_at is None:
        (run.path / "moments").write_text(str(moments))


class _Steps:
    """A Progress that calls a function after every step."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        self._action()


def _surround(owner: object, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    original = getattr(owner, name)

    def surrounded(*arguments: object) -> object:
        before()
        result = original(*arguments)
        after()
        return result

    setattr(owner, name, surrounded)


if __name__ == "__main__":
    main()
