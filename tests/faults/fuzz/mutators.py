"""Damage to files: of their bytes, and of what the bytes mean. The same numbers from `random` give the same damage."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any, TypeAlias

__all__ = [
    "BYTES",
    "NASTY_TEXTS",
    "Mutator",
    "bundle_files",
    "header_integer",
    "insert_any",
    "jpeg_segments",
    "json_facts",
    "json_lines",
    "long_header_integer",
    "mutate",
    "npy_header",
    "png_chunks",
    "protobuf_fields",
    "safetensors_header",
    "sealed_facts",
    "store_files",
    "tar_headers",
    "zip_bomb",
    "zip_members",
]

Mutator: TypeAlias = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""(source of choices, content, all seeds) -> damaged content"""

_LONGEST = 4 << 20
_INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 30_000, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)

NASTY_TEXTS = (
    *(
        "",
        " ",
        ".",
        "..",
        "../../x",
        "/absolute/x",
        "C:\\x",
        "a/../../b",
        "//x",
        "x/",
        "~",
        "-",
        "--help",
        "model.json",
    ),
    *("a\0b", "\x1b[31mred\x1b[0m", "a\nb", "a\rb", "\u2028", "\u202egpj.exe", "\ufeff", "\xa0", "\ud800", "é" * 200),
    *("x" * 300, "x" * 100_000, "%s%n{}", "<script>alert(1)</script>", "]]>", "&amp;", "=1+1", "nan", "1e999", "-1"),
    *("٣", "²", "0x10", "1_000", "9" * 5000, "true", "null", "[]", "{}", "file:///etc/passwd", "http://localhost:9/x"),
    *("hf-hub:a/b", "local-dir:/x", "resnet50", "vit_giant_patch14_dinov2", "level0", "level1", "level999", "fp64"),
)
_NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e308, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [None], {"": None}),
)
_RAW = {  # JSON that `json.dumps` does not write
    "\0deep lists\0": "[" * 30_000 + "]" * 30_000,
    "\0deep objects\0": '{"a":' * 30_000 + "1" + "}" * 30_000,
    "\0digits\0": "9" * 5000,
    "\0beyond\0": "1e99999",
    "\0twice\0": '{"a": 1, "a": 2}',
    "\0long list\0": "[" + "0," * 50_000 + "0]",
    "\0half\0": '{"a": ',
}


def mutate(random: Random, seeds: Sequence[bytes], mutators: Sequence[Mutator]) -> bytes:
    """Return one of the seeds, damaged up to three times."""
    content = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
        content = random.choice(mutators)(random, content, seeds)
    return content[:_LONGEST]


# Bytes


