"""AV1: the size of a still image's only frame."""

from __future__ import annotations

from reid.runtime.image_headers.fields import CUT_SHORT, unread

__all__ = ["av1_size"]

_SEQUENCE_HEADER, _FRAMES = 1, (3, 6)
_MOST_UNITS = 10_000


def av1_size(data: bytes) -> tuple[int, int]:
    """Walk from unit to unit: a decoder decodes every frame, be it shown or not.

    Raises:
        ValueError: there is more than one frame, or what gives its size is missing.
    """
    sizes = set()
    frames = position = 0
    for _ in range(_MOST_UNITS):
        if position >= len(data):
            break
        header = data[position]
        kind, position = header >> 3 & 15, position + 1 + (header >> 2 & 1)
        length = len(data) - position
        if header & 2:
            length, position = _length(data, position)
        if kind == _SEQUENCE_HEADER:
            sizes.add(_sequence_size(data[position : position + length]))
        frames += kind in _FRAMES
        position += length
    if position != len(data):
        raise ValueError(CUT_SHORT)
    if frames != 1 or len(sizes) != 1:
        raise unread("an AVIF of several frames or none")
    return sizes.pop()


def _length(data: bytes, position: int) -> tuple[int, int]:
    """Return an integer of seven bits a byte, and where it ends."""
    value = 0
    for place in range(8):
        byte = data[position + place] if position + place < len(data) else 0
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    return value, position + place + 1


def _sequence_size(data: bytes) -> tuple[int, int]:
    """Read a sequence header as far as the size of its frames."""
    bits = _Bits(data)
    bits.take(4)  # profile, still picture
    is_reduced = bits.take(1)
    if is_reduced:
        bits.take(5)
    else:
        if bits.take(1):
            raise unread("an AVIF with a timing")
        has_delays = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if has_delays and bits.take(1):
                bits.take(4)
    places = bits.take(4) + 1, bits.take(4) + 1
    width, height = (bits.take(count) + 1 for count in places)
    for side, count in zip((width, height), places, strict=True):
        if not is_reduced and count > (side - 1).bit_length() + 1:
            raise unread("an AVIF whose frame may be larger than it says")  # a frame's own size has as many bits
    return width, height


class _Bits:
    """The first 128 bytes of something, as integers of some bits; what is missing is 0."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data[:128].ljust(128, b"\0"), "big"), 1024

    def take(self, count: int) -> int:
        """Return the next integer."""
        self._left -= count
        return self._bits >> self._left & (1 << count) - 1
