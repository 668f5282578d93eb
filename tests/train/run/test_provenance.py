from __future__ import annotations

import os
import shutil
from pathlib import Path

from reid.runtime.imaging import is_image
from reid.runtime.tracklet import Tracklet
from reid.train.run.provenance import reference_crops


def test_only_readable_images_with_the_name_of_one_travel_with_a_model(veri: Path, tmp_path: Path) -> None:
    image = next((veri / "image_train").iterdir())
    good, hidden, unnamed, pipe, cut = (tmp_path / n for n in ("a.JPG", ".b.jpg", "c.txt", "d.jpg", "e.jpg"))
    for path in (good, hidden, unnamed):
        shutil.copyfile(image, path)
    os.mkfifo(pipe)
    cut.write_bytes(image.read_bytes()[:50])
    frames = [good, hidden, unnamed, pipe, cut, tmp_path / "absent.jpg"]
    crops = reference_crops([Tracklet(path.name, (path,)) for path in frames])
    assert crops == {"0000.jpg": image.read_bytes()}
    assert all(is_image(name) for name in crops)
