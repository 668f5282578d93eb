from __future__ import annotations

import io
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from reid.runtime.files.arrays import open_arrays, parse_array


def stored(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@given(
    arrays.arrays(st.sampled_from([np.float32, np.int64, np.uint8, "U3"]), arrays.array_shapes(min_dims=0, min_side=0))
)
def test_what_numpy_writes_comes_back(array: np.ndarray) -> None:
    found = parse_array(stored(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", "(3, 1099511627776)", "(2,)", "(-3,)", "(-1, -3)", "(3", "[3]", "3"]
)
def test_a_header_that_claims_something_else_is_refused_before_anything_is_allocated(shape: str) -> None:
    header = stored(np.zeros(3, np.float32)).replace(b"(3,)", shape.encode())
    with pytest.raises(ValueError):  # noqa: PT011 - the reason differs, the type is what counts
        parse_array(header)


def test_objects_and_arrays_by_column_are_refused() -> None:
    for array in (np.array([{}]), np.asfortranarray(np.ones((2, 3)))):
        with pytest.raises(ValueError, match="an array"):
            parse_array(stored(array))


def test_a_damaged_array_is_a_value_error_or_has_its_own_size() -> None:
    content, chance = stored(np.arange(24, dtype=np.float32).reshape(4, 6)), random.Random(0)
    for _ in range(2000):
        damaged = bytearray(content)
        damaged[chance.randrange(100)] = chance.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the literal that is the header
            try:
                assert parse_array(bytes(damaged)).nbytes <= len(content)
            except ValueError:
                continue


def test_an_archive_reads_what_is_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3), two=np.array("text"))
    with open_arrays(tmp_path / "a.npz") as found:
        assert found.names == {"one", "two"}
        assert found.read("one").tolist() == [0, 1, 2]
        assert found.read("two").item() == "text"
        with pytest.raises(ValueError, match="three is missing"):
            found.read("three")


def test_an_archive_of_arrays_that_share_their_bytes_is_refused(tmp_path: Path) -> None:
    """As in a bomb that does without compression: many entries, one content."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", stored(np.zeros(1000)))
        (member,) = archive.filelist
        for name in "bcdefg":
            twin = zipfile.ZipInfo(f"{name}.npy")
            twin.header_offset, twin.file_size, twin.compress_size, twin.CRC = (
                0,
                member.file_size,
                member.file_size,
                member.CRC,
            )
            archive.filelist.append(twin)
    with pytest.raises(ValueError, match="overlap"), open_arrays(tmp_path / "a.npz"):
        pytest.fail("opened")
