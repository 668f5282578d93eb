from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import Encoder, by_opencv, pnm, sun_raster
from numpy.typing import NDArray
from PIL import Image
from special_files import SPECIAL, make_special

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode, is_image, read_frame, resize

Pixels = NDArray[np.uint8]


def picture(height: int = 48, width: int = 64, seed: int = 0) -> Pixels:
    """A smooth random picture, so that lossy codecs keep it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    """Encode by Pillow, which is not what the code under test decodes with."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def as_format(name: str) -> bytes:
    return encoded(Image.fromarray(picture()), name)


def jpeg(**options: object) -> bytes:
    return encoded(Image.fromarray(picture()), "JPEG", **options)


def with_thumbnail(content: bytes) -> bytes:
    """Put an EXIF segment with a small JPEG, start and end markers and all, in front of a JPEG's own segments."""
    tiff = b"II*\0\x08\0\0\0" + b"\0\0" + b"\0\0\0\0" + jpeg(quality=20)
    payload = b"Exif\0\0" + tiff
    return content[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + content[2:]


LOSSLESS = ["PNG", "BMP", "TIFF", "PPM", "JPEG2000"]
FORMATS = [*LOSSLESS, "JPEG", "WEBP", *(name for name in ("GIF", "AVIF") if cv2.haveImageWriter(f"x.{name.lower()}"))]
# OpenCV has had GIF and AVIF since 4.12; without them, see below.


# ---- color order and pixel formats ----


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("format_", FORMATS)
def test_decoding_gives_red_green_blue_in_this_order(format_: str, channel: int) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[..., channel] = 255
    image = decode(encoded(Image.fromarray(pixels), format_), "x")
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("format_", FORMATS)
def test_decoding_agrees_with_pillow(format_: str) -> None:
    content = encoded(Image.fromarray(picture()), format_)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    tolerance = 0 if format_ in (*LOSSLESS, "GIF") else 4  # two decoders may upsample colors in two ways
    assert np.abs(decode(content, "x") - expected).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_every_kind_of_png_gives_three_channels(mode: str) -> None:
    source = Image.fromarray(picture()).convert(mode)
    image = decode(encoded(source, "PNG"), "x")
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(image - np.asarray(source.convert("RGB")).astype(int)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr"])
def test_every_kind_of_tiff_gives_three_channels(mode: str) -> None:
    content = encoded(Image.fromarray(picture()).convert(mode), "TIFF")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.abs(decode(content, "x") - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_every_kind_of_jpeg_2000_gives_three_channels(mode: str) -> None:
    source = Image.fromarray(picture()).convert(mode)
    assert np.array_equal(decode(encoded(source, "JPEG2000"), "x"), np.asarray(source.convert("RGB")))


@pytest.mark.parametrize("encode", [pnm(2), pnm(3), pnm(5), pnm(6), sun_raster(8), sun_raster(24)])
def test_plain_rows_are_read_as_they_are(encode: Encoder) -> None:
    pixels = picture()
    decoded = decode(encode(pixels), "x")
    assert np.array_equal(decoded, pixels) or np.array_equal(decoded, np.repeat(pixels[..., :1], 3, axis=2))


@pytest.mark.parametrize("kind", [1, 4])
def test_bits_are_black_and_white(kind: int) -> None:
    expected = np.repeat(np.where(picture()[..., :1] < 128, 0, 255), 3, axis=2)
    assert np.array_equal(decode(pnm(kind)(picture()), "x"), expected)


def test_a_palette_gives_a_sun_raster_its_colors() -> None:
    red, green, blue = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint8)
    indices = picture()[..., 0]
    decoded = decode(sun_raster(8, colors=bytes([*red, *green, *blue]))(picture()), "x")
    assert np.array_equal(decoded, np.stack([red[indices], green[indices], blue[indices]], axis=2))


@pytest.mark.parametrize("encode", [pnm(5, 65535), pnm(6, 65535), by_opencv(".tiff", deep=True)])
def test_16_bits_of_other_formats_are_scaled_to_8(encode: Encoder) -> None:
    decoded = decode(encode(picture()), "x").astype(int)
    assert np.abs(decoded[..., 0] - picture()[..., 0]).max() <= 1


@pytest.mark.parametrize("deep", [False, True])
def test_a_jpeg_2000_of_opencv_is_read(deep: bool) -> None:
    decoded = decode(by_opencv(".jp2", deep=deep)(picture()), "x")
    assert np.abs(decoded - picture().astype(int)).max() <= 8


@pytest.mark.parametrize("format_", ["TIFF", *(name for name in ("GIF",) if name in FORMATS)])
def test_of_several_images_the_first_is_taken(format_: str) -> None:
    first, second = (Image.fromarray(picture(seed=seed)) for seed in (0, 1))
    several = encoded(first, format_, save_all=True, append_images=[second])
    assert len(several) > 1.5 * len(encoded(first, format_))
    assert np.array_equal(decode(several, "x"), decode(encoded(first, format_), "x"))


@pytest.mark.parametrize(
    ("format_", "name"), [("GIF", "GIF"), ("AVIF", "AVIF"), ("JPEG2000", "JPEG 2000"), ("TIFF",) * 2]
)
def test_a_format_without_decoder_is_named_with_a_remedy(
    format_: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(Image.fromarray(picture()), format_)
    monkeypatch.setattr(cv2, "haveImageWriter", lambda name: False)
    with pytest.raises(DataError) as raised:
        decode(content, "a.x")
    assert str(raised.value) == f"a.x: OpenCV {cv2.__version__} does not decode {name}; convert the image, e.g. to PNG"
    assert decode(encoded(Image.fromarray(picture()), "PNG"), "a.png").shape == (48, 64, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_of_16_bits_is_scaled_to_8(channels: int) -> None:
    eight = picture()[..., :channels]
    content = bytes(cv2.imencode(".png", eight[..., ::-1].astype(np.uint16) * 257)[1])
    image = decode(content, "x")
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(image - np.broadcast_to(eight, image.shape).astype(int)).max() <= 1


def test_a_gray_and_a_cmyk_jpeg_give_three_channels() -> None:
    gray = decode(encoded(Image.fromarray(picture()).convert("L"), "JPEG"), "x")
    assert gray.shape == (48, 64, 3)
    assert np.array_equal(gray[..., 0], gray[..., 2])
    content = encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    cmyk = decode(content, "x")
    assert (cmyk.shape, cmyk.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(cmyk - picture().astype(int)).mean() < 8


def test_a_photo_that_says_it_lies_on_its_side_is_put_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright = decode(jpeg(exif=exif, quality=95), "x")
    assert np.abs(upright - np.rot90(decode(jpeg(quality=95), "x"), k=-1).astype(int)).max() <= 8


def test_a_frame_may_be_a_file_or_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    assert np.array_equal(read_frame(path), picture())
    pixels = picture()
    assert read_frame(pixels) is pixels


# ---- files that are not whole ----


VARIANTS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "with restarts": bytes(cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1]),
    "with a thumbnail": with_thumbnail(jpeg()),
    "progressive with a thumbnail": with_thumbnail(jpeg(progressive=True)),
    "with a comment that looks like an end": jpeg(comment=b"\xff\xd9\xff\xda\xff\xd9"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_whole_jpeg_is_accepted_and_one_cut_at_any_tenth_byte_is_refused(variant: str) -> None:
    content = VARIANTS[variant]
    assert content.endswith(b"\xff\xd9")
    assert decode(content, "x").shape == (48, 64, 3)
    for length in [*range(0, len(content) - 2, 10), len(content) - 2, len(content) - 1]:
        with pytest.raises(DataError):
            decode(content[:length], "x")


@settings(max_examples=60)
@given(
    st.binary(max_size=30) | st.sampled_from([b"\xff\xda", b"\xff\xd8\xff\xda\0", b"\0" * 999, jpeg()[:700], jpeg()])
)
def test_bytes_behind_the_end_of_a_jpeg_do_not_matter(trailing: bytes) -> None:
    for variant in ("baseline", "progressive", "with a thumbnail"):
        assert np.array_equal(decode(VARIANTS[variant] + trailing, "x"), decode(VARIANTS[variant], "x"))


def test_a_jpeg_whose_second_half_is_zeros_is_refused() -> None:
    """As a download leaves it that reserved the space first."""
    content = jpeg()
    half = len(content) // 2
    with pytest.raises(DataError):
        decode(content[:half] + bytes(len(content) - half), "x")


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "JPEG"])
def test_other_formats_are_refused_when_cut(format_: str) -> None:
    content = encoded(Image.fromarray(picture(24, 24)), format_)
    for length in range(0, len(content), max(1, len(content) // 60)):
        with pytest.raises(DataError):
            decode(content[:length], "x")


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"<html></html>", bytes(5000)])
def test_what_is_no_image_is_refused_with_the_name_in_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^folder/a\.jpg: ") as raised:
        decode(content, "folder/a.jpg")
    assert "\n" not in str(raised.value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*VARIANTS.values(), *(as_format(name) for name in FORMATS)]), st.data())
def test_garbage_inside_an_image_is_refused_or_gives_pixels(content: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(content)))
    middle = data.draw(st.binary(max_size=20))
    damaged = content[:start] + middle + content[start + data.draw(st.integers(0, 50)) :]
    try:
        image = decode(damaged, "x")
    except DataError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)


