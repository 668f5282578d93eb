"""What distinguishes models of the same backbone, levels and sizes; checkpoints are rebuilt from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reid.runtime.errors import ModelError
from reid.train.model.pooling import POOLINGS

__all__ = ["Architecture"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Optional parts of a model. The defaults are the poster's, and those of a checkpoint that names none.

    Attributes:
        pooling: pooling of each level's feature map, a key of reid.train.model.pooling.POOLINGS.
        bnneck: whether batch normalization separates the features that metric losses see from those that are
            classified and compared.
        last_stride: stride of a ResNet's last stage; 1 keeps the resolution of the stage before.
        ibn: whether half the channels in a ResNet's first three stages are instance-normalized.
    """

    pooling: str = "max"
    bnneck: bool = False
    last_stride: int = 2
    ibn: bool = False

    def to_json(self) -> str:
        """Return the architecture as `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: Path) -> Architecture:
        """Read what `to_json` wrote.

        Raises:
            ModelError: `source`, which the message names, is damaged or of a newer version.
        """
        try:
            parts = cls(**json.loads(text))
            if parts.pooling not in POOLINGS:
                raise ValueError(f"pooling {parts.pooling}")
            return parts
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{source}: its architecture cannot be rebuilt ({error}); if a newer reid trained it, update reid"
            ) from None
