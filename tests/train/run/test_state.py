"""A damaged state is one line, and nothing of it is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from reid.runtime.errors import ReidError
from reid.train.data.images import TrainingBatch
from reid.train.learner import Learner, build_learner
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe
from reid.train.run.folder import RunFolder
from reid.train.run.state import Position, RunState

RECIPE = Recipe(
    backbone="test_resnet",
    weights="none",
    levels=(1, 2),
    embedding_size=8,
    image_size=32,
    memory_size=4,
    average_decay=0.9,
    precision="fp16",
)
FACTS: dict[str, Any] = RECIPE.model_dump(mode="json")
STATE = Path("last") / "state.safetensors"


def learner(recipe: Recipe = RECIPE) -> Learner:
    made, _ = build_learner(recipe, 4, Processes(device=torch.device("cpu")))
    made.begin_epoch(frozen=False)
    return made


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a state after one step. Treat it as read-only."""
    run = tmp_path_factory.mktemp("run")
    (run / "last").mkdir()
    made = learner()
    frames = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made.step(TrainingBatch(frames, torch.arange(4).repeat(2), ()), 1e-3, seed=0)
    RunState.of(made, Position(epochs_done=1, best_epoch=1, best_map=3.0, best_loss=0.5), FACTS).write(run / STATE)
    return run


@pytest.fixture
def run(stored: Path, tmp_path: Path) -> Path:
    (tmp_path / "last").mkdir()
    (tmp_path / STATE).write_bytes((stored / STATE).read_bytes())
    return tmp_path


def rewrite(run: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> None:
    """Change the tensors and the metadata of a state, which then has no hash of its own."""
    with safe_open(run / STATE, "pt") as file:
        texts = {name: text for name, text in file.metadata().items() if name != "sha256"}
    tensors = {name: tensor.clone() for name, tensor in load_file(run / STATE).items()}
    change(tensors, texts)
    save_file(tensors, run / STATE, texts)


def contents(of: Learner) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.clone()
        for name, module in of.modules.items()
        for key, value in module.state_dict().items()
    }


def refusal(run: Path) -> str:
    """Return why a state is refused, after checking that nothing of it was loaded."""
    made = learner()
    before, scaler = contents(made), made.precision.scaler.state_dict()
    with pytest.raises(ReidError) as raised:
        RunFolder(run).load_state(made, FACTS)
    after = contents(made)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert made.optimizer.state_dict()["state"] == {}
    assert made.precision.scaler.state_dict() == scaler
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_was_stored_is_restored(stored: Path) -> None:
    made = learner()
    assert RunFolder(stored).load_state(made, FACTS).epochs_done == 1
    before, after = load_file(stored / STATE), RunState.of(made, Position(), FACTS).tensors
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_optimizers_tensors_are_numbered_as_the_model_names_its_parameters(stored: Path) -> None:
    """However the optimizer groups them: so states go on that were stored when it grouped them otherwise."""
    made = learner()
    RunFolder(stored).load_state(made, FACTS)
    tensors = load_file(stored / STATE)
    parameters = [*made.model.parameters(), *made.classifiers.parameters()]
    grouped = [parameter for group in made.optimizer.param_groups for parameter in group["params"]]
    assert [id(one) for one in grouped] != [id(one) for one in parameters]
    for number, parameter in enumerate(parameters):
        for slot, value in made.optimizer.state[parameter].items():
            assert torch.equal(tensors[f"optimizer/{number}/{slot}"], value)


def scores(mean_average_precision: float, loss: float) -> dict[str, float]:
    return {"mAP": mean_average_precision, "retrieval_loss": loss}


def test_the_best_epoch_has_the_smallest_loss_and_of_equal_ones_is_the_last() -> None:
    position, best = Position(), []
    for epoch, (value, loss) in enumerate([(90, 0.5), (99, 0.6), (80, 0.4), (70, 0.4), (100, 0.41)], start=1):
        position = position.after(epoch, scores(value, loss))
        best.append((position.best_epoch, position.best_map, position.best_loss))
    assert best == [(1, 90, 0.5), (1, 90, 0.5), (3, 80, 0.4), (4, 70, 0.4), (4, 70, 0.4)]
    assert position.epochs_done == 5


def test_a_run_that_was_begun_with_map_goes_on_with_it(run: Path) -> None:
    rewrite(run, say(progress={"epochs_done": 2, "best_epoch": 1, "best_map": 80.0}))
    position = RunFolder(run).load_state(learner(), FACTS)
    position = position.after(3, scores(79, 0.0))
    assert (position.epochs_done, position.best_epoch, position.best_map) == (3, 1, 80)
    position = position.after(4, scores(80, 9.0))
    assert (position.best_epoch, position.best_map, position.best_loss) == (4, 80, None)
    assert position.after(5, scores(81, 10.0)).best_epoch == 5
    rewrite(run, say(progress={"begun": {"steps": 3}}))  # in its first epoch, nothing was chosen yet
    first = RunFolder(run).load_state(learner(), FACTS).after(1, scores(50, 1.0))
    assert (first.best_loss, first.begun.steps) == (1.0, 0)


def test_the_weights_of_the_losses_are_those_after_the_last_epoch_whether_it_is_the_best_or_not(run: Path) -> None:
    position = Position().after(1, scores(90, 0.5), (0.2, 1.0)).after(2, scores(80, 0.6), (0.3, 1.0))
    assert (position.best_epoch, position.level_losses) == (1, (0.3, 1.0))
    assert RunFolder(run).load_state(learner(), FACTS).level_losses == ()  # stored before there were any


