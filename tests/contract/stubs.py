"""Turn facts about a package of TensorRT into a stub, by which mypy checks what is done with the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from facts import Facts

__all__ = ["stub_of"]

_HEAD = """
from collections.abc import Iterator, Sequence
from typing import ClassVar, overload
from typing_extensions import Buffer

__version__: str
"""

_BUILT_IN = {"bool", "Buffer", "float", "int", "list", "None", "object", "Sequence", "slice", "str", "tuple"}

# They give None where they fail, as the headers say ("nullptr if ..."), which the bindings' signatures leave out.
_MAY_BE_NONE = {
    "build_serialized_network",
    "create_execution_context",
    "create_timing_cache",
    "deserialize_cuda_engine",
}

# It has the buffer protocol, which shows among the members of a class from Python 3.12 on only.
_BUFFERS = {"IHostMemory"}


def stub_of(facts: Facts) -> str:
    """Return the text of the stub. A type that the facts do not have is `object`: all can be given, nothing be read."""
    return _HEAD + "\n".join(line for name in facts for line in _class(name, facts))


def _class(name: str, facts: Facts) -> Iterator[str]:
    members = facts[name]
    yield f"class {name}:"
    yield "    ..."
    for one, kind in members.get("enumerators", {}).items():
        yield f"    {one}: ClassVar[{kind}]"
    if name in members.get("enumerators", {}).values():
        yield f"    __members__: ClassVar[dict[str, {name}]]"
    for one, kind in members.get("properties", {}).items():
        yield from _property(one, kind, facts)
    if name == "Dims":  # by its items
        yield "    def __iter__(self) -> Iterator[int]: ..."
    if name in _BUFFERS:
        yield "    def __buffer__(self, flags: int, /) -> memoryview: ..."
    for one, signatures in members.get("functions", {}).items():
        for signature in signatures:
            yield from ["    @overload"] if len(signatures) > 1 else []
            yield _function(one, signature, facts)


def _property(name: str, kind: str, facts: Facts) -> Iterator[str]:
    known = _known(kind.removeprefix("settable "), facts)
    yield f"    @property\n    def {name}(self) -> {known}: ..."
    if kind.startswith("settable "):
        yield f"    @{name}.setter\n    def {name}(self, value: {known}) -> None: ..."


def _function(name: str, signature: str, facts: Facts) -> str:
    inside, _, result = signature[1:].rpartition(") -> ")
    if not inside.endswith(" = ..."):  # a default before a parameter without one can never be used by position
        inside = inside.replace(" = ...", "")
    parameters = re.sub(r"(?<=: )[^=/]+?(?=, \w+:|, /| =|$)", lambda match: _accepted(match[0], facts), inside)
    comma = ", " if parameters else ""
    end = " | None" if name in _MAY_BE_NONE else ""
    return f"    def {name}(self{comma}{parameters}) -> {_known(result, facts)}{end}: ..."


def _accepted(kind: str, facts: Facts) -> str:
    # The bindings turn a tuple or a list of numbers into Dims, but no array.
    return "Dims | tuple[int, ...] | list[int]" if kind == "Dims" else _known(kind, facts)


def _known(kind: str, facts: Facts) -> str:
    def name(match: re.Match[str]) -> Any:  # noqa: ANN401
        return match[0] if match[0] in facts or match[0] in _BUILT_IN else "object"

    kind = {"tuple": "tuple[object, ...]", "list": "list[object]"}.get(kind, kind)
    return re.sub(r"\w+", name, kind) if re.fullmatch(r"[\w\[\], .]+", kind) else "object"
