"""Whatever multiplies the matrices, the results have the same bits: kernels, threads, CPU features, order, blocks.

The kernels of the BLAS and the instructions of NumPy are chosen when a process starts, so each choice has a process of
its own. Kernels that this CPU cannot run are named in the test's output; at least two always remain on x86-64.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ranked_everywhere
from numpy.typing import NDArray

from reid.evaluation.metrics import Labels, evaluate
from reid.runtime.galleries.post_processing import PostProcessing, distance_blocks
from reid.runtime.galleries.ranking import distance_rows, exact_distances, top_k
from reid.runtime.galleries.reranking import reranked_rows

expanded_rows = partial(distance_blocks, post_processing=PostProcessing(4))

KERNELS = {"Nehalem": "sse4_2", "Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512bw"}
"""The CPU flag that each of OpenBLAS's kernels needs."""


def unit(rows: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def sightings(count: int, seed: int, vehicles: int = 12, size: int = 200) -> tuple[NDArray[np.float32], Labels]:
    """Return embeddings around a direction for each vehicle, with the labels of vehicles and four cameras."""
    random = np.random.default_rng(seed)
    vehicle, camera = random.integers(vehicles, size=count), random.integers(4, size=count)
    vectors = unit(vehicles, size, seed=99)[vehicle] + 1.2 * unit(count, size, seed)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, Labels([str(one) for one in vehicle], [str(one) for one in camera])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with duplicates, and with neighbors that differ in the last bit of every number."""
    (query, asked), (gallery, found) = sightings(24, 1, size=389), sightings(257, 2, size=389)
    gallery[50:60] = gallery[3]
    gallery[60:70] = np.nextafter(gallery[3], np.float32(1))
    gallery[70:80] = query[5]
    path = tmp_path_factory.mktemp("equal") / "data.npz"
    labels = {"query_vehicles": asked.vehicles, "query_cameras": asked.cameras}
    labels |= {"gallery_vehicles": found.vehicles, "gallery_cameras": found.cameras}
    np.savez(path, query=query, gallery=gallery, **{name: np.array(values) for name, values in labels.items()})
    return path


def environments() -> list[dict[str, str]]:
    """Return the choices of kernels that this CPU can run, with one thread or two, and one without NumPy's newer
    instructions.
    """
    try:
        from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    except ImportError:  # NumPy 1
        from numpy.core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    flags: set[str] = set()
    if (cpu := Path("/proc/cpuinfo")).exists():
        flags = {flag for line in cpu.read_text().splitlines() if line.startswith("flags") for flag in line.split()}
    kernels = [kernel for kernel, flag in KERNELS.items() if flag in flags]
    print(f"kernels that this CPU cannot run: {sorted(KERNELS.keys() - set(kernels)) or 'none'}")
    assert len(kernels) >= 2 or platform.machine() not in ("x86_64", "AMD64")
    choices = [{"OPENBLAS_CORETYPE": kernel} for kernel in kernels] or [{}]
    plain = " ".join(feature for feature in __cpu_dispatch__ if __cpu_features__[feature])
    threads = [{**choice, "OPENBLAS_NUM_THREADS": str(1 + place % 2)} for place, choice in enumerate(choices)]
    return [*threads, {**choices[0], "OPENBLAS_NUM_THREADS": "2"}, {"NPY_DISABLE_CPU_FEATURES": plain}]


def test_results_are_the_same_bits_with_other_kernels_threads_and_instructions(stored: Path) -> None:
    command = [sys.executable, ranked_everywhere.__file__, str(stored)]
    choices = environments()
    processes = [
        subprocess.Popen(command, env={**os.environ, **choice}, stdout=subprocess.PIPE, text=True) for choice in choices
    ]
    results = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    products = {result.pop("product") for result in results}
    assert len(products) > 1 or len(choices) < 4, "the kernels agree, so that this test shows nothing"
    for choice, result in zip(choices, results, strict=True):
        assert result == results[0], choice


@pytest.mark.parametrize("seed", range(3))
def test_a_permuted_gallery_gives_the_permuted_result(seed: int) -> None:
    (query, asked), (gallery, found) = sightings(9, seed), sightings(150, seed + 10)
    order = np.random.default_rng(seed).permutation(len(gallery))
    there, here = (top_k(query, vectors, 12) for vectors in (gallery, gallery[order]))
    np.testing.assert_array_equal(order[here[0]], there[0])
    np.testing.assert_array_equal(here[1], there[1])
    labels = Labels([found.vehicles[place] for place in order], [found.cameras[place] for place in order])
    for rows in (distance_rows, reranked_rows, expanded_rows):
        first = evaluate(rows(query, gallery), asked, found)
        second = evaluate(rows(query, gallery[order]), asked, labels)
        np.testing.assert_array_equal(first.average_precision, second.average_precision)
        np.testing.assert_array_equal(first.first_hit, second.first_hit)
        assert first.summary() == second.summary()
    original, permuted = (
        np.concatenate([block.values for block in reranked_rows(query, vectors)])
        for vectors in (gallery, gallery[order])
    )
    np.testing.assert_array_equal(original[:, order], permuted)


def test_ties_go_in_the_order_of_the_gallery_wherever_they_stand() -> None:
    query, gallery = unit(5, 300), unit(40, 300, seed=1)
    for seed in range(10):
        places = np.random.default_rng(seed).integers(0, 8, 40)  # every entry about five times
        indices, similarities = top_k(query, gallery[places], 40)
        distances = exact_distances(query, gallery)
        for row, chosen in enumerate(indices.tolist()):
            assert chosen == sorted(range(40), key=lambda g: (distances[row, places[g]], g))
            assert len(set(similarities[row].tolist())) == len(set(places.tolist()))


@pytest.mark.parametrize("rows", [distance_rows, reranked_rows, expanded_rows])
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_the_size_of_the_blocks_changes_no_bit(rows: object, chunk: int) -> None:
    (query, asked), (gallery, found) = sightings(9, 0), sightings(80, 1)
    gallery[40:] = gallery[:40]
    expected = evaluate(rows(query, gallery), asked, found)  # type: ignore[operator]
    metrics = evaluate(rows(query, gallery, chunk=chunk), asked, found)  # type: ignore[operator]
    np.testing.assert_array_equal(metrics.average_precision, expected.average_precision)
    np.testing.assert_array_equal(metrics.first_hit, expected.first_hit)
