"""What makes bad inputs. Every function here returns one that does it, in the folder of a row."""

from __future__ import annotations

import hashlib
import os
import socket as sockets
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from table.changes import GONE, changed
from table.place import Place
from table.row import Make
from table.world import png_chunk

__all__ = [
    "KINDS",
    "KINDS_OF_FOLDERS",
    "arrays",
    "circle",
    "compressed",
    "crop",
    "cut",
    "edited",
    "emptied",
    "fifo",
    "folder",
    "forbidden",
    "foreign",
    "gallery_of",
    "gone",
    "graph",
    "itself",
    "json_with",
    "link",
    "listed",
    "moved",
    "nested",
    "own",
    "pickled",
    "png",
    "removed",
    "sidecar",
    "socket",
    "sound",
    "sparse",
    "tensors",
    "text",
    "with_crop",
    "zero",
]


def _named(make: Callable[..., None]) -> Callable[..., Make]:
    """Let a function of (place, ...) be called without the place, and return what makes the input there."""

    def with_arguments(*arguments: Any, **named: Any) -> Make:  # noqa: ANN401 - those of the function
        words = " ".join([make.__name__, *(str(one) for one in arguments if isinstance(one, str))])

        def in_place(place: Place) -> None:
            make(place, *arguments, **named)

        in_place.made = words[:60]  # type: ignore[attr-defined]
        return in_place

    return with_arguments


def _fresh(place: Place, name: str) -> Path:
    """Return the path of something new; inputs that it lies in become copies, and what is there goes."""
    first, *rest = name.split("/")
    if rest and first in place.world.names:
        place.own(first)
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        path.unlink()
    return path


# ---- what is no file ----


@_named
def fifo(place: Place, name: str) -> None:
    """A named pipe that nobody writes to."""
    os.mkfifo(_fresh(place, name))


