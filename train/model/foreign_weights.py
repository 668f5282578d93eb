"""Weights that another trainer stored: found in its file, held against the backbone, loaded only if all of them fit.

What the trainers leave, as read in their sources:

- fast-reid (`utils/checkpoint.py`): an entry `model` beside `optimizer`, schedulers and `epoch`; in it `backbone.*`
  with torchvision's names, `heads.*`, and before v1.3 `pixel_mean` and `pixel_std`.
- torchreid (`utils/torchtools.py`): an entry `state_dict` beside `epoch`, `rank1`, `optimizer` and `scheduler`; in it
  torchvision's names, often behind DataParallel's `module.`, `classifier.*` and `fc.*`. `rank1` is a numpy scalar.
- torchvision and timm: ResNet18 to ResNet101 have the same names; their training scripts add an entry `args`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import safe_globals

from reid.runtime.errors import ModelError

__all__ = ["WeightsOrigin", "load_weights"]

_ENTRIES = ("model", "state_dict", "net", "model_state_dict")
_WRAPPERS = ("", "module.", "_orig_mod.", "module._orig_mod.")  # DataParallel and torch.compile
_HOLDERS = ("", "backbone.", "model.backbone.", "model.", "net.", "base.")

# Parts of a re-identification model that are never its backbone.
_NOT_BACKBONE = {
    *("heads", "head", "classifier", "fc", "fc_fusion", "pools", "bottleneck", "bnneck"),
    *("pixel_mean", "pixel_std", "reference"),
}

# (holder of the backbone, what lies beside it, trainer): the first row that holds names the trainer.
_TRAINERS = (
    ("model.backbone.", "heads", "reid-train"),
    ("backbone.", "heads", "fast-reid"),
    ("", "rank1", "torchreid"),
    ("", "classifier", "torchreid"),
    ("model.", "pytorch-lightning_version", "Lightning"),
    ("", "", "timm or torchvision"),
)

# ResNets with parts that timm's do not have: without them the other weights compute something else.
_OTHER_NETWORKS = {
    r"(^|\.)NL_\d+\.": "non-local blocks",
    r"\.(IN|BN)\.": "instance-batch normalization (IBN)",
    r"\.se\.": "other squeeze-and-excitation layers",
}


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """What was taken from a file of weights, and what was not.

    Attributes:
        trainer: that the file was recognized as being of.
        prefix: what its names of the backbone's tensors begin with; taken off.
        loaded: how many tensors of the backbone it gave.
        left_out: names of everything else in it.
    """

    trainer: str
    prefix: str
    loaded: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        renaming = f"{self.prefix}* -> *" if self.prefix else "names as they are"
        parts = Counter(_part(name, self.prefix) for name in self.left_out)
        left_out = ", ".join(f"{part} ({count})" if count > 1 else part for part, count in parts.items())
        return (
            f"weights: of {self.trainer}, {self.loaded} tensors of the backbone ({renaming}), "
            f"left out: {left_out or 'nothing'}"
        )


def load_weights(module: nn.Module, path: Path, *, unused: Set[str]) -> WeightsOrigin:
    """Load a backbone's weights from a file of any known trainer, strictly; nothing in the file is executed.

    Every tensor of the backbone has to be in the file and fit. Everything else in the file has to be known not to be a
    part of a backbone.

    Args:
        module: the backbone.
        path: a `.safetensors` file, or what `torch.save` wrote.
        unused: names of tensors that the whole network has and `module` does not, such as its classifier's.

    Raises:
        ModelError: no such file, not readable as plain weights, or not of this backbone.
    """
    state, beside = _state_dict(_read(path), path)
    expected = module.state_dict()
    prefix = _find_prefix(state, expected)
    found = {name: state[prefix + name] for name in expected if prefix + name in state}
    used, spare = ({prefix + name for name in names} for names in (found, unused))
    others = [key for key in state if key not in used]
    foreign = [key for key in others if key not in spare]
    unexpected = [key for key in foreign if _part(key, prefix) not in _NOT_BACKBONE]
    _refuse_another_network(unexpected, path)
    _refuse_misfits(found, expected, unexpected, path)
    module.load_state_dict(found, strict=False)  # complete, as just checked, but for counters that old files lack
    trainer = _recognize(prefix, {_part(key, prefix) for key in foreign} | set(beside))
    return WeightsOrigin(trainer, prefix, len(found), (*others, *beside))


class _Discarded:
    """Stands in for an object that is not wanted: takes whatever a pickle gives it, and keeps nothing."""

    def __new__(cls, *_: object) -> _Discarded:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


# What the known trainers store beside the weights. To let PyTorch call numpy's own functions with a file's arguments
# would not be safe: dtype.__setstate__ takes flags, and with some of them a type of floats says it holds pointers.
# The stand-in is called in their place, so that no code but its own runs; and as it is no tensor, it becomes no weight.
_HARMLESS: list[Any] = [
    (_Discarded, name)
    for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "argparse.Namespace")
]


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever was stored
    if path.is_dir():
        raise ModelError(f"{path} is a folder; --weights takes a file, such as the checkpoint.safetensors of a run")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; --weights takes a file, `default` or `none`") from None
    except Exception as error:  # damage shows as any of a dozen exceptions
        refused = re.search(r"GLOBAL (\S+)", str(error))  # as PyTorch names what it will not call
        if refused is None:
            raise ModelError(f"{path} is not a readable file of weights ({type(error).__name__})") from None
        raise ModelError(
            f"{path} holds more than weights ({refused[1]}), which is not loaded because it could run code; if you "
            f'trust it, take its weights out: python -c "import torch; c = torch.load({str(path)!r}, '
            "weights_only=False); torch.save(c.get('model', c.get('state_dict')), 'weights.pth')\""
        ) from None


def _state_dict(content: object, path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Give the weights in a file, and the names of the entries beside them."""
    if isinstance(content, Mapping):
        if _is_state_dict(content):
            return content, ()
        for entry in _ENTRIES:
            if _is_state_dict(content.get(entry)):
                return content[entry], tuple(str(key) for key in content if key != entry)
    raise ModelError(
        f"{path} holds no plain state dict, neither by itself nor as an entry {' or '.join(_ENTRIES)}; "
        "save the model's state_dict() alone"
    )


