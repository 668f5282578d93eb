from __future__ import annotations

import gc
import hashlib
import importlib
import json
import math
import os
import re
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.runtime import installs
from reid.runtime.bundle import Graph
from reid.runtime.engine_card import ENGINE_FORMAT_VERSION, EngineCard, LayerSummary, Profile, largest_batch, uncovered
from reid.runtime.engine_fit import Target, check_engine, check_origin, preference
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import Device
from reid.runtime.tensorrt_api import import_tensorrt, logger_for, release

PLAN = b"a serialized engine" * 100
COMMAND = "reid-export bundle --precision fp16 --engine tensorrt"
HERE = Target("tensorrt", "10.13.0.35", "8.9")
GRAPH = Graph("fp16", Path("model.fp16.onnx"), "aa" * 32)
FINGERPRINT = "bb" * 32


def card(**changes: Any) -> EngineCard:  # noqa: ANN401 - any field
    facts: dict[str, Any] = {
        "format_version": ENGINE_FORMAT_VERSION,
        "flavor": "tensorrt",
        "version": "10.13.0.35",
        "cuda": "13.0",
        "device": "NVIDIA L4",
        "compute_capabilities": ("8.9",),
        "hardware_compatible": False,
        "version_compatible": False,
        "precision": "fp16",
        "profiles": (Profile((1, 32, 32), (1, 8, 32)),),
        "graph_sha256": "aa" * 32,
        "engine_sha256": hashlib.sha256(PLAN).hexdigest(),
        "engine_bytes": len(PLAN),
        "fingerprint": "bb" * 32,
        "opset": 18,
        "layers": LayerSummary(source="engine", layers={"fp16": 3}, convolutions={"fp16": 2}),
        "build_command": COMMAND,
    }
    return EngineCard(**{**facts, **changes})


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "nvidia-l4-10.13.0.35-fp16.engine"
    path.write_bytes(PLAN)
    return path


def refusal(path: Path, built: EngineCard, kind: type[Exception], **other: Any) -> str:  # noqa: ANN401
    graph = replace(GRAPH, sha256=other.pop("graph_sha256", GRAPH.sha256))
    fingerprint = other.pop("fingerprint", FINGERPRINT)
    with pytest.raises(kind) as caught:
        check_engine(path, built, replace(HERE, **other), graph, fingerprint)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f"; rebuild it: {COMMAND}")
    assert str(path) in message
    return message


def test_a_card_survives_its_own_json() -> None:
    assert EngineCard.parse(card().to_json(), Path("x.json")) == card()
    assert EngineCard.parse(card(cuda=None, opset=None).to_json().encode(), Path("x")) == card(cuda=None, opset=None)


def test_an_engine_where_it_was_built_for_passes(engine: Path) -> None:
    check_engine(engine, card(), HERE, GRAPH, FINGERPRINT)


@pytest.mark.parametrize(
    ("built", "here", "values"),
    [
        ({}, {"flavor": "tensorrt-rtx"}, ("TensorRT 10.13.0.35", "TensorRT-RTX 10.13.0.35")),
        ({}, {"version": "10.13.0.36"}, ("10.13.0.35", "10.13.0.36")),
        ({}, {"version": "10.3.0.26"}, ("10.13.0.35", "10.3.0.26")),
        ({"version_compatible": True}, {"version": "10.3.0.26"}, ("10.13.0.35", "10.3.0.26")),
        ({"version_compatible": True}, {"version": "11.0.0.1"}, ("10.13.0.35", "11.0.0.1")),
        ({}, {"compute_capability": "8.6"}, ("8.9", "8.6")),
        ({"platform": "Linux-x86_64"}, {"platform": "Linux-aarch64"}, ("Linux-x86_64", "Linux-aarch64")),
        ({"platform": "Linux-x86_64"}, {"platform": "Windows-AMD64"}, ("Linux-x86_64", "Windows-AMD64")),
        ({"hardware_compatible": True}, {"compute_capability": "7.5"}, ("8.9 and later", "7.5")),
    ],
)
def test_an_engine_for_elsewhere_is_refused_with_both_values(
    engine: Path, built: dict[str, Any], here: dict[str, str], values: tuple[str, str]
) -> None:
    message = refusal(engine, card(**built), SessionError, **here)
    assert all(value in message for value in values)