def test_a_file_that_cannot_be_opened_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("absent.jpg", "folder.jpg"):
        with pytest.raises(DataError, match=name):
            read_frame(tmp_path / name)


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_regular_file_is_a_data_error_that_says_what_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    make_special(path, kind)
    with pytest.raises(DataError, match=f"^{path}: .*{SPECIAL[kind]}"):
        read_frame(path)


def test_a_file_may_have_eight_bytes_for_every_permitted_pixel_and_a_mebibyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REID_MAX_PIXELS", str(48 * 64))
    content, most = jpeg(), 8 * 48 * 64 + 2**20
    path = tmp_path / "a.jpg"
    path.write_bytes(content + bytes(most - len(content)))
    assert read_frame(path).shape == (48, 64, 3)
    with path.open("ab") as file:
        file.truncate(2**40)  # a hole, which takes no space
    with pytest.raises(DataError, match=f"^{path}: 1,099,511,627,776 bytes, more than the {most:,} "):
        read_frame(path)


# ---- names ----


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True),
        ("a.JPG", True),
        ("a.Jpeg", True),
        ("a.png", True),
        ("a.bmp", True),
        ("a.webp", True),
        *(
            (f"a{suffix}", True)
            for suffix in (".tif", ".tiff", ".TIFF", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".gif")
        ),
        *((f"a{suffix}", True) for suffix in (".tif", ".tiff", ".TIFF", ".ppm", ".pgm", ".pbm", ".pnm", ".pam")),
        *((f"a{suffix}", True) for suffix in (".gif", ".avif", ".jp2", ".j2k", ".ras", ".sr", ".jpe", ".jfif", ".dib")),
        *((f"a{suffix}", False) for suffix in (".hdr", ".exr", ".pfm", ".mp4", ".npy", ".tif.part", ".jp", ".zip")),
        ("a.b.jpg", True),
        ("a.jpg.txt", False),
        ("a.txt", False),
        ("jpg", False),
        (".jpg", False),
        ("._a.jpg", False),
        ("a.xml", False),
    ],
)
def test_images_are_told_by_their_names(name: str, expected: bool) -> None:
    assert is_image(name) is expected


