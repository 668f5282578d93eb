"""What Python hands to CUDA's driver, held to the kernels' own source: no GPU and no compiler is needed for it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from host_cuda import HostPackage, Launch, host_cuda
from kernel_device import KernelDevice

from reid.runtime.errors import SessionError
from reid.runtime.kernels import library, top_k
from reid.runtime.kernels.crops import CROP, Interleaved, Nv12, Picture, check_crops, crops_of_boxes, crops_of_pictures
from reid.runtime.kernels.library import ADDITION, Kernels
from reid.runtime.kernels.top_k import MOST_MATCHES, Conditions, Matches, TopK

SOURCES = Path(__file__).parents[2] / "runtime" / "kernels"
HEADERS = "\n".join(path.read_text() for path in sorted(SOURCES.glob("*.h")))

FORMATS = {"int32_t": "i", "int64_t": "q", "float": "f"}


def c_names(text: str) -> list[tuple[str, str]]:
    """Types and names of a C parameter list."""
    pairs = [re.fullmatch(r"(?:const )?(\w+)\s*(\*?)\s*(\w+)", " ".join(part.split())) for part in text.split(",")]
    return [(pair[1] + pair[2], pair[3]) for pair in pairs if pair]


def signatures() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Kernels of kernels.cu by name: the constant that is their number of threads, and their parameters."""
    source = (SOURCES / "kernels.cu").read_text().replace("\\\n", "\n")
    one = r'extern "C" __global__ void __launch_bounds__\((\w+)[^)]*\)\s*(\w+)\(([^)]*)\)'
    plain = {name: (threads, c_names(parameters)) for threads, name, parameters in re.findall(one, source)}
    found = {name: signature for name, signature in plain.items() if name != "name"}
    for macro, body in re.findall(r"#define (REID_\w+)\(name.*?\n(.*?\n  })", source, re.DOTALL):
        threads, _, parameters = next(iter(re.findall(one, body)))
        for name in re.findall(rf"\n{macro}\((\w+)", source):
            found[name] = (threads, c_names(parameters))
    return found


def constants() -> dict[str, int]:
    """The constants of the headers, of which each is an expression of those before it."""
    values: dict[str, int] = {}
    device = (SOURCES / name for name in ("pooling.h", "resize.h", "similarity.h", "selection.h"))
    for path in device:
        for line in re.findall(r"^constexpr int (k[^;]*);", path.read_text(), re.MULTILINE):
            for name, expression in re.findall(r"(k\w+) = ([^,]+)", line):
                values[name] = eval(expression, {}, values)
    return values


def tile(name: str) -> tuple[int, int]:
    """The queries and entries of a tile, as similarity.h's `Shape` has them."""
    shape = re.search(rf"using {name} = Shape<(\d+), (\d+), (\d+)>", HEADERS)
    assert shape
    rows, queries = int(shape[1]), int(shape[2])
    return rows * queries, constants()["kScoreThreads"] // rows * constants()["kEntries"]


def arguments(launch: Launch) -> dict[str, int | float]:
    """Unpack the parameters of a launch as C lays them out; the kernel's source says what they are."""
    threads, parameters = signatures()[launch.name]
    assert launch.block == (constants()[threads], 1, 1)
    layout = "@" + "".join("P" if kind.endswith("*") else FORMATS[kind] for kind, _ in parameters)
    assert struct.calcsize(layout) == len(launch.parameters), launch.name
    values = struct.unpack(layout, launch.parameters)
    return {name: value or 0 for (_, name), value in zip(parameters, values, strict=True)}


@pytest.fixture
def package() -> HostPackage:
    return HostPackage()


@pytest.fixture
def noted(package: HostPackage, monkeypatch: pytest.MonkeyPatch) -> KernelDevice:
    """A device that only notes what it should launch."""
    monkeypatch.setattr(library, "fat_binary", lambda: b"")
    cuda = host_cuda(package)
    return KernelDevice(cuda, Kernels(cuda), cuda.stream())


def test_python_knows_every_kernel_by_its_name() -> None:
    assert sorted(library._NAMES) == sorted(signatures())
    assert len(signatures()) == 11


