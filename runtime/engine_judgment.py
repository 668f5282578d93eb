"""What is known of an engine's answers on data: the verdict, or why there is none."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["LONGEST_LINE", "EngineJudgment", "Line", "check_printable"]

LONGEST_LINE = 1024


def check_printable(text: str) -> str:
    """Return a text as it is. Raises ValueError where it cannot be printed in a line."""
    if not text.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return text


Line: TypeAlias = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(check_printable)]
"""A text of one line, in a file that may be a stranger's."""


class EngineJudgment(BaseModel):
    """The judgment on an engine that was run on data, or the reason why it was not.

    Attributes:
        verdict: whether it is within tolerance of PyTorch; "not run" where it was not run on data.
        data: the data that it was run on, in words; empty where it was not.
        reference: the session that it was compared with, in words; empty where it was not.
        reason: the reason why it was not run; empty where it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["within", "undecided", "outside", "not run"] = "not run"
    data: Line = ""
    reference: Line = ""
    reason: Line = ""

    @property
    def sentence(self) -> str:
        """The judgment in words, to follow the engine's name."""
        if self.verdict == "not run":
            return f"not verified on data ({self.reason})" if self.reason else "not verified on data"
        verdicts = {
            "within": "within tolerance on",
            "undecided": "not outside tolerance, but undecided, on",
            "outside": "OUTSIDE tolerance on",
        }
        return f"{verdicts[self.verdict]} {self.data}"
