"""What `reid-bench` measured: the schema of `bench.json`."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from reid.bench.costs.record import GraphCost, Roofline
from reid.bench.environment import Environment
from reid.bench.records import Count, Disturbance, Estimate, NotNegative, Percentiles, Positive, Record
from reid.runtime.precision import Precision

__all__ = [
    "FORMAT_VERSION",
    "RESULT_FILE",
    "Absent",
    "BatchResult",
    "BenchResult",
    "Cameras",
    "EndToEnd",
    "Failure",
    "ModelFacts",
    "Quality",
    "Scenario",
    "Settings",
    "Start",
    "SubjectKind",
    "SubjectPrecision",
    "SubjectResult",
    "Turn",
    "WarmUp",
]

RESULT_FILE = "bench.json"

FORMAT_VERSION: Literal[1] = 1

SubjectKind: TypeAlias = Literal["session", "peer"]
"""Ours, or what a user would take instead."""

SubjectPrecision: TypeAlias = Precision | Literal["bf16"]
"""Peers also compute in BF16, which no graph of ours has."""


class Settings(Record):
    """What was asked for.

    Attributes:
        batches: the batch sizes, in frames.
        threads: the CPU threads that each subject may use.
        minutes: the time to measure in, without start-up.
        latency_limit_ms: the latency that 99 of 100 frames must keep where frames arrive by themselves.
        camera_frames_per_s: the crops that one camera sends in a second.
    """

    batches: tuple[int, ...]
    threads: int = Field(ge=1)
    minutes: Positive
    latency_limit_ms: Positive
    camera_frames_per_s: Positive


class ModelFacts(Record):
    """The model that was measured.

    Attributes:
        fingerprint: the card's fingerprint.
        backbone: timm's name of the backbone.
        levels: the names of the levels.
        image_size: height and width of a frame, in pixels.
        dimensions: the length of an embedding.
    """

    fingerprint: str
    backbone: str
    levels: tuple[str, ...]
    image_size: tuple[int, int]
    dimensions: int


class Quality(Record):
    """What a subject's embeddings are worth.

    Attributes:
        least_similarity: the smallest cosine similarity of its embeddings to the reference crops' stored ones,
            measured in this run; None where there are none to compare with.
        map_percent: mAP by protocol ("i2i", "i2t", "t2t"), as `reid-verify` or `reid-export` measured it for this
            precision; empty where the bundle was not verified on data.
        map_session: the session that mAP was measured with; empty without mAP.
    """

    least_similarity: float | None = None
    map_percent: dict[str, float] = Field(default_factory=dict)
    map_session: str = ""


class Start(Record):
    """How long a subject takes from nothing to its first embedding, in a process of its own.

    Attributes:
        import_s: from the start of the process until its libraries are imported; their files are cached already.
        open_s: opening the model: reading and optimizing, without the self-check.
        first_batch_s: the first batch of one frame.
    """

    import_s: NotNegative
    open_s: NotNegative
    first_batch_s: NotNegative


class WarmUp(Record):
    """How a subject was warmed up for a batch size.

    Attributes:
        batches: the number of batches until it was stable.
        seconds: how long they took.
        stable: whether the rule of `reid.bench.host.warm_up` was met before its time was over.
    """

    batches: Count
    seconds: NotNegative
    stable: bool


class Turn(Record):
    """One turn of a subject: some batches, one behind the other, while the other subjects wait.

    Attributes:
        batches: the number of batches.
        wall_s: their wall time.
        cpu_s: the CPU time of the subject's process meanwhile.
        median_ms: the median time of a batch.
        slowest_ms: the time of the slowest batch.
        energy_j: the energy that the meters counted meanwhile; None without a meter.
        clock_mhz: the mean clock of the device that computes; None where it does not say.
        others_cores: the CPU cores that other processes kept busy meanwhile; None where it is not known.
        disturbances: why the turn says little; empty for a turn that counts.
    """

    batches: int = Field(ge=1)
    wall_s: Positive
    cpu_s: NotNegative
    median_ms: Positive
    slowest_ms: Positive
    energy_j: float | None = None
    clock_mhz: float | None = None
    others_cores: float | None = None
    disturbances: tuple[Disturbance, ...] = ()


class BatchResult(Record):
    """A subject with one batch size.

    Attributes:
        frames: the batch size.
        warm_up: how it was warmed up.
        latency_ms: the time of a batch; over all batches of the turns that count.
        frames_per_s: frames per second of wall time; the median of the turns that count.
        cpu_ms_per_frame: the CPU time of a frame.
        cores: CPU time over wall time.
        times_peer: how many times as many frames per second as the result's `peer`: the median of the rounds' ratios;
            None where there is no peer, or it has no turns with this batch size in the same rounds.
        energy_j_per_1000_frames: the energy; None without a meter.
        turns: all turns, in the order of time; those with disturbances count for nothing above, unless most have some:
            `BenchResult.notes` says so then.
        steady: what took more than a tenth even of the calm turns: these figures are those of a machine that is busy.
    """

    frames: int = Field(ge=1)
    warm_up: WarmUp
    latency_ms: Percentiles
    frames_per_s: Estimate
    cpu_ms_per_frame: NotNegative
    cores: NotNegative
    times_peer: Estimate | None = None
    energy_j_per_1000_frames: Estimate | None = None
    turns: tuple[Turn, ...]
    steady: tuple[Disturbance, ...] = ()


class Scenario(Record):
    """One of MLPerf loadgen's scenarios, run as https://github.com/mlcommons/inference/tree/master/loadgen defines it.

    Attributes:
        name: "SingleStream": one frame after another; "MultiStream": eight frames after another eight; "Offline": all
            frames at once; "Server": frames that arrive by themselves, as a Poisson process.
        latency_ms: the latency of a query; None for "Offline".
        frames_per_s: the throughput; for "Server" the highest rate of arrivals that keeps the limit.
        seconds: how long it was measured.
    """

    name: Literal["SingleStream", "MultiStream", "Offline", "Server"]
    latency_ms: Percentiles | None
    frames_per_s: Estimate
    seconds: NotNegative


class Cameras(Record):
    """How many cameras a subject serves: the Server scenario's rate over the crops that one camera sends."""

    low: Count
    value: Count
    high: Count


