from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reid.train.model.weight_average import WeightAverage


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def learn(model: nn.Module, step: int) -> None:
    """Change every weight and every statistic."""
    model(torch.randn(8, 3, generator=torch.Generator().manual_seed(step)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))


def test_weights_and_statistics_are_the_formulas() -> None:
    model = network()
    average = WeightAverage(model, 0.3)
    keys = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    expected: dict[str, np.ndarray] = {}
    for step in range(6):
        learn(model, step)
        average.update(model)
        now = {key: model.state_dict()[key].double().numpy().copy() for key in keys}
        decay = min(0.3, (1 + step) / (10 + step))
        expected = {k: decay * expected[k] + (1 - decay) * now[k] for k in keys} if step else now
    for key in keys:
        np.testing.assert_allclose(average.module.state_dict()[key].numpy(), expected[key], rtol=1e-5, atol=1e-6)


def test_it_resumes_from_its_state_as_if_never_stopped() -> None:
    model = network()
    whole, halves = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    for step in range(10):
        learn(model, step)
        whole.update(model)
        if step == 5:
            state = {key: value.clone() for key, value in halves.state_dict().items()}
            halves = WeightAverage(network(), 0.9)
            halves.load_state_dict(state, strict=True)
        halves.update(model)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[key]), key


def averaged_by_pytorch(model: nn.Module, decay: float) -> AveragedModel:
    """What made averages before: PyTorch's own, by the same formula."""

    def advance(averages: list[Tensor], current: list[Tensor], _: object) -> None:
        done = int(average.n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(averages, current, done)

    average = AveragedModel(model, multi_avg_fn=advance, use_buffers=True)
    return average.eval()


def test_a_state_of_pytorchs_average_goes_on_bit_for_bit() -> None:
    model = network()
    theirs, ours = averaged_by_pytorch(model, 0.9), WeightAverage(network(), 0.9)
    for step in range(10):
        learn(model, step)
        theirs.update_parameters(model)
        if step < 4:
            ours.load_state_dict(theirs.state_dict(), strict=True)
        else:
            ours.update(model)
    for key, value in theirs.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, ours.state_dict()[key]), key


def test_counts_are_the_models() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    for step in range(4):
        learn(model, step)
        average.update(model)
    assert average.module[1].num_batches_tracked == model[1].num_batches_tracked == 4


@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_was_skipped_moves_nothing(first: bool) -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    if not first:
        learn(model, 0)
        average.update(model, torch.tensor(True))
    before = {key: value.clone() for key, value in average.module.state_dict().items()}
    learn(model, 1)
    average.update(model, torch.tensor(False))
    for key, value in average.module.state_dict().items():
        assert torch.equal(value, before[key]) or key.endswith("num_batches_tracked"), key


def test_a_step_that_was_taken_moves_as_if_none_could_be_skipped() -> None:
    model = network()
    plain, told = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    for step in range(4):
        learn(model, step)
        plain.update(model)
        told.update(model, torch.tensor(True))
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(told.state_dict()[key], value)


def test_an_update_makes_no_gpu_wait() -> None:
    """PyTorch waits where a tensor goes from one device to another, and where one on a GPU is read."""

    class OnTheCPU(TorchDispatchMode):
        def __torch_dispatch__(
            self,
            function: Callable[..., object],
            types: object,
            args: tuple[Any, ...] = (),
            kwargs: Any = None,  # noqa: ANN401
        ) -> object:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            if any(tensor.device.type == "cpu" for tensor in tensors):
                called.add(str(function))
            return function(*args, **kwargs or {})

    model = network().to("meta")
    average = WeightAverage(model, 0.9)
    called: set[str] = set()
    with OnTheCPU():
        for _ in range(2):
            average.update(model, torch.empty((), dtype=torch.bool, device="meta"))
            average.update(model)
    assert called == {"aten._local_scalar_dense.default", "aten.add_.Tensor"}  # the steps are counted


def test_what_it_started_from_is_forgotten_within_a_short_run() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.999)
    nn.init.constant_(model.weight, 100.0)
    average.update(model)
    nn.init.constant_(model.weight, 1.0)
    for _ in range(30):
        average.update(model)
    assert average.module.weight.item() == pytest.approx(1.0, abs=1e-3)


def test_it_does_not_learn_and_stays_in_evaluation_mode() -> None:
    model = network().train()
    average = WeightAverage(model, 0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    assert not average.module.training


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay is {decay}: "):
        WeightAverage(network(), decay)
