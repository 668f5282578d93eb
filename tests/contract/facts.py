"""What a package of NVIDIA has, as its bindings say it themselves: classes, members, signatures, enumerators.

Run as `python facts.py MODULE`, where the module can be imported, it prints the facts as JSON. pybind11 keeps the
signatures of a function in its docstring, and the type of a property in that of its getter.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from types import ModuleType
from typing import Any

__all__ = ["CLASSES", "Facts", "facts_of"]

Facts = dict[str, dict[str, dict[str, Any]]]
"""Class -> kind of member -> name -> what is known of it; see facts_of."""

CLASSES = (
    "Backend",
    "BackendKind",
    "Builder",
    "BuilderFlag",
    "CodeStream",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DataType",
    "DecodeParams",
    "Decoder",
    "Dims",
    "DynamicShapesKernelSpecializationStrategy",
    "EngineInspector",
    "EngineInvalidityDiagnostics",
    "EngineValidity",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "Image",
    "LayerInformationFormat",
    "LayerType",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
)
"""The classes that are used here. A class that is not among them has no stub, and mypy says so where it is used."""

_SIGNATURE = re.compile(r"^(?:\d+\. )?\w* ?\((?P<parameters>.*)\) -> (?P<result>.*)$", re.MULTILINE)
_SPECIAL = ("__init__", "__len__", "__getitem__", "__int__", "__cuda_array_interface__")
_NAMES = {"SupportsInt": "int", "buffer": "Buffer", "IParserError": "ParserError", "List": "list", "Tuple": "tuple"}


def facts_of(module: ModuleType) -> Facts:
    """Return the facts about those of a module's classes that are among CLASSES.

    An enumerator, and a constant that a class borrows from an enumeration, is told with its type. A property is told
    with its type, after "settable " where it can be set; a function, with its signatures: "(flags: int = ...) ->
    INetworkDefinition". Functions that say no signature are left out.
    """
    nested = {"Severity": module.ILogger.Severity} if hasattr(module, "ILogger") else {}
    return {name: _members(one) for name, one in sorted({**vars(module), **nested}.items()) if name in _wanted(nested)}


def _wanted(nested: dict[str, type]) -> set[str]:
    return {*CLASSES, *nested}


def _members(one: type) -> dict[str, dict[str, Any]]:
    enumerators = dict.fromkeys(getattr(one, "__members__", {}), one.__name__)
    members = {name: value for name, value in vars(one).items() if name[0] != "_" or name in _SPECIAL}
    borrowed = {name: type(value).__name__ for name, value in members.items() if hasattr(value, "__members__")}
    functions = {name: _signatures(getattr(one, name)) for name in members if callable(getattr(one, name))}
    found = {
        "enumerators": enumerators or {name: kind for name, kind in borrowed.items() if kind != "pybind11_type"},
        "properties": {name: _property(value) for name, value in members.items() if isinstance(value, property)},
        "functions": {name: signatures for name, signatures in functions.items() if signatures},
    }
    return {kind: dict(sorted(named.items())) for kind, named in found.items() if named}


def _property(value: property) -> str:
    (_, _, kind), *_ = [one.partition(" -> ") for one in _signatures(value.fget)] or [("", "", "object")]
    return f"settable {kind}" if value.fset else kind


def _signatures(function: Any) -> list[str]:  # noqa: ANN401 - whatever can be called
    found = _SIGNATURE.finditer(function.__doc__ or "")
    return [f"({_parameters(one['parameters'])}) -> {_type(one['result'])}" for one in found]


def _parameters(text: str) -> str:
    """Give the parameters after `self`, with "..." for defaults; those without a name can be given by position only."""
    parameters = [_parameter(one) for one in _split(text)]
    if parameters and parameters[0].partition(":")[0] in ("self", "arg0"):
        del parameters[0]
    unnamed = sum(re.match(r"arg\d+:", one) is not None for one in parameters)
    return ", ".join([*parameters[:unnamed], *(["/"] if unnamed else []), *parameters[unnamed:]])


def _split(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{<") - (letter in ")]}>")
        parts = [*parts, ""] if letter == "," and not depth else [*parts[:-1], parts[-1] + letter]
    return [part.strip() for part in parts if part.strip() not in ("", "/")]


def _parameter(text: str) -> str:
    declared, _, default = text.partition(" = ")
    name, _, kind = declared.partition(": ")
    return f"{name}: {_type(kind)}" + (" = ..." if default else "") if kind else name


def _type(text: str) -> str:
    """Write a type as a stub does: without modules and namespaces, and in Python's words."""
    return re.sub(r"(?:\w+(?:\.|::))*(\w+)", lambda match: _NAMES.get(match[1], match[1]), text.strip())


if __name__ == "__main__":
    print(json.dumps(facts_of(importlib.import_module(sys.argv[1])), indent=1))
