"""What is changed in the files of bad inputs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GONE",
    "changed",
    "dimmed",
    "external",
    "npy",
    "other_card",
    "other_shape",
    "other_type",
    "other_value",
    "with_card",
    "with_weight",
    "without_card",
    "without_reference",
    "without_weight",
]

GONE = object()
"""Instead of a value: leave the key out."""

_CARD = "reid.model_card"


def changed(content: bytes | str, changes: Mapping[str, object]) -> str:
    """Return JSON with other values; a key is a path of keys, separated by `:`."""
    facts = json.loads(content)
    for path, value in changes.items():
        *before, last = path.split(":")
        part = facts
        for key in before:
            part = part[int(key) if isinstance(part, list) else key]
        key = int(last) if isinstance(part, list) else last
        if value is GONE:
            del part[key]
        else:
            part[key] = value
    return json.dumps(facts)


def npy(array: NDArray[Any], *, claims: tuple[int, ...] = ()) -> bytes:
    """Return an array as an .npy file, which may claim another shape."""
    content = io.BytesIO()
    np.save(content, array)
    if not claims:
        return content.getvalue()
    header = content.getvalue().replace(repr(array.shape).encode(), repr(claims).encode())
    size = int.from_bytes(header[8:10], "little") + len(header) - len(content.getvalue())
    return header[:8] + size.to_bytes(2, "little") + header[10:]


# ---- graphs ----


def without_card(model: Any) -> None:  # noqa: ANN401 - onnx has no types
    """Leave out the card that a graph carries."""
    del model.metadata_props[:]


def other_card(card: Mapping[str, object] | str) -> Callable[[Any], None]:
    """Let a graph carry another card: one with changes, or any text."""

    def change(model: Any) -> None:  # noqa: ANN401 - onnx has no types
        (entry,) = (one for one in model.metadata_props if one.key == _CARD)
        entry.value = card if isinstance(card, str) else changed(entry.value, card)

    return change


def external(location: str) -> Callable[[Any], None]:
    """Let a graph take its first weight from another file."""

    def change(model: Any) -> None:  # noqa: ANN401 - onnx has no types
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = 1
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value

    return change


def dimmed(model: Any) -> None:  # noqa: ANN401 - onnx has no types
    """Let a graph normalize with another mean."""
    from onnx import numpy_helper

    (mean,) = (tensor for tensor in model.graph.initializer if tensor.name == "model.mean")
    mean.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(mean) * 1.5, mean.name))


# ---- checkpoints: tensors and texts by name ----


def _first(found: Mapping[str, object]) -> str:
    return min(name for name in found if name.endswith("conv1.weight"))


def without_weight(found: dict[str, Any], said: dict[str, str]) -> None:
    """Leave out a tensor of the model."""
    del found[_first(found)]


def with_weight(found: dict[str, Any], said: dict[str, str]) -> None:
    """Add a tensor to the model."""
    found["model.another"] = found[_first(found)].clone()


def other_shape(found: dict[str, Any], said: dict[str, str]) -> None:
    """Give a tensor of the model one row less."""
    found[_first(found)] = found[_first(found)][1:].contiguous()


def other_type(found: dict[str, Any], said: dict[str, str]) -> None:
    """Store a tensor of the model in half the bytes."""
    found[_first(found)] = found[_first(found)].half()


def other_value(found: dict[str, Any], said: dict[str, str]) -> None:
    """Change a number of the model."""
    found[_first(found)].view(-1)[0] += 1


def without_reference(found: dict[str, Any], said: dict[str, str]) -> None:
    """Leave out all reference crops."""
    for name in [name for name in found if name.startswith("reference.")]:
        del found[name]


def with_card(changes: Mapping[str, object]) -> Callable[[dict[str, Any], dict[str, str]], None]:
    """Change the card; see changed."""

    def change(found: dict[str, Any], said: dict[str, str]) -> None:
        said["card"] = changed(said["card"], changes)

    return change