def _is_state_dict(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _find_prefix(state: Mapping[str, Tensor], expected: Iterable[str]) -> str:
    """Find what the backbone's names begin with: the beginning that most of them are found behind."""
    names = list(expected)
    prefixes = [wrapper + holder for wrapper in _WRAPPERS for holder in _HOLDERS]
    return max(prefixes, key=lambda prefix: sum(prefix + name in state for name in names))


def _part(key: str, prefix: str) -> str:
    """Name the part of a model that a key belongs to: the first word in, or else beside, what holds the backbone."""
    beside = re.sub(r"\w+\.$", "", prefix)
    return key.removeprefix(prefix).removeprefix(beside).partition(".")[0]


def _recognize(prefix: str, beside: Set[str]) -> str:
    for holder, sign, trainer in _TRAINERS:
        if prefix in {wrapper + holder for wrapper in _WRAPPERS} and (not sign or sign in beside):
            return trainer
    return "a trainer not known by name"


def _refuse_another_network(unexpected: Iterable[str], path: Path) -> None:
    for key in unexpected:
        for pattern, what in _OTHER_NETWORKS.items():
            if re.search(pattern, key):
                raise ModelError(
                    f"{path} is of another network than this --backbone: it has {what} ({key}); "
                    "give weights of a network without, or --weights default"
                )


def _refuse_misfits(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], unexpected: Sequence[str], path: Path
) -> None:
    # A count of batches is no weight: PyTorch before 0.4.1 and frozen normalization do not store it.
    missing = [name for name in expected if name not in found and not name.endswith(".num_batches_tracked")]
    misshapen = [name for name, value in found.items() if value.shape != expected[name].shape]
    if missing or unexpected or misshapen:
        raise ModelError(
            f"{path} does not fit the backbone: {_some('missing', missing)}, {_some('unexpected', unexpected)}, "
            f"{_some('of another shape', misshapen)}; is it of this --backbone, with the names of timm, torchvision, "
            "fast-reid or torchreid?"
        )


def _some(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what}" + (f" ({keys[0]})" if keys else "")