@pytest.mark.parametrize(
    ("built", "here"),
    [
        ({"version_compatible": True}, {"version": "10.13.0.35"}),
        ({"version_compatible": True}, {"version": "10.14.1"}),
        ({"hardware_compatible": True}, {"compute_capability": "8.0"}),
        ({"hardware_compatible": True}, {"compute_capability": "12.0"}),
        ({"platform": "Linux-x86_64"}, {"platform": "Linux-x86_64"}),
        ({"platform": None}, {"platform": "Linux-x86_64"}),  # built before this was stored
        ({}, {"device": "NVIDIA GeForce RTX 4090"}),  # noted, see below
    ],
)
def test_compatible_engines_run_where_they_are_documented_to(
    engine: Path, built: dict[str, Any], here: dict[str, str]
) -> None:
    check_engine(engine, card(**built), replace(HERE, **here), GRAPH, FINGERPRINT)


def test_an_engine_of_another_model_is_noted_and_its_own_comes_first() -> None:
    target, path = replace(HERE, device="NVIDIA GeForce RTX 4090"), Path("b") / "engines" / "l4.engine"
    own, other = card(device="NVIDIA GeForce RTX 4090"), card()
    wide = card(device="NVIDIA GeForce RTX 4090", hardware_compatible=True)
    assert sorted([other, wide, own], key=lambda one: preference(one, target)) == [own, wide, other]
    note = other.note_on(target.device, path)
    assert note.startswith("l4.engine was built on NVIDIA L4, and may be slow, or fail, on NVIDIA GeForce RTX 4090; re")
    assert note.endswith(other.rebuild(path))
    for quiet in (own, wide, card(hardware_compatible=True), card(flavor="tensorrt-rtx", device="sm89")):
        assert quiet.note_on(target.device, path) == ""


def test_a_target_here_is_this_gpu_on_this_platform() -> None:
    here = Target.here("tensorrt", "11.4", Device("NVIDIA L4", "8.9", "13.0"))
    assert (here.flavor, here.version, here.compute_capability, here.device) == ("tensorrt", "11.4", "8.9", "NVIDIA L4")
    assert here.platform == f"{os.uname().sysname}-{os.uname().machine}"


def test_an_rtx_engine_runs_on_what_it_was_built_for_with_its_own_release_only(engine: Path) -> None:
    rtx = card(
        flavor="tensorrt-rtx", version="1.7.1.116", compute_capabilities=("8.6", "12.0"), platform="Windows-AMD64"
    )
    for capability in ("8.6", "12.0"):
        check_engine(engine, rtx, Target("tensorrt-rtx", "1.7.1.116", capability), GRAPH, FINGERPRINT)
    here: dict[str, Any] = {"flavor": "tensorrt-rtx", "version": "1.7.1.116", "compute_capability": "8.6"}
    assert "9.0" in refusal(engine, rtx, SessionError, **{**here, "compute_capability": "9.0"})
    assert "1.7.2.1" in refusal(engine, rtx, SessionError, **{**here, "version": "1.7.2.1"})


@pytest.mark.parametrize(("fact", "named"), [("graph_sha256", "graph"), ("fingerprint", "model")])
def test_an_engine_of_another_graph_or_model_is_refused(engine: Path, fact: str, named: str) -> None:
    message = refusal(engine, card(), ModelError, **{fact: "cc" * 32})
    assert f"another {named}" in message
    assert "cccccccccccc" in message
    own = {"graph": (replace(GRAPH, sha256="cc" * 32), FINGERPRINT), "model": (GRAPH, "cc" * 32)}[named]
    with pytest.raises(ModelError, match=f"another {named}"):
        check_origin(engine, card(), *own)