def test_python_and_the_headers_agree_on_sizes() -> None:
    c = constants()
    assert c["kMostMatches"] + c["kSelectStep"] <= c["kKeys"]
    for mine, theirs in (
        (library._TILE, c["kResizeTile"]),
        (library._POOLING_PACK, c["kPoolingPack"]),
        (MOST_MATCHES, c["kMostMatches"]),
        (top_k._FEW, tile("Few")),
        (top_k._MANY, tile("Many")),
        (top_k._PART, np.lcm(tile("Few")[1], tile("Many")[1])),
        (top_k._EXACT_MATCHES, c["kExactThreads"] // c["kLanes"]),
    ):
        assert mine == theirs


@pytest.mark.parametrize(("name", "dtype"), [("Crop", CROP), ("Addition", ADDITION)])
def test_rows_are_laid_out_as_the_kernel_s_structure(name: str, dtype: np.dtype) -> None:
    body = re.search(rf"struct {name} {{(.*?)\n}};", HEADERS, re.DOTALL)
    assert body
    lines = re.findall(r"^\s+(\w+) ([\w, ]+);", body[1], re.MULTILINE)
    fields = [(field, FORMATS[kind]) for kind, names in lines for field in names.split(", ")]
    assert dtype == np.dtype(fields, align=True)


def test_crops_are_launched_with_what_the_kernel_takes(noted: KernelDevice, package: HostPackage) -> None:
    pixels, frames, room = noted.empty((6000,), np.uint8), noted.empty((4, 3, 65, 33), np.uint8), noted.room()
    boxes = np.array([(0, 0, 9, 9), (3, 2, 20, 20)])
    picture = Picture(20, 40, 0, 120, chroma=2400)
    for layout in (Interleaved("bgr"), Interleaved("rgb"), Nv12("bt601", "limited")):
        noted.kernels.resize_crops(pixels, layout, crops_of_boxes(picture, boxes), room, frames, noted.stream)
    first, second, third = package.launches
    assert (first.name, first.grid, third.name) == ("resize_interleaved", (6, 2, 1), "resize_nv12")
    common = {"pixels": pixels.address, "crops": room.address, "frames": frames.address, "height": 65, "width": 33}
    assert arguments(first) == common | {"reversed": 1}
    assert arguments(second) == common | {"reversed": 0}
    factors = {"black": 16, "luma": 1.164, "red_cr": 1.596, "green_cb": -0.392, "green_cr": -0.813, "blue_cb": 2.017}
    found = arguments(third)
    assert {name: found[name] for name in common} == common
    for name, factor in factors.items():
        assert found[name] == pytest.approx(factor if name == "black" else factor * 2**20, rel=2e-3), name


def test_sums_are_launched_with_what_the_kernels_take(noted: KernelDevice, package: HostPackage) -> None:
    pooled, sums = noted.empty((3, 2048), np.float32), noted.empty((5, 2048), np.float32)
    weights, room = noted.empty((5,), np.float32), noted.room()
    noted.kernels.accumulate(pooled, np.array([(4, 1, 2), (0, 0, 1)], ADDITION), room, sums, weights, noted.stream)
    noted.kernels.normalize(sums, np.array([4], np.int32), room, pooled, noted.stream)
    first, second = package.launches
    assert (first.grid, second.grid) == ((2, 2, 1), (1, 1, 1))
    assert arguments(first) == {
        "pooled": pooled.address,
        "additions": room.address,
        "sums": sums.address,
        "totals": weights.address,
        "dimensions": 2048,
    }
    assert arguments(second) == {
        "sums": sums.address,
        "rows": room.address,
        "embeddings": pooled.address,
        "dimensions": 2048,
    }


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("queries", "few", "tiles"), [(20, "few", (2, 1)), (200, "many", (8, 3))])
def test_ranking_is_launched_with_what_the_kernels_take(
    noted: KernelDevice, package: HostPackage, queries: int, few: str, tiles: tuple[int, int], dtype: str
) -> None:
    """A gallery of 1300 entries, in parts of 1024 of which the scores have room."""
    asked, gallery = noted.empty((queries, 64), np.float32), noted.empty((1300, 64), dtype)
    conditions = Conditions(
        noted.empty((1300,), np.int32),
        noted.empty((1300,), np.float64),
        noted.empty((queries, 33, 2, 2), np.float64),
    )
    finder = TopK(noted.kernels, queries, 7, scratch=4 * queries * 1024 + 100)
    matches = finder.find(asked, gallery, noted.stream, conditions)
    distances = finder.exact_distances(asked, gallery, matches, noted.stream)
    stripes = 8 if queries == 20 else 1
    score, select, score_rest, select_rest, *merge, exact = package.launches
    assert [launch.name for launch in (score, select, exact)] == [
        f"score_{few}_{dtype}",
        "select_best",
        f"exact_distances_{dtype}",
    ]
    assert [launch.grid for launch in (score, select, score_rest, select_rest, exact)] == [
        (2, tiles[0], 1),
        (stripes, queries, 1),
        (2, tiles[1], 1),
        (stripes, queries, 1),
        (1, queries, 1),
    ]
    known = {
        "query": asked.address,
        "query_rows": queries,
        "gallery": gallery.address,
        "gallery_rows": 1300,
        "dimensions": 64,
        "start": 1024,
        "count": 276,
        "pitch": 1024,
        "camera": conditions.camera.address,
        "time": conditions.time.address,
        "windows": conditions.windows.address,
        "cameras": 33,
    }
    found = arguments(score_rest)
    scores = found.pop("scores")
    assert found == known
    assert arguments(score) == known | {"start": 0, "count": 1024, "scores": scores}
    selected = arguments(select_rest)
    assert selected | {"scores": 0, "entries": 0} == {
        **{"source": scores, "source_entries": 0, "start": 1024, "count": 276, "pitch": 1024},
        **{"k": 7, "more": 1, "scores": 0, "entries": 0},
    }
    assert arguments(select)["more"] == 0
    results = {"scores": matches.scores.address, "entries": matches.entries.address}
    if stripes == 1:
        assert not merge
        assert selected | results == selected
    else:
        lists = {"source": selected["scores"], "source_entries": selected["entries"]}
        expected = {**lists, "start": 0, "count": 56, "pitch": 56, "k": 7, "more": 0, **results}
        assert arguments(merge[0]) == expected
    assert arguments(exact) == {
        **{"query": asked.address, "gallery": gallery.address, "dimensions": 64, "entries": matches.entries.address},
        **{"k": 7, "distances": distances.address},
    }


