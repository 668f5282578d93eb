"""What tells two models of the same backbone, levels and sizes apart, by which a checkpoint is rebuilt."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reid.runtime.errors import ModelError
from reid.train.model.pooling import POOLINGS

__all__ = ["ARCHITECTURE_KEY", "Architecture"]

ARCHITECTURE_KEY = "reid.architecture"
"""Under this key of its metadata, a graph carries the architecture, by which a bundle's model is rebuilt in PyTorch."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parts that a model may have. The defaults are the poster's, and those of a checkpoint that names none.

    Attributes:
        pooling: over each level's map, a name of reid.train.model.pooling.POOLINGS.
        bnneck: batch normalization between the feature that metric losses see and the one that is classified and
            compared.
        last_stride: of a ResNet's last stage; 1 keeps the resolution of the stage before.
        ibn: instance normalization of half the channels in a ResNet's first three stages.
    """

    pooling: str = "max"
    bnneck: bool = False
    last_stride: int = 2
    ibn: bool = False

    def to_json(self) -> str:
        """Write it for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: Path) -> Architecture:
        """Read it back.

        Raises:
            ModelError: naming `source`, which is damaged or of a newer version.
        """
        try:
            parts = cls(**json.loads(text))
            if parts.pooling not in POOLINGS:
                raise ValueError(f"pooling {parts.pooling}")
            return parts
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{source}: its architecture cannot be rebuilt ({error}); was it trained by a newer reid?"
            ) from None
