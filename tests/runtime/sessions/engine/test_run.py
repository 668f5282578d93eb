"""Engines of any outputs, run once; and engines loaded by the real TensorRT-RTX, which says why it cannot here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strict_cuda import Driver, cuda_on
from strict_tensorrt import Api

from reid.runtime.engine_card import Profile
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import find_device
from reid.runtime.sessions.engine.loading import LoadedEngine, map_plan
from reid.runtime.sessions.engine.run import EngineRun


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def engine(driver: Driver) -> EngineRun:
    api = Api(driver, (Profile((1, 4, 8), (1, 2, 8)),), (4, 4), 3)
    return EngineRun(api, b"plan", cuda_on(driver, "pycuda"))  # type: ignore[arg-type]


def test_all_outputs_come_back_by_their_names(driver: Driver, engine: EngineRun) -> None:
    with engine:
        held = driver.used
        for count in (3, 8):
            frames = np.random.default_rng(count).integers(0, 256, (count, 3, 4, 4)).astype(np.uint8)
            pooling = np.ones((2, count), np.float32)
            found = engine({"frames": frames[:, :, ::-1], "pooling": pooling})
            means = frames.reshape(count, -1).mean(axis=1)
            assert set(found) == {"frame_embedding", "pooled"}
            np.testing.assert_allclose(found["frame_embedding"], np.repeat(means[:, None], 3, 1), rtol=1e-5)
            np.testing.assert_allclose(found["pooled"], np.full((2, 3), means.sum()), rtol=1e-5)
        assert driver.used == held
    engine.close()
    assert (driver.used, driver.faults, driver.stack) == (0, [], [])


def test_inputs_that_are_missing_of_another_type_or_size_are_refused(driver: Driver, engine: EngineRun) -> None:
    frames, pooling = np.zeros((2, 3, 4, 4), np.uint8), np.zeros((1, 2), np.float32)
    with engine:
        held = driver.used
        with pytest.raises(ValueError, match="pooling is missing; give an array of float32"):
            engine({"frames": frames})
        with pytest.raises(ValueError, match="frames is float32; give an array of uint8"):
            engine({"frames": frames.astype(np.float32), "pooling": pooling})
        with pytest.raises(SessionError, match=r"takes no frames of \(9, 3, 4, 4\)"):
            engine({"frames": np.zeros((9, 3, 4, 4), np.uint8), "pooling": pooling})
        assert driver.used == held


def test_an_engine_that_finds_no_memory_leaves_none_behind(driver: Driver) -> None:
    api = Api(driver, (Profile((1, 4, 8), (1, 2, 8)),), (4, 4), 3)
    api.contexts = 0
    with pytest.raises(SessionError, match="too little memory"):
        EngineRun(api, b"plan", cuda_on(driver, "pycuda"))  # type: ignore[arg-type]
    assert (driver.used, driver.faults, driver.stack) == (0, [], [])


@pytest.mark.rtx
@pytest.mark.skipif(find_device() is not None, reason="where there is a GPU, an engine may load")
def test_the_real_package_takes_a_memory_map_and_says_what_is_wrong(tmp_path: Path) -> None:
    from reid.runtime.tensorrt_api import import_tensorrt

    file = tmp_path / "one.engine"
    file.write_bytes(bytes(4096))
    with map_plan(file, at_most=4096) as plan, pytest.raises(ModelError, match="MALFORMED_ENGINE"):
        LoadedEngine(import_tensorrt("tensorrt-rtx"), plan)
    with pytest.raises(OSError, match="more than the 4,095"):
        map_plan(file, at_most=4095)
