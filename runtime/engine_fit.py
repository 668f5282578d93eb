"""Where an engine runs, and the checks before it is deserialized.

What runs where, as NVIDIA documents it:

- TensorRT: the platform that it was built on (Linux or Windows, x86-64 or aarch64). Exactly the version that built the
  engine, unless it was built version-compatible: then the same major version, not older. Exactly the compute capability
  that it was built on, unless it was built hardware-compatible: then 8.0 (Ampere) and later.
- TensorRT-RTX: exactly the release that built it, and the compute capabilities that it was built for.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.bundle import Graph
from reid.runtime.engine_card import EngineCard
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.files.reading import check_regular, sha256_of
from reid.runtime.gpu import Device
from reid.runtime.sessions.session import BACKEND_TITLES
from reid.runtime.tensorrt_api import Flavor, release

__all__ = ["Target", "check_engine", "check_origin", "platform_here", "preference", "runs_on"]


@dataclass(frozen=True, slots=True)
class Target:
    """The runtime and GPU that an engine has to run on.

    Attributes:
        flavor: the runtime.
        version: the version of the runtime.
        compute_capability: the compute capability of the GPU: "8.9".
        device: the name of the GPU; empty where it does not matter.
        platform: the machine's system and processor; empty where they do not matter.
    """

    flavor: Flavor
    version: str
    compute_capability: str
    device: str = ""
    platform: str = ""

    @classmethod
    def here(cls, flavor: Flavor, version: str, gpu: Device) -> Target:
        """Return a GPU of this machine as a target."""
        return cls(flavor, version, gpu.compute_capability, gpu.name, platform_here())


def check_engine(path: Path, card: EngineCard, target: Target, graph: Graph, fingerprint: str) -> None:
    """Check that an engine runs on a target and is the bundle's own, before anything of it is deserialized.

    Args:
        path: the engine's file.
        card: its sidecar.
        target: the runtime and GPU that it has to run on.
        graph: the bundle's graph in the engine's precision.
        fingerprint: the fingerprint of the bundle's model.

    Raises:
        SessionError: the engine is sound, but for another flavor, version or device.
        ModelError: it was built from another graph or model, or the file is not the one that was built.
    """
    here = f"this is {BACKEND_TITLES[target.flavor]} {target.version}"
    built = f"{path} was built by {BACKEND_TITLES[card.flavor]} {card.version}"
    if card.flavor != target.flavor or not _runs_version(card, target.version):
        raise SessionError(f"{built}, and {here}; rebuild it: {card.rebuild(path)}")
    if not runs_on(card, target.compute_capability):
        targets = ", ".join(card.compute_capabilities) + (" and later" if card.hardware_compatible else "")
        raise SessionError(
            f"{path} was built for compute capability {targets} ({card.device}), and this GPU has "
            f"{target.compute_capability}; rebuild it: {card.rebuild(path)}"
        )
    if card.flavor == "tensorrt" and card.platform and target.platform not in ("", card.platform):
        raise SessionError(
            f"{path} was built on {card.platform}, and this is {target.platform}; rebuild it: {card.rebuild(path)}"
        )
    check_origin(path, card, graph, fingerprint)


def check_origin(path: Path, card: EngineCard, graph: Graph, fingerprint: str) -> None:
    """Check that an engine was built from a bundle's graph and is unchanged, wherever it is to run.

    Args:
        path: the engine's file.
        card: its sidecar.
        graph: the bundle's graph in the engine's precision.
        fingerprint: the fingerprint of the bundle's model.

    Raises:
        ModelError: it was built from another graph or model, or the file is not the one that was built.
    """
    for fact, of_engine, of_bundle in (
        ("graph", card.graph_sha256, graph.sha256),
        ("model", card.fingerprint, fingerprint),
    ):
        if of_engine != of_bundle:
            difference = f"was built from another {fact} ({of_engine[:12]}, but the bundle's is {of_bundle[:12]})"
            raise ModelError(f"{path} {difference}; rebuild it: {card.rebuild(path)}")
    _check_file(path, card)


def _check_file(path: Path, card: EngineCard) -> None:
    try:
        check_regular(path)
        size = path.stat().st_size
        digest = sha256_of(path) if size == card.engine_bytes else ""
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; rebuild it: {card.rebuild(path)}") from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; rebuild it: {card.rebuild(path)}") from None
    if size != card.engine_bytes:
        raise ModelError(
            f"{path} has {size} bytes instead of the {card.engine_bytes} built; rebuild it: {card.rebuild(path)}"
        )
    if digest != card.engine_sha256:
        difference = f"SHA-256 is {digest[:12]}, not {card.engine_sha256[:12]} as built"
        raise ModelError(f"{path} is damaged: its {difference}; rebuild it: {card.rebuild(path)}")


def _runs_version(card: EngineCard, version: str) -> bool:
    built, here = release(card.version), release(version)
    if card.flavor == "tensorrt" and card.version_compatible:
        # TensorRT 11 also takes engines of 10, with known issues listed in its release notes: rebuilding is safer.
        return built[:1] == here[:1] and built <= here
    return built == here


def preference(card: EngineCard, target: Target) -> tuple[bool, bool]:
    """Return the key by which the best of a target's engines comes first: of its own model, and tuned to it alone."""
    return card.device != target.device, card.hardware_compatible


def platform_here() -> str:
    """Return this machine's system and processor: "Linux-x86_64"."""
    return f"{platform.system()}-{platform.machine()}"


def runs_on(card: EngineCard, compute_capability: str) -> bool:
    """Return whether an engine runs on GPUs of a compute capability."""
    ampere = (8, 0)
    later = card.flavor == "tensorrt" and card.hardware_compatible and release(compute_capability) >= ampere
    return later or compute_capability in card.compute_capabilities
