"""Benchmark results made up for tests: every part that `bench.json` can hold, with figures that are easy to follow."""

from __future__ import annotations

from typing import Any

import numpy as np

from reid.bench.costs.record import GraphCost, LayerCost, Roofline
from reid.bench.environment import Environment, Processor
from reid.bench.records import Estimate, Percentiles
from reid.bench.result import (
    Absent,
    BatchResult,
    BenchResult,
    Cameras,
    EndToEnd,
    Failure,
    ModelFacts,
    Quality,
    Scenario,
    Settings,
    Start,
    SubjectResult,
    Turn,
    WarmUp,
)

BATCHES = (1, 4, 16)

ENVIRONMENT = Environment(
    processor=Processor(model="AMD EPYC", architecture="x86_64", cores=2, instruction_sets=("avx2", "avx512_vnni")),
    memory_mib=7900,
    system="Debian GNU/Linux 12",
    virtual_machine=True,
    python="3.12.1",
    libraries={"openvino": "2026.4.1", "onnxruntime": "1.31.1"},
)


def estimate(value: float, spread: float = 0.03) -> Estimate:
    return Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread))


def turns(frames: int, frames_per_s: float, count: int = 24, seed: int = 0) -> tuple[Turn, ...]:
    """Turns whose throughput scatters by 3 %, every seventh of them disturbed and a third slower."""
    scatter = np.random.default_rng(seed).normal(1, 0.03, count)
    made = []
    for number, factor in enumerate(scatter):
        causes = ("busy_neighbor",) if number % 7 == 6 else ("stolen", "throttled") if number == 15 else ()
        rate = frames_per_s * max(factor, 0.5) * (2 / 3 if causes else 1)
        batches = max(1, round(0.25 * rate / frames))
        wall, median = batches * frames / rate, 1000 * frames / rate
        made.append(
            Turn(
                batches=batches,
                wall_s=wall,
                cpu_s=0.9 * wall,
                median_ms=median,
                slowest_ms=1.3 * median,
                others_cores=0.8 if causes else 0.02,
                disturbances=causes,
            )
        )
    return tuple(made)


def batch(frames: int, rate: float, spread: float = 0.03, **fields: Any) -> BatchResult:  # noqa: ANN401 - the record's own
    median = 1000 * frames / rate
    facts: dict[str, Any] = {
        "warm_up": WarmUp(batches=12, seconds=1.5, stable=True),
        "latency_ms": Percentiles(
            p50=estimate(median, spread), p90=estimate(1.1 * median, spread), p99=estimate(1.3 * median, 2 * spread)
        ),
        "frames_per_s": estimate(rate, spread),
        "cpu_ms_per_frame": 900 / rate,
        "cores": 0.9,
        "turns": turns(frames, rate, seed=frames),
    }
    return BatchResult(frames=frames, **{**facts, **fields})


def subject(name: str, frames_per_s: float, **fields: Any) -> SubjectResult:  # noqa: ANN401 - the record's own
    """A subject whose throughput at a batch of 1 is three quarters of that of larger ones."""
    facts: dict[str, Any] = {
        "kind": "session",
        "backend": f"{name.split()[0]} 1.0",
        "device": "CPU",
        "precision": name.split()[-1],
        "model": "bundle",
        "quality": Quality(least_similarity=0.9998, map_percent={"i2i": 84.2}, map_session="openvino CPU"),
        "start": Start(import_s=0.4, open_s=0.9, first_batch_s=0.12),
        "memory_mib": {"host": 412.0},
        "batches": tuple(batch(n, frames_per_s * (0.75 if n == 1 else 1.0)) for n in BATCHES),
    }
    return SubjectResult(name=name, **{**facts, **fields})


