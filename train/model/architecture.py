"""What distinguishes models of the same backbone, levels and sizes; checkpoints are rebuilt from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from reid.runtime.files.validation import parse_stored
from reid.train.choices import IbnName, PoolingName, current_ibn

__all__ = ["Architecture"]


class Architecture(BaseModel):
    """Optional parts of a model. The defaults are the poster's, and those of a checkpoint that names none.

    Attributes:
        pooling: pooling of each level's feature map, a key of reid.train.model.pooling.POOLINGS.
        bnneck: whether batch normalization separates the features that metric losses see from those that are
            classified and compared.
        last_stride: stride of a ResNet's last stage; 1 keeps the resolution of the stage before.
        ibn: instance-batch normalization of a ResNet, IBN-a or IBN-b; see reid.train.model.instance_batch_norm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pooling: PoolingName = "max"
    bnneck: bool = False
    last_stride: int = Field(default=2, ge=1, le=2)
    ibn: Annotated[IbnName, BeforeValidator(current_ibn)] = "none"

    def fingerprinted(self) -> dict[str, Any]:
        """Return what a fingerprint says of it: with the switch that `ibn` once was, so that models keep theirs."""
        switch = {"none": False, "a": True}
        return {**self.model_dump(), "ibn": switch.get(self.ibn, self.ibn)}

    @classmethod
    def parse(cls, text: str, source: Path) -> Architecture:
        """Read an architecture from JSON. Raises ModelError, naming `source`, if it is damaged or too new."""
        remedy = "if a newer reid trained it, update reid"
        return parse_stored(cls, text, source, what="architecture", remedy=remedy)
