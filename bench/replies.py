"""What a host answers; see `reid.bench.host.protocol`."""

from __future__ import annotations

from pydantic import Field

from reid.bench.records import Count, NotNegative, Positive, Record

__all__ = ["Memory", "Opened", "Served", "TimedTurn"]


class Opened(Record):
    """An opened subject.

    Attributes:
        facts: what it says of itself: "backend", "device", "precision".
        most_frames: its largest batch.
        import_s: from the start of the process until its libraries were imported.
        open_s: opening the model.
        first_batch_s: the first batch of one frame.
    """

    facts: dict[str, str]
    most_frames: int = Field(ge=1)
    import_s: NotNegative
    open_s: NotNegative
    first_batch_s: NotNegative


class TimedTurn(Record):
    """See `reid.bench.host.timing.Turn`."""

    wall_ms: tuple[Positive, ...] = Field(min_length=1)
    cpu_s: NotNegative
    untimed: Count
    started: float
    ended: float

    @property
    def wall_s(self) -> float:
        """The wall time of all batches, in seconds."""
        return sum(self.wall_ms) / 1000


class Served(Record):
    """See `reid.bench.host.server.Served`."""

    latency_ms: tuple[float, ...]
    unfinished: Count


class Memory(Record):
    """The most memory that a subject had so far, in MiB; None where it does not say."""

    host: NotNegative
    device: NotNegative | None
