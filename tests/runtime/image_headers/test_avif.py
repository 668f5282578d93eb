"""What AVIFs may cost, beside the sizes that test_reading compares."""

from __future__ import annotations

import io
import struct

import pytest
from image_files import animated, av1, avif, box, by_pillow, noise
from PIL import Image

from reid.runtime.image_headers.av1 import av1_size
from reid.runtime.image_headers.reading import read_header

IMAGE = av1(64, 48)
SMALL = av1(32, 24)
FRAME = IMAGE[IMAGE.index(b"\x32") :]  # a frame with its size
WHOLE = avif([(IMAGE, (64, 48))])

REFUSED = {
    "a smaller size than it has": (avif([(IMAGE, (8, 8))]), "another size than it says"),
    "a larger size than it has": (avif([(IMAGE, (640, 480))]), "another size than it says"),
    "a second image that lies": (avif([(IMAGE, (64, 48)), (SMALL, (8, 8))]), "another size than it says"),
    "many large images": (
        avif([(SMALL, (32, 24)), *[(av1(700, 500), (700, 500))] * 4]),
        "images of more pixels than an image of 32 x 24 can need",
    ),
    "300 images": (avif([(SMALL, (32, 24))] * 300), "300 images, more than 256"),
    "two frames": (avif([(IMAGE + FRAME, (64, 48))]), "several frames or none.*convert it"),
    "no frame": (avif([(IMAGE[: -len(FRAME)], (64, 48))]), "several frames or none.*convert it"),
    "two sizes": (avif([(SMALL[: SMALL.index(b"\x32")] + IMAGE, (64, 48))]), "several frames or none.*convert it"),
    "data behind the end": (avif([(IMAGE, (64, 48))], shift=9), "cut short"),
    "a sequence": (animated("AVIF")(noise(64, 48)), "a sequence|an AVIF sequence.*convert it"),
    "another brand": (WHOLE.replace(b"avif", b"heic"), "not a readable image"),
    "two lists": (avif([(IMAGE, (64, 48))], outer=box(b"meta", bytes(4))), "not a readable image"),
    "no list": (box(b"ftyp", b"avif\0\0\0\0avif"), "not a readable image"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_avif_that_costs_much_or_is_not_whole_is_refused(case: str) -> None:
    content, reason = REFUSED[case]
    assert len(content) < 3_000_000
    with pytest.raises(ValueError, match=rf"^[^\n]*({reason})[^\n]*$"):
        read_header(content)


def test_items_that_share_their_data_are_refused() -> None:
    content = bytearray(avif([(IMAGE, (64, 48))] * 200))
    first = content.index(b"iloc") + 12
    everything = content[first + 8 : first + 12] + struct.pack(">I", 200 * len(IMAGE))
    for place in range(first, first + 200 * 16, 16):
        content[place + 8 : place + 16] = everything
    with pytest.raises(ValueError, match="overlap"):
        read_header(bytes(content))


@pytest.mark.parametrize("method", [0, 1])
def test_what_the_refused_ones_are_made_of_is_sound(method: int) -> None:
    content = avif([(IMAGE, (64, 48)), (SMALL, (32, 24))], method=method)
    assert read_header(content) == ("AVIF", 64, 48)
    assert Image.open(io.BytesIO(content)).convert("RGB").size == (64, 48)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_avif_cut_anywhere_is_refused(mode: str) -> None:
    content = by_pillow("AVIF", mode, speed=10)(noise(40, 30))
    for length in range(0, len(content), 5):
        with pytest.raises(ValueError, match=r"^(the image is cut short|not a readable image)$"):
            read_header(content[:length])


def sequence_header(*numbers: tuple[int, int]) -> bytes:
    """Return a unit with a sequence header of integers and the bits of each, and a frame."""
    bits = "".join(f"{number:0{count}b}" for number, count in numbers)
    body = int(bits.ljust(160, "0"), 2).to_bytes(20, "big")
    return bytes([1 << 3 | 2, len(body)]) + body + bytes([6 << 3 | 2, 0])


START, LEVEL = ((0, 3), (0, 1), (0, 1)), ((0, 12), (5, 5))  # profile, still, reduced; operating point, level


@pytest.mark.parametrize(
    "points",
    [
        ((0, 1), (0, 1), (0, 5), *LEVEL),
        ((0, 1), (0, 1), (1, 5), (0, 12), (8, 5), (1, 1), *LEVEL),  # two; of high levels there is one bit more
        ((0, 1), (1, 1), (0, 5), *LEVEL, (1, 1), (9, 4)),  # with a delay
        ((0, 1), (1, 1), (0, 5), *LEVEL, (0, 1)),
    ],
)
def test_a_sequence_header_of_any_kind_gives_its_size(points: tuple[tuple[int, int], ...]) -> None:
    assert av1_size(sequence_header(*START, *points, (9, 4), (8, 4), (639, 10), (479, 9))) == (640, 480)


def test_a_frame_that_may_be_larger_than_its_sequence_says_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than it says"):
        av1_size(sequence_header(*START, (0, 1), (0, 1), (0, 5), *LEVEL, (15, 4), (8, 4), (639, 16), (479, 9)))


def test_a_timing_is_refused() -> None:
    with pytest.raises(ValueError, match="timing"):
        av1_size(sequence_header(*START, (1, 1)))