def test_without_conditions_there_are_no_pointers_to_them(noted: KernelDevice, package: HostPackage) -> None:
    TopK(noted.kernels, 1, 1).find(noted.empty((1, 8), np.float32), noted.empty((9, 8), np.float16), noted.stream)
    absent = ("camera", "time", "windows", "cameras")
    assert [arguments(package.launches[0])[name] for name in absent] == [0] * 4


def test_crops_that_are_not_inside_are_refused() -> None:
    picture = Picture(10, 10, 5, 30)
    crops_of_boxes(picture, np.array([(-5, -5, 1, 1)]))
    for box in ((10, 0, 12, 5), (3, 3, 3, 8), (-4, 0, 0, 5), (5, 9, 7, 2)):
        with pytest.raises(ValueError, match="nothing of a picture of 10 x 10"):
            crops_of_boxes(picture, np.array([box]))
    whole = crops_of_pictures([picture])
    check_crops(whole, 305, 1, Interleaved())
    with pytest.raises(ValueError, match="crop 0 ends outside the buffer"):
        check_crops(whole, 304, 1, Interleaved())
    for field, value, message in (
        ("width", 0, "is empty"),
        ("left", -1, "begins outside"),
        ("offset", -1, "begins outside"),
        ("pitch", 29, "rows that overlap"),
        ("height", 40000, "larger than 32767"),
        ("position", 1, "has no frame"),
    ):
        crops = whole.copy()
        crops[field] = value
        with pytest.raises(ValueError, match=message):
            check_crops(crops, 305, 1, Interleaved())
    with pytest.raises(ValueError, match="two crops have the same frame"):
        check_crops(np.concatenate([whole, whole]), 305, 1, Interleaved())


