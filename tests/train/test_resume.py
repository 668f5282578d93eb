from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("kill_and_resume.py")

# A run writes run.json at moments 1 to 3 and ends its four steps of the first epoch at 4, 8, 12 and 16, each with a
# state; then it writes the checkpoint, 20 to 22, its card, 23 to 25, a row of metrics, 26 to 28, and the state of the
# whole epoch, 29 to 31. The second epoch ends at 53. A resumed run counts from 1.
HISTORIES = ["", "1,5,9", "13,21,2", "25,7,10", "27,35", "52"]


def test_a_run_that_is_killed_at_any_moment_ends_as_one_that_is_not(veri: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(veri), str(tmp_path), *HISTORIES]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, check=True, env=environment, timeout=600)
    whole, *killed = (tmp_path / str(number) for number in range(len(HISTORIES)))
    for run in killed:
        for name in ("checkpoint.safetensors", "checkpoint.json", "last/state.safetensors"):
            assert (run / name).read_bytes() == (whole / name).read_bytes(), (run.name, name)
        for row, wanted in zip(rows(run), rows(whole), strict=True):
            assert (row["epoch"], row["train"], row["held_out"]) == (
                wanted["epoch"],
                wanted["train"],
                wanted["held_out"],
            )
        assert not list(run.rglob("*.partial"))


def rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
