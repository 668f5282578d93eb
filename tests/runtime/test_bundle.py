from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.runtime.bundle import Bundle, Graph
from reid.runtime.errors import ModelError
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run

RANDOM = np.random.default_rng(0)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def files_of(bundle: Path) -> list[str]:
    return sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[int(RANDOM.integers(len(content)))] ^= 1 << int(RANDOM.integers(8))
    path.write_bytes(content)


def test_the_card_lists_every_other_file_with_its_sha256(bundle: Path) -> None:
    listed = json.loads((bundle / "model.json").read_text())["files"]
    assert sorted([*listed, "model.json"]) == files_of(bundle)
    for name, digest in listed.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest


def test_a_whole_bundle_opens_and_names_its_precisions(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.precisions == ("fp32",)
    assert opened.graph("fp32") == Graph.of("fp32", bundle / "model.fp32.onnx")
    assert opened.card.opset is not None


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(ModelError, match="has no int8 graph; choose one of: fp32"):
        Bundle.open(bundle).graph("int8")


def test_one_flipped_bit_in_any_file_is_refused_by_the_files_name(copy: Path, bundle: Path) -> None:
    for name in files_of(copy):
        if name == "model.json":  # the card has no hash of its own: see test_onnxruntime
            continue
        flip_a_byte(copy / name)
        with pytest.raises(ModelError, match=name):
            Bundle.open(copy)
        shutil.copy(bundle / name, copy / name)
    Bundle.open(copy)


def test_a_missing_file_is_refused_by_its_name(copy: Path, bundle: Path) -> None:
    for name in files_of(copy):
        (copy / name).unlink()
        with pytest.raises(ModelError, match=name):
            Bundle.open(copy)
        shutil.copy(bundle / name, copy / name)


@pytest.mark.parametrize("name", ["model.fp32.onnx", "reference/embeddings.npy", "model.json"])
def test_a_file_cut_short_is_refused_by_its_name(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=name):
        Bundle.open(copy)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../outside", "reference/../model.fp32.onnx", "./model.fp32.onnx", ""]
)
def test_a_card_lists_only_files_within_the_bundle_each_by_its_one_name(copy: Path, name: str) -> None:
    (copy.parent / "outside").touch()
    card = json.loads((copy / "model.json").read_text())
    digest = hashlib.sha256(b"").hexdigest()
    (copy / "model.json").write_text(json.dumps({**card, "files": {**card["files"], name: digest}}))
    with pytest.raises(ModelError, match=r"model\.json: the model card is not valid"):
        Bundle.open(copy)


def test_a_graph_that_the_bundle_does_not_list_is_refused(copy: Path) -> None:
    shutil.copy(copy / "model.fp32.onnx", copy / "model.fp16.onnx")
    shutil.copy(copy / "model.fp32.onnx", copy / "alias.onnx")
    for name in ("model.fp16.onnx", "alias.onnx"):
        with pytest.raises(ModelError, match=f"{name} is not one of the graphs of"):
            open_session(copy / name)


@pytest.mark.parametrize("link", ["inside", "outside"])
def test_a_link_to_a_graph_is_held_to_what_the_bundle_says_of_it(copy: Path, tmp_path: Path, link: str) -> None:
    path = (copy if link == "inside" else tmp_path) / "link.onnx"
    path.symlink_to(copy / "model.fp32.onnx")
    open_session(path).close()
    flip_a_byte(copy / "reference" / "embeddings.npy")
    with pytest.raises(ModelError, match=r"embeddings\.npy is not the file that was exported"):
        open_session(path)


def test_a_pipe_in_the_place_of_a_file_is_refused(copy: Path) -> None:
    for name in ("model.fp32.onnx", "model.json"):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(ModelError):
            Bundle.open(copy)


def test_a_newer_format_is_refused_with_the_remedy(copy: Path) -> None:
    card = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**card, "format_version": card["format_version"] + 1}))
    with pytest.raises(ModelError, match="newer than 1: update reid"):
        Bundle.open(copy)


def test_a_folder_without_a_card_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reid-export"):
        Bundle.open(tmp_path)


def test_reference_crops_and_embeddings_belong_together(bundle: Path) -> None:
    crops, embeddings = Bundle.open(bundle).reference()
    assert len(crops) == len(embeddings) > 20
    with open_session(bundle, "onnxruntime:cpu") as session:
        size = session.info.card.preprocessing
        for crop, expected in list(zip(crops, embeddings, strict=True))[::6]:
            image = cv2.resize(cv2.imread(str(crop)), (size.width, size.height), interpolation=cv2.INTER_LINEAR)
            frames = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)[None])
            frame_embedding, _ = run(session, frames, np.ones((1, 1), np.float32))
            np.testing.assert_allclose(frame_embedding[0], expected, atol=1e-4)


def test_a_listed_file_that_is_a_link_to_outside_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "model.fp32.onnx").rename(tmp_path / "moved.onnx")
    (copy / "model.fp32.onnx").symlink_to(tmp_path / "moved.onnx")
    with pytest.raises(ModelError, match=r"model\.fp32\.onnx is a link"):
        Bundle.open(copy)
