"""Image files: encoded by Pillow or OpenCV, or byte by byte where these do not write a variant."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]
Encoder: TypeAlias = Callable[[Pixels], bytes]


def noise(width: int, height: int) -> Pixels:
    """Return random pixels, uint8 RGB [height, width, 3], always the same for a size."""
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)


def by_pillow(format_: str, mode: str = "RGB", **options: Any) -> Encoder:  # noqa: ANN401 - those of Pillow's writers
    """Return an encoder of Pillow."""

    def encode(pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, format_, **options)
        return file.getvalue()

    return encode


def animated(format_: str) -> Encoder:
    """Return an encoder of Pillow that writes a second frame, which is the first upside down."""
    return lambda pixels: by_pillow(format_, save_all=True, append_images=[Image.fromarray(pixels[::-1].copy())])(
        pixels
    )


def by_opencv(suffix: str, *options: int, gray: bool = False, deep: bool = False) -> Encoder:
    """Return an encoder of OpenCV: of color or gray, of 8 or 16 bits."""

    def encode(pixels: Pixels) -> bytes:
        image = pixels[..., 0] if gray else pixels[..., ::-1]
        done, content = cv2.imencode(suffix, image.astype(np.uint16) * 257 if deep else image, options)
        assert done
        return bytes(content)

    return encode


# ---- PNM and Sun raster ----


def pnm(kind: int, greatest: int = 255, comment: str = "") -> Encoder:
    """Return an encoder of P1 to P6: text (1 to 3) or binary, of bits (1, 4), gray (2, 5) or color (3, 6)."""

    def encode(pixels: Pixels) -> bytes:
        height, width = pixels.shape[:2]
        values = (pixels if kind in (3, 6) else pixels[..., 0]).astype(np.uint32) * greatest // 255
        head = f"P{kind}\n{comment}{width} {height}\n" + (f"{greatest}\n" if kind not in (1, 4) else "")
        if kind in (1, 4):
            bits = pixels[..., 0] < 128  # 1 is black
            body = np.packbits(bits, axis=1).tobytes() if kind == 4 else (48 + bits).astype("u1").tobytes()
        elif kind in (2, 3):
            body = b" ".join(b"%d" % value for value in values.ravel()) + b"\n"
        else:
            body = values.astype(">u2" if greatest > 255 else "u1").tobytes()
        return head.encode() + body

    return encode


def pam(depth: int, greatest: int, kind: str) -> Encoder:
    """Return an encoder of PAM."""

    def encode(pixels: Pixels) -> bytes:
        height, width = pixels.shape[:2]
        head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {greatest}\nTUPLTYPE {kind}\nENDHDR\n"
        return head.encode() + pixels[..., :depth].tobytes()

    return encode


def sun_raster(bits: int, *, encoding: int = 1, colors: bytes = b"") -> Encoder:
    """Return an encoder of rows of 8 (gray, or an index of colors) or 24 bits, each an even number of bytes."""

    def encode(pixels: Pixels) -> bytes:
        height, width = pixels.shape[:2]
        values = (pixels[..., ::-1] if bits == 24 else pixels[..., 0]).reshape(height, -1)
        body = np.pad(values, ((0, 0), (0, values.shape[1] % 2))).tobytes()
        facts = (0x59A66A95, width, height, bits, len(body), encoding, int(bool(colors)), len(colors))
        return struct.pack(">8I", *facts) + colors + body

    return encode


# ---- TIFF ----


def tiff(
    *, order: str = "<", big: bool = False, tile: int = 0, planes: bool = False, rows: int = 5, deflate: bool = True
) -> Encoder:
    """Return an encoder of TIFFs of 24 bits, in strips or square tiles, perhaps with a plane a color.

    Args:
        order: the order of bytes, "<" or ">".
        big: whether to write a BigTIFF.
        tile: the side of tiles, or 0 for strips.
        planes: whether each color has strips or tiles of its own.
        rows: the rows of a strip.
        deflate: whether strips and tiles are compressed.
    """

    def encode(pixels: Pixels) -> bytes:
        height, width = pixels.shape[:2]
        parts = []
        for plane in [pixels[..., place : place + 1] for place in range(3)] if planes else [pixels]:
            if tile:
                padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
                places = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
                parts += [padded[y : y + tile, x : x + tile].tobytes() for y, x in places]
            else:
                parts += [plane[y : y + rows].tobytes() for y in range(0, height, rows)]
        layout = {322: ("H", [tile]), 323: ("H", [tile])} if tile else {278: ("I", [rows])}
        facts = {256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8, 8, 8]), 259: ("H", [8 if deflate else 1])}
        more = {262: ("H", [2]), 277: ("H", [3]), 284: ("H", [2 if planes else 1])}
        return directory(facts | more | layout, list(map(zlib.compress, parts)) if deflate else parts, order, big)

    return encode


def directory(
    entries: Mapping[int, tuple[str, list[int]]], parts: list[bytes], order: str = "<", big: bool = False
) -> bytes:
    """Return a TIFF: header, entries by tag as struct's format and values, what does not fit there, strips or tiles."""
    offset, kinds = "Q" if big else "I", {"B": 1, "H": 3, "I": 4, "Q": 16}
    offsets, sizes = (324, 325) if 322 in entries else (273, 279)
    zeros = [0] * len(parts)
    every = {offsets: (offset, zeros), sizes: ("I", [len(part) for part in parts]), **entries}
    first = 16 if big else 8
    width = struct.calcsize(offset)
    outside = first + (8 if big else 2) + len(every) * (4 + 2 * width) + width
    values = {tag: struct.pack(f"{order}{len(found)}{kind}", *found) for tag, (kind, found) in every.items()}
    data = outside + sum(len(value) for value in values.values() if len(value) > width)
    places = [data + sum(map(len, parts[:place])) for place in range(len(parts))] if len(parts) < 5000 else zeros
    if offsets not in entries:
        values[offsets] = struct.pack(f"{order}{len(parts)}{offset}", *places)
    body = b""
    listed = b""
    for tag in sorted(every):
        kind, found = every[tag]
        value = values[tag]
        if len(value) > width:
            value, body = struct.pack(order + offset, outside + len(body)), body + value
        listed += struct.pack(f"{order}HH{offset}", tag, kinds[kind], len(found)) + value.ljust(width, b"\0")
    magic = b"II" if order == "<" else b"MM"
    start = struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8)))
    count = struct.pack(order + ("Q" if big else "H"), len(every))
    return magic + start + count + listed + bytes(width) + body + b"".join(parts)


