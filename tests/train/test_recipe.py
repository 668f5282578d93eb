from __future__ import annotations

import numpy as np
import pytest

from reid.train.recipe import RECIPES, Recipe, learning_rate


@pytest.mark.parametrize("epochs", [1, 3, 60])
def test_the_rate_rises_to_its_peak_once_and_falls_to_a_hundredth(epochs: int) -> None:
    recipe = Recipe(epochs=epochs, warmup_epochs=5, learning_rate=1.0)
    rates = np.array([learning_rate(recipe, epoch) for epoch in np.linspace(0, epochs, 1001)])
    peak = rates.argmax()
    assert rates[peak] == pytest.approx(1, rel=1e-3)
    assert (np.diff(rates[: peak + 1]) >= 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    assert rates[-1] == pytest.approx(0.01)


def test_warm_up_is_linear() -> None:
    recipe = Recipe(epochs=60, warmup_epochs=5, learning_rate=2.0)
    assert learning_rate(recipe, 2.5) == pytest.approx(1.0)
    assert learning_rate(recipe, 5) == pytest.approx(2.0)


def test_the_poster_has_three_levels_and_rll() -> None:
    poster = RECIPES["poster"]
    assert (poster.backbone, poster.levels, poster.loss) == ("resnet50", (2, 3, 4), "rll")
