from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import Encoder, Pixels, animated, by_opencv, by_pillow, noise, pnm, sun_raster, tiff
from PIL import Image

from reid.runtime.errors import DataError, ReidError
from reid.runtime.image_headers.reading import read_header
from reid.runtime.imaging import decode, pixel_limit, read_frame


def exif() -> Image.Exif:
    """On its side, so that the decoded image has its sides swapped, unless the decoder is told to leave them."""
    found = Image.Exif()
    found[0x0112] = 6
    return found


def top_down_bmp(pixels: Pixels) -> bytes:
    """Rows from top to bottom, which a negative height says; Pillow writes them from bottom to top."""
    content = bytearray(by_pillow("BMP")(pixels))
    content[22:26] = struct.pack("<i", -pixels.shape[0])
    return bytes(content)


def core_bmp(pixels: Pixels) -> bytes:
    """A BMP of OS/2, whose header has 12 bytes; of 256 colors, all black."""
    height, width = pixels.shape[:2]
    body = bytes(3 * 256) + bytes((width + 3) // 4 * 4 * height)
    header = struct.pack("<IHHHH", 12, width, height, 1, 8)
    return struct.pack("<2sIHHI", b"BM", 26 + len(body), 0, 0, 26 + 3 * 256) + header + body


ENCODERS = {
    "JPEG": by_opencv(".jpg"),
    "JPEG, progressive": by_opencv(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "JPEG with restarts": by_opencv(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "JPEG, gray": by_pillow("JPEG", "L"),
    "JPEG, CMYK": by_pillow("JPEG", "CMYK"),
    "JPEG with EXIF": by_pillow("JPEG", exif=exif()),
    "PNG": by_opencv(".png"),
    "PNG with EXIF": by_pillow("PNG", exif=exif()),
    "PNG with palette": by_pillow("PNG", "P"),
    "PNG of one bit": by_pillow("PNG", "1"),
    "PNG, animated": animated("PNG"),
    "BMP": by_opencv(".bmp"),
    "BMP with palette": by_pillow("BMP", "P"),
    "BMP, top down": top_down_bmp,
    "BMP of OS/2": core_bmp,
    "WebP, lossless": by_opencv(".webp"),
    "WebP, lossy": by_opencv(".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
    "WebP with alpha": by_pillow("WEBP", "RGBA", quality=50),
    "WebP with EXIF": by_pillow("WEBP", exif=exif()),
    "WebP, animated": animated("WEBP"),
}


NEW = {
    "TIFF": by_opencv(".tiff"),
    "TIFF of 16 bits": by_opencv(".tiff", deep=True),
    "TIFF, gray of 16 bits": by_opencv(".tiff", gray=True, deep=True),
    **{f"TIFF, {mode}": by_pillow("TIFF", mode) for mode in ("L", "LA", "P", "1", "RGBA", "CMYK", "YCbCr")},
    **{
        f"TIFF, {name}": by_pillow("TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg")
    },
    **{f"TIFF, {name}": by_pillow("TIFF", "1", compression=name) for name in ("group3", "group4", "tiff_ccitt")},
    "TIFF of two images": animated("TIFF"),
    "TIFF in one strip": tiff(rows=2**32 - 1),
    "TIFF, big-endian": tiff(order=">"),
    "TIFF in planes": tiff(planes=True),
    "TIFF in tiles": tiff(tile=32),
    "TIFF in planes of tiles, big-endian": tiff(tile=16, planes=True, order=">"),
    "BigTIFF": tiff(big=True),
    "BigTIFF in tiles, big-endian": tiff(big=True, tile=16, order=">"),
    **{f"PNM, P{kind}": pnm(kind) for kind in range(1, 7)},
    **{f"PNM of 16 bits, P{kind}": pnm(kind, 65535) for kind in (2, 3, 5, 6)},
    "PNM with comments": pnm(6, comment="# 99 99\n \t#77\n"),
    "PNM by OpenCV": by_opencv(".ppm"),
    "Sun raster": by_opencv(".ras"),
    "Sun raster of 24 bits": sun_raster(24),
    "Sun raster of 8 bits": sun_raster(8, encoding=0),
    "Sun raster with palette": sun_raster(8, colors=bytes(range(256)) * 3),
    **{f"JPEG 2000, {mode}": by_pillow("JPEG2000", mode) for mode in ("RGB", "L", "LA", "RGBA", "I;16")},
    "JPEG 2000 in tiles": by_pillow("JPEG2000", tile_size=(64, 48)),
    "JPEG 2000 with layers": by_pillow("JPEG2000", quality_layers=[40, 20, 10], irreversible=True, progression="RLCP"),
    "JPEG 2000 with precincts": by_pillow("JPEG2000", precinct_size=(64, 64), codeblock_size=(16, 16)),
    "JPEG 2000 without boxes": by_pillow("JPEG2000", no_jp2=True),
}
GIF = {
    "GIF": by_pillow("GIF", interlace=0),
    "GIF, interlaced": by_pillow("GIF", interlace=1),
    "GIF of two colors": by_pillow("GIF", "1"),
    "GIF with alpha": by_pillow("GIF", "RGBA"),
    "GIF, animated": animated("GIF"),
}
AVIF = {
    "AVIF": by_pillow("AVIF", speed=10),
    "AVIF, gray": by_pillow("AVIF", "L", speed=10),
    "AVIF with alpha": by_pillow("AVIF", "RGBA", speed=10),
    "AVIF of whole colors": by_pillow("AVIF", subsampling="4:4:4", speed=10),
    "AVIF with EXIF": by_pillow("AVIF", exif=exif(), speed=10),
}
# OpenCV before 4.12 decodes neither; then test_imaging says what becomes of them.
NEW |= (GIF if cv2.haveImageWriter("x.gif") else {}) | (AVIF if cv2.haveImageWriter("x.avif") else {})


def check_size(encode: Encoder, width: int, height: int) -> None:
    content = encode(noise(width, height))
    assert read_header(content)[1:] == (width, height)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert decoded is not None
    assert decoded.shape == (height, width, 3)


@pytest.mark.parametrize("encoder", ENCODERS)
@settings(max_examples=25)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_the_header_gives_the_size_that_the_decoder_gives(encoder: str, width: int, height: int) -> None:
    check_size(ENCODERS[encoder], width, height)


@pytest.mark.parametrize("encoder", NEW)
@settings(max_examples=8, deadline=None)
@given(width=st.integers(1, 200), height=st.integers(1, 200))
def test_the_header_of_rarer_formats_does_so_too(encoder: str, width: int, height: int) -> None:
    check_size(NEW[encoder], width, height)


@pytest.mark.parametrize(
    ("encoder", "width", "height"),
    [
        ("JPEG", 65_500, 2),
        ("JPEG", 2, 65_500),
        ("PNG", 70_000, 1),
        ("BMP", 1, 70_000),
        ("BMP, top down", 1, 70_000),
        ("BMP of OS/2", 65_535, 1),
        ("WebP, lossless", 16_383, 1),
        ("WebP, lossy", 1, 16_383),
        ("WebP with EXIF", 16_383, 1),
        ("TIFF in one strip", 1, 70_000),
        ("BigTIFF", 70_000, 1),
        ("PNM, P6", 70_000, 1),
        ("PNM, P1", 1, 70_000),
        ("Sun raster of 24 bits", 70_000, 1),
        ("JPEG 2000, L", 20_000, 1),
    ],
)
def test_the_longest_sides_of_each_format_are_read(encoder: str, width: int, height: int) -> None:
    content = (ENCODERS | NEW)[encoder](noise(width, height))
    assert read_header(content)[1:] == (width, height)
    assert decode(content, "x").size == 3 * width * height


# ---- what must not reach the decoder ----


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, data: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def packed_png(side: int) -> bytes:
    """A valid black PNG of one bit per pixel: each row is a filter byte and an eighth of its pixels."""
    return png(side, side, data=bytes(side * (1 + (side + 7) // 8)))


def with_size(content: bytes, width: int, height: int) -> bytes:
    """Let a JPEG say that it has another size."""
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


def two_sizes(content: bytes, width: int, height: int) -> bytes:
    """Let a JPEG give a second size, after its own."""
    start = content.index(b"\xff\xc0")
    second = with_size(content, width, height)[start : start + 2 + 17]
    return content[: start + 19] + second + content[start + 19 :]


def bmp(width: int, height: int) -> bytes:
    return struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def webp(kind: bytes, data: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


SMALL_JPEG = by_opencv(".jpg")(noise(40, 30))
TOO_LARGE = {
    "PNG": (packed_png(30_000), "30,000 x 30,000"),
    "PNG, tall": (png(1, 2**31 - 1), "1 x 2,147,483,647"),
    "JPEG": (with_size(SMALL_JPEG, 65_500, 65_500), "65,500 x 65,500"),
    "JPEG of two sizes": (two_sizes(SMALL_JPEG, 65_500, 65_500), "65,500 x 65,500"),
    "BMP": (bmp(12_000, 12_000), "12,000 x 12,000"),
    "BMP, top down": (bmp(12_000, -12_000), "12,000 x 12,000"),
    "BMP, lowest": (bmp(1, -(2**31)), "1 x 2,147,483,648"),
    "WebP, extended": (webp(b"VP8X", bytes(4) + b"\xff" * 6), "16,777,216 x 16,777,216"),
    "WebP, lossless": (webp(b"VP8L", b"\x2f" + b"\xff" * 30), "16,384 x 16,384"),
    "WebP, lossy": (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + b"\xff" * 30), "16,383 x 16,383"),
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("case", TOO_LARGE)
def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(case: str) -> None:
    content, size = TOO_LARGE[case]
    assert len(content) < 200_000
    with pytest.raises(DataError) as raised:
        decode(content, "a.jpg")
    expected = f"a.jpg: {size} pixels, more than the 33,554,432 of --max-pixels; raise it or shrink the image"
    assert str(raised.value) == expected


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("suffix", [".hdr", ".pfm"])
def test_formats_whose_size_is_not_read_are_refused_whatever_the_file_is_called(suffix: str) -> None:
    content = bytes(cv2.imencode(suffix, noise(64, 64).astype(np.float32))[1])
    assert len(content) > 64 * 8
    with pytest.raises(DataError, match=r"^x\.jpg: not a readable image$"):
        decode(content, "x.jpg")


@pytest.mark.usefixtures("no_decoder")
def test_a_webp_stream_without_its_container_is_refused_though_the_decoder_takes_it() -> None:
    content = by_opencv(".webp", cv2.IMWRITE_WEBP_QUALITY, 50)(noise(40, 30))
    with pytest.raises(DataError, match="not a readable image"):
        decode(content[20:], "x")


def text(kind: bytes) -> bytes:
    between = b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0"
    return chunk(kind, b"Comment" + between + zlib.compress(b"A" * 7_900_000))


SLOW_OR_LARGE = {
    "a chunk that says it has 4 GiB": png(8, 8, struct.pack(">I", 2**32 - 1) + b"IDAT"),
    "compressed text of 134 MB": png(8, 8, *[text(b"zTXt")] * 17),
    "international text of 134 MB": png(8, 8, *[text(b"iTXt")] * 17),
    "2 GB behind the last row": png(8, 8, chunk(b"IDAT", bytes(2_000_000))),
    "a million chunks": png(8, 8, *[chunk(b"tIME", b"")] * 1_000_000),
    "a million segments": SMALL_JPEG[:2] + b"\xff\xe0\0\2" * 1_000_000 + SMALL_JPEG[2:],
    "thousands of scans": SMALL_JPEG[:-2] + b"\xff\xda\0\2" * 5000 + SMALL_JPEG[-2:],
}


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("case", SLOW_OR_LARGE)
def test_a_small_image_that_costs_much_is_refused_before_it_is_decoded(case: str) -> None:
    with pytest.raises(DataError, match=r"^x: [^\n]*$"):
        decode(SLOW_OR_LARGE[case], "x")


def test_some_compressed_texts_and_many_chunks_and_scans_are_taken() -> None:
    pixels = noise(64, 48)
    whole = by_opencv(".png")(pixels)
    start = whole.index(b"IDAT") - 4
    content = whole[:start] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text")) * 16 + whole[start:]
    content = content.replace(chunk(b"IEND", b""), chunk(b"IDAT", b"") * 30_000 + chunk(b"IEND", b""))
    assert np.array_equal(decode(content, "x"), pixels)
    progressive = ENCODERS["JPEG, progressive"](pixels)
    assert progressive.count(b"\xff\xda") > 3
    assert decode(progressive, "x").shape == pixels.shape


@pytest.mark.parametrize("content", [png(0, 8), png(8, 0), with_size(SMALL_JPEG, 0, 30), bmp(0, 4), bmp(4, 0)])
def test_an_image_without_pixels_is_not_readable(content: bytes) -> None:
    with pytest.raises(DataError, match="not a readable image"):
        decode(content, "x")


@pytest.mark.parametrize("size", [(40, 31), (41, 30), (80, 60), (8, 8), (1, 1)])
def test_a_jpeg_that_lies_about_its_size_is_refused_or_decoded_at_that_size(size: tuple[int, int]) -> None:
    width, height = size
    assert read_header(with_size(SMALL_JPEG, width, height)) == ("JPEG", *size)
    with contextlib.suppress(DataError):
        assert decode(with_size(SMALL_JPEG, width, height), "x").shape == (height, width, 3)


# ---- the limit ----


@pytest.mark.parametrize("encoder", ["JPEG", "PNG", "BMP", "WebP, lossless", "JPEG with EXIF", "TIFF", "PNM, P6"])
def test_the_limit_is_the_largest_number_of_pixels(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (ENCODERS | NEW)[encoder](noise(40, 30))
    monkeypatch.setenv("REID_MAX_PIXELS", "1200")
    assert decode(content, "x").size == 3 * 1200
    monkeypatch.setenv("REID_MAX_PIXELS", "1199")
    with pytest.raises(DataError, match=r"^x: 40 x 30 pixels, more than the 1,199 of --max-pixels"):
        decode(content, "x")


WEIGHTS = {"JPEG 2000, RGB": ("JPEG 2000", 8)} | ({"AVIF": ("AVIF", 4)} if "AVIF" in NEW else {})


@pytest.mark.parametrize("encoder", WEIGHTS)
def test_pixels_that_cost_more_count_several_times(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, (name, weight) = NEW[encoder](noise(40, 30)), WEIGHTS[encoder]
    monkeypatch.setenv("REID_MAX_PIXELS", str(1200 * weight))
    assert decode(content, "x").size == 3 * 1200
    monkeypatch.setenv("REID_MAX_PIXELS", str(1200 * weight - 1))
    counted = f"40 x 30 pixels, which count {weight} times in {name}, more than the {1200 * weight - 1:,} of --max-pix"
    with pytest.raises(DataError, match=f"^x: {counted}els; raise it or shrink the image$"):
        decode(content, "x")


def test_a_photo_of_24_megapixels_is_decoded_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REID_MAX_PIXELS", raising=False)
    assert decode(by_opencv(".jpg")(np.zeros((4000, 6000, 3), np.uint8)), "x").shape == (4000, 6000, 3)


@pytest.mark.parametrize("value", ["0", "-1", "1e6", "many", "1073741825", "9" * 50, "12.5"])
def test_a_wrong_limit_stops_a_command_and_is_not_a_frame_that_cannot_be_read(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REID_MAX_PIXELS", value)
    (tmp_path / "a.jpg").write_bytes(SMALL_JPEG)
    for read in (pixel_limit, lambda: decode(SMALL_JPEG, "x"), lambda: read_frame(tmp_path / "a.jpg")):
        with pytest.raises(
            ReidError, match=r"^REID_MAX_PIXELS is .*: set it to an integer from 1 to 1073741824"
        ) as raised:
            read()
        assert not isinstance(raised.value, DataError)
        assert len(str(raised.value)) < 200
