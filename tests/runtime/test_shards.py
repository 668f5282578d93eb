"""Shards: each tracklet in one of them, the same one on every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.runtime.errors import DataError
from reid.runtime.shards import Shard


@given(st.text(max_size=20), st.integers(1, 50))
def test_every_tracklet_is_in_one_shard(identity: str, count: int) -> None:
    assert sum(Shard(number, count).has(identity) for number in range(1, count + 1)) == 1


def test_shards_are_about_as_large_as_each_other_and_always_the_same() -> None:
    ids = [f"tracks/{number:06}" for number in range(16_000)]
    sizes = [sum(map(Shard(number, 16).has, ids)) for number in range(1, 17)]
    assert sum(sizes) == 16_000
    assert max(abs(size - 1000) for size in sizes) < 5 * 1000**0.5
    third = ["tracks/000001", "tracks/000013", "tracks/000037"]  # by `b2sum --length 64`, read from its end, modulo 16
    assert [name for name in ids[:40] if Shard.parse("3/16").has(name)] == third
    assert [Shard(number, 3).has("\udcff.jpg") for number in (1, 2, 3)].count(True) == 1


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "1 / 3", "٣/٤", "9" * 5000 + "/9"])
def test_what_is_no_shard_is_said_so(text: str) -> None:
    with pytest.raises(DataError, match=r"shard .*: give"):
        Shard.parse(text)


def test_it_is_shown_as_it_is_written() -> None:
    assert str(Shard.parse("03/16")) == "3/16"
