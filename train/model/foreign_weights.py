"""Weights that another trainer stored: found in its file, compared with the backbone, loaded only if all of them fit.

What the trainers write, according to their sources:

- fast-reid (`utils/checkpoint.py`): an entry `model` beside `optimizer`, schedulers and `epoch`; in it `backbone.*`
  with torchvision's names, `heads.*`, and before v1.3 `pixel_mean` and `pixel_std`.
- torchreid (`utils/torchtools.py`): an entry `state_dict` beside `epoch`, `rank1`, `optimizer` and `scheduler`; in it
  torchvision's names, often after DataParallel's `module.`, `classifier.*` and `fc.*`. `rank1` is a numpy scalar.
- torchvision and timm: the names of ResNet18 to ResNet101 are the same; their training scripts add an entry `args`.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import safe_globals

from reid.runtime.errors import ModelError
from reid.runtime.files.reading import check_regular
from reid.train.tensor_file import open_tensors

__all__ = ["MisfitError", "WeightsOrigin", "load_weights"]

_AT_MOST = 64 << 30
"""The largest file that is read, in bytes: twice the largest backbone in timm."""

_ENTRIES = ("model", "state_dict", "net", "model_state_dict")
_WRAPPERS = ("", "module.", "_orig_mod.", "module._orig_mod.")  # DataParallel and torch.compile
_HOLDERS = ("", "backbone.", "model.backbone.", "model.", "net.", "base.")

# Parts of a re-identification model that are never its backbone.
_NOT_BACKBONE = {
    *("heads", "head", "classifier", "fc", "fc_fusion", "pools", "bottleneck", "bnneck"),
    *("pixel_mean", "pixel_std", "reference"),
}

# (prefix of the backbone, what is stored beside it, trainer): the first row that applies identifies the trainer.
_TRAINERS = (
    ("model.backbone.", "heads", "reid-train"),
    ("backbone.", "heads", "fast-reid"),
    ("", "rank1", "torchreid"),
    ("", "classifier", "torchreid"),
    ("model.", "pytorch-lightning_version", "Lightning"),
    ("", "", "timm or torchvision"),
)

# ResNets with parts that no setting gives, without which the other weights compute something else.
_OTHER_NETWORKS = {
    r"(^|\.)NL_\d+\.": "non-local blocks",
    r"\.se\.": "other squeeze-and-excitation layers",
}


class MisfitError(ModelError):
    """Weights that can be read, and belong to another network."""


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """What was taken from a file of weights, and what was not.

    Attributes:
        trainer: the trainer that is known to write such files.
        prefix: prefix of the backbone's tensors in the file, which was removed.
        loaded: number of tensors of the backbone that the file holds.
        left_out: names of everything else in the file.
    """

    trainer: str
    prefix: str
    loaded: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        renaming = f"{self.prefix}* -> *" if self.prefix else "names unchanged"
        parts = Counter(_part(name, self.prefix) for name in self.left_out)
        left_out = ", ".join(f"{part} ({count})" if count > 1 else part for part, count in parts.items())
        return (
            f"weights from {self.trainer}: {self.loaded} tensors of the backbone ({renaming}), "
            f"left out: {left_out or 'nothing'}"
        )


def load_weights(module: nn.Module, path: Path, *, unused: Set[str]) -> WeightsOrigin:
    """Load a backbone's weights strictly from a file of any known trainer; nothing in the file is executed.

    Every tensor of the backbone has to be in the file and fit. Everything else in the file has to be known not to be
    part of a backbone.

    Args:
        module: the backbone.
        path: a `.safetensors` file, or a file that `torch.save` wrote.
        unused: names of tensors that the whole network has and `module` does not, such as those of its classifier.

    Raises:
        ModelError: there is no such file, or it cannot be read as plain weights.
        MisfitError: it belongs to another backbone.
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
    module.load_state_dict(found, strict=False)  # complete, as just checked, except for counters that old files lack
    trainer = _recognize(prefix, {_part(key, prefix) for key in foreign} | set(beside))
    return WeightsOrigin(trainer, prefix, len(found), (*others, *beside))


class _Discarded:
    """Replaces an object that is not wanted: accepts whatever a pickle passes to it, and keeps nothing."""

    def __new__(cls, *_: object) -> _Discarded:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


