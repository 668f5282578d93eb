from __future__ import annotations

import pytest
import torch

from reid.train.builders import build_model
from reid.train.model.multi_level import MultiLevelReID
from reid.train.recipe import Recipe
from reid.train.report.norms import recorded_norms


@pytest.mark.parametrize("bnneck", [False, True])
def test_norms_are_those_of_what_is_normalized(bnneck: bool) -> None:
    torch.manual_seed(0)
    recipe = Recipe(backbone="resnet10t", weights="none", levels=(3, 4), embedding_size=8, image_size=32, bnneck=bnneck)
    model, _, _ = build_model(recipe)
    for neck in model.bnneck:
        torch.nn.init.uniform_(neck.get_parameter("weight"), 1, 3)
    model.eval()
    batches = [torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8) for n in (3, 2)]
    with torch.inference_mode():
        with recorded_norms(model) as recorded:
            outputs = [model(batch) for batch in batches]
        assert torch.equal(outputs[0], model(batches[0]))  # recording changes nothing
        assert [len(of_level) for of_level in recorded] == [2, 2]  # and has ended
        expected = [model.after_neck(model.features(batch)) for batch in batches]
    for level, of_level in enumerate(recorded):
        for found, features in zip(of_level, expected, strict=True):
            torch.testing.assert_close(found, features[level].square().sum(dim=1).sqrt())


def test_a_failure_leaves_no_hooks() -> None:
    recipe = Recipe(backbone="resnet10t", weights="none", levels=(4,), embedding_size=8, image_size=32)
    model: MultiLevelReID = build_model(recipe)[0]
    with pytest.raises(KeyboardInterrupt), recorded_norms(model):
        raise KeyboardInterrupt
    assert not any(module._forward_hooks for module in model.modules())
