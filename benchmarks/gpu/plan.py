"""The sections of the proof, most telling first, and the seconds that each is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "MARGIN", "PROMISED", "PROMISED_QUICK", "SECTIONS", "SETUP", "SETUP_QUICK", "Section", "chosen"]

FOLDER = Path(__file__).parent / "sections"
PROMISED, PROMISED_QUICK = 8 * 60, 3 * 60
"""Seconds in which all is done, setup included."""
SETUP, SETUP_QUICK = 50, 40
"""Seconds of these for what comes before the first section: the installation, with the kernels' compilation."""

MARGIN = 3
"""Seconds of these to stop the last section and to write the last table."""


@dataclass(frozen=True, slots=True)
class Section:
    """A file in `sections/`, run as a process of its own.

    Attributes:
        name: the name of its file.
        seconds: the time that it is given; what earlier sections did not use comes on top.
        quick: the same under --quick; 0 leaves it out.
        needs: the section whose files it reads; empty for none.
        gpu: whether there is nothing for it to do without a GPU.
    """

    name: str
    seconds: int
    quick: int = 0
    needs: str = ""
    gpu: bool = False


SECTIONS = (
    Section("machine", 8, quick=6),
    Section("kernels", 15, quick=13, gpu=True),
    Section("native_session", 22, quick=18, gpu=True),
    Section("model", 50, quick=44),
    Section("onnxruntime_cuda", 26, quick=18, needs="model"),
    Section("accuracy", 18, quick=12, needs="model"),
    Section("ranking", 12, quick=10),
    Section("sanitizer", 20, quick=14, gpu=True),
    Section("throughput", 40, needs="model"),
    Section("tensorrt_engines", 36, needs="model", gpu=True),
    Section("stored_gallery", 12, gpu=True),
    Section("roofline", 16, gpu=True),
    Section("uploads", 8, gpu=True),
    Section("jpeg_decoding", 12, needs="model", gpu=True),
    Section("reference", 12, needs="model"),
    Section("training_step", 26),
    Section("training_memory", 10, gpu=True),
    Section("processes", 23),
    Section("gpu_tests", 25, gpu=True),
    Section("compiled_training", 23, gpu=True),
    Section("recipes", 13, needs="model"),
)


def chosen(names: Iterable[str], *, quick: bool) -> tuple[Section, ...]:
    """Return the named sections with what they need, or without names all that are to run, in the plan's order.

    Raises:
        KeyError: there is no such section.
    """
    known = {section.name: section for section in SECTIONS}
    wanted = {known[name] for name in names} or {section for section in SECTIONS if section.quick or not quick}
    wanted |= {known[section.needs] for section in wanted if section.needs}
    return tuple(section for section in SECTIONS if section in wanted)
