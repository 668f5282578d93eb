"""The network that speeds are published for, against PyTorch's counter and the published figure."""

from __future__ import annotations

import pytest

from reid.bench.costs.resnet50 import resnet50_cost


@pytest.mark.torch
def test_operations_and_weights_are_those_of_pytorch() -> None:
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = timm.create_model("resnet50").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, 224, 224))
    cost = resnet50_cost("fp32")
    assert cost.flops == counter.get_total_flops()
    products = [values for name, values in model.named_parameters() if values.ndim > 1]
    assert cost.weight_bytes == 4 * sum(values.numel() for values in products)


def test_multiplications_are_the_published_ones() -> None:
    """4.1 billion multiplications, as torchvision and others state."""
    assert resnet50_cost("int8").flops / 2e9 == pytest.approx(4.1, abs=0.02)


def test_bytes_follow_the_precision() -> None:
    fp32, fp16, int8 = (resnet50_cost(precision) for precision in ("fp32", "fp16", "int8"))
    for name in ("weight_bytes", "activation_bytes"):
        assert getattr(fp32, name) == 2 * getattr(fp16, name) == 4 * getattr(int8, name)
    assert fp32.flops == fp16.flops == int8.flops
