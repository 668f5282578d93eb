"""What GIFs may cost, beside the sizes that test_reading compares."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import gif
from PIL import Image

from reid.runtime.image_headers.reading import read_header

CLEAR, END, FREE = 4, 5, 4096


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 7, 8, 40, 300, 5000]), max_size=8), st.sampled_from([CLEAR, END]))
def test_clear_codes_are_counted_wherever_they_are(runs: list[int], code: int) -> None:
    """Codes become wider, from 3 to 12 bits, with each one since the last clear code."""
    codes = [code] * (FREE - len(runs))
    for run in runs:
        codes += [0] * run + [code]
    assert read_header(gif(8, 8, codes)) == ("GIF", 8, 8)
    with pytest.raises(ValueError, match=r"^more than 4,096 clear codes, which take too long to decode$"):
        read_header(gif(8, 8, [*codes, code]))


def test_a_larger_image_may_have_more_clear_codes() -> None:
    codes = [CLEAR] * (FREE + 300)
    assert read_header(gif(640, 480, codes)) == ("GIF", 640, 480)


def test_a_picture_whose_writer_avoids_compression_is_read() -> None:
    levels = np.random.default_rng(0).integers(0, 128, (120, 160))
    codes = [128]
    for place, level in enumerate(levels.ravel()):
        codes += [128] * (place % 120 == 119) + [int(level)]
    content = gif(160, 120, [*codes, 129], bits=7)
    assert read_header(content) == ("GIF", 160, 120)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("L")), levels * 255 // 127)


@pytest.mark.parametrize("content", [gif(4, 2, [4, 0, 1, 2, 3, 3, 2, 1, 0, 5], before=b"!\xfe\3abc\0")])
def test_a_gif_that_is_cut_anywhere_is_refused(content: bytes) -> None:
    assert read_header(content) == ("GIF", 4, 2)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^(the image is cut short|not a readable image)$"):
            read_header(content[:length])


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a" + bytes(99),
        gif(8, 8, [4, 0, 5])[:25] + b";",  # no frame
        gif(8, 8, [4, 0, 5], before=b"?"),
        gif(8, 8, [1 << 12], bits=12),
    ],
)
def test_other_blocks_none_or_other_codes_are_not_readable(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a readable image$"):
        read_header(content)
