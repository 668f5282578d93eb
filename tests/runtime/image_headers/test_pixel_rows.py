"""PNM and Sun raster files of which OpenCV would make something else, or nothing."""

from __future__ import annotations

import pytest
from image_files import noise, pam, pnm, sun_raster

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode

PIXELS = noise(64, 48)
REFUSED = {
    "PAM": (pam(3, 255, "RGB")(PIXELS), "a PAM file.*convert it"),
    "PAM of bits": (pam(1, 1, "BLACKANDWHITE")(PIXELS), "a PAM file.*convert it"),
    "PAM of many channels": (pam(3, 255, "RGB")(PIXELS).replace(b"H 3", b"H 999999999"), "a PAM file.*convert it"),
    **{
        f"P{kind} of values up to {most}": (pnm(kind, most)(PIXELS), f"values up to {most:,}.*convert it")
        for kind in (2, 3, 5, 6)
        for most in (100, 1023)
    },
    "a size behind a comment without space": (b"P5 8#1000 1000\n9 255 " + bytes(99), "not a readable image"),
    "no sizes": (b"P6 " + bytes(99), "not a readable image"),
    "a comment without end": (b"P6 #" + b" " * 500_000, "not a readable image"),
    "a size of 50 digits": (b"P6 " + b"9" * 50 + b" 9 255 " + bytes(99), "not a readable image"),
    "a PNM of 30,000 x 30,000": (b"P4 30000 30000 ", "cut short"),
    **{f"half of a P{kind}": (pnm(kind)(PIXELS)[:-1500:], "cut short") for kind in (1, 5, 6)},
    "run lengths": (sun_raster(8, encoding=2)(PIXELS), "a Sun raster of 8 bits and encoding 2.*convert it"),
    "red, green, blue": (sun_raster(24, encoding=3)(PIXELS), "a Sun raster of 24 bits and encoding 3.*convert it"),
    "32 bits": (sun_raster(32)(PIXELS), "a Sun raster of 32 bits.*convert it"),
    "half of a Sun raster": (sun_raster(24)(PIXELS)[:5000], "cut short"),
    "a palette behind the end": (sun_raster(8, colors=bytes(768))(PIXELS)[:-1], "cut short"),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("case", REFUSED)
def test_what_opencv_misreads_or_is_not_whole_is_refused_before_it_is_decoded(case: str) -> None:
    content, reason = REFUSED[case]
    with pytest.raises(DataError, match=rf"^x: [^\n]*{reason}[^\n]*$"):
        decode(content, "x")
