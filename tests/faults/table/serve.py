"""`reid-serve`: galleries, tokens, addresses and numbers. What clients send is in `tests/serve`."""

from __future__ import annotations

from table.makers import cut, fifo, folder, link, sparse, text, zero
from table.numbers import NO_INTEGERS
from table.row import Row

__all__ = ["SERVED", "SETTINGS"]

_LINE = "reid-serve bundle store --port 0"
_TOKEN = f"{_LINE} --token-file it"

SERVED = (
    Row("reid-serve nowhere store --port 0", says="nowhere: no such model"),
    Row("reid-serve bundle nowhere --port 0", says="nowhere is no gallery; make one with `reid-gallery append"),
    Row("reid-serve bundle gallery --port 0", says="gallery is no gallery; make one"),
    Row("reid-serve bundle it --port 0", folder("it"), "it is no gallery"),
    Row("reid-serve bundle it --port 0", text("it"), "it is not a readable gallery"),
    Row("reid-serve bundle redis://it --port 0", says="no such kind of gallery"),
    Row(_LINE, cut("store/gallery.json"), "store/gallery.json"),
    Row(f"{_LINE} --read-only --false-match-rate 1e-3", says="reid-export --verify DATA"),
    Row(f"{_LINE} --precision fp16", says="fp16"),
)

SETTINGS = (
    Row(f"{_LINE} --host 0.0.0.0", says="0.0.0.0 can be reached from other machines.*--token-file"),
    Row(f"{_LINE} --host ::", says=":: can be reached from other machines"),
    Row(f"{_LINE} --host 192.0.2.1 --token-file it", text("it", b"x" * 40), "192.0.2.1:0 cannot be had"),
    Row(f"{_LINE} --host ''", says="can be reached|no address"),
    Row(_TOKEN, says="it: No such file"),
    Row(_TOKEN, folder("it"), "it: .*; give a file with a token"),
    Row(_TOKEN, fifo("it"), "it: a named pipe"),
    Row(_TOKEN, zero("it"), "it: a device"),
    Row(_TOKEN, sparse("it"), "it: 274,877,906,944 bytes, more than"),
    Row(_TOKEN, text("it", b""), "it holds no token of at least 16"),
    Row(_TOKEN, text("it", b"0123456789\n01234567890"), "it holds no token"),
    Row(_TOKEN, text("it", bytes(20)), "it holds no token"),
    Row(_TOKEN, link("it", "gone"), "it: No such file"),
    Row(f"REID_TOKEN=short {_LINE}", says="REID_TOKEN holds no token.*openssl rand -hex 32"),
    *(Row(f"{_LINE[:-1]}{number}", says="--port", code=2) for number in NO_INTEGERS),
    *(Row(f"{_LINE} --max-pictures {number}", says="--max-pictures", code=2) for number in (*NO_INTEGERS, "0")),
    *(Row(f"{_LINE} --max-bytes {number}", says="--max-bytes", code=2) for number in (*NO_INTEGERS, "0")),
    *(Row(f"{_LINE} --max-rate {number}", says="--max-rate", code=2) for number in ("0", "-1", "nan", "inf", "''")),
    *(Row(f"{_LINE} --deadline {number}", says="--deadline", code=2) for number in ("-1", "nan", "1e9", "''")),
)
