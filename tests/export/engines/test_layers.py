"""Inspector samples have the shape that NVIDIA documents for TensorRT 10 and 11; the log is one that RTX 1.7 wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reid.export.engines.layers import summarize_layers, summarize_log
from reid.export.engines.precision_gate import check_precision
from reid.runtime.engine_card import LayerSummary
from reid.runtime.errors import GateError


def tensor(name: str, **types: str) -> dict[str, Any]:
    return {"Name": name, "Location": "Device", "Dimensions": [16, 64, 56, 56], **types}


def layer(name: str, kind: str, inputs: dict[str, str], outputs: dict[str, str], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor("x", **inputs)],
        "Outputs": [tensor("y", **outputs)],
        **more,
    }


def words(text: str) -> dict[str, str]:
    return {"Format/Datatype": text}


def split(kind: str) -> dict[str, str]:
    return {"Format": "(NHWC) Channel major format", "Datatype": kind}


HALF_ROWS, FLOAT_ROWS = "Row major linear FP16 format", "Row major linear FP32 format"
INT8_ROWS = "Thirty-two wide channel vectorized row major Int8 format"

TENSORRT_10 = {
    "Layers": [
        layer("Reformatting CopyNode for Input Tensor 0 to conv1", "Reformat", words(FLOAT_ROWS), words(HALF_ROWS)),
        layer("conv1 + relu1", "CaskConvolution", words(HALF_ROWS), words(HALF_ROWS), ParameterType="Convolution"),
        layer(
            "conv2",
            "CaskConvolution",
            words("Float"),
            words("Half"),
            Metadata="[ONNX Layer: conv2]\x1f[ONNX Layer: cast]",
        ),
        layer("conv3", "CaskConvolution", words(INT8_ROWS), words(HALF_ROWS), ParameterType="Convolution"),
        layer("pool", "PoolingV2", words("Half"), words("Half")),
    ],
    "Bindings": ["frames", "pooling", "frame_embedding", "pooled"],
}

TENSORRT_11 = {
    "Layers": [
        layer("__myl_CastReplConc_myl0_1", "kgen", split("UInt8"), split("Half"), Metadata="[ONNX Layer: conv1]"),
        layer("__myl_CorrCast_myl0_2", "runtime_fusion", split("Half"), split("Float"), Metadata="[ONNX Layer: conv1]"),
        layer("conv2_myl0_3", "correlation", split("Float"), split("Float"), Metadata="[ONNX Layer: conv2]"),
        layer("__myl_FcRelu_myl0_4", "runtime_fusion", split("Float"), split("Half"), Metadata="[ONNX Layer: conv3]"),
        layer("linear_myl0_5", "gemm", split("Float"), split("Float"), Metadata="[ONNX Layer: linear]"),
        layer("__mye12_0_myl0_0", "shape_call", {}, {}) | {"Inputs": [], "Outputs": []},
    ],
    "I/O Tensors": [{"Name": "frames", "IOMode": "Input", "DataType": "UInt8", "Dimensions": [-1, 3, 64, 64]}],
}


def logged(name: str, kind: str, inputs: str, outputs: str, *nodes: str) -> str:
    """A line of the log; inputs and outputs are types, "" for none."""

    def tensors(dtype: str) -> str:
        shape = "Dimensions: [-1,4,64,64], Strides: [16384,1,256,4], StrideOrder: [3,0,2,1]"
        return f"[ {{ Name: t, {shape}, Datatype: {dtype}, Format: (NHWC) Channel major format }}]" if dtype else "[]"

    metadata = "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes)
    sides = f"Inputs: {tensors(inputs)}, Constants: {tensors('Float')}, Outputs: {tensors(outputs)}"
    return f"Name: {name}, LayerType: {kind}, {sides}, TacticName: __myl_0x60617b, StreamId: 0, Metadata: {metadata}"


LOG = "\n".join(
    [
        "Layers:",
        logged("__mye112_0_myl0_0", "shape_call", "", ""),
        logged("__myl_CastReplConc_myl0_1", "kgen", "UInt8", "Half", "to_half", "conv_a"),
        logged("__myl_CorrCast_myl0_2", "runtime_fusion", "Half", "Float", "conv_a", "to_float"),
        logged("conv_b_myl0_3", "correlation", "Float", "Float", "conv_b"),
        "",
        "I/O Tensors:",
        " Name: frames, IOMode: Input, DataType: UInt8, Dimensions: [-1,3,64,64], Location: Device, ProfileInfo: []",
    ]
)


def test_the_json_of_tensorrt_10() -> None:
    summary = summarize_layers(json.dumps(TENSORRT_10))
    assert summary.source == "engine"
    assert summary.layers == {"fp16": 3, "fp32": 1, "int8": 1}
    assert summary.convolutions == {"fp16": 1, "fp32": 1, "int8": 1}
    assert summary.fp32_convolutions == ("conv2 + cast",)


def test_the_json_of_tensorrt_11() -> None:
    summary = summarize_layers(json.dumps(TENSORRT_11))
    assert summary.layers == {"fp16": 3, "fp32": 2, "none": 1}
    assert summary.convolutions == {"fp16": 1, "fp32": 1}
    assert summary.fp32_convolutions == ("conv2",)


def test_a_convolution_that_became_a_matrix_product_counts_and_a_fully_connected_layer_does_not() -> None:
    summary = summarize_layers(json.dumps(TENSORRT_11), {"conv1", "conv2", "conv3"})
    assert summary.convolutions == {"fp16": 1, "fp32": 2}
    assert summary.fp32_convolutions == ("conv2", "conv3")


def test_names_alone_are_not_taken_for_a_precision() -> None:
    summary = summarize_layers(json.dumps({"Layers": ["conv1 + relu1", "pool"], "Bindings": ["x"]}))
    assert (summary.layers, summary.fp32_convolutions) == ({"unknown": 2}, ())


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (words("Channel major FP16 format where channel % 8 == 0"), "fp16"),
        (words(INT8_ROWS), "int8"),
        (words("Row major linear UInt8 format"), "uint8"),
        (words("Row major linear BFloat16 format"), "bf16"),
        (split("BFloat16"), "bf16"),
        (split("FP8"), "fp8"),
        (split("Float"), "fp32"),
        (split("Int64"), "int64"),
        (split("Int32"), "int32"),
        (split("Bool"), "bool"),
        (split("E8M0"), "unknown"),
    ],
)
def test_every_word_for_a_type_is_known(types: dict[str, str], expected: str) -> None:
    entry = layer("some", "ElementWise", split("Half"), types)
    assert summarize_layers(json.dumps({"Layers": [entry]})).layers == {expected: 1}


def test_the_builders_log_says_the_same_without_a_gpu() -> None:
    summary = summarize_log(["Parsing", LOG])
    assert summary is not None
    assert summary.source == "build log"
    assert summary.layers == {"none": 1, "fp16": 2, "fp32": 1}
    assert summary.convolutions == {"fp16": 1, "fp32": 1}
    assert summary.fp32_convolutions == ("conv_b",)
    assert summarize_log(["nothing", "Layers:\nof another form"]) is None


def summary_of(*fp32: str) -> LayerSummary:
    return LayerSummary(source="engine", layers={"fp32": 9}, convolutions={"fp32": 9}, fp32_convolutions=fp32)


def test_convolutions_in_fp32_fail_the_gate_unless_kept_on_purpose() -> None:
    check_precision(summary_of("a", "b"), "fp32", frozenset())
    check_precision(summary_of(), "fp16", frozenset())
    check_precision(summary_of("a + relu", "b"), "fp16", frozenset({"a", "b"}))
    for precision in ("fp16", "int8"):
        with pytest.raises(
            GateError, match=rf"2 of 9 convolutions run in FP32 \(b, c \+ relu\).*--{precision}"
        ) as caught:
            check_precision(summary_of("a + relu", "b", "c + relu"), precision, frozenset({"a", "relu_of_another"}))
        assert caught.value.exit_code == 3
    with pytest.raises(GateError, match=r"\(a, b, c, \.\.\.\)"):
        check_precision(summary_of(*"abcd"), "fp16", frozenset())
