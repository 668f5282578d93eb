"""What is measured: any kind of model, as its card says, on the crops that its reference was computed from."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.bench.material import write_material
from reid.bench.models import GivenModel, frames_of, map_of, read_model
from reid.bench.subjects import find_sessions, with_own_names
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run

CARD = ModelCard(
    format_version=1,
    fingerprint="f",
    backbone="none",
    levels=(Level(name="level4", size=4),),
    preprocessing=Preprocessing(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1)),
)
MODEL = GivenModel(Path("model.onnx"), "graph", CARD, ("fp32",))


def test_a_bundle_a_graph_and_a_checkpoint_have_the_same_card(checkpoint: Path, whole_bundle: Path) -> None:
    kinds = {
        "bundle": (whole_bundle, ("fp32", "fp16", "int8")),
        "graph": (whole_bundle / "model.int8.onnx", ("int8",)),
        "checkpoint": (checkpoint, ("fp32",)),
    }
    found = {kind: read_model(path) for kind, (path, _) in kinds.items()}
    assert {kind: (model.kind, model.precisions) for kind, model in found.items()} == {
        kind: (kind, precisions) for kind, (_, precisions) in kinds.items()
    }
    assert len({model.card.fingerprint for model in found.values()}) == 1
    assert set(found["bundle"].graphs()) == {"fp32", "fp16", "int8"}
    assert not found["checkpoint"].graphs()


def test_what_is_no_model_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    (tmp_path / "empty.onnx").touch()
    for name in ("text.onnx", "empty.onnx", "absent", "."):
        with pytest.raises(ModelError, match=r"export|give|make these"):
            read_model(tmp_path / name)


def test_frames_are_the_crops_of_the_reference_again_and_again(bundle: Path) -> None:
    model = read_model(bundle)
    assert model.bundle
    files, embeddings = model.bundle.reference()
    count = len(files) + 2
    frames = frames_of(model, count)
    assert frames.expected is not None
    for index in range(count):
        file = files[index % len(files)]
        assert (frames.pixels[index] == as_model_input(read_frame(file), model.card.preprocessing)).all()
        assert (frames.expected[index] == embeddings[index % len(files)]).all()
    with open_session(bundle) as session:
        found = run(session, frames.pixels[:2], np.eye(2, dtype=np.float32)).frame_embedding
    assert (found * frames.expected[:2]).sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_model_without_crops_gets_frames_that_differ_and_no_answers(checkpoint: Path) -> None:
    frames = frames_of(read_model(checkpoint), 5)
    assert frames.expected is None
    assert len({frame.tobytes() for frame in frames.pixels}) == 5
    size = read_model(checkpoint).card.preprocessing
    for jpeg in frames.jpegs:
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (size.height, size.width, 3)


def test_map_is_that_of_the_verification_and_of_the_same_precision(whole_bundle: Path, checkpoint: Path) -> None:
    stored = json.loads((whole_bundle / "verification.json").read_text())
    model = read_model(whole_bundle)
    for of_precision in stored["precisions"]:
        quality = map_of(model, of_precision["precision"])
        expected = {one["protocol"]: one["changes"][0]["candidate"] for one in of_precision["protocols"]}
        assert quality.map_percent == expected != {}
        assert quality.map_session == of_precision["session"]
    assert map_of(read_model(checkpoint), "fp32").map_percent == {}


def test_models_of_one_fingerprint_are_measured_on_the_same_frames(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    models = [read_model(checkpoint), read_model(bundle)]
    assert models[1].bundle
    written = write_material(tmp_path, models)
    assert written[checkpoint] == written[bundle]
    assert written[checkpoint].frames.expected is not None
    assert len(written[checkpoint].frames.expected) == len(models[1].bundle.reference()[0])  # each crop once
    assert (np.load(written[bundle].pixels) == written[bundle].frames.pixels).all()
    assert len(list(written[bundle].jpegs.iterdir())) == len(written[bundle].frames.jpegs)


def test_every_session_and_precision_of_a_model_is_a_subject(whole_bundle: Path, checkpoint: Path) -> None:
    names = [one.name for one in find_sessions([read_model(whole_bundle), read_model(checkpoint)])]
    assert {f"{session} {precision}" for session in ("onnxruntime", "openvino") for precision in ("fp32", "int8")} < {
        *names
    }
    assert "torch fp32" in names
    assert not [name for name in names if name.startswith("torch ") and name != "torch fp32"]
    assert len(set(names)) == len(names)


def test_subjects_can_be_narrowed_down(whole_bundle: Path) -> None:
    found = find_sessions([read_model(whole_bundle)], ["onnxruntime:cpu"], ["int8"])
    assert [one.name for one in found] == ["onnxruntime:cpu int8"]


@pytest.mark.parametrize(
    ("session", "first"),
    [("onnxruntime:cuda:1", "onnxruntime:cuda"), ("tensorrt:1+nvimgcodec", "tensorrt+nvimgcodec")],
)
def test_another_gpu_than_the_one_that_is_measured_is_refused(session: str, first: str) -> None:
    with pytest.raises(SessionError) as refused:
        find_sessions([MODEL], ["onnxruntime:cuda:0", session])
    assert f"{session} is not on the GPU that is measured" in str(refused.value)
    assert str(refused.value).endswith(f": CUDA_VISIBLE_DEVICES=1 reid-bench --session {first}")


def test_the_gpu_that_is_measured_may_be_named() -> None:
    assert [one.name for one in find_sessions([MODEL], ["onnxruntime:cuda:0"])] == ["onnxruntime:cuda:0 fp32"]


def test_subjects_of_two_models_have_different_names(bundle: Path, whole_bundle: Path) -> None:
    found = find_sessions([read_model(bundle), read_model(whole_bundle)], ["onnxruntime"], ["fp32"])
    assert [one.name for one in found] == [f"onnxruntime fp32 of {path.name}" for path in (bundle, whole_bundle)]


def test_models_in_folders_of_one_name_are_told_apart_by_their_paths(bundle: Path, tmp_path: Path) -> None:
    models = []
    for place in ("before", "after"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "bundle").symlink_to(bundle)
        models.append(read_model(tmp_path / place / "bundle"))
    found = find_sessions(models, ["onnxruntime"])
    assert len({one.name for one in found}) == 1
    names = [f"onnxruntime fp32 of {model.path}" for model in models]
    assert [one.name for one in with_own_names(found)] == names
    with pytest.raises(
        SessionError, match="2 subjects are called 'onnxruntime fp32 of bundle'; give each --peer a name"
    ):
        with_own_names([found[0], found[0]])
