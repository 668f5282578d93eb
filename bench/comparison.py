"""What a comparison of two results found, as facts."""

from __future__ import annotations

from typing import Literal, TypeAlias

from reid.bench.records import Count, Estimate, Record
from reid.bench.result import SubjectKind

__all__ = ["Comparison", "Difference", "Figure", "QualityChange", "SpeedChange", "Vanished", "Verdict"]

Verdict: TypeAlias = Literal["faster", "slower", "equal", "undecided"]
Figure: TypeAlias = Literal["frames_per_s", "p99_ms"]


class SpeedChange(Record):
    """One figure of a subject with one batch size, before and after.

    Attributes:
        subject: the subject's name.
        kind: whose it is.
        frames: the batch size.
        figure: the figure: throughput, or the 99th percentile of a batch's latency.
        before: the figure in the first result, as stored.
        after: the figure in the second.
        percent: the change of the figure.
        verdict: what that is, beyond noise.
    """

    subject: str
    kind: SubjectKind
    frames: int
    figure: Figure
    before: Estimate
    after: Estimate
    percent: float
    verdict: Verdict


class QualityChange(Record):
    """What a subject's answers are worth, before and after.

    Attributes:
        subject: the subject's name.
        measure: a protocol, whose mAP is in percent, or "least_similarity".
        before: the value in the first result.
        after: the value in the second.
        regressed: whether mAP fell by more than the gate tolerates, or answers became wrong.
    """

    subject: str
    measure: str
    before: float
    after: float
    regressed: bool


class Vanished(Record):
    """A subject that has figures in the first result only.

    Attributes:
        subject: its name.
        reason: what the second result says of it; empty where it was not asked for there.
    """

    subject: str
    reason: str


class Difference(Record):
    """A fact of the machine, its software, the model, the settings or a subject that differs; empty where absent."""

    fact: str
    before: str
    after: str


class Comparison(Record):
    """What two results say about each other.

    Attributes:
        machines: the machines of both.
        same_machine: whether they are of the same kind.
        pace: how many times as long the machine itself took in the second run for what never changes; None where that
            is not known, or the machines are two.
        same_task: whether both had the same threads, and a model of the same form.
        comparisons: how many figures were compared: the intervals are widened for so many.
        widened: by what factor.
        speeds: the figures that both have, in the order of the second result.
        qualities: the qualities that both have.
        came: the subjects that only the second has figures of.
        went: the subjects that only the first has figures of.
        differences: in what else the runs differ.
    """

    machines: tuple[str, str]
    same_machine: bool
    pace: float | None = None
    same_task: bool
    comparisons: Count
    widened: float
    speeds: tuple[SpeedChange, ...]
    qualities: tuple[QualityChange, ...]
    came: tuple[str, ...]
    went: tuple[Vanished, ...]
    differences: tuple[Difference, ...]

    @property
    def regressed(self) -> bool:
        """Whether a session of ours became slower beyond noise, worse, or unable to run, with nothing else to blame.

        On another kind of machine, and with another task, nothing regresses.
        """
        slower = any(one.verdict == "slower" and one.kind == "session" for one in self.speeds)
        worse = any(one.regressed for one in self.qualities)
        return self.same_machine and self.same_task and (slower or worse or any(one.reason for one in self.went))