def test_where_nothing_is_held_out_the_last_epoch_is_kept() -> None:
    position = Position().after(1, None).after(2, None)
    assert (position.best_epoch, position.best_map, position.best_loss) == (2, -1, None)


def test_the_same_state_has_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    state = RunState.read(stored / STATE)
    for _ in range(10):
        state.write(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (stored / STATE).read_bytes()


def test_a_state_of_reid_0_1_has_no_hash_and_is_read(run: Path) -> None:
    rewrite(run, lambda tensors, texts: None)
    assert RunFolder(run).load_state(learner(), FACTS).best_epoch == 1


def positions(size: int, count: int) -> Iterator[int]:
    return iter(range(0, size, size // count))


def test_no_flipped_byte_goes_unnoticed(run: Path) -> None:
    content = (run / STATE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for position in (*positions(header, 40), *(header + place for place in positions(len(content) - header, 40))):
        damaged = bytearray(content)
        damaged[position] ^= 1
        (run / STATE).write_bytes(damaged)
        with pytest.raises(ReidError) as raised:
            RunState.read(run / STATE)
        assert "\n" not in str(raised.value), position


def put(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor], dict[str, str]], object]:
    return lambda tensors, texts: tensors.update({name: tensor})


def drop(name: str) -> Callable[[dict[str, Tensor], dict[str, str]], object]:
    return lambda tensors, texts: tensors.pop(name)


def say(**changed: object) -> Callable[[dict[str, Tensor], dict[str, str]], object]:
    texts_changed = {name: value if isinstance(value, str) else json.dumps(value) for name, value in changed.items()}
    return lambda tensors, texts: texts.update(texts_changed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop("model/heads.0.weight"), "does not fit the run (it has no tensor 'heads.0.weight')"),
        (put("model/heads.0.weight", torch.zeros(8, 3)), "tensor 'heads.0.weight' is torch.float32 [8, 3], not"),
        (put("average/n_averaged", torch.tensor(1.0)), "tensor 'n_averaged' is torch.float32 [], not torch.int64 []"),
        (put("loss/x", torch.zeros(1)), "there is no place for tensor 'x'"),
        (drop("optimizer/0/exp_avg_sq"), "it has no tensor 'exp_avg_sq'"),
        (put("optimizer/0/momentum_buffer", torch.zeros(1)), "there is no place for tensor 'momentum_buffer'"),
        (put("optimizer/0/exp_avg", torch.zeros(1)), "tensor 'exp_avg' is torch.float32 [1], not"),
        (put("optimizer/0/step", torch.zeros(1)), "tensor 'step' is torch.float32 [1], not torch.float32 []"),
        (put("optimizer/999/step", torch.zeros(())), "the optimizer has no parameter '999'"),
        (put("optimizer/x/step", torch.zeros(())), "the optimizer has no parameter 'x'"),
        (put("optimizer/-1/step", torch.zeros(())), "the optimizer has no parameter '-1'"),
        (put("optimizer/00/step", torch.zeros(())), "the optimizer has no parameter '00'"),
        (put("optimizer/\u0663/step", torch.zeros(())), "the optimizer has no parameter '\u0663'"),
        (say(scaler={}), "its loss scaler is another one"),
        (say(scaler={"scale": "much"}), "the state is not valid (scaler.scale"),
        (say(scaler='{"scale": NaN}'), "the state is not valid (scaler.scale"),
        (say(scaler=[]), "the state is not valid (scaler"),
        (say(facts="{"), "the state is not valid (facts: Invalid JSON"),
        (say(facts="[" * 100_000), "the state is not valid (facts: Invalid JSON"),
        (say(facts=[1]), "the state is not valid (facts"),
        (say(facts={**FACTS, "seed": "a\nb"}), "was started with seed a b, not 0"),
        (say(facts={"x" * 5000: 1}), "was started with "),
        (say(progress="null"), "the state is not valid (progress"),
        (say(progress={"epochs_done": -1}), "the state is not valid (progress.epochs_done"),
        (say(progress={"epochs_done": 10**30}), "the state is not valid (progress.epochs_done"),
        (say(progress={"begun": {"steps": 10**30}}), "the state is not valid (progress.begun.steps"),
        (say(progress={"begun": {"seconds": -1}}), "the state is not valid (progress.begun.seconds"),
        (say(progress='{"best_map": NaN}'), "the state is not valid (progress.best_map"),
        (say(progress={"best_loss": -0.1}), "the state is not valid (progress.best_loss"),
        (say(progress='{"best_loss": Infinity}'), "the state is not valid (progress.best_loss"),
        (lambda tensors, texts: texts.pop("scaler"), "is not the state of a run"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    run: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object], reason: str
) -> None:
    rewrite(run, change)
    assert reason in refusal(run)
    assert len(refusal(run)) < 1000


def test_a_state_of_another_optimizer_is_refused(stored: Path, tmp_path: Path) -> None:
    other = learner(RECIPE.changed(optimizer="sgd"))
    with pytest.raises(ReidError, match="there is no place for tensor 'exp_avg'"):
        RunFolder(stored).load_state(other, FACTS)


def test_a_state_that_is_no_file_is_refused(run: Path) -> None:
    (run / STATE).unlink()
    os.mkfifo(run / STATE)
    assert "a named pipe, not a file; start a new run" in refusal(run)


def test_a_state_with_other_facts_restores_nothing(run: Path) -> None:
    state = RunState.read(run / STATE)
    replace(state, facts={**FACTS, "epochs": 3}).write(run / STATE)
    assert "was started with epochs 3, not 60" in refusal(run)
