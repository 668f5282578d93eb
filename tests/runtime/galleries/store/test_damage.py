"""Whatever happens to a file of a gallery, it is refused in one line or read right."""

from __future__ import annotations

from pathlib import Path

from damaged_galleries import MUTATORS, Damage

MUTANTS = 400


def test_a_damaged_gallery_is_refused_or_read_right(tmp_path: Path) -> None:
    damage = Damage(tmp_path)
    assert list(filter(None, map(damage.try_mutant, range(MUTANTS)))) == []
    kinds = {kind: damage.counts[f"{kind}: refused"] for kind in MUTATORS}
    assert min(kinds.values()) > MUTANTS / len(MUTATORS) / 2
    assert damage.counts["swap: read"] > 0  # a file that took its own place
