"""What TIFFs may cost, beside the sizes that test_reading compares."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from image_files import directory, noise, tiff

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode

Entries = dict[int, tuple[str, list[int]]]

GRAY: Entries = {
    **{256: ("I", [64]), 257: ("I", [48]), 258: ("H", [8]), 259: ("H", [1]), 262: ("H", [1])},
    **{277: ("H", [1]), 278: ("I", [48])},
}
ROWS = [bytes(64 * 48)]
PACKED = [zlib.compress(bytes(64 * 48))]


def changed(parts: list[bytes] = ROWS, **changes: tuple[str, list[int]]) -> bytes:
    """Return a gray TIFF with other entries: t258=("H", [16])."""
    return directory(GRAY | {int(tag[1:]): entry for tag, entry in changes.items()}, parts)


def sharing(count: int) -> bytes:
    """Return a TIFF with entries of unknown tags, all of which say that a megabyte at the start is theirs."""
    content = bytearray(changed([bytes(1 << 20)], **{f"t{40_000 + number}": ("B", [1]) for number in range(count)}))
    (entries,) = struct.unpack_from("<H", content, 8)
    for place in range(10, 10 + 12 * entries, 12):
        if struct.unpack_from("<H", content, place)[0] >= 40_000:
            struct.pack_into("<II", content, place + 4, 1 << 20, 8)
    return bytes(content)


def twice(tag: int) -> bytes:
    """Return a TIFF with two entries of a tag: the last takes the tag of the one before."""
    content = bytearray(changed(t40000=("H", [5])))
    (entries,) = struct.unpack_from("<H", content, 8)
    struct.pack_into("<H", content, 10 + 12 * (entries - 1), tag)
    return bytes(content)


REFUSED = {
    "2,000 entries": (changed(**{f"t{40_000 + number}": ("B", [1]) for number in range(2000)}), "1,000 entries"),
    "entries of the same megabyte": (sharing(900), "entries that overlap"),
    "two widths": (twice(256), "entries that overlap"),
    "an entry behind the end": (changed()[:8] + struct.pack("<HHHII", 1, 256, 4, 9, 1 << 31), "cut short"),
    "strips of the same data": (
        changed([bytes(1 << 20)] + [b""] * 47, t278=("I", [1]), t273=("I", [400] * 48), t279=("I", [1 << 20] * 48)),
        "overlap",
    ),
    "a strip behind the end": (changed(t273=("I", [1 << 20])), "cut short"),
    "a strip without bytes": (changed(t279=("I", [0])), "cut short"),
    "a strip too few": (changed(t278=("I", [24])), "cut short"),
    "a strip of half the rows": (changed([bytes(64 * 24)]), "cut short"),
    "no strips": (
        directory({256: ("I", [64]), 257: ("I", [48]), 323: ("H", [16]), 259: ("H", [8])}, ROWS),
        "not a readable image",
    ),
    "a tile of a gigabyte": (
        changed(PACKED, t259=("H", [8]), t322=("I", [32_768]), t323=("I", [32_768])),
        "32,768 x 32,768 pixels in an image of 64 x 48",
    ),
    "strips of a gigabyte": (changed(PACKED, t259=("H", [8]), t278=("I", [1 << 24])), "64 x 16,777,216 pixels"),
    "100,000 strips": (
        changed([b"x"] * 100_000, t256=("I", [1]), t257=("I", [100_000]), t278=("I", [1])),
        "100,000 strips",
    ),
    "tiles of no width": (changed(PACKED, t259=("H", [8]), t322=("I", [0]), t323=("I", [16])), "not a readable image"),
    "tiles as they are": (changed(t322=("I", [64]), t323=("I", [48])), "tiles without compression.*convert it"),
    "5 samples": (changed([bytes(5 * 64 * 48)], t277=("H", [5])), "5 samples of 8 bits.*convert it"),
    "floats": (changed([bytes(4 * 64 * 48)], t258=("H", [32])), "1 samples of 32 bits.*convert it"),
    "Zstandard": (changed(t259=("H", [50_000])), "compression 50000.*convert it"),
    "no pixels": (changed(t256=("I", [0])), "not a readable image"),
    "no entries": (b"II*\0\x08\0\0\0" + bytes(99), "not a readable image"),
    "its start alone": (b"MM\0*", "not a readable image"),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("case", REFUSED)
def test_a_tiff_that_costs_much_or_is_not_whole_is_refused_before_it_is_decoded(case: str) -> None:
    content, reason = REFUSED[case]
    assert len(content) < 2_200_000
    with pytest.raises(DataError, match=rf"^x: [^\n]*{reason}[^\n]*$"):
        decode(content, "x")


def test_what_the_refused_ones_are_made_of_is_sound() -> None:
    assert decode(changed(), "x").shape == (48, 64, 3)
    assert decode(changed(PACKED, t259=("H", [8]), t278=("I", [2**32 - 1])), "x").shape == (48, 64, 3)


@pytest.mark.parametrize("tile", [16, 256])
def test_a_tile_may_be_larger_than_the_image(tile: int) -> None:
    pixels = noise(20, 15)
    assert np.array_equal(decode(tiff(tile=tile)(pixels), "x"), pixels)


def test_a_strip_that_says_another_size_inside_is_no_larger_for_it() -> None:
    """A JPEG in a strip has a size of its own."""
    from image_files import by_opencv

    inner = by_opencv(".jpg")(noise(640, 480))
    with pytest.raises(DataError, match="not a readable image"):
        decode(changed([inner], t259=("H", [7]), t262=("H", [6]), t277=("H", [3])), "x")
