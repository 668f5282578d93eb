"""A store that the kernels search finds what it finds on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from kernel_device import KernelDevice

pytest.importorskip("pydantic")  # the kernels' tests also run where there is none

from stored_galleries import make_entries, unit

from reid.runtime.galleries.conditions import ANY, Condition, Travel
from reid.runtime.galleries.store import device_tiles
from reid.runtime.galleries.store.on_device import StoreOnDevice
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.space import Space


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_a_store_on_a_device_finds_what_it_finds_on_the_cpu(
    device: KernelDevice, tmp_path: Path, storage: Literal["fp32", "fp16"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tiles, "_TILE_BYTES", 4 * 24 * 150)
    travel = Travel(TravelTimes({("c1", "c2"): (2.0, 4.0)}), Sighting("c2", 5.0))
    conditions = [ANY, Condition(not_cameras=frozenset({"c2"}), time_s=(3.0, 6.0)), Condition(travel=travel)]
    asked = unit(40, 24, seed=1)
    with Store.create(tmp_path / "gallery", Space("f" * 64, "fp32", 24), storage=storage) as store:
        embeddings = unit(400, 24)
        embeddings[200:300] = embeddings[7]  # more than are proposed
        store.add(make_entries(map(str, range(400))), embeddings)
        for room in (1 << 20, 0):
            searched = StoreOnDevice(store, device.kernels, room=room)
            for queries in (asked, np.concatenate([embeddings[7:8], asked[:2]])):
                assert searched.search(queries, 10) == store.search(queries, 10)
            assert searched.search(asked[:3], 10, conditions) == store.search(asked[:3], 10, conditions)
        store.remove(map(str, range(0, 400, 3)))
        assert searched.search(asked[:3], 10, conditions) == store.search(asked[:3], 10, conditions)