# What the known trainers store beside the weights. Letting PyTorch call numpy's own functions with a file's arguments
# would not be safe: dtype.__setstate__ takes flags, some of which make a float type claim to hold pointers. The
# replacement is called instead, so that only its own code runs; and since it is no tensor, it never becomes a weight.
_HARMLESS: list[Any] = [
    (_Discarded, name)
    for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "argparse.Namespace")
]


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever was stored
    _check_file(path)
    try:
        if path.suffix == ".safetensors":
            return open_tensors(path, remedy="give another file with --weights").read()
        _refuse_compression(path)
        with safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except Exception as error:  # a damaged file can raise any of a dozen exceptions
        refused = re.search(r"GLOBAL ([\w.]{1,200})", str(error))  # PyTorch's word for what it refuses to call
        if refused is None:
            raise ModelError(
                f"{path} is not a readable file of weights ({type(error).__name__}); give another one with --weights"
            ) from None
        raise ModelError(
            f"{path} holds more than weights ({refused[1]}), which is not loaded because it could run code; if you "
            f'trust it, extract its weights: python -c "import torch; c = torch.load({str(path)!r}, '
            "weights_only=False); torch.save(c.get('model', c.get('state_dict')), 'weights.pth')\""
        ) from None


def _check_file(path: Path) -> None:
    try:
        check_regular(path, at_most=_AT_MOST)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; --weights takes a file, `default` or `none`") from None
    except IsADirectoryError:
        raise ModelError(
            f"{path} is a folder; --weights takes a file, such as a run's checkpoint.safetensors"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; give another file with --weights") from None


def _refuse_compression(path: Path) -> None:
    """Refuse an archive that would grow when it is read; PyTorch writes none."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > path.stat().st_size
    ):
        raise ModelError(f"{path} is a compressed archive, not a file of weights; unpack it, and give what is in it")


def _state_dict(content: object, path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Return the weights in a file, and the names of the entries beside them."""
    if isinstance(content, Mapping):
        if _is_state_dict(content):
            return content, ()
        for entry in _ENTRIES:
            if _is_state_dict(content.get(entry)):
                return content[entry], tuple(_shown(key) for key in content if key != entry)
    raise ModelError(
        f"{path} holds no plain state dict, neither at the top nor as an entry {' or '.join(_ENTRIES)}; "
        "save only the model's state_dict()"
    )


def _shown(key: object) -> str:
    return key if isinstance(key, str) else type(key).__name__  # others may take for ever to write


def _is_state_dict(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and _is_plain(value) for key, value in content.items())
    )


def _is_plain(value: object) -> bool:
    """Return whether a value is a tensor of real numbers; a file can also hold sparse, quantized or nested ones."""
    if not isinstance(value, Tensor) or type(value) not in (Tensor, nn.Parameter):
        return False
    unusual = value.is_nested or value.is_quantized or value.is_complex()
    return not unusual and value.layout is torch.strided and value.device.type == "cpu"


def _find_prefix(state: Mapping[str, Tensor], expected: Iterable[str]) -> str:
    """Return the prefix of the backbone's tensors: the one with which most of their names are found."""
    names = list(expected)
    prefixes = [wrapper + holder for wrapper in _WRAPPERS for holder in _HOLDERS]
    return max(prefixes, key=lambda prefix: sum(prefix + name in state for name in names))


def _part(key: str, prefix: str) -> str:
    """Return the part of a model that a key belongs to: the first word within the backbone's holder, or beside it."""
    beside = re.sub(r"\w+\.$", "", prefix)
    return key.removeprefix(prefix).removeprefix(beside).partition(".")[0]


def _recognize(prefix: str, beside: Set[str]) -> str:
    for holder, sign, trainer in _TRAINERS:
        if prefix in {wrapper + holder for wrapper in _WRAPPERS} and (not sign or sign in beside):
            return trainer
    return "an unknown trainer"


def _refuse_another_network(unexpected: Sequence[str], path: Path) -> None:
    for pattern, what in _OTHER_NETWORKS.items():
        for key in unexpected:
            if re.search(pattern, key):
                raise MisfitError(
                    f"{path} belongs to another network than this --backbone: it has {what} ({key[:200]}); "
                    "give weights of a network without them, or --weights default"
                )


def _refuse_misfits(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], unexpected: Sequence[str], path: Path
) -> None:
    # A count of batches is not a weight: PyTorch before 0.4.1 and frozen normalization do not store it.
    missing = [name for name in expected if name not in found and not name.endswith(".num_batches_tracked")]
    misshapen = [name for name, value in found.items() if value.shape != expected[name].shape]
    if missing or unexpected or misshapen:
        raise MisfitError(
            f"{path} does not fit the backbone: {_some('missing', missing)}, {_some('unexpected', unexpected)}, "
            f"{_some('of another shape', misshapen)}; does it belong to this --backbone, with the names of timm, "
            "torchvision, fast-reid or torchreid?"
        )


def _some(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what}" + (f" ({' '.join(keys[0].split())[:200]})" if keys else "")