def test_color_of_nv12_that_is_not_inside_is_refused() -> None:
    odd = crops_of_pictures([Picture(9, 7, 0, 8, chroma=72)])  # 5 rows of color, of 4 pairs
    check_crops(odd, 112, 1, Nv12("bt709", "full"))
    with pytest.raises(ValueError, match="color outside"):
        check_crops(odd, 111, 1, Nv12("bt709", "full"))
    odd["pitch"] = 7
    with pytest.raises(ValueError, match="color rows that overlap"):
        check_crops(odd, 112, 1, Nv12("bt709", "full"))


def test_arrays_of_another_type_or_shape_are_refused(noted: KernelDevice, package: HostPackage) -> None:
    empty, finder = noted.empty, TopK(noted.kernels, 4, 3)
    asked, gallery = empty((2, 16), np.float32), empty((9, 16), np.float32)
    for queries, entries, message in (
        (empty((2, 16), np.float64), gallery, "queries is float64"),
        (asked, empty((9, 24), np.float32), r"gallery is float32 \[9, 24\], expected float32 \['any', 16\]"),
        (asked, empty((9, 16), np.int32), "gallery is int32"),
        (empty((5, 16), np.float32), gallery, "5 queries, expected 1 to 4"),
        (empty((2, 12), np.float32), empty((9, 12), np.float32), "12 dimensions, expected a multiple of 8"),
    ):
        with pytest.raises(ValueError, match=message):
            finder.find(queries, entries, noted.stream)
    camera, time, windows = empty((9,), np.int32), empty((9,), np.float64), empty((2, 5, 2, 2), np.float64)
    for conditions, message in (
        (Conditions(empty((8,), np.int32), time, windows), "camera is int32"),
        (Conditions(camera, empty((9,), np.float32), windows), "time is float32"),
        (Conditions(camera, time, empty((3, 5, 2, 2), np.float64)), "windows is float64"),
    ):
        with pytest.raises(ValueError, match=message):
            finder.find(asked, gallery, noted.stream, conditions)
    strange = Matches(empty((2, 4), np.int32), empty((2, 4), np.float32))
    with pytest.raises(ValueError, match="entries is int32"):
        finder.exact_distances(asked, gallery, strange, noted.stream)
    for k in (0, 1025):
        with pytest.raises(ValueError, match=f"k is {k}"):
            TopK(noted.kernels, 1, k)
    pixels, frames, crops = empty((9,), np.uint8), empty((1, 3, 8, 8), np.uint8), np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="crops are float32"):
        noted.kernels.resize_crops(pixels, Interleaved(), crops, noted.room(), frames, noted.stream)  # type: ignore[arg-type]
    assert not package.launches


def test_nothing_is_launched_for_nothing(noted: KernelDevice, package: HostPackage) -> None:
    room, rows = noted.room(), noted.empty((2, 16), np.float32)
    frames, weights = noted.empty((1, 3, 8, 8), np.uint8), noted.empty((2,), np.float32)
    noted.kernels.resize_crops(
        noted.empty((9,), np.uint8), Interleaved(), np.empty(0, CROP), room, frames, noted.stream
    )
    noted.kernels.accumulate(rows, np.empty(0, ADDITION), room, rows, weights, noted.stream)
    noted.kernels.normalize(rows, np.empty(0, np.int32), room, rows, noted.stream)
    assert not package.launches


@pytest.mark.parametrize(("entries", "room"), [(0, 600), (1, 600), (1000, 600), (1024, 512), (20_000_000, 1 << 24)])
def test_parts_of_a_gallery_are_whole_tiles_and_fit_a_grid(entries: int, room: int) -> None:
    parts = list(top_k._parts(entries, room))
    assert sum(part.count for part in parts) == entries
    assert [part.start for part in parts] == [index * parts[0].pitch for index in range(len(parts))]
    for part in parts:
        assert part.count <= part.pitch <= room
        assert part.pitch % top_k._PART == 0
        assert part.pitch // top_k._MANY[1] <= 65535


def test_an_installation_without_kernels_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "files", lambda package: tmp_path)
    with pytest.raises(SessionError, match="no kernels; install the CUDA toolkit, so that nvcc is on the PATH"):
        library.fat_binary()
    (tmp_path / "kernels.fatbin").write_bytes(b"code")
    assert library.fat_binary() == b"code"
