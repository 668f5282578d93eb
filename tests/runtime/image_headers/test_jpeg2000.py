"""What JPEG 2000 files may cost, beside the sizes that test_reading compares."""

from __future__ import annotations

import struct

import pytest
from image_files import box, by_pillow, codestream, coding_style, in_boxes, noise, segment

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode

WHOLE = codestream(64, 48)
SRGB, SYCC = (box(b"colr", struct.pack(">BBBI", 1, 0, 0, kind)) for kind in (16, 18))

REFUSED = {
    "a tile for each pixel": (codestream(250, 250, tile=1), "62,500 tiles"),
    "tiles of no width": (codestream(64, 48)[:24] + bytes(4) + codestream(64, 48)[28:], "not a readable image"),
    "65,535 layers": (codestream(64, 48, layers=65_535), "65,535 layers"),
    "small blocks": (codestream(64, 48, block=1), "code blocks of few pixels"),
    "a precinct for each pixel": (codestream(500, 500, precincts=b"\x11" * 6), "precincts"),
    "small blocks of a component": (
        codestream(64, 48, more=segment(0x53, b"\1\0" + coding_style(block=0)[5:])),
        "code blocks of few pixels",
    ),
    "small blocks of a tile": (codestream(64, 48, in_tile=segment(0x52, coding_style(block=0))), "code blocks"),
    "layers of a tile": (codestream(64, 48, in_tile=segment(0x52, coding_style(layers=999))), "999 layers"),
    "changes of order": (codestream(64, 48, more=segment(0x5F, bytes(7))), "marker 5F.*convert it"),
    "packed headers": (codestream(64, 48, in_tile=segment(0x61, bytes(7))), "marker 61.*convert it"),
    "a second size": (codestream(64, 48, more=WHOLE[2:51]), "marker 51.*convert it"),
    "5 components": (codestream(64, 48, steps=b"\1\1" * 5), "more than 4 components.*convert it"),
    "no components": (codestream(64, 48, steps=b""), "more than 4 components.*convert it"),
    "small colors": (codestream(64, 48, steps=b"\1\1\2\2\2\2"), "subsampled.*convert it"),
    "an offset": (codestream(64, 48, offset=8), "offset.*convert it"),
    "a palette of 255 components": (in_boxes(WHOLE, SRGB, box(b"pclr", b"\0\2\xff")), "palette.*convert it"),
    "sYCC": (in_boxes(WHOLE, SYCC), "sYCC.*convert it"),
    "a tile too few": (codestream(64, 48, tile=16, tiles=11), "cut short"),
    "no end": (WHOLE[:-2], "cut short"),
    "no codestream": (in_boxes(WHOLE, SRGB)[:60], "cut short"),
    "boxes of nothing": (in_boxes(b""), "not a readable image"),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_costs_much_or_is_not_whole_is_refused_before_it_is_decoded(case: str) -> None:
    content, reason = REFUSED[case]
    assert len(content) < 1_000_000
    with pytest.raises(DataError, match=rf"^x: [^\n]*{reason}[^\n]*$"):
        decode(content, "x")


def with_byte(place: int, value: int) -> bytes:
    """Change a byte of the coding style, from its marker on."""
    start = WHOLE.index(b"\xff\x52") + place
    return WHOLE[:start] + bytes([value]) + WHOLE[start + 1 :]


WRONG = {
    "other styles": with_byte(4, 8),
    "precincts without sizes": with_byte(4, 1),
    "no layers": with_byte(7, 0),
    "another transform of colors": with_byte(8, 2),
    "too many resolutions": with_byte(9, 33),
    "too large blocks": with_byte(10, 5),
    "mixed coding": with_byte(12, 0x80),
    "another transform": with_byte(13, 2),
    "one byte less": WHOLE.replace(b"\xff\x52\0\x0c", b"\xff\x52\0\x0b"),
    "no coding style": WHOLE.replace(WHOLE[WHOLE.index(b"\xff\x52") : WHOLE.index(b"\xff\x5c")], b""),
    "no quantization": WHOLE.replace(WHOLE[WHOLE.index(b"\xff\x5c") : WHOLE.index(b"\xff\x90")], b""),
    "half a step": codestream(64, 48, more=segment(0x5C, b"\x42\0\0\0")),
    "steps of a fourth component": codestream(64, 48, more=segment(0x5D, b"\3\x40\x40")),
    "style of a fourth component": codestream(64, 48, more=segment(0x53, b"\3\0" + coding_style()[5:])),
    "lengths of packets": codestream(64, 48, more=segment(0x58, bytes(3))),
    "more components than it has": WHOLE.replace(b"\xff\x51\0\x2f", b"\xff\x51\0\x2c"),
    "another height in front": in_boxes(codestream(64, 47), SRGB),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_main_header_is_not_given_to_a_decoder_that_may_crash_on_it(case: str) -> None:
    assert WRONG[case] != WHOLE
    with pytest.raises(DataError, match=r"^x: (not a readable image|the image is cut short)$"):
        decode(WRONG[case], "x")


@pytest.mark.parametrize("content", [WHOLE, in_boxes(WHOLE, SRGB), codestream(64, 48, tile=16, tiles=12, layers=20)])
def test_what_the_refused_ones_are_made_of_is_sound(content: bytes) -> None:
    assert decode(content, "x").shape == (48, 64, 3)


def test_the_last_tile_may_leave_its_length_open() -> None:
    start = WHOLE.index(b"\xff\x90") + 6
    assert decode(WHOLE[:start] + bytes(4) + WHOLE[start + 4 :], "x").shape == (48, 64, 3)


def test_a_file_cut_anywhere_is_refused() -> None:
    content = by_pillow("JPEG2000")(noise(40, 30))
    for length in range(0, len(content), 7):
        with pytest.raises(DataError):
            decode(content[:length], "x")