# ---- GIF ----


def gif(width: int, height: int, codes: list[int], bits: int = 2, *, block: int = 255, before: bytes = b"") -> bytes:
    """Return a GIF of 2 ** bits gray levels with codes of LZW, each as wide as those before let it be."""
    value = position = 0
    size, count = bits + 1, 0
    for code in codes:
        value |= code << position
        position += size
        count += 1
        if code >> 1 == 1 << bits - 1:
            size, count = bits + 1, 0
        elif (1 << bits) + 1 + count == 1 << size:
            size = min(size + 1, 12)
    data = value.to_bytes((position + 7) // 8, "little")
    blocks = b"".join(bytes([len(data[at : at + block])]) + data[at : at + block] for at in range(0, len(data), block))
    table = b"".join(bytes([level * 255 // ((1 << bits) - 1)] * 3) for level in range(1 << bits))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | bits - 1, 0, 0) + table + before
    return head + b"," + struct.pack("<HHHHBB", 0, 0, width, height, 0, bits) + blocks + b"\0;"


# ---- JPEG 2000 and AVIF ----


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def segment(marker: int, content: bytes) -> bytes:
    """Return a marker of a codestream with its content."""
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def codestream(
    width: int,
    height: int,
    *,
    steps: bytes = b"\1\1" * 3,
    offset: int = 0,
    tile: int = 0,
    tiles: int = 1,
    layers: int = 1,
    block: int = 4,
    precincts: bytes = b"",
    more: bytes = b"",
    in_tile: bytes = b"",
) -> bytes:
    """Return a codestream of 8 bits whose tiles have no data, which are gray.

    Args:
        width: that of the image.
        height: that of the image.
        steps: the steps of pixels across and down, of each component.
        offset: where the image starts in its canvas.
        tile: the side of tiles; 0 for one.
        tiles: the number of tiles that are there.
        layers: the number of layers.
        block: width and height of code blocks, as powers of two, less 2.
        precincts: width and height of precincts as powers of two, 4 bits each, of each resolution.
        more: markers of the main header.
        in_tile: markers of a tile's header.
    """
    sides = (width, height, offset, offset, tile or width, tile or height, 0, 0, len(steps) // 2)
    components = b"".join(b"\7" + steps[place : place + 2] for place in range(0, len(steps), 2))
    size = segment(0x51, struct.pack(">H8IH", 0, *sides) + components)
    coding = segment(0x52, coding_style(layers=layers, block=block, precincts=precincts))
    quantization = segment(0x5C, b"\x40" + b"\x40" * 16)
    parts = [
        segment(0x90, struct.pack(">HIBB", place, 14 + len(in_tile) + 8, 0, 1)) + in_tile + b"\xff\x93" + bytes(8)
        for place in range(tiles)
    ]
    return b"\xff\x4f" + size + coding + quantization + more + b"".join(parts) + b"\xff\xd9"


def coding_style(*, layers: int = 1, block: int = 4, precincts: bytes = b"") -> bytes:
    """Return the content of a COD marker for 5 halvings of the resolution; for the rest see `codestream`."""
    return struct.pack(">BBHBBBBBB", bool(precincts), 0, layers, 0, 5, block, block, 0, 1) + precincts


def in_boxes(stream: bytes, *colors: bytes) -> bytes:
    """Return a JP2 file of a codestream of 64 x 48 pixels and boxes about its colors."""
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    image = box(b"ihdr", struct.pack(">IIHBBBB", 48, 64, 3, 7, 7, 0, 0))
    return start + box(b"jp2h", image + b"".join(colors)) + box(b"jp2c", stream)


def avif(images: list[tuple[bytes, tuple[int, int]]], *, shift: int = 0, method: int = 0, outer: bytes = b"") -> bytes:
    """Return an AVIF of AV1 images with the sizes that it states, of which the first is the image.

    Args:
        images: the data and the stated size of each image.
        shift: by how many bytes the data are said to start later.
        method: 0 if the data are in a box of the file, 1 if they are in one of the list.
        outer: more boxes of the file.
    """
    count, numbers = len(images), range(1, len(images) + 1)
    data = b"".join(content for content, _ in images)
    named = b"".join(box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, b"av01", 0)) for number in numbers)
    sizes = b"".join(box(b"ispe", struct.pack(">III", 0, *size)) for _, size in images)
    sequence_only = box(b"av1C", b"\x81\0\x0c\0") + box(b"pixi", b"\0\0\0\0\3\x08\x08\x08")
    uses = b"".join(struct.pack(">HB3H", number, 3, number, 0x8000 | count + 1, count + 2) for number in numbers)

    def listed(start: int) -> bytes:
        places = b""
        for number, (content, _) in zip(numbers, images, strict=True):
            places += struct.pack(">HHHHII", number, method, 0, 1, start + shift, len(content))
            start += len(content)
        return b"".join(
            (
                box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
                box(b"pitm", struct.pack(">IH", 0, 1)),
                box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, count) + places),
                box(b"iinf", struct.pack(">IH", 0, count) + named),
                box(b"iprp", box(b"ipco", sizes + sequence_only) + box(b"ipma", struct.pack(">II", 1, count) + uses)),
                box(b"idat", data) if method else b"",
            )
        )

    start = box(b"ftyp", b"avif\0\0\0\0avifmif1") + outer
    before = len(start) + len(box(b"meta", bytes(4) + listed(0))) + 8
    return start + box(b"meta", bytes(4) + listed(0 if method else before)) + box(b"mdat", b"" if method else data)


def av1(width: int, height: int) -> bytes:
    """Return the data of an AV1 image of noise."""
    content = by_pillow("AVIF", speed=10)(noise(width, height))
    return content[content.index(b"mdat") + 4 :]