# ---- resizing ----


def bilinear(image: Pixels, height: int, width: int) -> NDArray[np.float64]:
    """Bilinear with half-pixel centers, edges repeated, no antialiasing: written from the definition."""

    def taps(size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        center = (np.arange(target) + 0.5) * size / target - 0.5
        low = np.floor(center)
        fraction = center - low
        return (
            np.clip(low, 0, size - 1).astype(np.intp),
            np.clip(low + 1, 0, size - 1).astype(np.intp),
            fraction,
        )

    top, bottom, down = taps(image.shape[0], height)
    left, right, across = taps(image.shape[1], width)
    values = image.astype(np.float64)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    return rows[:, left] * (1 - across)[None, :, None] + rows[:, right] * across[None, :, None]


sizes = st.integers(1, 40)


@settings(max_examples=150)
@given(sizes, sizes, sizes, sizes, st.integers(0, 999))
def test_resizing_is_bilinear_with_half_pixel_centers(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    resized = resize(image, new_height, new_width)
    assert (resized.shape, resized.dtype) == ((new_height, new_width, 3), np.uint8)
    assert np.abs(resized - bilinear(image, new_height, new_width)).max() <= 1


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_does_not_average(factor: int) -> None:
    """An antialiased resize would give gray: here most of the source is not looked at."""
    image = np.zeros((32 * factor, 32 * factor, 3), np.uint8)
    center = (factor - 1) / 2
    for offset in {int(np.floor(center)), int(np.ceil(center))}:
        image[offset::factor] = 255
    assert resize(image, 32, 32).min() == 255


def test_resizing_to_the_same_size_changes_nothing() -> None:
    assert np.array_equal(resize(picture(), 48, 64), picture())
