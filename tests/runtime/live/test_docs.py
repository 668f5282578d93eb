"""The example of docs/live-tracks.md, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs" / "live-tracks.md"


def test_the_example_runs_as_it_stands(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/live-tracks.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("so far:") == 2
    assert "17 north 20 0 [" in printed
    assert "17 south 20 0 [" in printed
    assert (
        "'north': CameraCounts(pushed=20, embedding=20, dropped=0, repeated=0, forgotten=0, lost_tracks=0)" in printed
    )
