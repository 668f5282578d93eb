from __future__ import annotations

import hashlib
import os
from pathlib import Path

from reid.data.fingerprint import data_fingerprint
from reid.data.layout import read_dataset


def test_it_is_the_hash_of_names_sizes_and_labels_whatever_bytes_the_names_are(tmp_path: Path) -> None:
    names = [f"{vehicle:04d}_c00{camera}_00000001_".encode() for vehicle in range(5) for camera in (1, 2)]
    names = [name + end for name in names for end in (b"0.jpg", b"caf\xe9.jpg", "café.jpg".encode())]
    (tmp_path / "train").mkdir()
    (tmp_path / "query").mkdir()
    for name in names:
        (tmp_path / "train" / os.fsdecode(name)).write_bytes(name)
    digest = hashlib.sha256()
    for name in sorted(names, key=os.fsdecode):
        vehicle, camera, *_ = name.split(b"_")
        digest.update(b"train/%s %d %s %s\n" % (name, len(name), vehicle, camera))
    assert data_fingerprint(read_dataset(tmp_path)) == digest.hexdigest()
