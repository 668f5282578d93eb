"""PyTorch on the GPU is the FP32 reference it claims to be: the session's embeddings, and the gradients of a step."""

from __future__ import annotations

from dataclasses import replace

import torch
from measuring import greatest_difference, random_batch
from proving import Proof, prove
from subjects import checkpoint, learner_of, random_training_batch, recipe_of, side_of
from torch import Tensor

from reid.runtime.sessions.session import run
from reid.train.session import torch_session

_FRAMES = 16


def reference(proof: Proof) -> None:
    """Compare a session, then a step, with the CPU's."""
    proof.attempt("session", _session, proof)
    proof.attempt("gradients", _gradients, proof)


def _session(proof: Proof) -> None:
    batch, stored = random_batch(side_of(proof), 8), checkpoint(proof)
    expected = run(torch_session(stored.model, stored.card, torch.device("cpu")), *batch)
    session = torch_session(stored.model, stored.card, torch.device(proof.device))
    for allowed in ("highest", "high"):  # the program around it may have allowed TF32 in products
        torch.set_float32_matmul_precision(allowed)
        try:
            error = greatest_difference(run(session, *batch), expected)
        finally:
            torch.set_float32_matmul_precision("highest")
        proof.check(f"embeddings differ from the CPU's by less than 1e-5 under {allowed!r}", error < 1e-5, error)


def _gradients(proof: Proof) -> None:
    """Compare the gradients of half a batch, without TF32 and without normalization by the batch."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        (expected_loss, expected), (loss, found) = (_step(proof, device) for device in ("cpu", proof.device))
        parts_loss, _ = _step(proof, proof.device, micro_batch=4)
    worst = max(float((expected[n] - found[n]).norm() / (expected[n].norm() + 1e-12)) for n in expected)
    proof.note("loss on the CPU and on the GPU", [expected_loss, loss])
    proof.check("gradients differ from the CPU's by less than 0.5 %", worst < 5e-3, worst)
    proof.check("parts of a batch have the loss of the whole", abs(parts_loss - loss) < 1e-4 * abs(loss), parts_loss)


def _step(proof: Proof, device: str, micro_batch: int = 0) -> tuple[float, dict[str, Tensor]]:
    recipe = recipe_of(proof, precision="fp32")
    learner = learner_of(recipe, device)
    learner.model.backbone.eval()  # normalization by the batch makes much of a rounding
    batch = random_training_batch(recipe)
    half = replace(batch, frames=batch.frames[:_FRAMES], vehicles=batch.vehicles[:_FRAMES])
    loss = learner.step(half, 0.0, seed=0, micro_batch=micro_batch).read()["loss"]
    named = learner.model.named_parameters()
    return loss, {name: value.grad.cpu() for name, value in named if value.grad is not None}


if __name__ == "__main__":
    prove(reference)
