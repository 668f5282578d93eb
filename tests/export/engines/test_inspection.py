"""An engine of TensorRT 10 with dynamic sizes, as its inspector describes it without a context and with one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from reid.export.engines.inspection import decisive, read_engine
from reid.export.engines.layers import summarize_layers, summarize_log
from reid.export.engines.precision_gate import check_precision
from reid.runtime.engine_card import LayerSummary
from reid.runtime.errors import GateError

NODES = frozenset({"conv1", "conv2"})
NOT_TOLD = "N/A due to dynamic shapes"
API = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json"))
FIRST, SECOND = {"frames": (32, 3, 64, 64)}, {"frames": (1, 3, 64, 64)}


def convolution(name: str, kind: str, **more: object) -> dict[str, Any]:
    tensors = [{"Name": "x", "Dimensions": [-1, 64, 56, 56], "Format/Datatype": kind}]
    return {"Name": name, "LayerType": "CaskConvolution", "Inputs": tensors, "Outputs": tensors, **more}


def information(*layers: dict[str, Any]) -> str:
    return json.dumps({"Layers": layers, "Bindings": []})


BLIND = information(convolution("conv1 + relu1", NOT_TOLD), convolution("conv2", NOT_TOLD))


class Engine:
    """An engine that tells the types of a profile only to an inspector with a context in which a batch is set."""

    def __init__(self, *kinds: Sequence[str], memory: bool = True) -> None:
        self.kinds, self.memory = kinds, memory

    def create_execution_context(self) -> Context | None:
        return Context() if self.memory else None

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)


class Context:
    def __init__(self) -> None:
        self.profile, self.sizes, self.inferred = 0, {}, False  # type: ignore[var-annotated]

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self.profile, self.sizes = profile_index, {}
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.sizes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        self.inferred = True
        return []


class Inspector:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.execution_context = engine, None

    def get_engine_information(self, kind: str) -> str:
        assert kind == "json"
        context: Any = self.execution_context
        if context is None or not context.inferred:
            return BLIND
        assert context.sizes == (FIRST, SECOND)[context.profile]
        suffix = f" [profile {context.profile}]" if context.profile else ""
        kinds = self.engine.kinds[context.profile]
        return information(convolution(f"conv1 + relu1{suffix}", kinds[0]), convolution(f"conv2{suffix}", kinds[1]))


def read(*kinds: Sequence[str], memory: bool = True) -> LayerSummary:
    profiles = [FIRST, SECOND][: len(kinds)]
    return read_engine(Engine(*kinds, memory=memory), API, profiles, NODES)  # type: ignore[arg-type]


def test_without_a_context_nothing_is_known_and_nothing_is_decided() -> None:
    blind = summarize_layers(BLIND, NODES)
    assert blind.convolutions == {"unknown": 2}
    assert blind.unknown_convolutions == ("conv1", "conv2")
    for precision in ("fp16", "int8"):
        check_precision(blind, precision, frozenset(), NODES if precision == "int8" else frozenset())  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "precision"), [("Half", "fp16"), ("Float", "fp32"), ("Int8", "int8")])
def test_a_context_with_the_best_batch_tells_the_types(kind: str, precision: str) -> None:
    found = read((kind, kind))
    assert (found.convolutions, found.unknown_convolutions) == ({precision: 2}, ())


def test_every_profile_is_read_for_each_has_kernels_of_its_own() -> None:
    found = read(("Half", "Half"), ("Half", "Float"))
    assert (found.convolutions, found.fp32_convolutions) == ({"fp16": 2}, ("conv2",))
    with pytest.raises(GateError, match=r"run in FP32 \(conv2\)"):
        check_precision(found, "fp16", frozenset())
    int8 = read(("Int8", "Int8"), ("Half", "Int8"))
    with pytest.raises(GateError, match=r"1 of 2 convolutions that are INT8 in the graph do not read INT8 \(conv1\)"):
        check_precision(int8, "int8", frozenset(), NODES)
    assert read(("Half", "Half"), (NOT_TOLD, "Half")).unknown_convolutions == ("conv1",)


def test_an_engine_for_which_no_context_can_be_made_is_as_good_as_unread() -> None:
    assert read(("Float", "Float"), memory=False).unknown_convolutions == ("conv1", "conv2")


def test_a_profile_that_cannot_be_set_raises_in_the_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Context, profile_index: int, stream_handle: int) -> bool:
        raise RuntimeError("Error in set optimization profile async")

    monkeypatch.setattr(Context, "set_optimization_profile_async", refuse)
    assert read(("Half", "Half"), ("Half", "Half")).unknown_convolutions == ("conv1", "conv2")


@pytest.mark.parametrize(
    ("hint", "precision"),
    [
        ({"Weights": {"Type": "Int8", "Count": 9}}, "int8"),
        ({"Weights": {"Type": "Half", "Count": 9}}, "fp16"),
        ({"Weights": {"Type": "Float", "Count": 9}}, "fp32"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32"}, "int8"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x128x64"}, "fp16"),
        ({"TacticName": "turing_h1688cudnn_256x128_ldg8_relu_exp_large_nhwc_tn_v1"}, "fp16"),
        ({"TacticName": "ampere_scudnn_128x64_relu_small_nn_v1"}, "fp32"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nhwckcrs_nhwc"}, "fp32"),
        ({"TacticName": "0x0000000000000000"}, "unknown"),
        ({"Weights": "none"}, "unknown"),
    ],
)
def test_weights_and_the_kernel_tell_what_tensors_do_not(hint: dict[str, Any], precision: str) -> None:
    found = summarize_layers(information(convolution("conv1", NOT_TOLD, **hint)), {"conv1"})
    assert found.convolutions == {precision: 1}
    assert found.unknown_convolutions == (("conv1",) if precision == "unknown" else ())


def test_what_tensors_tell_counts_more_than_the_weights() -> None:
    entry = convolution("conv1", "Half", Weights={"Type": "Float", "Count": 9})
    assert summarize_layers(information(entry), {"conv1"}).convolutions == {"fp16": 1}


def test_a_convolution_that_is_in_no_layer_by_its_name_is_unknown() -> None:
    foreign = {**convolution("{ForeignNode[conv2...pool]}", "Half"), "LayerType": "Myelin"}
    found = summarize_layers(information(convolution("conv1 + relu1", "Half"), foreign), NODES)
    assert found.unknown_convolutions == ("conv2",)


LOG = """Engine Layer Information:
Layer(Reformat): Reformatting CopyNode for Input Tensor 0 to conv1, Tactic: 0x00000000000003ea, frames[UInt8(-9,3,64,64)] -> Reformatted Input Tensor 0 to conv1[Half(-9,3:8,64,64)]
Layer(CaskConvolution): conv1 + relu1, Tactic: 0x8014228ec08b4d49, Reformatted Input Tensor 0 to conv1[Half(-9,3:8,64,64)] -> a (x), Tactic: odd[Half(-9,64:8,32,32)]
Layer(CaskConvolution): conv2, Tactic: 0x4727434768e46395, b[Float(-9,64,32,32)], c[Float(-9,64,32,32)] -> d[Half(-9,64,32,32)]
Layer(Constant): weights, Tactic: 0,  -> w[Int8(1,1,256)]
Layer(NoOp): reshape, Tactic: 0x0000000000000000, d[Half(-9,64,32,32)] -> e[Half(-9,65536)]
"""  # noqa: E501 - as TensorRT 10 writes it


def test_the_log_of_tensorrt_10_tells_types_of_dynamic_sizes() -> None:
    found = summarize_log(["Parsing", LOG], NODES)
    assert found is not None
    assert (found.source, found.unknown_convolutions) == ("build log", ())
    assert found.convolutions == {"fp16": 1, "fp32": 1}
    assert found.fp32_convolutions == ("conv2",)
    assert found.layers == {"fp16": 3, "fp32": 1, "int8": 1}


def summary(source: str, *unknown: str, fp32: Sequence[str] = ()) -> LayerSummary:
    return LayerSummary(
        source=source, layers={}, convolutions={}, unknown_convolutions=unknown, fp32_convolutions=tuple(fp32)
    )  # type: ignore[arg-type]


def test_the_first_that_knows_every_convolution_decides_and_says_why_not_the_others() -> None:
    engine, log, network = summary("engine", "conv1", "conv2"), summary("build log", "conv2"), summary("network")
    assert [(one.source, one.reason) for one in decisive([engine, log, network], [])] == [
        ("engine", ""),
        ("build log", "the engine does not tell the precision of 2 convolutions"),
        (
            "network",
            "the engine does not tell the precision of 2 convolutions; "
            "the build log does not tell the precision of 1 convolution",
        ),
    ]
    (first,) = decisive([summary("build log"), network], ["no GPU here"])
    assert (first.source, first.reason) == ("build log", "no GPU here")


def test_what_a_source_knows_counts_even_if_it_does_not_know_all() -> None:
    partial, _ = decisive([summary("engine", "conv1", fp32=["conv2"]), summary("network")], [])
    with pytest.raises(GateError, match="according to the engine"):
        check_precision(partial, "fp16", frozenset())