def _flip_bits(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        if damaged:
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _overwrite(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _run(random, content)
    filler = random.choice((b"\0", b"\xff", b" ", random.randbytes(1)))
    run = random.randbytes(end - start) if random.random() < 0.5 else filler * (end - start)
    return content[:start] + run + content[end:]


def _truncate(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _remove(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _run(random, content)
    return content[:start] + content[end:]


def _repeat(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _run(random, content)
    return content[:end] + content[start:end] * random.choice((1, 1, 1, 2, 100)) + content[end:]


def _splice(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


def _set_integer(random: Random, content: bytes, seeds: Sequence[bytes], within: int | None = None) -> bytes:
    """Overwrite 1, 2, 4 or 8 bytes, which may be a length, with a number that lies at an edge."""
    width = random.choice((1, 2, 4, 8))
    start = random.randrange(max(1, min(len(content), within or len(content)) - width + 1))
    number = random.choice((*_INTEGERS, len(content), random.getrandbits(8 * width))) % (1 << (8 * width))
    return content[:start] + number.to_bytes(width, random.choice(("little", "big"))) + content[start + width :]


def _run(random: Random, content: bytes) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((1, 2, 4, 8, 16, 64, 256, 1024)))


BYTES: tuple[Mutator, ...] = (_flip_bits, _overwrite, _truncate, _remove, _repeat, _splice, _set_integer)

header_integer: Mutator = partial(_set_integer, within=64)
"""Overwrite a number in the first bytes, where image formats have their sizes."""

long_header_integer: Mutator = partial(_set_integer, within=400)
"""Overwrite a number further on, for formats with more to say."""


def insert_any(*tokens: bytes) -> Mutator:
    """Return a mutator that puts one of the tokens somewhere, or in the place of a word."""
    return partial(_insert, tokens=tokens)


def _insert(random: Random, content: bytes, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    token = random.choice(tokens)
    words = list(re.finditer(rb"[^\s<>=\"/]+", content[:100_000]))
    if words and random.random() < 0.6:
        word = random.choice(words)
        return content[: word.start()] + token + content[word.end() :]
    start = random.randrange(len(content) + 1)
    return content[:start] + token + content[start:]


# JSON


def json_facts(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change one value or key of a JSON document; what is not JSON has bits flipped."""
    try:
        facts = _parsed(content)
    except (ValueError, RecursionError):
        return _flip_bits(random, content, seeds)
    return _dump(_mutated(random, facts)).encode("utf-8", "surrogatepass")


def json_lines(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change one line of a file that has a JSON document in each."""
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    return b"\n".join([*lines[:place], json_facts(random, lines[place], seeds), *lines[place + 1 :]])


def sealed_facts(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change a JSON document as its author could: with the right hash of all else in its `card_sha256`."""
    changed = json_facts(random, content, seeds)
    try:
        facts = json.loads(changed)
        facts.pop("card_sha256")
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return changed
    return _dump({**facts, "card_sha256": digest}).encode()


@lru_cache(maxsize=16)
def _parsed(content: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds; never changed in place
    return json.loads(content)


def _dump(facts: object) -> str:
    text = json.dumps(facts)
    for marker, raw in _RAW.items():
        text = text.replace(json.dumps(marker), raw)
    return text


def _mutated(random: Random, node: Any) -> Any:  # noqa: ANN401
    if isinstance(node, str) and node.startswith("{") and random.random() < 0.8:
        return json_facts(random, node.encode("utf-8", "replace"), (b"{}",)).decode("utf-8", "replace")
    if not isinstance(node, dict | list) or not node or random.random() < 0.1:
        return _another_value(random, node)
    if random.random() < 0.2:
        return _reshaped(random, node)
    if isinstance(node, dict):
        key = random.choice(list(node))
        return {**node, key: _mutated(random, node[key])}
    place = random.randrange(len(node))
    return [*node[:place], _mutated(random, node[place]), *node[place + 1 :]]


def _another_value(random: Random, node: object) -> object:
    choice = random.random()
    if choice < 0.1:
        return random.choice(list(_RAW))
    if isinstance(node, str) and choice < 0.7:
        return random.choice(("", node, node[: len(node) // 2])) + random.choice(NASTY_TEXTS)
    if isinstance(node, int | float) and choice < 0.4:
        return random.choice((-node, node + 1, node - 1, node * 1_000_000, f"{node}", [node], node // 2))
    return random.choice((*_NASTY_VALUES, *NASTY_TEXTS))


def _reshaped(random: Random, node: Any) -> Any:  # noqa: ANN401
    """Drop, add, rename or repeat an entry of an object or a list."""
    action = random.randrange(4)
    if isinstance(node, list):
        place = random.randrange(len(node))
        times = (0, 2, 1000 if len(node) < 100 else 2, 1)[action]
        return [*node[:place], *[node[place]] * times, *node[place + 1 :], *([None] if times == 1 else [])]
    key = random.choice(list(node))
    rest = {name: value for name, value in node.items() if name != key}
    name = random.choice(("", key, key.rpartition(".")[0] + ".")) + random.choice(NASTY_TEXTS)
    if action == 0:
        return rest
    if action == 1:
        return {**node, name: random.choice((node[key], _another_value(random, node[key])))}
    if action == 2:
        return {**rest, name: node[key]}
    return {**rest, key: node[random.choice(list(node))]}


# Archives and arrays


def safetensors_header(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change a name, type, shape, offset or text in the header; its length is mostly what the file then says."""
    length = int.from_bytes(content[:8], "little")
    try:
        facts = _parsed(content[8 : 8 + length])
        names = list(facts)
    except (ValueError, RecursionError, TypeError):
        return _set_integer(random, content, seeds, within=8)
    if "__metadata__" in facts and random.random() < 0.6:
        facts = {**facts, "__metadata__": _mutated(random, facts["__metadata__"])}
    else:
        name = random.choice(names)
        facts = {**facts, name: _mutated(random, facts[name])} if random.random() < 0.6 else _reshaped(random, facts)
    header = _dump(facts).encode("utf-8", "surrogatepass")
    claimed = len(header) if random.random() < 0.95 else random.choice(_INTEGERS)
    return claimed.to_bytes(8, "little") + header + content[8 + length :]


_BOMB_BLOCKS = 640


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """Return a raw deflate stream of 640 MiB of zeros, without making these."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * _BOMB_BLOCKS + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def zip_members(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Drop, repeat, rename, exchange, compress or damage a member of a zip file, and write the archive again."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(one.filename, archive.read(one)) for one in archive.infolist() if one.file_size <= _LONGEST]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error):
        return _flip_bits(random, content, seeds)
    if not members:
        return _flip_bits(random, content, seeds)
    place = random.randrange(len(members))
    name, inner = members[place]
    changed: list[tuple[str, bytes]] = random.choice(
        (
            lambda: [],
            lambda: [(name, inner), (name, _member(random, name, inner))],
            lambda: [(_renamed(random, name), inner)],
            lambda: [(name, inner), (_renamed(random, name), inner)],
            lambda: [(name, random.choice(members)[1])],
            *(lambda: [(name, _member(random, name, inner))],) * 6,
        )
    )()
    method = zipfile.ZIP_DEFLATED if random.random() < 0.1 else zipfile.ZIP_STORED
    try:
        return _zipped([*members[:place], *changed, *members[place + 1 :]], method)
    except (ValueError, struct.error):  # a name that no archive takes
        return _flip_bits(random, content, seeds)


def _renamed(random: Random, name: str) -> str:
    text = random.choice(NASTY_TEXTS).encode("utf-8", "replace").decode()[:1000]
    return random.choice((name + text, text, name.rpartition("/")[0] + "/" + text)) or "x"


def _member(random: Random, name: str, content: bytes) -> bytes:
    by_suffix = {"npy": npy_header, "json": json_facts}
    own = by_suffix.get(name.rpartition(".")[2])
    mutator = own if own and random.random() < 0.7 else random.choice(BYTES)
    return mutator(random, content, (content,))


def _zipped(members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)  # of no date, so that the same content gives the same bytes
            if info.filename in archive.NameToInfo:
                del archive.NameToInfo[info.filename]  # a name that occurs twice is meant
            archive.writestr(info, content, method)
    return file.getvalue()


def zip_bomb(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Add a member that is a thousand times as large when it is read; its checksum is only known afterwards."""
    file = io.BytesIO(content)
    name = random.choice(("unused", "unused.npy", "archive/data/99"))
    try:
        with zipfile.ZipFile(file, "a") as archive:
            info = zipfile.ZipInfo(name)
            archive.writestr(info, _bomb())
            info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, _BOMB_BLOCKS << 20
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        return _flip_bits(random, content, seeds)
    packed = bytearray(file.getvalue())
    packed[info.header_offset + 8 : info.header_offset + 10] = (8).to_bytes(2, "little")  # deflated, here as well
    return bytes(packed)


_TAR_FIELDS = ((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (386, 97), (482, 1))
_TAR_KINDS = b"0\x001234567xgXLKSDVM\xff"


def tar_headers(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change a field in a header of a tar file, such as name, size or kind; its checksum is right."""
    places = [at for at in range(0, len(content) - 511, 512) if content[at + 257 : at + 262] == b"ustar"]
    if not places:
        return _flip_bits(random, content, seeds)
    place, (start, length) = random.choice(places), random.choice(_TAR_FIELDS)
    header = bytearray(content[place : place + 512])
    number = random.choice((*_INTEGERS, len(content), 1 << 62))
    values = (
        random.choice(NASTY_TEXTS).encode("utf-8", "surrogatepass"),
        b"%o" % number,
        b"\x80" + number.to_bytes(11, "big"),
        bytes([random.choice(_TAR_KINDS)]) * length,
        _flip_bits(random, bytes(header[start : start + length]), ()),
    )
    header[start : start + length] = random.choice(values)[:length].ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:place] + bytes(header) + content[place + 512 :]


_TYPES = ("|O", "<f8", ">f4", "<f2", "<i4", "<U1000000", "<U0", "|V8", "|S4", "<c8", "<M8[ns]", "|b1", "<q9", "")
_SHAPES = (
    "()",
    "(0,)",
    "(-1,)",
    "(1 << 40,)",
    "(1099511627776, 4)",
    "(0, 99999999999)",
    "(True, 4)",
    "(2.5,)",
    "([],)",
)


def npy_header(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change type, shape or order in the header of an .npy file, or its length."""
    length = int.from_bytes(content[8:10], "little")
    header, rest = content[10 : 10 + length], content[10 + length :]
    kind = random.choice(_TYPES)
    pattern, text = random.choice(
        (
            (rb"'descr': [^,]*", f"'descr': '{kind}'"),
            (rb"'descr': [^,]*", f"'descr': [('a', '{kind}'), ('a', '<f4')]"),
            (rb"'shape': \([^)]*\)", f"'shape': {random.choice(_SHAPES)}"),
            (rb"'shape': \([^)]*\)", f"'shape': ({random.choice((*_INTEGERS, 3, 4, 5))},)"),
            (rb"'shape': \([^)]*\)", "'shape': (" + "1," * 100 + ")"),
            (rb"'fortran_order': \w+", f"'fortran_order': {random.choice(('True', 'None', '3'))}"),
            (rb"\{.*\}", random.choice(("", "{}", "[" * 5000, "{'descr': " * 200, "9" * 5000, "__import__('os')"))),
        )
    )
    header = re.sub(pattern, lambda _: text.encode(), header, count=1)
    header = header.rstrip() + b" " * (-(len(header.rstrip()) + 11) % 64) + b"\n"
    size = (len(header) if random.random() < 0.9 else random.choice(_INTEGERS)) % (1 << 16)
    return content[:8] + size.to_bytes(2, "little") + header + rest


def bundle_files(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change a file of a bundle, which is given as a zip file; often, list the changed files' hashes in the card."""
    damaged = zip_members(random, content, seeds)
    if random.random() < 0.4:
        return damaged
    try:
        with zipfile.ZipFile(io.BytesIO(damaged)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        card = json.loads(files["model.json"])
        card["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in files if name != "model.json"}
        files["model.json"] = _dump(card).encode("utf-8", "surrogatepass")
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, RecursionError):
        return damaged
    return _zipped(list(files.items()))


def store_files(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change a file of a gallery's folder, which is given as a zip file; often, the manifest's digest fits it."""
    damaged = zip_members(random, content, seeds)
    if random.random() < 0.3:
        return damaged
    try:
        with zipfile.ZipFile(io.BytesIO(damaged)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        facts = json.loads(files["gallery.json"])
        facts.pop("digest", None)
        sealed = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    except (AttributeError, zipfile.BadZipFile, KeyError, TypeError, ValueError, RecursionError):
        return damaged
    files["gallery.json"] = _dump({**facts, "digest": hashlib.sha256(sealed).hexdigest()}).encode(
        "utf-8", "surrogatepass"
    )
    return _zipped(list(files.items()))


# Images


def png_chunks(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change, drop, repeat or move a chunk of a PNG; the checksums are mostly right."""
    chunks, position = [], 8
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    if not chunks:
        return _flip_bits(random, content, seeds)
    place = random.randrange(len(chunks))
    kind, inner = chunks[place]
    chunks[place : place + 1] = random.choice(
        (
            lambda: [],
            lambda: [(kind, inner)] * random.choice((2, 500)),
            lambda: [(random.choice((b"tEXt", b"acTL", b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"IEND")), inner)],
            *(lambda: [(kind, random.choice((_set_integer, *BYTES))(random, inner, (inner,)))],) * 4,
        )
    )()
    if random.random() < 0.1:
        random.shuffle(chunks)
    return content[:8] + b"".join(_chunk(kind, inner, random.random() < 0.9) for kind, inner in chunks)


def _chunk(kind: bytes, content: bytes, is_sound: bool) -> bytes:
    checksum = zlib.crc32(kind + content) if is_sound else 0
    return len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")


def jpeg_segments(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change the size that a JPEG's frame states, or change, drop or repeat one of the segments before the scan."""
    segments, position = [], 2
    while position + 4 <= len(content) and content[position] == 0xFF and content[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        segments.append(content[position:end])
        position = end
    if not segments:
        return _flip_bits(random, content, seeds)
    frame = next((place for place, one in enumerate(segments) if one[1] in (0xC0, 0xC1, 0xC2)), 0)
    place = frame if random.random() < 0.4 else random.randrange(len(segments))
    segment = segments[place]
    segments[place : place + 1] = random.choice(
        (
            lambda: [],
            lambda: [segment] * random.choice((2, 200)),
            lambda: [segment[:4] + random.choice(BYTES)(random, segment[4:], (segment,))],
            *(lambda: [segment[:5] + _set_integer(random, segment[5:], (), within=4)],) * 3,
        )
    )()
    return content[:2] + b"".join(segments) + content[position:]


# Protocol buffers


def protobuf_fields(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change, drop or repeat a field of a message, or of a message within it; the lengths are right."""
    fields = _fields(content)
    if not fields:
        return random.choice((*BYTES, json_facts))(random, content, (content,))
    longest = max(range(len(fields)), key=lambda place: len(fields[place][1]))
    place = longest if random.random() < 0.4 else random.randrange(len(fields))
    key, value = fields[place]
    action = random.random()
    if action < 0.1:
        del fields[place]
    elif action < 0.2:
        fields[place : place + 1] = [(key, value)] * random.choice((2, 2, 300))
    elif action < 0.25:
        random.shuffle(fields)
    elif key & 7 == 0:
        fields[place] = key, _varint(random.choice((*_INTEGERS, (1 << 63) - 1, (1 << 64) - 1, random.getrandbits(6))))
    elif key & 7 == 2:
        fields[place] = key, protobuf_fields(random, value, seeds)
    else:
        fields[place] = key, random.randbytes(len(value))
    return b"".join(_varint(key) + (_varint(len(value)) if key & 7 == 2 else b"") + value for key, value in fields)


def _fields(content: bytes) -> list[tuple[int, bytes]]:
    """Return key and content of a message's fields; none if it is not one."""
    fields, position = [], 0
    while position < len(content):
        key, position = _read_varint(content, position)
        start = position
        if key & 7 == 0:
            _, position = _read_varint(content, position)
        elif key & 7 == 2:
            length, start = _read_varint(content, position)
            position = start + length
        else:
            position += {1: 8, 5: 4}.get(key & 7, len(content) + 1)
        if not 0 < key >> 3 < 100 or position > len(content):
            return []
        fields.append((key, content[start:position]))
    return fields


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(position, min(position + 10, len(content))):
        value |= (content[place] & 0x7F) << shift
        shift += 7
        if content[place] < 0x80:
            return value, place + 1
    return 0, len(content) + 1


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