def test_the_origin_of_an_engine_is_checked_wherever_it_is_to_run(engine: Path) -> None:
    check_origin(engine, card(compute_capabilities=("7.2",), version="10.3"), GRAPH, FINGERPRINT)
    engine.write_bytes(PLAN[:-1])
    with pytest.raises(ModelError, match="1899 bytes instead of the 1900"):
        check_origin(engine, card(), GRAPH, FINGERPRINT)


@pytest.mark.parametrize(
    ("stored", "precision", "shown"),
    [
        (  # of 0.1: the flag that today asks for a graph stood for the precision, and none for FP32
            "reid-export BUNDLE --engine tensorrt --fp16 --workspace 99",
            "fp16",
            "reid-export '/a b' --engine tensorrt --workspace 99 --precision fp16",
        ),
        (
            "reid-export BUNDLE --engine tensorrt-rtx --int8 --compute-capability 8.9",
            "int8",
            "reid-export '/a b' --engine tensorrt-rtx --compute-capability 8.9 --precision int8",
        ),
        ("reid-export BUNDLE --engine tensorrt", "fp32", "reid-export '/a b' --engine tensorrt --precision fp32"),
        (
            "reid-export BUNDLE --precision fp16 --engine tensorrt --timing-cache 'MY BUNDLE'",
            "fp16",
            "reid-export '/a b' --precision fp16 --engine tensorrt --timing-cache 'MY BUNDLE'",
        ),
    ],
)
def test_the_command_that_is_shown_builds_that_engine_alone(stored: str, precision: str, shown: str) -> None:
    assert card(build_command=stored, precision=precision).rebuild(Path("/a b/engines/x.engine")) == shown


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (PLAN[:-1], "1899 bytes instead of the 1900"),
        (PLAN + b"!", "1901 bytes"),
        (b"", "0 bytes"),
        (PLAN[:50] + b"?" + PLAN[51:], "SHA-256"),
        (bytes(len(PLAN)), "SHA-256"),
    ],
    ids=["truncated", "longer", "empty", "one byte edited", "swapped"],
)
def test_a_file_that_is_not_the_one_built_is_refused(engine: Path, content: bytes, named: str) -> None:
    engine.write_bytes(content)
    assert named in refusal(engine, card(), ModelError)


def test_a_missing_file_is_refused(engine: Path) -> None:
    engine.unlink()
    assert "is missing" in refusal(engine, card(), ModelError)


def test_no_edited_fact_in_a_card_goes_unnoticed() -> None:
    facts = json.loads(card().to_json())
    for name, value in facts.items():
        other = not value if isinstance(value, bool) else [] if isinstance(value, list) else "other"
        with pytest.raises(ModelError, match=r"some\.json.*reid-export"):
            EngineCard.parse(json.dumps({**facts, name: other}), Path("some.json"))