class EndToEnd(Record):
    """From JPEG files to embeddings, through the pipeline that `reid-infer` uses.

    Attributes:
        frames_per_s: frames per second.
        of_session_percent: relative to full batches that lie ready in memory, in turns with them.
        limited_by: the stage that the others wait for: "source", "decoding", "model", "results".
        stage_ms_per_frame: what each stage takes, by name: "decode", "resize", "upload", "engine", "download"; stages
            run at the same time, so they add up to more than a frame takes.
        cpu_ms_per_frame: the CPU time of a frame, of all threads; None in results of older versions.
        session_cpu_ms_per_frame: that of the full batches that lie ready; None in results of older versions.
        ranking_ms_per_query: the time to rank a gallery of `gallery` embeddings for a query.
        gallery: the number of embeddings in that gallery.
        peak_memory_mib: the most memory that the process had.
    """

    frames_per_s: Estimate
    of_session_percent: Estimate
    limited_by: str
    stage_ms_per_frame: dict[str, NotNegative]
    cpu_ms_per_frame: NotNegative | None = None
    session_cpu_ms_per_frame: NotNegative | None = None
    ranking_ms_per_query: NotNegative
    gallery: Count
    peak_memory_mib: NotNegative


class Failure(Record):
    """What ended a subject's part in the run: it has no figures from then on, and none from before are given.

    Attributes:
        during: what it was doing: "opening", "batches of 8", "Server".
        reason: what happened, in a sentence.
    """

    during: str
    reason: str


class SubjectResult(Record):
    """A session or a peer that was measured.

    Attributes:
        name: its name within the result: "openvino int8".
        kind: whose it is.
        backend: the session's backend, or the peer's library, with its version: "OpenVINO 2026.4.1".
        device: the device that it ran on.
        precision: its precision.
        model: the model that it ran, as given.
        quality: what its embeddings are worth; None after a failure.
        start: how long it takes to start; None after a failure.
        memory_mib: the most memory that its process had, by place: "host", "device"; without those it does not say.
        batches: its results by batch size, ascending.
        scenarios: its scenarios.
        cameras: how many cameras it serves, 0 where no rate keeps the limit; None where this was not measured.
        end_to_end: from files to embeddings; None where it was not measured, as for peers.
        roofline_percent: its best throughput relative to what this machine's measured peaks permit its graph; None
            where they are not known.
        failure: what ended its part; None for nothing.
        notes: what the session warned of: a provider that copies, batches that were halved.
    """

    name: str
    kind: SubjectKind
    backend: str
    device: str
    precision: SubjectPrecision
    model: str
    quality: Quality | None = None
    start: Start | None = None
    memory_mib: dict[str, NotNegative] = Field(default_factory=dict)
    batches: tuple[BatchResult, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    cameras: Cameras | None = None
    end_to_end: EndToEnd | None = None
    roofline_percent: Estimate | None = None
    failure: Failure | None = None
    notes: tuple[str, ...] = ()


class Absent(Record):
    """A session or peer that does not work here.

    Attributes:
        name: its name.
        reason: why not, with what would mend it.
    """

    name: str
    reason: str


class BenchResult(Record):
    """A whole run.

    Attributes:
        format_version: the version of this schema.
        command: the command that repeats the run.
        started: when it began, in UTC, ISO 8601.
        seconds: how long it took.
        settings: what was asked for.
        environment: the machine and its software.
        pace_ms: what a computation that never changes took before the turns; None in results of older versions.
        model: the model.
        costs: what a frame costs in each precision's graph, by precision.
        roofline: the measured peaks of this machine; None where they were not measured.
        peer: the name of the subject that `times_peer` refers to, which runs `model`; empty for none.
        subjects: what was measured.
        absent: what does not work here.
        notes: what a reader should know of this run, in sentences: disturbances, missing meters.
    """

    format_version: Literal[1] = FORMAT_VERSION
    command: str
    started: str
    seconds: NotNegative
    settings: Settings
    environment: Environment
    pace_ms: Estimate | None = None
    model: ModelFacts
    costs: dict[SubjectPrecision, GraphCost] = Field(default_factory=dict)
    roofline: Roofline | None = None
    peer: str = ""
    subjects: tuple[SubjectResult, ...]
    absent: tuple[Absent, ...] = ()
    notes: tuple[str, ...] = ()
