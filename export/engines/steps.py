"""What `build_engine` does with TensorRT, step by step; `build.py` says why."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reid.export.engines.inspection import Shapes, decisive, read_engine
from reid.export.engines.layers import convolutions_of, quantized_convolutions_of, summarize_log, summarize_network
from reid.export.engines.machine import check_machine
from reid.export.engines.marking import mark_outputs
from reid.export.engines.options import EngineOptions
from reid.export.engines.precision_gate import check_precision
from reid.export.engines.timing_cache import load_timing_cache, save_timing_cache
from reid.export.engines.watch import BuildWatch, monitor_for
from reid.export.graphs import ExportedGraph
from reid.runtime.engine_card import LayerSummary, Profile
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import Device
from reid.runtime.graph_names import FRAMES, POOLING
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.runtime.sessions.session import BACKEND_TITLES
from reid.runtime.tensorrt_api import TensorRT, TensorRTRTX, logger_for

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

__all__ = ["Build"]

# Turing: TensorRT-RTX refuses FP32 matrix products for it, and every graph has some.
_ONLY_IF_ASKED = ("7.5",)


@dataclass(frozen=True, slots=True)
class Build:
    """A build with one flavor on one machine; the steps are in the order in which TensorRT wants them.

    Attributes:
        api: the flavor's package.
        options: the options to build with.
        device: the GPU of this machine; None where there is none.
        watch: the listener to the builder.
    """

    api: TensorRT
    options: EngineOptions
    device: Device | None
    watch: BuildWatch

    def __post_init__(self) -> None:
        """Raise SessionError where the machine or the flavor cannot do what is asked."""
        check_machine(self.options, self.device)
        if unknown := [
            c for c in self.capabilities if self.options.flavor == "tensorrt-rtx" and c not in self._known()
        ]:
            raise SessionError(
                f"unknown compute capability {unknown[0]!r} of {self.title}; choose one of: {', '.join(self._known())}"
            )

    @property
    def title(self) -> str:
        """The flavor and its version, for people."""
        return f"{BACKEND_TITLES[self.options.flavor]} {self.api.__version__}"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The compute capabilities that the engine is for."""
        if self.options.flavor == "tensorrt":
            return (self.device.compute_capability,) if self.device else ()
        return self.options.compute_capabilities or tuple(c for c in self._known() if c not in _ONLY_IF_ASKED)

    @property
    def target(self) -> str:
        """What the engine is for, as a part of its name: the GPU, or compute capabilities as "sm80-sm86"."""
        if self.options.flavor == "tensorrt" and self.device:
            return "".join(one if one.isprintable() else "?" for one in self.device.name)
        return "-".join(f"sm{capability.replace('.', '')}" for capability in self.capabilities)

    def _known(self) -> dict[str, str]:
        """Return compute capability -> the name of its member: "12.0" -> "SM120"."""
        members = (name for name in self._rtx.ComputeCapability.__members__ if re.fullmatch(r"SM\d+", name))
        return {f"{name[2:-1]}.{name[-1]}": name for name in members}

    @property
    def _rtx(self) -> TensorRTRTX:
        return cast(TensorRTRTX, self.api)

    def run(
        self, exported: ExportedGraph, card: ModelCard, marked: Collection[str] | None = None
    ) -> tuple[bytes, LayerSummary]:
        """Return the serialized engine and the summary of its layers.

        With `marked` tensors, the engine is one to be looked into: it also gives those that its network has, and it is
        not held to the precision of its graph.
        """
        graph, in_fp32 = exported.graph, frozenset(one.layer for one in exported.in_fp32)
        check_onnx_file(graph.path)  # TensorRT would open other files
        logger, monitor = logger_for(self.api, self.watch.log), monitor_for(self.api, self.watch)
        builder = self.api.Builder(logger)
        network = builder.create_network(self._strongly_typed())
        parser = self.api.OnnxParser(network, logger)  # owns weights: must outlive the build
        self._parse(parser, network, graph.path)
        mark_outputs(network, marked or ())
        planned = summarize_network(network, self.api)
        quantized = quantized_convolutions_of(network, self.api)
        if marked is None:
            check_precision(planned, graph.precision, in_fp32, quantized)  # before the minutes that a build can take
        config = self._configure(builder, card)
        config.progress_monitor = monitor
        with self.watch.keeping_signals():
            plan = builder.build_serialized_network(network, config)
        self.watch.raise_interruption()
        if plan is None:
            raise ModelError(f"{self.title} cannot build {graph.path}: {self._last_error()}; try another version of it")
        if self._timing_cache is not None:
            save_timing_cache(self._timing_cache, config, self.watch)
        content, layers = bytes(plan), planned
        if marked is not None:
            return content, planned
        for layers in self._inspect(content, logger, planned, convolutions_of(network, self.api), card):
            check_precision(layers, graph.precision, in_fp32, quantized)
        return content, layers

    @property
    def _timing_cache(self) -> Path | None:
        return None if self.options.flavor == "tensorrt-rtx" else self.options.timing_cache

    def _strongly_typed(self) -> int:
        # A choice in TensorRT 10, the only way in 11, where the flag does nothing and may disappear.
        flag = getattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def _parse(self, parser: trt.OnnxParser, network: trt.INetworkDefinition, graph: Path) -> None:
        if not parser.parse_from_file(str(graph)):
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            found = "; ".join(map(_parser_error, errors[:3])) + (f"; {len(errors) - 3} more" if len(errors) > 3 else "")
            raise ModelError(
                f"{self.title} cannot parse {graph}: {found}; export the model again, or with another backbone"
            )
        inputs = {network.get_input(index).name for index in range(network.num_inputs)}
        if inputs != {FRAMES, POOLING}:
            raise ModelError(
                f"{graph} has inputs {sorted(inputs)}, not {FRAMES} and {POOLING}: use a graph of `reid-export`"
            )

    def _configure(self, builder: trt.Builder, card: ModelCard) -> trt.IBuilderConfig:
        api, options = self.api, self.options
        config = builder.create_builder_config()
        config.clear_flag(api.BuilderFlag.TF32)  # TF32 would make an FP32 engine something other than what was verified
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        config.builder_optimization_level = options.optimization_level
        config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
        if options.hardware_compatible:
            config.hardware_compatibility_level = api.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.version_compatible:
            config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
        if self.options.flavor == "tensorrt-rtx":
            self._set_capabilities(cast("rtx.IBuilderConfig", config))
        if self._timing_cache is not None:
            load_timing_cache(self._timing_cache, config, self.watch)
        for profile in options.profiles:
            self._add_profile(builder, config, profile, card)
        return config

    def _set_capabilities(self, config: rtx.IBuilderConfig) -> None:
        config.num_compute_capabilities = len(self.capabilities)
        members = self._rtx.ComputeCapability.__members__
        for index, capability in enumerate(self.capabilities):
            config.set_compute_capability(members[self._known()[capability]], index)

    def _add_profile(self, builder: trt.Builder, config: trt.IBuilderConfig, profile: Profile, card: ModelCard) -> None:
        height, width = card.preprocessing.height, card.preprocessing.width
        shapes = builder.create_optimization_profile()
        shapes.set_shape(FRAMES, *((n, 3, height, width) for n in profile.frames))
        shapes.set_shape(POOLING, *zip(profile.tracklets, profile.frames, strict=True))
        if config.add_optimization_profile(shapes) < 0:
            raise ModelError(f"{self.title} refuses the profile {profile}: {self._last_error()}; give other sizes")

    def _inspect(
        self, plan: bytes, logger: trt.ILogger, planned: LayerSummary, convolutions: frozenset[str], card: ModelCard
    ) -> Iterator[LayerSummary]:
        """Give what is read of the engine's layers, last what decides: the engine itself, the log, or as planned."""
        engine, reason = self._deserialize(plan, logger)
        shapes = [_best_batch(profile, card) for profile in self.options.profiles]
        read = [read_engine(engine, self.api, shapes, convolutions)] if engine else []
        logged = summarize_log(self.watch.layers, convolutions)
        return decisive([*read, *([logged] if logged else []), planned], [reason] if reason else [])

    def _deserialize(self, plan: bytes, logger: trt.ILogger) -> tuple[trt.ICudaEngine | None, str]:
        """Return the engine, or None and the reason why this machine does not load it."""
        if self.device is None:
            return None, "no GPU here"
        runtime = self.api.Runtime(logger)
        runtime.engine_host_code_allowed = self.options.version_compatible  # such an engine brings a runtime along
        engine = runtime.deserialize_cuda_engine(plan)
        return engine, "" if engine else f"{self.device.name} cannot load it: {self._last_error()}"

    def _last_error(self) -> str:
        return _one_line(self.watch.errors[-1]) if self.watch.errors else "no reason was given"


def _best_batch(profile: Profile, card: ModelCard) -> Shapes:
    frames, size = profile.frames[1], card.preprocessing
    return {FRAMES: (frames, 3, size.height, size.width), POOLING: (profile.tracklets[1], frames)}


def _parser_error(error: trt.ParserError) -> str:
    where = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_operator() else ""
    return where + _one_line(error.desc())


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