@_named
def socket(place: Place, name: str) -> None:
    here = os.getcwd()
    path = _fresh(place, name)
    os.chdir(path.parent)  # the name of a socket may not be long
    try:
        with sockets.socket(sockets.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@_named
def zero(place: Place, name: str) -> None:
    """A link to a device that never ends."""
    _fresh(place, name).symlink_to("/dev/zero")


@_named
def link(place: Place, name: str, target: str) -> None:
    _fresh(place, name).symlink_to(target)


@_named
def circle(place: Place, name: str) -> None:
    """A link that leads to another, which leads back."""
    _fresh(place, name).symlink_to(f"{Path(name).name}-too")
    _fresh(place, f"{name}-too").symlink_to(Path(name).name)


@_named
def itself(place: Place, name: str) -> None:
    """A folder that holds a link to itself, beside an image."""
    (place / name).mkdir()
    (place / name / "again").symlink_to(".")
    crop("deep.jpg")(place)
    (place / "deep.jpg").rename(place / name / "deep.jpg")


@_named
def folder(place: Place, name: str) -> None:
    path = _fresh(place, name)
    path.mkdir()


# ---- files ----


@_named
def text(place: Place, name: str, content: str | bytes = "all my work\n") -> None:
    _fresh(place, name).write_bytes(content if isinstance(content, bytes) else content.encode())


@_named
def foreign(place: Place, name: str) -> None:
    """A file of the user's own among sound ones."""
    _fresh(place, name).write_text("years of work\n")


@_named
def sparse(place: Place, name: str, size: int = 1 << 38) -> None:
    """A file of many zeros that takes no space."""
    path = _fresh(place, name)
    with path.open("wb") as file:
        file.truncate(size)


@_named
def sound(place: Place, name: str, source: str) -> None:
    """A sound input under another name."""
    _fresh(place, name).write_bytes(place.world[source].read_bytes())


@_named
def gone(place: Place, name: str) -> None:
    """Nothing where a sound input would be."""
    (place / name).unlink()


@_named
def own(place: Place, name: str) -> None:
    """A copy of a sound input."""
    place.own(name)


@_named
def moved(place: Place, name: str, to: str) -> None:
    """A sound input, or something in it, under another name."""
    place.own(name.split("/")[0])
    (place / name).rename(place / to)


@_named
def cut(place: Place, name: str, keep: float = 0.5) -> None:
    """A file without its end."""
    place.own(name.split("/")[0])
    content = (place / name).read_bytes()
    (place / name).write_bytes(content[: int(keep * len(content))])


@_named
def emptied(place: Place, name: str) -> None:
    place.own(name.split("/")[0])
    (place / name).write_bytes(b"")


@_named
def removed(place: Place, name: str) -> None:
    place.own(name.split("/")[0])
    (place / name).unlink()


@_named
def forbidden(place: Place, name: str, mode: int = 0) -> None:
    """A file or folder that nobody is let into."""
    place.own(name.split("/")[0])
    (place / name).chmod(mode)


@_named
def crop(place: Place, name: str, count: int = 1) -> None:
    """A sound image under a name that may have any characters; `{}` in it is a number."""
    source = next(iter(sorted(place.world["query"].iterdir()))).read_bytes()
    for number in range(count):
        _fresh(place, name.format(number)).write_bytes(source)


@_named
def png(place: Place, name: str, width: int, height: int, *extra: tuple[bytes, bytes]) -> None:
    """A picture that says that it is so large, and has no pixels."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunks = ((b"IHDR", header), *extra, (b"IDAT", b""), (b"IEND", b""))
    content = b"".join(png_chunk(kind, data) for kind, data in chunks)
    _fresh(place, name).write_bytes(b"\x89PNG\r\n\x1a\n" + content)


# ---- our own formats ----


@_named
def json_with(place: Place, name: str, changes: Mapping[str, object]) -> None:
    """A JSON file with other values; see changed."""
    place.own(name.split("/")[0])
    (place / name).write_text(changed((place / name).read_bytes(), changes))


@_named
def nested(place: Place, name: str, depth: int = 100_000) -> None:
    """A JSON file that is nested deeply."""
    _fresh(place, name).write_text("[" * depth + "]" * depth)


@_named
def listed(place: Place, name: str) -> None:
    """The card of a bundle says that a file, as it is now, is the one that was exported."""
    bundle, _, file = name.partition("/")
    digest = hashlib.sha256((place / name).read_bytes()).hexdigest()
    json_with(f"{bundle}/model.json", {f"files:{file}": digest})(place)


@_named
def arrays(place: Place, name: str, *, compressed: bool = False, **changes: Any) -> None:  # noqa: ANN401 - arrays
    """A saved gallery with other fields; GONE leaves a field out."""
    with np.load(place.world["saved.npz"]) as stored:
        fields = {**{key: stored[key] for key in stored.files}, **changes}
    kept = {key: value for key, value in fields.items() if value is not GONE}
    (np.savez_compressed if compressed else np.savez)(_fresh(place, name), **kept)


@_named
def gallery_of(place: Place, name: str, **space: str) -> None:
    """A saved gallery that is sound, but of another model or precision."""
    from dataclasses import replace

    from reid.runtime.galleries.memory import MemoryGallery
    from reid.runtime.model_card import ModelCard
    from reid.runtime.space import Space

    card = ModelCard.read(place.world["bundle"] / "model.json")
    saved = MemoryGallery.open(place.world["saved.npz"], Space(card.fingerprint, "fp32", card.dimensions))
    replace(saved, space=replace(saved.space, **space)).save(_fresh(place, name))


@_named
def edited(place: Place, name: str, change: Callable[[dict[str, Any], dict[str, str]], None]) -> None:
    """A file of tensors in which something is changed, by a function of the tensors and of the texts."""
    from safetensors import safe_open
    from safetensors.torch import save

    place.own(name.split("/")[0])
    with safe_open(place / name, framework="pt") as stored:
        found = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
        said = stored.metadata()
    change(found, said)
    (place / name).write_bytes(save(found, metadata=said))


def tensors(name: str, changes: Mapping[str, object], texts: Mapping[str, object] = {}) -> Make:
    """A file of tensors with others, as bytes or arrays, and other texts; GONE leaves one out."""

    def change(found: dict[str, Any], said: dict[str, str]) -> None:
        import torch

        for new, into in ((changes, found), (texts, said)):
            for key, value in new.items():
                if value is GONE:
                    del into[key]
                elif into is said:
                    into[key] = value
                else:
                    array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
                    into[key] = torch.from_numpy(np.array(array))

    return edited(name, change)


@_named
def pickled(place: Place, name: str, content: Callable[[Any], object]) -> None:
    """A file that `torch.save` wrote; the content is a function of the module torch."""
    import torch

    torch.save(content(torch), _fresh(place, name))


@_named
def compressed(place: Place, name: str) -> None:
    """A file of weights whose archive holds a thousand times what its size says."""
    with zipfile.ZipFile(_fresh(place, name), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 28))


def with_crop(name: str, source: str) -> Make:
    """A checkpoint with another reference crop."""

    def with_it(place: Place) -> None:
        tensors(name, {"reference.x.jpg": place.world[source].read_bytes()})(place)

    return with_it


def sidecar(make: Callable[[str], Make]) -> Make:
    """Damage the card of the engine in `engined`."""

    def damage(place: Place) -> None:
        (card,) = (place.own("engined") / "engines").glob("*.json")
        make(str(card.relative_to(place.root)))(place)

    return damage


@_named
def graph(place: Place, name: str, change: Callable[[Any], None]) -> None:
    """The bundle's FP32 graph, changed."""
    import onnx

    model = onnx.load(place.world["bundle"] / "model.fp32.onnx")
    change(model)
    path = _fresh(place, name)
    path.write_bytes(model.SerializeToString())


KINDS: tuple[tuple[Callable[..., Make], str], ...] = (
    (fifo, "a named pipe"),
    (socket, "a socket"),
    (zero, "a device"),
    (folder, "a folder"),
)
"""What is no file, and what is said of it."""

KINDS_OF_FOLDERS: tuple[tuple[Callable[..., Make], str], ...] = (
    (fifo, "not a folder"),
    (socket, "not a folder"),
    (zero, "not a folder"),
    (text, "not a folder"),
    (circle, "no such folder|symbolic links"),
)
"""What is no folder, and what is said of it."""
