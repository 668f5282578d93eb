"""The examples run, on a small data set and an untrained model."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from reid import read_dataset
from reid.runtime.galleries.opening import open_gallery

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def eight_cameras(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("eight_cameras", EXAMPLES / "eight_cameras.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "eight_cameras", module)
    spec.loader.exec_module(module)
    return module


def test_frames_arrive_with_gaps_in_disorder_and_twice(eight_cameras: ModuleType, veri: Path) -> None:
    tracks = eight_cameras.recorded(read_dataset(veri).gallery.tracklets, 25)
    frames = eight_cameras.arriving(tracks)
    there = {(number, frame): 0 for number, track in enumerate(tracks) for frame in range(len(track.times_s))}
    for one in frames:
        there[one.track, one.frame] += 1
        assert 0 <= one.at_s - tracks[one.track].times_s[one.frame] <= eight_cameras.LATEST_S
    assert set(there.values()) == {0, 1, 2}
    assert [one.at_s for one in frames] == sorted(one.at_s for one in frames)
    orders = [[one.frame for one in frames if one.track == number] for number in range(len(tracks))]
    assert any(order != sorted(order) for order in orders)
    ends = [[one.last for one in frames if one.track == number] for number in range(len(tracks))]
    assert all(end == [False] * (len(end) - 1) + [True] for end in ends if end)


def test_eight_cameras_end_in_identities(
    eight_cameras: ModuleType,
    veri: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A threshold that no score reaches: every track is a vehicle of its own.
    monkeypatch.setattr(eight_cameras, "threshold_of", lambda *_: 1.1)
    words = ["eight_cameras.py", str(bundle), str(veri), "--gallery", str(tmp_path / "seen")]
    monkeypatch.setattr(sys, "argv", words)
    eight_cameras.main()
    count, alone = capsys.readouterr().out.splitlines()
    tracks = read_dataset(veri).gallery.tracklets
    longest = {track.vehicle: len(track.frames) for track in sorted(tracks, key=lambda track: len(track.frames))}
    right = 100 * sum(longest.values()) / sum(len(track.frames) for track in tracks)
    assert count == f"{len(tracks)} tracks; travel times between 0 pairs of cameras"
    assert alone == (
        f"embeddings alone: {len(tracks)} identities for {len(longest)} vehicles, "
        f"IDF1 {right:.2f}, IDP {right:.2f}, IDR {right:.2f}"
    )
    with contextlib.closing(open_gallery(tmp_path / "seen")) as gallery:
        kept = [entry for entries, _ in gallery.batches() for entry in entries]
    assert sorted(int(entry.vehicle or "") for entry in kept) == list(range(len(tracks)))
    assert {(tracks[int(entry.id)].camera, entry.picture) for entry in kept} == {(one.camera, "") for one in kept}


def test_a_model_without_operating_points_is_one_line(
    eight_cameras: ModuleType, veri: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["eight_cameras.py", str(bundle), str(veri)])
    with pytest.raises(SystemExit, match="error: the model has no operating point in fp32: export it with"):
        eight_cameras.main()
