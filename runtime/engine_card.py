"""What an engine is: the sidecar beside it, with its facts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeAlias

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from reid.runtime.bundle import ENGINES_FOLDER, Bundle
from reid.runtime.engine_judgment import EngineJudgment, Line, check_printable
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import read_file
from reid.runtime.files.validation import JSON_AT_MOST, first_problem, parse_object
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.tensorrt_api import Flavor

__all__ = [
    "ENGINE_FORMAT_VERSION",
    "MOST_PROFILES",
    "EngineCard",
    "LayerSummary",
    "Profile",
    "engine_precisions",
    "largest_batch",
    "uncovered",
]

ENGINE_FORMAT_VERSION: Literal[1] = 1

MOST_PROFILES = 64
"""The most profiles of an engine."""

_MOST_FRAMES = 65_536
"""The most frames of a batch; far above any GPU's memory."""

_WHAT, _REMEDY = "engine's card", "build the engine again with `reid-export`"

_COMMAND = "reid-export"
_BUNDLE = "BUNDLE"
"""The word in a stored command that stands for the bundle's path."""


def _check_command(text: str) -> str:
    # It is shown as a remedy, to be copied: a stranger's card must not suggest another program.
    if shlex.split(check_printable(text))[:1] != [_COMMAND]:
        raise ValueError(f"it is not a command line of {_COMMAND}")
    return text


_Command: TypeAlias = Annotated[str, Field(max_length=16_384), AfterValidator(_check_command)]


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of batches that an engine takes and is optimized for.

    Attributes:
        frames: N as (least, best, most).
        tracklets: T as (least, best, most); the most is never above that of frames: every tracklet has a frame.
    """

    frames: tuple[int, int, int]
    tracklets: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Raise ValueError where a size is out of range or the order is wrong."""
        for name, (least, best, most) in (("frames", self.frames), ("tracklets", self.tracklets)):
            if not 1 <= least <= best <= most:
                raise ValueError(f"profile {name} {least}, {best}, {most}: must be positive and ascending")
            if most > _MOST_FRAMES:
                raise ValueError(f"profile {name} {least}, {best}, {most}: must be at most {_MOST_FRAMES:,}")
        if self.tracklets[2] > self.frames[2]:
            raise ValueError(f"profile has {self.tracklets[2]} tracklets, more than its {self.frames[2]} frames")

    def fits(self, frames: int, tracklets: int) -> bool:
        """Return whether a batch of N frames and T tracklets fits the profile."""
        return self.frames[0] <= frames <= self.frames[2] and self.tracklets[0] <= tracklets <= self.tracklets[2]


def largest_batch(profiles: Sequence[Profile]) -> tuple[int, int]:
    """Return the most frames and the most tracklets that any of the profiles takes."""
    return max(profile.frames[2] for profile in profiles), max(profile.tracklets[2] for profile in profiles)


def uncovered(profiles: Sequence[Profile]) -> tuple[int, int] | None:
    """Return the smallest batch, as (frames, tracklets), that fits no profile though a larger one does.

    Streams end in batches of any size, so an engine has to take all of them, from one frame of one tracklet on. A batch
    never has more tracklets than frames. None where every batch fits a profile.
    """
    most_frames, most_tracklets = largest_batch(profiles)
    # The first batch that fits none has one tracklet, or one more than a profile's most; and its next smaller number of
    # frames fits a profile that ends there, or is too small for that many tracklets.
    tracklet_counts = {1, *(profile.tracklets[2] + 1 for profile in profiles)}
    frame_counts = {*tracklet_counts, *(profile.frames[2] + 1 for profile in profiles)}
    batches = (
        (frames, tracklets)
        for frames in sorted(frame_counts)
        for tracklets in sorted(tracklet_counts)
        if frames <= most_frames and tracklets <= min(frames, most_tracklets)
    )
    return next((batch for batch in batches if not any(profile.fits(*batch) for profile in profiles)), None)


