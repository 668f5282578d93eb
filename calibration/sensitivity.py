"""What INT8 does to the embeddings: layer by layer, and for the whole with each way to choose ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from onnx import ModelProto
from pydantic import BaseModel, ConfigDict

from reid.calibration.journal import Journal
from reid.calibration.layers import Layers
from reid.calibration.probe import Effect, Probe
from reid.calibration.quantize import quantize
from reid.calibration.ranges import METHODS, Method, TensorRange

__all__ = ["LayerEffect", "Sensitivity", "measure_sensitivity"]

_HOT_LAYERS = 6
"""So many of the most sensitive layers are tried with the other ranges, too."""
_WORTH_CHANGING = 0.9
"""Another range is taken where the error falls below this share."""


class LayerEffect(BaseModel):
    """What it does to quantize one layer alone.

    Attributes:
        layer: PyTorch's name of the module, or the node's.
        op: Conv, Gemm, MatMul, Add or ReduceMax.
        share: of all multiply-accumulates, 0 to 1.
        error: mean of `1 - cosine similarity` to the FP32 graph's embeddings.
        worst: the largest.
        map_change: of mAP on the held-out images, in points; None where these have no labels.
        tensor: that it reads.
        method: that the tensor's range is from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    op: str
    share: float
    error: float
    worst: float
    map_change: float | None
    tensor: str
    method: Method


class Sensitivity(BaseModel):
    """Of all layers.

    Attributes:
        layers: in the order of execution.
        method_errors: method -> error with every layer in INT8 and all ranges by that method.
        thresholds: tensor -> the range that was chosen for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[LayerEffect, ...]
    method_errors: dict[Method, float]
    thresholds: dict[str, float]

    @property
    def errors(self) -> dict[str, float]:
        """Layer -> error."""
        return {one.layer: one.error for one in self.layers}


def measure_sensitivity(
    model: ModelProto,
    layers: Layers,
    ranges: Mapping[str, TensorRange],
    probe: Probe,
    journal: Journal,
    *,
    methods: Sequence[Method] = METHODS,
    on_measured: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivity:
    """Choose ranges, and quantize one layer after the other.

    The method that does least with everything in INT8 gives all ranges; the layers that are most sensitive with it get
    another where that helps them.

    Args:
        model: the FP32 graph.
        layers: of it.
        ranges: of all of their tensors.
        probe: what to measure on.
        journal: what was measured before is taken from there.
        methods: to choose among.
        on_measured: called with (measurements done, most there can be).
    """
    names = [layer.name for layer in layers.layers]
    hot = min(_HOT_LAYERS, len(names)) if len(methods) > 1 else 0
    total = len(methods) + len(names) + hot
    measurer = _Measurer(model, layers, ranges, probe, journal)
    method_errors: dict[Method, float] = {}
    for method in methods:
        on_measured(len(method_errors), total)
        method_errors[method] = measurer.effect(names, dict.fromkeys(layers.tensors, method)).error
    chosen = dict.fromkeys(layers.tensors, min(methods, key=lambda method: method_errors[method]))
    effects: dict[str, Effect] = {}
    for name in names:
        on_measured(len(methods) + len(effects), total)
        effects[name] = measurer.effect([name], chosen)
    for done, name in enumerate(sorted(names, key=lambda one: -effects[one].error)[:hot]):
        on_measured(total - hot + done, total)
        _improve(measurer, name, chosen, effects, methods)
    on_measured(total, total)
    return Sensitivity(
        layers=tuple(
            LayerEffect(
                layer=layer.name,
                op=layer.op,
                share=layer.macs / layers.macs,
                tensor=layer.reads,
                method=chosen[layer.reads],
                **asdict(effects[layer.name]),
            )
            for layer in layers.layers
        ),
        method_errors=method_errors,
        thresholds=_thresholds(ranges, chosen),
    )


def _thresholds(ranges: Mapping[str, TensorRange], methods: Mapping[str, Method]) -> dict[str, float]:
    return {tensor: ranges[tensor].thresholds[method].value for tensor, method in methods.items()}


@dataclass(frozen=True, slots=True)
class _Measurer:
    model: ModelProto
    layers: Layers
    ranges: Mapping[str, TensorRange]
    probe: Probe
    journal: Journal

    def effect(self, names: Sequence[str], methods: Mapping[str, Method]) -> Effect:
        """Quantize the named layers, with each tensor's range by its method."""
        needed = {layer.reads: methods[layer.reads] for layer in self.layers.layers if layer.name in names}
        key = f"{' '.join(names)} with {' '.join(f'{tensor}={method}' for tensor, method in sorted(needed.items()))}"
        return Effect(**self.journal.remember(key, lambda: asdict(self._measure(names, needed))))

    def _measure(self, names: Sequence[str], methods: Mapping[str, Method]) -> Effect:
        return self.probe.measure(quantize(self.model, self.layers, names, _thresholds(self.ranges, methods)))


def _improve(
    measurer: _Measurer, name: str, chosen: dict[str, Method], effects: dict[str, Effect], methods: Sequence[Method]
) -> None:
    """Give a layer's tensor another method where that helps all who read it; changes `chosen` and `effects`."""
    tensor = next(layer.reads for layer in measurer.layers.layers if layer.name == name)
    readers = [layer.name for layer in measurer.layers.layers if layer.reads == tensor]
    for method in methods:
        tried = chosen | {tensor: method}
        if tried == chosen:
            continue
        found = {reader: measurer.effect([reader], tried) for reader in readers}
        before = sum(effects[reader].error for reader in readers)
        if sum(effect.error for effect in found.values()) < _WORTH_CHANGING * before:
            chosen.update(tried)
            effects.update(found)
