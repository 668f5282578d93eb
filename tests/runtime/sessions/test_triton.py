"""The session of a Triton server, against a double that speaks its protocol."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc")
pytest.importorskip("onnx")

from triton_double import TritonDouble, serving

import reid.runtime.sessions.triton as module
from reid.commands.infer import main
from reid.export.triton import write_triton_repository
from reid.runtime.bundle import Bundle
from reid.runtime.embedding import embed
from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.folders import read_folder
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run
from reid.runtime.tracklet import Tracklet


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "repository"
    write_triton_repository(Bundle.open(bundle), folder, precisions=["fp32"])
    return folder


@pytest.fixture
def server(repository: Path) -> Iterator[TritonDouble]:
    with serving(repository) as double:
        yield double


def batch(count: int = 7) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    pooling = np.zeros((3, count), np.float32)
    pooling[np.arange(count) % 3, np.arange(count)] = 1
    return generator.integers(0, 256, (count, 3, 64, 64), dtype=np.uint8), pooling


def test_embeddings_are_those_of_onnxruntime_bit_for_bit(bundle: Path, server: TritonDouble) -> None:
    frames, pooling = batch()
    with open_session(bundle, "onnxruntime:cpu") as session:
        expected = run(session, frames, pooling)
    with open_session(bundle, f"triton:{server.address}") as session:
        found = run(session, frames, pooling)
        assert str(session.info) == f"Triton 2.60.0 on {server.address}/reid_tracklets_fp32/1"
        assert session.info.space.fingerprint == Bundle.open(bundle).card.fingerprint
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.flags.owndata
        assert one.flags.writeable
    assert set(server.requests) == {("reid_tracklets_fp32", "1", ("frames", "pooling"))}


def test_the_frames_model_is_pooled_here(bundle: Path, server: TritonDouble) -> None:
    frames, pooling = batch()
    with open_session(bundle, f"triton:{server.address}/reid_frames_fp32/1") as session:
        found = run(session, frames, pooling)
    with open_session(bundle, "onnxruntime:cpu") as session:
        expected = run(session, frames, pooling)
    np.testing.assert_allclose(found.pooled, expected.pooled, atol=1e-5)
    assert {names for _, _, names in server.requests} == {("frames",)}


def test_the_server_is_checked_each_time_it_is_opened(bundle: Path, server: TritonDouble) -> None:
    for _ in range(2):
        server.requests.clear()
        open_session(bundle, f"triton:{server.address}").close()
        assert server.requests

    def turned(answer: Any) -> None:  # noqa: ANN401 - as another model would answer
        for index, output in enumerate(answer.outputs):
            values = np.frombuffer(answer.raw_output_contents[index], np.float32).reshape(output.shape)
            answer.raw_output_contents[index] = np.roll(values, 1, axis=1).tobytes()

    server.spoil = turned
    with pytest.raises(ModelError, match=r"Triton .* unlike PyTorch .* the server runs another model or precision"):
        open_session(bundle, f"triton:{server.address}")


def test_several_batches_are_in_flight_and_come_back_in_order(bundle: Path, server: TritonDouble) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (160, 64, 64, 3), dtype=np.uint8)
    tracklets = [Tracklet(str(index), (frame,)) for index, frame in enumerate(frames)]
    with open_session(bundle, f"triton:{server.address}") as session:
        server.most_at_once, server.company = 0, 3
        found = list(embed(session, tracklets))
    assert server.most_at_once == 3
    with open_session(bundle, "onnxruntime:cpu") as session:
        expected = list(embed(session, tracklets))
    assert [one.tracklet.id for one in found] == [one.tracklet.id for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.embedding is not None
        assert other.embedding is not None
        np.testing.assert_array_equal(one.embedding, other.embedding)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("{}/reid_unknown", r"has no reid_unknown that is ready \(Request for unknown model"),
        ("{}/reid_tracklets_fp16/1", "reid_tracklets_fp16 is in fp16 by its name, not in fp32; add --precision fp16"),
        ("{}/reid_tracklets_fp32/2", r"has no version 2 of reid_tracklets_fp32 that is ready .*version 2 is not found"),
        ("localhost:1", "localhost:1: Triton cannot be reached .*start it, or give another HOST:PORT"),
        ("localhost", "no device 'localhost'; write triton:HOST:PORT/MODEL/VERSION"),
        ("{}/reid_tracklets_fp32/0", "write triton:HOST:PORT/MODEL/VERSION"),
        ("{}/../x", "write triton:HOST:PORT/MODEL/VERSION"),
    ],
)
def test_what_is_not_served_is_one_line(bundle: Path, server: TritonDouble, device: str, reason: str) -> None:
    with pytest.raises(SessionError, match=reason):
        open_session(bundle, f"triton:{device.format(server.address)}")


def test_a_model_in_two_versions_has_to_be_chosen(bundle: Path, repository: Path, tmp_path: Path) -> None:
    two = Path(shutil.copytree(repository, tmp_path / "two"))
    shutil.copytree(two / "reid_tracklets_fp32" / "1", two / "reid_tracklets_fp32" / "2")
    with serving(two) as server:
        with pytest.raises(SessionError, match=r"in the versions 1, 2, .*choose one, as in triton:.*fp32/VERSION"):
            open_session(bundle, f"triton:{server.address}")
        with open_session(bundle, f"triton:{server.address}/reid_tracklets_fp32/2") as session:
            assert session.info.device.endswith("/2")


def test_a_model_of_other_shapes_is_refused(bundle: Path, repository: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(repository, tmp_path / "other"))
    config = other / "reid_tracklets_fp32" / "config.pbtxt"
    config.write_text(config.read_text().replace("64, 64", "96, 96"))
    with (
        serving(other) as server,
        pytest.raises(ModelError, match=r"the input frames is uint8 \[\*, 3, 96, 96\], instead of uint8 \[\*, 3, 64"),
    ):
        open_session(bundle, f"triton:{server.address}")


def test_a_server_that_is_not_ready_is_one_line(bundle: Path, server: TritonDouble) -> None:
    server.ready = False
    with pytest.raises(SessionError, match="Triton is not ready"):
        open_session(bundle, f"triton:{server.address}")


def test_a_server_that_dies_in_the_middle_is_one_line(bundle: Path, server: TritonDouble) -> None:
    with open_session(bundle, f"triton:{server.address}") as session:
        run(session, *batch())
        server.stop()
        with pytest.raises(SessionError, match=r"reid_tracklets_fp32/1: Triton cannot be reached"):
            run(session, *batch())


def test_a_late_answer_is_one_line(bundle: Path, server: TritonDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_session(bundle, f"triton:{server.address}") as session:
        monkeypatch.setattr(module, "_ANSWER_S", 0.2)
        server.delay_s = 1
        with pytest.raises(SessionError, match="Triton did not answer in time"):
            run(session, *batch())


def _other_version(answer: Any) -> None:  # noqa: ANN401
    answer.model_version = "9\n"


def _nothing(answer: Any) -> None:  # noqa: ANN401
    del answer.outputs[:], answer.raw_output_contents[:]


def _cut(answer: Any) -> None:  # noqa: ANN401
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-3]


def _of_another_type(answer: Any) -> None:  # noqa: ANN401
    answer.outputs[0].datatype = "INT32"


def _unknown_type(answer: Any) -> None:  # noqa: ANN401
    answer.outputs[0].datatype = "\x1b[2J"


def _fewer(answer: Any) -> None:  # noqa: ANN401
    answer.outputs[1].shape[0] -= 1
    answer.raw_output_contents[1] = answer.raw_output_contents[1][: -4 * answer.outputs[1].shape[1]]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_other_version, "the answer is of version"),
        (_nothing, "the answer's frame_embedding is missing"),
        (_cut, "the answer's frame_embedding is damaged"),
        (_of_another_type, "the answer's frame_embedding is int32, not float32"),
        (_unknown_type, "the answer's frame_embedding is"),
        (_fewer, "returns arrays of"),
    ],
)
def test_garbage_is_one_line(bundle: Path, server: TritonDouble, spoil: Callable[[Any], None], reason: str) -> None:
    with open_session(bundle, f"triton:{server.address}") as session:
        server.spoil = spoil
        with pytest.raises(ReidError, match=reason) as caught:
            run(session, *batch())
    assert str(caught.value).isprintable()


def test_a_closed_session_lets_go_of_the_connection(
    bundle: Path, server: TritonDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tritonclient import grpc

    closed = []
    real = grpc.InferenceServerClient.close
    monkeypatch.setattr(grpc.InferenceServerClient, "close", lambda self: (closed.append(self), real(self))[1])
    session = open_session(bundle, f"triton:{server.address}")
    assert not closed
    session.close()
    session.close()
    assert closed
    with pytest.raises(ValueError, match="the session is closed"):
        run(session, *batch())


def test_a_graph_alone_is_refused(bundle: Path) -> None:
    with pytest.raises(SessionError, match=r"model\.fp32\.onnx is no bundle"):
        open_session(bundle / "model.fp32.onnx", "triton")


def test_infer_ranks_through_the_server(
    run_main: Callable[..., tuple[int, str, str]], bundle: Path, veri: Path, server: TritonDouble, tmp_path: Path
) -> None:
    ranked = {}
    for name in ("onnxruntime:cpu", f"triton:{server.address}/reid_tracklets_fp32/1"):
        output = tmp_path / name.partition(":")[0]
        options = ("--model", bundle, "--session", name, "--output", output)
        code, _, err = run_main(main, "reid-infer", veri / "image_test", veri / "image_query", *options)
        assert code == 0, err
        ranked[name] = json.loads((output / "rankings.json").read_text())["queries"]
    one, other = ranked.values()
    assert one == other
    assert len(one) == len(list(read_folder(veri / "image_query")))
