from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from reid.train.model.weight_average import weight_average


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
    average = weight_average(model, 0.3)
    keys = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    expected: dict[str, np.ndarray] = {}
    for step in range(6):
        learn(model, step)
        average.update_parameters(model)
        now = {key: model.state_dict()[key].double().numpy().copy() for key in keys}
        decay = min(0.3, (1 + step) / (10 + step))
        expected = {k: decay * expected[k] + (1 - decay) * now[k] for k in keys} if step else now
    for key in keys:
        np.testing.assert_allclose(average.module.state_dict()[key].numpy(), expected[key], rtol=1e-5, atol=1e-6)


def test_it_resumes_from_its_state_as_if_never_stopped() -> None:
    model = network()
    whole, halves = weight_average(model, 0.9), weight_average(model, 0.9)
    for step in range(10):
        learn(model, step)
        whole.update_parameters(model)
        if step == 5:
            state = {key: value.clone() for key, value in halves.state_dict().items()}
            halves = weight_average(network(), 0.9)
            halves.load_state_dict(state, strict=True)
        halves.update_parameters(model)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[key]), key


def test_what_it_started_from_is_forgotten_within_a_short_run() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = weight_average(model, 0.999)
    nn.init.constant_(model.weight, 100.0)
    average.update_parameters(model)
    nn.init.constant_(model.weight, 1.0)
    for _ in range(30):
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(1.0, abs=1e-3)


def test_it_does_not_learn_and_stays_in_evaluation_mode() -> None:
    model = network().train()
    average = weight_average(model, 0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    assert not average.module.training


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay is {decay}: "):
        weight_average(network(), decay)
