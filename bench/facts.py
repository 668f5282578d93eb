"""The facts of a run as words: what machine it was, and every stored field by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reid.bench.environment import Environment
from reid.bench.records import Record

__all__ = ["flat_facts", "machine_name"]


def machine_name(environment: Environment) -> str:
    """Return what people call the machine: the Jetson's module, or its GPU and processor."""
    if environment.jetson:
        return environment.jetson.model
    processor = environment.processor
    cores = f"{processor.model or processor.architecture}, {processor.cores} CPU{'' if processor.cores == 1 else 's'}"
    return " and ".join((*(gpu.name for gpu in environment.gpus), cores))


def flat_facts(record: Record) -> dict[str, str]:
    """Return every field that says something, by its path: {"processor model": "AMD EPYC", "system": "Ubuntu"}."""
    return dict(_flatten("", record.model_dump(mode="json")))


def _flatten(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(f"{path} {name}".strip(), inner)
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping) for one in value):
        for number, one in enumerate(value, start=1):
            yield from _flatten(f"{path} {number}", one)
    elif value not in (None, "", []):
        yield path.replace("_", " "), _said(value)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
