from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.runtime.file_names import ImageName, parse_name


@given(
    st.integers(0, 9999),
    st.integers(0, 999),
    st.integers(0, 10**8 - 1),
    st.integers(0, 99),
    st.sampled_from([".jpg", ".JPG", ".jpeg", ".png"]),
)
def test_a_veri_style_name_gives_back_what_was_written_into_it(
    vehicle: int, camera: int, time: int, serial: int, suffix: str
) -> None:
    name = f"{vehicle:04d}_c{camera:03d}_{time:08d}_{serial}{suffix}"
    assert parse_name(name) == ImageName(f"{vehicle:04d}", f"c{camera:03d}", "", time)


@given(st.integers(-1, 1501), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6 - 1), st.integers(0, 99))
def test_a_market_style_name_gives_back_what_was_written_into_it(
    vehicle: int, camera: int, sequence: int, frame: int, box: int
) -> None:
    written = "-1" if vehicle == -1 else f"{vehicle:04d}"
    name = f"{written}_c{camera}s{sequence}_{frame:06d}_{box:02d}.jpg"
    assert parse_name(name) == ImageName(written, f"c{camera}", str(sequence), frame)


def test_market_names_that_end_in_two_suffixes_are_read() -> None:
    assert parse_name("0002_c1s1_000451_03.jpg.jpg") == ImageName("0002", "c1", "1", 451)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "000001.jpg",
        "0002_c003.jpg",
        "0002_x003_00084255_0.jpg",
        "0002-c003-00084255-0.jpg",
        "car_c003_00084255_0.jpg",
        "0002_c003_late_0.jpg",
        "0002_c003_00084255_0",
        "0002_c003_00084255_0.jpg\n",
        "٠٠٠٢_c003_00084255_0.jpg",
        " 0002_c003_00084255_0.jpg",
        f"0002_c003_{'1' * 5000}_0.jpg",  # Python does not read such numbers
    ],
)
def test_other_names_give_no_label(name: str) -> None:
    assert parse_name(name) is None


@given(st.text(max_size=60))
def test_no_text_is_an_error(name: str) -> None:
    found = parse_name(name)
    assert found is None or name.startswith(f"{found.vehicle}_{found.camera}")