def test_every_cut_of_a_card_is_refused_in_one_line() -> None:
    text = card().to_json().rstrip()
    for length in range(0, len(text), 7):
        with pytest.raises(ModelError, match=r"some\.json") as caught:
            EngineCard.parse(text[:length], Path("some.json"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe", b"3"])
def test_what_is_no_card_is_refused(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"some\.json"):
        EngineCard.parse(text, Path("some.json"))


def signed(facts: dict[str, Any]) -> str:
    """A card that anybody can write: its hash is that of its facts."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return json.dumps({**facts, "card_sha256": digest})


def facts_of(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    facts: dict[str, Any] = json.loads(card().to_json())
    del facts["card_sha256"]
    return {**facts, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"build_command": "rm -rf /home"},
        {"build_command": "reid-export 'BUNDLE"},
        {"build_command": "reid-export BUNDLE\n--engine tensorrt"},
        {"build_command": ""},
        {"build_command": "reid-export " + "x" * 20_000},
        {"device": "L4\x1b[2J"},
        {"version": "10.13\n"},
        {"version": "9" * 5000},
        {"compute_capabilities": ["8.9"] * 1000},
        {"compute_capabilities": []},
        {"profiles": []},
        {"profiles": [{"frames": [1, 1, 8], "tracklets": [1, 1, 8]}] * 65},
        {"profiles": [{"frames": [1, 1, 10**9], "tracklets": [1, 1, 1]}]},
        {"profiles": [{"frames": [1, 1, math.nan], "tracklets": [1, 1, 1]}]},
        {"engine_bytes": -1},
        {"engine_bytes": 10**400},
        {"format_version": None},
        {"format_version": [[[]]]},
        {"layers": {"source": "engine", "layers": {"fp16": -3}, "convolutions": {}}},
        {"a field that nobody knows": 1},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_strangers_card_is_held_to_ranges_though_its_hash_is_right(changes: dict[str, Any]) -> None:
    EngineCard.parse(signed(facts_of()), Path("some.json"))
    with pytest.raises(ModelError, match=r"^some\.json: the engine's card is not valid .*reid-export`$") as caught:
        EngineCard.parse(signed(facts_of(**changes)), Path("some.json"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_only_a_file_is_read(engine: Path) -> None:
    sidecar, pipe = engine.with_suffix(".json"), engine.with_name("pipe.json")
    sidecar.write_text(card().to_json())
    assert EngineCard.read(sidecar) == card()
    os.mkfifo(pipe)
    for path, named in (
        (pipe, "a named pipe, not a file"),
        (engine.parent, "a folder, not a file"),
        (engine.with_name("absent.json"), "No such file or directory"),
    ):
        with pytest.raises(ModelError, match=f"^{path}: {named}; build the engine again with `reid-export`$"):
            EngineCard.read(path)
    engine.unlink()
    os.mkfifo(engine)
    assert f"{engine}: a named pipe, not a file" in refusal(engine, card(), ModelError)


def test_a_newer_format_says_so_and_an_older_one_is_to_be_built_again() -> None:
    facts = json.loads(card().to_json())
    with pytest.raises(ModelError, match=r"format version 2 is newer than 1: update reid"):
        EngineCard.parse(json.dumps({"format_version": 2, "a field of the future": 1}), Path("x"))
    with pytest.raises(ModelError, match=r"format version 0, but 1 is needed.*build the engine again"):
        EngineCard.parse(json.dumps({**facts, "format_version": 0}), Path("x"))


@pytest.mark.parametrize(
    ("frames", "tracklets", "named"),
    [
        ((0, 1, 1), (1, 1, 1), "frames 0, 1, 1"),
        ((2, 1, 4), (1, 1, 1), "frames 2, 1, 4"),
        ((1, 8, 4), (1, 1, 1), "frames 1, 8, 4"),
        ((1, 1, 8), (3, 2, 8), "tracklets 3, 2, 8"),
        ((1, 1, 8), (1, 1, 9), "9 tracklets, more than its 8 frames"),
        ((1, 1, 65_537), (1, 1, 1), "frames 1, 1, 65537: must be at most 65,536"),
    ],
)
def test_an_impossible_profile_is_refused(
    frames: tuple[int, int, int], tracklets: tuple[int, int, int], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        Profile(frames, tracklets)


def test_a_profile_fits_what_lies_between_its_bounds() -> None:
    profile = Profile((4, 8, 16), (2, 4, 8))
    assert profile.fits(4, 2)
    assert profile.fits(16, 8)
    for frames, tracklets in ((3, 2), (17, 8), (16, 9), (4, 1)):
        assert not profile.fits(frames, tracklets)


@pytest.mark.parametrize(
    ("profiles", "missed"),
    [
        ([Profile((1, 8, 8), (1, 4, 4))], None),
        ([Profile((1, 1, 4), (1, 1, 4)), Profile((4, 16, 64), (1, 4, 16))], None),
        ([Profile((4, 16, 64), (1, 4, 16))], (1, 1)),
        ([Profile((1, 8, 8), (2, 4, 4))], (1, 1)),
        ([Profile((1, 1, 4), (1, 1, 4)), Profile((6, 8, 8), (1, 4, 4))], (5, 1)),
        ([Profile((1, 1, 4), (1, 1, 2)), Profile((4, 8, 8), (1, 4, 4))], (3, 3)),
    ],
)
def test_a_batch_that_fits_no_profile_is_found(profiles: list[Profile], missed: tuple[int, int] | None) -> None:
    frames, tracklets = largest_batch(profiles)
    batches = [(n, t) for n in range(1, frames + 1) for t in range(1, tracklets + 1) if t <= n]
    assert missed == next((b for b in batches if not [p for p in profiles if p.fits(*b)]), None)
    assert uncovered(profiles) == missed


def test_the_largest_profiles_are_examined_in_no_time() -> None:
    half, whole = Profile((1, 8, 32_768), (1, 8, 32_768)), Profile((32_769, 65_536, 65_536), (1, 8, 65_536))
    assert uncovered([half, whole]) is None
    assert uncovered([half, Profile((32_770, 65_536, 65_536), (1, 8, 65_536))]) == (32_769, 1)


@given(st.data())
def test_the_first_batch_that_fits_no_profile_is_that_of_a_search_of_all(data: st.DataObject) -> None:
    def ascending(most: int) -> st.SearchStrategy[tuple[int, ...]]:
        return st.lists(st.integers(1, most), min_size=3, max_size=3).map(lambda sizes: tuple(sorted(sizes)))

    profiles = []
    for _ in range(data.draw(st.integers(1, 5))):
        frames = data.draw(ascending(9))
        profiles.append(Profile(frames, data.draw(ascending(frames[2]))))  # type: ignore[arg-type]  # three of them
    most = largest_batch(profiles)
    batches = ((n, t) for n in range(1, most[0] + 1) for t in range(1, min(n, most[1]) + 1))
    assert uncovered(profiles) == next((b for b in batches if not any(p.fits(*b) for p in profiles)), None)


def test_versions_compare_as_numbers() -> None:
    assert release("10.13.0.35.post1") == (10, 13, 0, 35)
    assert release("10.3") < release("10.13")
    assert release("none") == ()


def test_a_missing_or_broken_or_old_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> None:
        def importer(name: str) -> None:
            raise error

        monkeypatch.setattr(importlib, "import_module", importer)

    fails(ModuleNotFoundError("No module named 'tensorrt_rtx'"))
    with pytest.raises(SessionError, match=r"^tensorrt-rtx is not installed: pip install 'reid\[rtx\]'$"):
        import_tensorrt("tensorrt-rtx")
    with pytest.raises(SessionError, match=r"^tensorrt is not installed: pip install 'reid\[gpu\]'$"):
        import_tensorrt("tensorrt")
    with monkeypatch.context() as patch:
        patch.setattr(installs, "is_jetson", lambda: True)
        with pytest.raises(SessionError, match=r"^tensorrt is not installed: sudo apt install tensorrt, and make the"):
            import_tensorrt("tensorrt")
    fails(OSError("libnvinfer.so.10: cannot open\nmore"))
    with pytest.raises(SessionError, match=r"does not load \(libnvinfer\.so\.10: cannot open\)"):
        import_tensorrt("tensorrt")
    for version in ("8.6.1", "10.2.0.post1"):
        monkeypatch.setattr(importlib, "import_module", lambda name, v=version: type("Module", (), {"__version__": v}))
        with pytest.raises(SessionError, match=rf"tensorrt {re.escape(version)} is older than 10\.3"):
            import_tensorrt("tensorrt")


class Left:
    """What a failure leaves: it refers to itself, as an error does to the frames that it went through."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.rtx
def test_what_an_earlier_failure_left_is_deleted_before_tensorrt_calls_a_logger() -> None:
    gc.disable()
    try:
        left = weakref.ref(Left())
        assert left() is not None
        logger_for(import_tensorrt("tensorrt-rtx"), lambda is_error, message: None)
        assert left() is None
    finally:
        gc.enable()