def rich_subject(name: str, frames_per_s: float, **fields: Any) -> SubjectResult:  # noqa: ANN401 - the record's own
    """A session with all that can be known of one."""
    rate = int(frames_per_s * 0.9 / 15)
    facts: dict[str, Any] = {
        "batches": tuple(
            batch(
                n,
                frames_per_s * (0.75 if n == 1 else 1.0),
                times_peer=estimate(frames_per_s / 20),
                energy_j_per_1000_frames=estimate(30_000 / frames_per_s),
            )
            for n in BATCHES
        ),
        "scenarios": (Scenario(name="Server", latency_ms=None, frames_per_s=estimate(frames_per_s * 0.9), seconds=20),),
        "cameras": Cameras(low=max(rate - 1, 0), value=rate, high=rate + 1),
        "end_to_end": EndToEnd(
            frames_per_s=estimate(frames_per_s * 0.98),
            of_session_percent=estimate(98, 0.01),
            limited_by="model",
            stage_ms_per_frame={
                "decode": 1.9,
                "resize": 0.4,
                "upload": 0.05,
                "engine": 1000 / frames_per_s,
                "download": 0.02,
            },
            ranking_ms_per_query=0.8,
            gallery=11579,
            peak_memory_mib=530,
        ),
        "roofline_percent": estimate(62, 0.05),
    }
    return subject(name, frames_per_s, **{**facts, **fields})


def costs(scale: float) -> GraphCost:
    layers = (
        LayerCost(name="conv1", op="Conv", flops=2e9, weight_bytes=4e6, activation_bytes=9e6, precision="fp32"),
        LayerCost(name="conv2", op="Conv", flops=9e9, weight_bytes=9e7, activation_bytes=5e7, precision="fp32"),
    )
    return GraphCost(flops=1.1e10, weight_bytes=9.4e7 * scale, activation_bytes=5.9e7 * scale, layers=layers)


def result(*subjects: SubjectResult, **fields: Any) -> BenchResult:  # noqa: ANN401 - the record's own
    facts: dict[str, Any] = {
        "command": "reid-bench bundle",
        "started": "2026-11-27T21:00:00Z",
        "seconds": 290,
        "settings": Settings(batches=BATCHES, threads=2, minutes=4, latency_limit_ms=250, camera_frames_per_s=15),
        "environment": ENVIRONMENT,
        "model": ModelFacts(
            fingerprint="3f9c2a7be01d" + "5" * 52,
            backbone="resnet50",
            levels=("level2", "level3", "level4"),
            image_size=(256, 256),
            dimensions=1536,
        ),
        "subjects": subjects,
    }
    return BenchResult(**{**facts, **fields})


def sample() -> BenchResult:
    """A whole result: sessions in three precisions, two peers, a failure, an engine that is wrong, an absent one."""
    int8 = Quality(least_similarity=0.9612, map_percent={"i2i": 83.9}, map_session="openvino CPU")
    alone = Quality(least_similarity=1.0)
    wrong = Quality(least_similarity=0.4321, map_percent={"i2i": 84.1}, map_session="onnxruntime CPU")
    broken = Failure(during="batches of 16", reason="the process was killed, as by a lack of memory")
    return result(
        rich_subject("openvino fp32", 48),
        rich_subject("openvino int8", 142, quality=int8),
        subject("onnxruntime fp32", 41),
        subject("onnxruntime fp16", 40, quality=wrong),
        subject("torch-eager fp32", 20, kind="peer", quality=alone, model="checkpoint"),
        subject("torch-compile fp32", 31, kind="peer", quality=alone, model="checkpoint"),
        subject("onnxruntime int8", 9, batches=(), quality=None, start=None, memory_mib={}, failure=broken),
        costs={"fp32": costs(1), "int8": costs(0.25)},
        roofline=Roofline(
            operations_per_s={"fp32": 9e11, "int8": 3.2e12}, bytes_per_s=2.1e10, source="measured in this run"
        ),
        peer="torch-eager fp32",
        absent=(Absent(name="tensorrt", reason="no NVIDIA GPU; run reid-bench on a machine with one"),),
        notes=("No meter for energy is readable here: /sys/class/powercap belongs to root.",),
    )
