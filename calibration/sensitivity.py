"""The effect of INT8 on the embeddings: of each layer alone, and of all layers with each way to choose amax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from onnx import ModelProto
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from reid.calibration.amax import METHODS, Method, TensorAmax
from reid.calibration.journal import Journal
from reid.calibration.layers import Layer, QuantizableLayers
from reid.calibration.probe import Effect, Probe
from reid.calibration.quantize import quantize
from reid.runtime.progress import SILENT, Progress

__all__ = ["LayerEffect", "Sensitivity", "SensitivityMeter"]

_RETRIED_LAYERS = 6
"""Number of the most sensitive layers that are measured again with the other methods."""
_WORTH_CHANGING = 0.9
"""Fraction of the error below which another method has to get to be chosen."""


class LayerEffect(BaseModel):
    """The effect of quantizing one layer alone.

    Attributes:
        layer: PyTorch's name of the module, or the node's.
        op: the node's type: Conv, Gemm, MatMul, Add, ReduceMax or GlobalMaxPool.
        fraction: the layer's fraction of all multiply-accumulates, 0 to 1.
        error: the mean of `1 - cosine similarity` to the FP32 graph's embeddings.
        worst: the largest of these.
        map_change: the change of mAP on the probe's images, in points; None if these have no labels.
        tensor: the layer's input.
        method: the method that chose the input's amax.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layer: str
    op: str
    fraction: float = Field(validation_alias=AliasChoices("fraction", "share"))  # the latter before
    error: float
    worst: float
    map_change: float | None
    tensor: str
    method: Method


class Sensitivity(BaseModel):
    """The effects of all layers, and the amax chosen on the way.

    Attributes:
        layers: the effect of each layer, in the order of execution.
        method_errors: method -> the error with every layer in INT8 and every amax by that method.
        amax: tensor -> the amax that was chosen for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: tuple[LayerEffect, ...]
    method_errors: dict[Method, float]
    amax: dict[str, float] = Field(validation_alias=AliasChoices("amax", "thresholds"))  # the latter before

    @property
    def errors(self) -> dict[str, float]:
        """Layer -> its error."""
        return {one.layer: one.error for one in self.layers}


@dataclass(frozen=True, slots=True)
class SensitivityMeter:
    """Chooses amax, and quantizes one layer after another.

    Attributes:
        model: the FP32 graph.
        layers: its layers.
        amax: the amax of all of their inputs, by every method.
        probe: the images to measure on.
        journal: earlier results, which are not measured again; every new one is added.
    """

    model: ModelProto
    layers: QuantizableLayers
    amax: Mapping[str, TensorAmax]
    probe: Probe
    journal: Journal

    def measure(self, methods: Sequence[Method] = METHODS, progress: Progress = SILENT) -> Sensitivity:
        """Measure every layer.

        The method with the smallest error with everything in INT8 chooses every amax. A few layers may be most of that
        error, and what is best for them may be bad for all others, which then get the method that is best without them.
        Last, the layers that are most sensitive get the amax of another method if it helps them.

        Args:
            methods: the methods to choose among.
            progress: follows the measurements; those that turn out to be needless are not made.
        """
        names = self.layers.names
        retried = min(_RETRIED_LAYERS, len(names)) if len(methods) > 1 else 0
        choices = len(methods) * (2 if retried else 1)
        progress.begin("sensitivity", choices + len(names) + retried, "measurements")
        method_errors = self._errors_by_method(names, methods, progress)
        chosen = dict.fromkeys(self.layers.inputs, min(methods, key=lambda method: method_errors[method]))
        effects: dict[str, Effect] = {}
        for name in names:
            effects[name] = self.effect([name], chosen)
            progress.advance()
        if retried:
            self._choose_again(_worst(effects, retried), chosen, effects, methods, progress)
        for name in _worst(effects, retried):
            self._improve(name, chosen, effects, methods)
            progress.advance()
        layers = tuple(self._described(layer, chosen[layer.input], effects[layer.name]) for layer in self.layers)
        return Sensitivity(layers=layers, method_errors=method_errors, amax=self._values(chosen))

    def _errors_by_method(
        self, names: Sequence[str], methods: Sequence[Method], progress: Progress
    ) -> dict[Method, float]:
        """Quantize the named layers, with every amax by one method after another."""
        errors: dict[Method, float] = {}
        for method in methods:
            errors[method] = self.effect(names, dict.fromkeys(self.layers.inputs, method)).error
            progress.advance()
        return errors

    def _choose_again(
        self,
        worst: Sequence[str],
        chosen: dict[str, Method],
        effects: dict[str, Effect],
        methods: Sequence[Method],
        progress: Progress,
    ) -> None:
        """Give all layers but the worst the method that is best without these; change `chosen` and `effects`."""
        settled = {self._input_of(name) for name in worst}
        others = [layer.name for layer in self.layers if layer.input not in settled]
        if not others:
            return
        errors = self._errors_by_method(others, methods, progress)
        best, former = min(methods, key=lambda method: errors[method]), chosen[self._input_of(others[0])]
        if errors[best] < _WORTH_CHANGING * errors[former]:
            chosen.update(dict.fromkeys(map(self._input_of, others), best))
            effects.update({name: self.effect([name], chosen) for name in others})

    def _input_of(self, name: str) -> str:
        return next(layer.input for layer in self.layers if layer.name == name)

    def effect(self, names: Sequence[str], methods: Mapping[str, Method]) -> Effect:
        """Quantize the named layers, with the amax of each tensor by its method."""
        needed = {layer.input: methods[layer.input] for layer in self.layers if layer.name in names}
        key = f"{' '.join(names)} with {' '.join(f'{tensor}={method}' for tensor, method in sorted(needed.items()))}"
        return self.journal.remember(key, Effect, lambda: self._quantized(names, needed))

    def _quantized(self, names: Sequence[str], methods: Mapping[str, Method]) -> Effect:
        return self.probe.measure(quantize(self.model, self.layers, names, self._values(methods)))

    def _values(self, methods: Mapping[str, Method]) -> dict[str, float]:
        return {tensor: self.amax[tensor].by_method[method].value for tensor, method in methods.items()}

    def _improve(
        self, name: str, chosen: dict[str, Method], effects: dict[str, Effect], methods: Sequence[Method]
    ) -> None:
        """Give a layer's input another method if that helps all of its readers; change `chosen` and `effects`."""
        tensor = self._input_of(name)
        readers = [layer.name for layer in self.layers if layer.input == tensor]
        for method in methods:
            tried = chosen | {tensor: method}
            if tried == chosen:
                continue
            found = {reader: self.effect([reader], tried) for reader in readers}
            before = sum(effects[reader].error for reader in readers)
            if sum(effect.error for effect in found.values()) < _WORTH_CHANGING * before:
                chosen.update(tried)
                effects.update(found)

    def _described(self, layer: Layer, method: Method, effect: Effect) -> LayerEffect:
        return LayerEffect(
            layer=layer.name,
            op=layer.op,
            fraction=layer.macs / self.layers.macs,
            tensor=layer.input,
            method=method,
            **asdict(effect),
        )


def _worst(effects: Mapping[str, Effect], count: int) -> list[str]:
    """Return the most sensitive layers, worst first."""
    return sorted(effects, key=lambda name: -effects[name].error)[:count]
