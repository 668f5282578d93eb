"""The submission file on a folder in CityFlow's layout, compared with distances computed here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from recording import Recorder

from reid.data.dataset import Challenge, Dataset, Split
from reid.data.layout import open_dataset, read_dataset
from reid.evaluation.challenge import challenge_of, check_submission_file, write_submission
from reid.runtime.errors import DataError, ReidError
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import Session, run
from reid.runtime.tracklet import Tracklet

QUERIES = (12, 2, 101, 7)


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


@pytest.fixture
def cityflow(veri: Path, tmp_path: Path) -> Path:
    """VeRi's images under CityFlow's names: numbered, with one label file for training and none for the test."""
    root = tmp_path / "cityflow"
    for part in ("train", "query", "test"):
        (root / f"image_{part}").mkdir(parents=True)
    items = []
    for number, image in enumerate(sorted((veri / "image_train").iterdir()), start=1):
        name = f"{number:06d}.jpg"
        shutil.copy(image, root / "image_train" / name)
        vehicle, camera, *_ = image.name.split("_")
        items.append(f'<Item imageName="{name}" vehicleID="{vehicle}" cameraID="{camera}" />')
    listed = "\n".join(items)
    (root / "train_label.xml").write_text(
        f'<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages Version="1.0"><Items number="{len(items)}">\n'
        f"{listed}\n</Items></TrainingImages>\n"
    )
    pictures = sorted((veri / "image_test").iterdir())
    for number, image in enumerate(pictures, start=1):
        shutil.copy(image, root / "image_test" / f"{number:06d}.jpg")
    for number, image in zip(QUERIES, sorted((veri / "image_query").iterdir()), strict=False):
        shutil.copy(image, root / "image_query" / f"{number:06d}.jpg")
    return root


def submit(session: Session, dataset: Dataset, path: Path) -> list[list[str]]:
    write_submission(session, dataset, path)
    text = path.read_text()
    assert text.endswith("\n")
    return [line.split(" ") for line in text[:-1].split("\n")]


def embed(session: Session, path: Path) -> np.ndarray:
    size = session.info.card.preprocessing
    rgb = cv2.resize(cv2.imread(str(path)), (size.width, size.height), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    frames = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
    return run(session, frames, np.ones((1, 1), np.float32))[0][0].astype(np.float64)


def test_a_line_a_query_in_the_order_of_numbers_with_its_nearest_test_images_unpadded(
    session: Session, cityflow: Path, tmp_path: Path
) -> None:
    lines = submit(session, open_dataset(cityflow, needs="query"), tmp_path / "track2.txt")
    gallery = {str(int(p.stem)): embed(session, p) for p in sorted((cityflow / "image_test").iterdir())}
    assert len(lines) == len(QUERIES)
    for number, line in zip(sorted(QUERIES), lines, strict=True):
        query = embed(session, cityflow / "image_query" / f"{number:06d}.jpg")
        similarities = np.array([query @ gallery[name] for name in line])
        assert len(line) == min(100, len(gallery))
        assert set(line) == gallery.keys() or len(set(line)) == 100
        assert np.all(np.diff(similarities) <= 2e-6)


def test_a_line_has_no_more_than_a_hundred_numbers(session: Session, cityflow: Path, tmp_path: Path) -> None:
    for number in range(500, 530):
        shutil.copy(cityflow / "image_test" / "000001.jpg", cityflow / "image_test" / f"{number:06d}.jpg")
    lines = submit(session, open_dataset(cityflow, needs="query"), tmp_path / "track2.txt")
    assert [len(line) for line in lines] == [100] * len(QUERIES)
    assert [len(set(line)) for line in lines] == [100] * len(QUERIES)


def test_an_unreadable_test_image_is_in_no_line_and_is_named(session: Session, cityflow: Path, tmp_path: Path) -> None:
    bad = cityflow / "image_test" / "000003.jpg"
    bad.write_bytes(b"")
    path = tmp_path / "track2.txt"
    unreadable = write_submission(session, open_dataset(cityflow, needs="query"), path)
    assert [reason.partition(": ")[0] for reason in unreadable] == [str(bad)]
    assert all("3" not in line.split() for line in path.read_text().splitlines())


def test_an_unreadable_query_is_an_error_and_leaves_no_file(session: Session, cityflow: Path, tmp_path: Path) -> None:
    (cityflow / "image_query" / "000007.jpg").write_bytes(b"")
    path = tmp_path / "track2.txt"
    with pytest.raises(DataError, match="query 000007"):
        write_submission(session, open_dataset(cityflow, needs="query"), path)
    assert not path.exists()


def test_a_data_set_without_challenge_images_is_refused(session: Session, veri: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CityFlow"):
        write_submission(session, open_dataset(veri, needs="query"), tmp_path / "track2.txt")


@pytest.mark.parametrize("part", ["query", "test"])
def test_missing_challenge_images_are_an_error(session: Session, cityflow: Path, tmp_path: Path, part: str) -> None:
    shutil.rmtree(cityflow / f"image_{part}")
    with pytest.raises(DataError, match="challenge"):
        write_submission(session, read_dataset(cityflow, "cityflow"), tmp_path / "track2.txt")


@pytest.mark.parametrize("stray", ["image_test/thumbnail.jpg", "image_query/cover.jpg", "image_test/1.png"])
def test_an_image_whose_name_is_no_number_of_its_own_never_reaches_the_file(
    session: Session, cityflow: Path, tmp_path: Path, stray: str
) -> None:
    shutil.copy(cityflow / "image_test" / "000001.jpg", cityflow / stray)
    path = tmp_path / "track2.txt"
    try:
        lines = submit(session, read_dataset(cityflow, "cityflow"), path)
    except DataError as error:
        assert Path(stray).name in str(error)  # noqa: PT017 - either answer is right
        assert not path.exists()
    else:
        assert len(lines) == len(QUERIES)
        assert all(len(set(line)) == len(line) and all(word.isdecimal() for word in line) for line in lines)


def test_progress_runs_up_once_over_gallery_and_query(session: Session, cityflow: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    dataset = open_dataset(cityflow, needs="query")
    write_submission(session, dataset, tmp_path / "x.txt", progress=recorder)
    assert dataset.challenge is not None
    total = len(dataset.challenge.query) + len(dataset.challenge.gallery)
    (stage,) = recorder.stages
    assert (stage.name, stage.unit) == ("embedding the challenge", "images")
    assert stage.total == stage.done == total


@pytest.mark.parametrize("name", ["²", "٣", "-1", "1.5", "", " 1", "1_000"])
def test_a_name_that_is_not_written_in_plain_digits_is_refused(name: str) -> None:
    images = tuple(Tracklet(one, (Path(f"{one}.jpg"),)) for one in ("7", name))
    for challenge in (Challenge(images, images[:1]), Challenge(images[:1], images)):
        dataset = Dataset("cityflow", Path("data"), Split(), Split(), Split(), challenge=challenge)
        with pytest.raises(DataError, match="the name of a challenge image must be its number"):
            challenge_of(dataset)


@pytest.mark.parametrize("content", ["a, b\n1, 2\n", "import numpy\n", "1 2 3\n-4\n", "\0", "1\t2\n"])
def test_what_is_no_submission_is_not_replaced(session: Session, cityflow: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(content)
    with pytest.raises(ReidError, match=f"^{path} exists and is not a submission; move it elsewhere, or choose"):
        write_submission(session, open_dataset(cityflow, needs="query"), path)
    assert path.read_text() == content


@pytest.mark.parametrize("content", [None, "", "1 2 3\n4 5 6\n", "1 2 3\r\n"])
def test_a_submission_may_be_replaced(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "track2.txt").write_text(content)
    check_submission_file(tmp_path / "track2.txt", [])


def test_what_is_no_file_is_not_replaced_and_not_waited_for(tmp_path: Path) -> None:
    pipe, huge, link = (tmp_path / name for name in ("pipe", "huge", "link"))
    os.mkfifo(pipe)
    huge.touch()
    os.truncate(huge, 1 << 40)
    link.symlink_to("/dev/zero")
    for path, named in (
        (pipe, "a named pipe, not a file"),
        (tmp_path, "a folder, not a file"),
        (huge, "1,099,511,627,776 bytes"),
        (link, "a device, not a file"),
    ):
        with pytest.raises(ReidError, match=f"^{path}: {named}.*; move it elsewhere, or choose another"):
            check_submission_file(path, [])


def test_a_submission_is_in_no_input(session: Session, cityflow: Path) -> None:
    for path in (cityflow / "track2.txt", cityflow / "image_query" / "track2.txt"):
        with pytest.raises(ReidError, match=f"{path} lies in {cityflow}, which is an input"):
            write_submission(session, open_dataset(cityflow, needs="query"), path)
        assert not path.exists()


def test_the_folder_of_a_submission_is_made(session: Session, cityflow: Path, tmp_path: Path) -> None:
    assert len(submit(session, open_dataset(cityflow, needs="query"), tmp_path / "deep" / "er" / "track2.txt")) == 4
