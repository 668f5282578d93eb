"""DLPack's structs, beside numpy's, which are the same but for the device."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from reid.runtime.cuda_driver import dlpack
from reid.runtime.cuda_driver.foreign import read_foreign

CPU = 1


class Owner:
    """What keeps an array's memory."""


class Given:
    """An array of another library, which gives a capsule."""

    def __init__(self, capsule: object) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: object) -> object:
        capsule, self._capsule = self._capsule, None
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64, np.float16])
def test_what_numpy_gives_away_is_read(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlpack, "CUDA", CPU)
    array = np.zeros((4, 6, 5), dtype)
    for one in (array, array[1:, ::2], array.transpose(2, 0, 1)):
        address, shape, strides, kind, _ = dlpack.read_capsule(one.__dlpack__())
        assert (address, shape, kind) == (one.ctypes.data, one.shape, one.dtype)
        expected = tuple(stride // one.itemsize for stride in one.strides)
        assert strides == expected or (strides is None and one.flags.c_contiguous)  # as numpy 1 says it


def test_what_is_given_away_numpy_reads_and_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlpack, "CUDA", CPU)
    array, owner = np.arange(12, dtype=np.float32).reshape(3, 4), Owner()
    alive = weakref.ref(owner)

    taken = np.from_dlpack(Given(dlpack.to_capsule(array.ctypes.data, array.shape, array.dtype, 0, owner)))
    del owner
    np.testing.assert_array_equal(taken, array)
    assert alive() is not None
    del taken
    assert alive() is None


def test_what_nobody_takes_is_given_back() -> None:
    owner = Owner()
    alive = weakref.ref(owner)
    capsule = dlpack.to_capsule(512, (2, 3), np.dtype(np.uint8), 1, owner)
    del owner
    assert dlpack.read_capsule(capsule) == (512, (2, 3), None, np.dtype(np.uint8), 1)
    assert alive() is not None
    del capsule
    assert alive() is None


def test_what_is_not_on_a_gpu_is_refused() -> None:
    array = np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match="type 1"):
        dlpack.read_capsule(array.__dlpack__())
    with pytest.raises(ValueError, match="ndarray is on a device of DLPack's type 1, not a GPU"):
        read_foreign(array, 0)
    with pytest.raises(ValueError, match="list has neither"):
        read_foreign([1], 0)