class LayerSummary(BaseModel):
    """The number of layers that run in each precision ("fp32", "fp16", "int8", ...).

    Attributes:
        source: the source that was read: the engine (by its inspector), the builder's log of the engine's layers, or
            the network that was built, whose types a strongly typed engine keeps.
        reason: the reason why the engine itself was not read; empty where it was.
        layers: precision -> number of layers.
        convolutions: precision -> number of convolutions.
        fp32_convolutions: the convolutions in FP32, each by the names of the graph's nodes in it: "conv1 + relu1".
        int8_convolutions: the convolutions that read INT8, likewise.
        unknown_convolutions: the graph's convolutions of which the source does not tell the precision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["engine", "build log", "network"]
    reason: str = ""
    layers: dict[str, Annotated[int, Field(ge=0, lt=1 << 53)]]
    convolutions: dict[str, Annotated[int, Field(ge=0, lt=1 << 53)]]
    fp32_convolutions: tuple[str, ...] = ()
    int8_convolutions: tuple[str, ...] = ()
    unknown_convolutions: tuple[str, ...] = ()


class EngineCard(BaseModel):
    """The facts about an engine file, stored as JSON beside it, under a hash of themselves.

    Attributes:
        format_version: the version of this card's format.
        flavor: the runtime that built it.
        version: the version of that runtime.
        cuda: the newest CUDA of the driver that built it; None where it was built without a GPU.
        device: the name of the GPU that built it, or the targets where it was built without one.
        compute_capabilities: the compute capabilities that it was built for.
        hardware_compatible: whether it also runs on later architectures.
        version_compatible: whether it also runs on later versions.
        precision: the precision of the graph.
        profiles: the profiles, in the engine's order.
        graph_sha256: the SHA-256 of the ONNX file.
        engine_sha256: the SHA-256 of the engine file.
        engine_bytes: the size of the engine file.
        fingerprint: the fingerprint of the model.
        opset: the ONNX opset of the graph.
        layers: the precisions of the layers.
        platform: the system and processor that it was built on: "Linux-x86_64"; None of engines that were built before
            this was stored.
        build_command: the command line that builds it again, with BUNDLE where the bundle's path goes.
        judged: what is known of its answers on data; of engines built before this was stored, nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1]
    flavor: Flavor = Field(validation_alias=AliasChoices("flavor", "flavour"))  # the latter in 0.1
    version: Line
    cuda: Line | None
    device: Line
    compute_capabilities: tuple[Line, ...] = Field(min_length=1, max_length=64)
    hardware_compatible: bool
    version_compatible: bool
    precision: Precision
    profiles: tuple[Profile, ...] = Field(min_length=1, max_length=MOST_PROFILES)
    graph_sha256: Line
    engine_sha256: Line
    engine_bytes: int = Field(gt=0, lt=1 << 53)
    fingerprint: Line
    opset: int | None
    layers: LayerSummary
    build_command: _Command
    platform: Line | None = None
    judged: EngineJudgment = EngineJudgment()

    def to_json(self) -> str:
        """Return the sidecar's text."""
        facts = self.model_dump(mode="json")
        return json.dumps({**facts, "card_sha256": _digest(facts)}, indent=2) + "\n"

    def rebuild(self, engine: Path) -> str:
        """Return the command that builds this engine again, and no other, wherever its bundle lies now.

        Version 0.1 stored `--fp16` or `--int8`, or nothing for FP32, where `--precision` stands today.
        """
        words = [word for word in shlex.split(self.build_command) if word not in ("--fp16", "--int8")]
        words = [str(engine.parent.parent) if word == _BUNDLE else word for word in words]
        return shlex.join(words if "--precision" in words else [*words, "--precision", self.precision])

    def note_on(self, device: str, engine: Path) -> str:
        """Return what is to be known of the engine on a GPU of that name; empty where it was built for it.

        TensorRT itself warns of plans from other models of the same compute capability: they are tuned for those, and
        may ask for more than this one has.
        """
        if self.flavor == "tensorrt-rtx" or self.hardware_compatible or self.device == device:
            return ""
        built = f"{engine.name} was built on {self.device}, and may be slow, or fail, on {device}"
        return f"{built}; rebuild it: {self.rebuild(engine)}"

    def note(self, bundle: Path) -> str:
        """Return what whoever opens the engine should know of its answers on data; empty where they were right."""
        if self.judged.verdict in ("within", "undecided"):
            return ""
        words = ["reid-verify", str(bundle), "DATA", "--session", self.flavor, "--precision", self.precision]
        remedy = f"`{shlex.join(words)}` runs it on data" if self.judged.verdict == "not run" else "build it again"
        return f"this {self.precision} engine was {self.judged.sentence}; {remedy}"

    @classmethod
    def parse(cls, text: str | bytes, source: Path) -> EngineCard:
        """Read a sidecar. Raises ModelError, naming `source`, where it is damaged, edited, or in another format."""
        facts = parse_object(text, source, what=_WHAT, remedy=_REMEDY)
        version, digest = facts.get("format_version"), facts.pop("card_sha256", None)
        if isinstance(version, int) and version > ENGINE_FORMAT_VERSION:
            newer = f"format version {version} is newer than {ENGINE_FORMAT_VERSION}"
            raise ModelError(f"{source}: {newer}: update reid, or {_REMEDY}")
        if isinstance(version, int) and version < ENGINE_FORMAT_VERSION:
            _refuse(source, f"format version {version}, but {ENGINE_FORMAT_VERSION} is needed")
        try:
            card = cls.model_validate(facts)
        except ValidationError as error:
            _refuse(source, first_problem(error))
        if digest != _digest(facts):
            _refuse(source, "its SHA-256 differs: it was edited")
        return card

    @classmethod
    def read(cls, file: Path) -> EngineCard:
        """Read a sidecar from its file. Raises ModelError if that cannot be read, or as `parse` does."""
        try:
            content = read_file(file, at_most=JSON_AT_MOST)
        except OSError as error:
            raise ModelError(f"{file}: {error.strerror}; {_REMEDY}") from None
        return cls.parse(content, file)


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _refuse(source: Path, reason: str) -> NoReturn:
    raise ModelError(f"{source}: the {_WHAT} is not valid ({reason}); {_REMEDY}")


def engine_precisions(bundle: Bundle, flavor: str) -> tuple[Precision, ...]:
    """Return the precisions in which a bundle has engines of a flavor, wherever these run, but for damaged ones."""
    found: set[Precision] = set()
    for sidecar in (bundle.root / ENGINES_FOLDER).glob("*.json"):
        with contextlib.suppress(ModelError):
            card = EngineCard.read(sidecar)
            found |= {card.precision} if card.flavor == flavor else set()
    return tuple(precision for precision in PRECISIONS if precision in found)
