from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

from reid.runtime.errors import ModelError, ReidError
from reid.train.tensor_file import check_alike, open_tensors, tensors_to_bytes

TENSORS = {
    "b.weight": torch.arange(6.0).reshape(2, 3),
    "a.count": torch.tensor(7),
    "image.jpg": torch.tensor([1, 2, 3], dtype=torch.uint8),
    "empty": torch.zeros(0, 4),
}
TEXTS = {"card": '{"name": "\u00fc\u2028"}', "architecture": "{}", "facts": "", "quantization": "[1]", "x\ny": "\x00"}


def test_the_same_content_has_the_same_bytes() -> None:
    other_order = [dict(reversed(each.items())) for each in (TENSORS, TEXTS)]
    contents = {tensors_to_bytes(TENSORS, TEXTS) for _ in range(50)} | {tensors_to_bytes(*other_order)}
    assert len(contents) == 1
    assert len({save(TENSORS, metadata=TEXTS) for _ in range(50)}) > 1  # else there is nothing to put in order


def test_the_same_content_has_the_same_bytes_in_every_process() -> None:
    """Each has an order of its own for what has none, and found these bytes."""
    tensors = {name: torch.arange(5) for name in "abcde"}
    found = hashlib.sha256(tensors_to_bytes(tensors, {name: name for name in "zyxwv"})).hexdigest()
    assert found == "66d9a538a3e7f9dc947360a0348e370e65b81f7af2376dcf113fd20300e747d2"


def test_safetensors_reads_what_was_written(tmp_path: Path) -> None:
    content = tensors_to_bytes(TENSORS, TEXTS)
    assert int.from_bytes(content[:8], "little") % 8 == 0
    found = load(content)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) and found[name].dtype == TENSORS[name].dtype for name in found)
    (tmp_path / "a.safetensors").write_bytes(content)
    with safe_open(tmp_path / "a.safetensors", "pt") as stored:
        assert stored.metadata() == TEXTS


def test_the_parts_of_a_file_are_read_by_their_prefix(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tensors_to_bytes(TENSORS, TEXTS))
    stored = open_tensors(tmp_path / "a", remedy="go on")
    assert stored.texts == TEXTS
    assert stored.read("a.").keys() == {"count"}
    assert stored.read("a.")["count"] == 7
    assert stored.read().keys() == TENSORS.keys()


def write_header(file: Path, header: bytes, data: bytes = b"") -> None:
    file.write_bytes(len(header).to_bytes(8, "little") + header + data)


def test_a_huge_header_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"{number:099}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(60_000)}
    header = json.dumps(many).encode()
    assert len(header) > 8 << 20
    write_header(tmp_path / "a", header)
    monkeypatch.setattr("reid.train.tensor_file.safe_open", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(ModelError, match=r"is damaged \(its header has [\d,]+ bytes, more than the .*\); go on"):
        open_tensors(tmp_path / "a", remedy="go on")
    with (tmp_path / "b").open("wb") as sparse:
        sparse.write(b"\xff" * 8)
        sparse.truncate(1 << 40)
    with pytest.raises(ModelError, match="is damaged"):
        open_tensors(tmp_path / "b", remedy="go on")


def test_a_type_that_pytorch_does_not_know_is_damage(tmp_path: Path) -> None:
    header = b'{"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}'
    write_header(tmp_path / "a", header, b"abc")
    with pytest.raises(ValueError, match="F6_E2M3"):
        open_tensors(tmp_path / "a", remedy="go on").read()


def test_what_is_no_file_is_neither_waited_for_nor_read_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path / "pipe", "a named pipe, not a file"),
        (tmp_path, "a folder, not a file"),
        (Path("/dev/zero"), "a device, not a file"),
        (tmp_path / "absent", "No such file or directory"),
    ):
        with pytest.raises(ReidError, match=f"^{path}: {what}; go on$") as raised:
            open_tensors(path, remedy="go on", error=ReidError)
        assert type(raised.value) is ReidError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"empty": None}, "it has no tensor 'empty'"),
        ({"more": torch.zeros(1)}, "there is no place for tensor 'more'"),
        ({"b.weight": torch.zeros(3, 2)}, r"tensor 'b\.weight' is torch\.float32 \[3, 2\], not .* \[2, 3\]"),
        ({"b.weight": torch.zeros(2, 3, dtype=torch.float64)}, r"is torch\.float64 \[2, 3\], not torch\.float32"),
        ({"a.count": torch.zeros((), dtype=torch.bool)}, r"is torch\.bool \[\], not torch\.int64 \[\]"),
    ],
)
def test_tensors_of_another_kind_are_named(change: dict[str, torch.Tensor | None], message: str) -> None:
    wanted = {name: tensor.to("meta") for name, tensor in TENSORS.items()}
    check_alike(TENSORS, wanted)
    changed = {name: tensor for name, tensor in {**TENSORS, **change}.items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        check_alike(changed, wanted)
