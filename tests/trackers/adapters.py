"""The files of examples/trackers, loaded under names that hide no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

__all__ = ["ADAPTERS", "adapter"]

ADAPTERS = Path(__file__).parents[2] / "examples" / "trackers"


def adapter(name: str) -> ModuleType:
    """Return the adapter of a package."""
    spec = importlib.util.spec_from_file_location(f"reid_{name}", ADAPTERS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
