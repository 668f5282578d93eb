"""Check this project's uses of TensorRT by mypy against a version's stubs, and walk them with the types it found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facts import Facts
from mypy.build import BuildResult, build
from mypy.modulefinder import BuildSource
from mypy.nodes import MemberExpr
from mypy.options import Options
from mypy.types import AnyType, FunctionLike, Instance, ProperType, Type, TypeType, UnionType, get_proper_type
from stubs import stub_of

__all__ = ["Checked", "check", "sources"]

_ROOT = Path(__file__).parents[2]

_USES = re.compile(r"^ +import tensorrt|tensorrt_api import", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checked:
    """What is found about modules.

    Attributes:
        errors: mypy's errors, by the module's name.
        uses: what is used of TensorRT, as "package.class.member".
        blind: the members of TensorRT that are asked of values whose type mypy does not know.
    """

    errors: dict[str, list[str]]
    uses: set[str]
    blind: set[str]


def sources() -> dict[str, str]:
    """Return every module that uses TensorRT, or lies beside one that does, by its name, with its text."""
    texts = {path: path.read_text() for room in ("runtime", "export") for path in sorted((_ROOT / room).rglob("*.py"))}
    using = {path for path, text in texts.items() if _USES.search(text)}
    beside = {path for path in texts if path.parent in {one.parent for one in using} - {_ROOT / "runtime"}}
    names = {path: ".".join(("reid", *path.relative_to(_ROOT).with_suffix("").parts)) for path in texts}
    return {names[path]: texts[path] for path in sorted(using | beside)}


def check(modules: Mapping[str, str], tensorrt: Facts, rtx: Facts, folder: Path) -> Checked:
    """Check modules, given by name and text, against a version of the package `tensorrt` and one of `tensorrt_rtx`.

    Args:
        modules: the modules; what they import and is not among them has no types.
        tensorrt: the facts about what stands for the package `tensorrt`.
        rtx: the facts about what stands for the package `tensorrt_rtx`.
        folder: a folder for mypy's cache, which makes the next check faster.
    """
    stubs = {"tensorrt": stub_of(tensorrt), "tensorrt_rtx": stub_of(rtx)}
    texts = {
        **{f"{name}.pyi": text for name, text in stubs.items()},
        **{f"{name}.py": t for name, t in modules.items()},
    }
    result = build([_source(file, text, folder) for file, text in texts.items()], _options(folder))
    known = _words(tensorrt) | _words(rtx)
    errors = [line for line in result.errors if not line.endswith("[var-annotated]")]  # of what is not looked at
    members = list(_members(result))
    return Checked(
        {name: [line for line in errors if line.startswith(f"{folder / name}.py:")] for name in modules},
        {f"{owner}.{one.name}" for one, owner in members if owner},
        {f"line {one.line}: {one.name}" for one, owner in members if owner == "" and one.name in known},
    )


def _source(file: str, text: str, folder: Path) -> BuildSource:
    path = folder / file
    path.write_text(text)
    return BuildSource(str(path), path.stem, None)


def _options(folder: Path) -> Options:
    options = Options()
    options.cache_dir = str(folder / "cache")
    options.follow_imports, options.ignore_missing_imports = "skip", True
    options.per_module_options = {"numpy.*": {"follow_imports": "skip", "follow_imports_for_stubs": True}}  # takes time
    options.check_untyped_defs = options.export_types = True
    return options


def _words(facts: Facts) -> set[str]:
    """Return the classes, and those names of members that no array, path or record of this project has by chance."""
    members = {one for kinds in facts.values() for named in kinds.values() for one in named}
    return {*facts, *(one for one in members if "_" in one.strip("_") or one.isupper())}


def _members(result: BuildResult) -> Iterator[tuple[MemberExpr, str | None]]:
    """Give every `value.member` with TensorRT's class of the value: "" if mypy does not know it, None if another."""
    for expression in result.types:
        if isinstance(expression, MemberExpr) and expression.expr in result.types:
            for kind in _parts(result.types[expression.expr]):
                yield expression, _owner(kind)


def _parts(kind: Type) -> list[ProperType]:
    proper = get_proper_type(kind)
    return [part for item in proper.items for part in _parts(item)] if isinstance(proper, UnionType) else [proper]


def _owner(kind: ProperType) -> str | None:
    if isinstance(kind, AnyType):
        return ""
    if isinstance(kind, TypeType):  # a class of the package, as in api.BuilderFlag.TF32
        kind = kind.item
    elif isinstance(kind, FunctionLike) and kind.is_type_obj():
        kind = get_proper_type(kind.items[0].ret_type)
    name = kind.type.fullname if isinstance(kind, Instance) else ""
    return name if name.startswith(("tensorrt.", "tensorrt_rtx.")) else None
