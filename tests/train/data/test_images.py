from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from reid.runtime.errors import DataError, ReidError
from reid.runtime.tracklet import Tracklet
from reid.train.data.augmentation import Augmentation
from reid.train.data.images import Images, check_temporary_folder, training_batches
from reid.train.data.sampler import PKSampler, Sample


@pytest.fixture
def crops(tmp_path: Path) -> list[Tracklet]:
    """Three vehicles with four images each; vehicle v is a flat color of brightness 60 * (v + 1)."""
    images = []
    for vehicle in range(3):
        for number in range(4):
            path = tmp_path / f"{vehicle}_{number}.png"
            cv2.imwrite(str(path), np.full((20, 30, 3), 60 * (vehicle + 1), np.uint8))
            images.append(Tracklet(path.stem, (path,), "c1", f"v{vehicle}"))
    return images


def test_the_same_seed_gives_the_same_crop_and_another_seed_another(crops: list[Tracklet]) -> None:
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    augment = Augmentation(32)
    state = torch.random.get_rng_state()
    first, again = augment(frame, 5), augment(frame, 5)
    assert torch.equal(first, again)
    assert any(not torch.equal(first, augment(frame, seed)) for seed in range(6, 10))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.dtype == torch.uint8
    assert first.shape == frame.shape


def test_flip_crop_color_and_erasing_all_happen() -> None:
    """On a picture that is dark on the left and bright on the right, each leaves its own trace."""
    ramp = torch.arange(60, 60 + 32 * 3, 3, dtype=torch.uint8).expand(3, 32, 32).contiguous()
    augmented = [Augmentation(32)(ramp, seed).int() for seed in range(200)]
    flipped = [a for a in augmented if a[:, :, 3].float().mean() > a[:, :, -4].float().mean()]
    erased = [a for a in augmented if (a == 127).all(dim=0).sum() > 32]
    sums = {int(a.sum()) for a in augmented}
    assert 60 < len(flipped) < 140
    assert 60 < len(erased) < 140
    assert len(sums) > 100


def test_a_frame_comes_with_its_vehicle(crops: list[Tracklet]) -> None:
    images = Images(crops, 16)
    frame, vehicle, unreadable = images[Sample(9, 0)]
    assert (tuple(frame.shape), vehicle, unreadable) == ((3, 16, 16), 2, ())
    assert images.identities == 3


def test_another_image_of_the_vehicle_stands_in_for_an_unreadable_one(crops: list[Tracklet]) -> None:
    path = crops[5].frames[0]
    assert isinstance(path, Path)
    path.write_bytes(b"not an image")
    _, vehicle, unreadable = Images(crops, 16)[Sample(5, 0)]
    assert vehicle == 1
    assert len(unreadable) == 1
    assert path.name in unreadable[0]


def test_a_vehicle_without_a_readable_image_is_an_error(crops: list[Tracklet]) -> None:
    for image in crops[:4]:
        assert isinstance(image.frames[0], Path)
        image.frames[0].write_bytes(b"")
    with pytest.raises(DataError, match="no image of vehicle v0"):
        Images(crops, 16)[Sample(0, 0)]


def test_batches_do_not_depend_on_the_number_of_workers(crops: list[Tracklet], monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images(crops, 16)
    runs = []
    for cores in (1, 3):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        batches = training_batches(images, PKSampler(images.vehicles, p=2, k=2, seed=0, epoch=1), pin_memory=False)
        runs.append(list(batches))
    assert len(runs[0]) == len(runs[1]) > 0
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.vehicles, other.vehicles)
        assert one.frames.shape == (4, 3, 16, 16)


def test_the_longest_temporary_folder_is_the_longest_in_which_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    meet = [sys.executable, "-c", "from multiprocessing.connection import Listener; Listener().close()"]
    with tempfile.TemporaryDirectory(dir="/tmp") as around:
        long, longer = (f"{around}/".ljust(length, "n") for length in (75, 76))
        for folder in (long, longer):
            Path(folder).mkdir()
        codes = [
            subprocess.run(meet, env={"TMPDIR": folder}, stderr=subprocess.DEVNULL).returncode
            for folder in (long, longer)
        ]
        assert codes == [0, 1]
        monkeypatch.setattr(tempfile, "tempdir", long)
        check_temporary_folder()
        monkeypatch.setattr(tempfile, "tempdir", longer)
        with pytest.raises(ReidError, match=f"^TMPDIR is {longer}, whose 76 bytes are .* at most 75, such as TMPDIR="):
            check_temporary_folder()
