"""Which files are plain: held to what encoders write, and to what OpenCV makes of them."""

from __future__ import annotations

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpeg_files import jpeg, picture, turned, with_segment

from reid.runtime.image_headers.plain_jpeg import plain_jpeg_size
from reid.runtime.imaging import decode

SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
PLAIN = jpeg(picture(45, 62))


@pytest.mark.parametrize("sampling", [0x111111, 0x211111, 0x221111, 0x121111])
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_OPTIMIZE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)])
def test_what_encoders_write_is_plain(sampling: int, options: tuple[int, ...]) -> None:
    content = jpeg(picture(45, 62), SAMPLING, sampling, *options)
    assert plain_jpeg_size(content) == (62, 45)
    assert plain_jpeg_size(with_segment(content, 0xFE, b"a comment")) == (62, 45)
    assert plain_jpeg_size(with_segment(content, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")) == (62, 45)


def frame_changed(content: bytes, at: int, value: int) -> bytes:
    """Change a byte of the frame's segment, counted from its first, the bits of a sample."""
    start = content.index(b"\xff\xc0") + 4 + at
    return content[:start] + bytes([value]) + content[start + 1 :]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8", id="only the beginning"),
        pytest.param(cv2.imencode(".png", picture(8, 8))[1].tobytes(), id="a PNG"),
        pytest.param(jpeg(picture(45, 62), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), id="progressive"),
        pytest.param(jpeg(picture(45, 62), SAMPLING, 0x411111), id="4:1:1"),
        pytest.param(jpeg(picture(45, 62)[..., 0]), id="gray"),
        pytest.param(PLAIN.replace(b"\xff\xc0", b"\xff\xc1"), id="extended"),
        pytest.param(PLAIN.replace(b"\xff\xc0", b"\xff\xc3"), id="lossless"),
        pytest.param(frame_changed(PLAIN, 0, 12), id="12 bits"),
        pytest.param(frame_changed(PLAIN, 5, 4), id="four components"),
        pytest.param(frame_changed(PLAIN, 6, ord("R")), id="red, green and blue"),
        pytest.param(frame_changed(PLAIN, 10, 0x21), id="odd sampling"),
        pytest.param(frame_changed(frame_changed(PLAIN, 1, 0), 2, 0), id="no height"),
        pytest.param(with_segment(PLAIN, 0xEE, b"Adobe\0\x64\0\0\0\0\0"), id="Adobe's colors"),
        pytest.param(with_segment(PLAIN, 0xC0, PLAIN[PLAIN.index(b"\xff\xc0") + 4 :][:15]), id="two frames"),
        pytest.param(PLAIN[: PLAIN.index(b"\xff\xda")], id="no pixels"),
        pytest.param(PLAIN[:2] + b"\xff" + PLAIN[2:], id="filled up"),
        *(pytest.param(turned(PLAIN, one), id=f"orientation {one}") for one in (1, 6)),
    ],
)
def test_what_decoders_could_disagree_about_is_not(content: bytes) -> None:
    assert plain_jpeg_size(content) is None


def test_the_exif_data_of_these_tests_turns_pictures() -> None:
    assert decode(PLAIN, "a").shape == (45, 62, 3)
    assert decode(turned(PLAIN, 6), "a").shape == (62, 45, 3)


@given(st.binary(max_size=64), st.integers(2, 400))
def test_damage_is_no_error(noise: bytes, at: int) -> None:
    size = plain_jpeg_size(PLAIN[:at] + noise + PLAIN[at:])
    assert size is None or len(size) == 2
