from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from recording import Recorder, Stage

from reid.data.synthesis.body import BODIES, Body
from reid.data.synthesis.camera import FRAME_HEIGHT, FRAME_WIDTH, draw_camera
from reid.data.synthesis.mesh import Level, Mesh, Part, Surface, box
from reid.data.synthesis.render import Placed
from reid.data.synthesis.scene import draw_scene, film, plan_tracks
from reid.data.synthesis.vehicle import build_mesh, draw_vehicle, fleet_vehicle
from reid.data.synthesis.veri import SynthesisSummary, synthesize
from reid.runtime.errors import DataError, ReidError

NAME = re.compile(r"\d{4}_c\d{3}_\d{8}_\d\.jpg")


class Written:
    """A data set on disk, read back without the code under test."""

    def __init__(self, folder: Path, summary: SynthesisSummary) -> None:
        self.folder, self.summary = folder, summary
        self.train, self.query, self.test = (self.lines(f"name_{part}.txt") for part in ("train", "query", "test"))

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()

    def labels(self, name: str, root_tag: str) -> list[dict[str, str]]:
        # Python's XML parser does not know gb2312: decode first, and leave the declaration out.
        declaration, document = (self.folder / name).read_bytes().decode("gb2312").split("\n", 1)
        assert declaration == '<?xml version="1.0" encoding="gb2312"?>'
        root = ET.fromstring(document)
        (items,) = root
        assert (root.tag, root.get("Version"), items.tag) == (root_tag, "1.0", "Items")
        assert items.get("number") == str(len(items))
        return [dict(item.attrib) for item in items]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("synthesis") / "veri"
    return Written(folder, synthesize(folder, vehicles=20, cameras=6, seed=0))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def vehicles_of(names: list[str]) -> set[str]:
    return {name[:4] for name in names}


class TestLayout:
    def test_has_exactly_veris_files(self, written: Written) -> None:
        assert {path.name for path in written.folder.iterdir()} == {
            *("image_train", "image_query", "image_test", "name_train.txt", "name_query.txt", "name_test.txt"),
            *("train_label.xml", "test_label.xml", "list_color.txt", "list_type.txt"),
            *("test_track.txt", "gt_index.txt", "jk_index.txt"),
        }

    @pytest.mark.parametrize("part", ["train", "query", "test"])
    def test_name_lists_match_the_folders(self, written: Written, part: str) -> None:
        names = getattr(written, part)
        assert sorted(path.name for path in (written.folder / f"image_{part}").iterdir()) == names
        assert all(NAME.fullmatch(name) for name in names)

    def test_splits_share_no_vehicle(self, written: Written) -> None:
        train, test = vehicles_of(written.train), vehicles_of(written.test)
        assert len(train) == 12
        assert len(test) == 8
        assert not train & test

    def test_summary_counts_what_is_on_disk(self, written: Written) -> None:
        summary = written.summary
        assert (summary.train.vehicles, summary.test.vehicles) == (12, 8)
        assert (summary.train.images, summary.test.images) == (len(written.train), len(written.test))
        assert summary.queries == len(written.query)
        assert summary.test.tracks == len(written.lines("test_track.txt"))

    def test_images_are_crops_of_a_few_hundred_pixels(self, written: Written) -> None:
        for name in written.test:
            image = cv2.imread(str(written.folder / "image_test" / name))
            assert image is not None
            assert min(image.shape[:2]) >= 50
            assert 80 <= max(image.shape[:2]) <= 250

    @pytest.mark.parametrize(
        ("part", "file", "root"),
        [("train", "train_label.xml", "TrainingImages"), ("test", "test_label.xml", "TestImages")],
    )
    def test_labels_repeat_the_names(self, written: Written, part: str, file: str, root: str) -> None:
        items = written.labels(file, root)
        assert [item["imageName"] for item in items] == getattr(written, part)
        colors, types = (
            {line.split(" ")[0] for line in written.lines(f"list_{kind}.txt")} for kind in ("color", "type")
        )
        looks: dict[str, tuple[str, str]] = {}
        for item in items:
            assert item["imageName"].startswith(f"{item['vehicleID']}_{item['cameraID']}_")
            assert item["colorID"] in colors
            assert item["typeID"] in types
            look = item["colorID"], item["typeID"]
            assert looks.setdefault(item["vehicleID"], look) == look

    def test_tracks_cover_each_test_image_once(self, written: Written) -> None:
        tracks = [line.split(" ") for line in written.lines("test_track.txt")]
        assert sorted(name for track in tracks for name in track) == written.test
        for track in tracks:
            assert 4 <= len(track) <= 8
            assert len({name[:9] for name in track}) == 1
            times = [int(name[10:18]) for name in track]
            assert times == sorted(set(times))

    def test_queries_are_one_test_image_per_vehicle_and_camera(self, written: Written) -> None:
        assert Counter(name[:9] for name in written.query) == dict.fromkeys({name[:9] for name in written.test}, 1)
        for name in written.query:
            query = (written.folder / "image_query" / name).read_bytes()
            assert query == (written.folder / "image_test" / name).read_bytes()

    def test_vehicles_are_seen_by_three_cameras_or_more(self, written: Written) -> None:
        views = Counter(view[:4] for view in {name[:9] for name in written.train + written.test})
        assert min(views.values()) >= 3

    def test_indices_name_right_answers_and_junk(self, written: Written) -> None:
        right, junk = written.lines("gt_index.txt"), written.lines("jk_index.txt")
        assert len(right) == len(junk) == len(written.query)
        for query, right_line, junk_line in zip(written.query, right, junk, strict=True):
            expected: dict[bool, list[int]] = {True: [], False: []}
            for k in range(len(written.test)):
                if written.test[k][:4] == query[:4]:
                    expected[written.test[k][4:9] == query[4:9]].append(k + 1)
            assert [int(k) for k in right_line.split()] == expected[False] != []
            assert [int(k) for k in junk_line.split()] == expected[True] != []


class TestRepeatability:
    def test_same_arguments_give_the_same_bytes(self, tmp_path: Path) -> None:
        for name, seed in (("a", 3), ("b", 3), ("c", 4)):
            synthesize(tmp_path / name, vehicles=4, cameras=2, seed=seed)
        first, again, other = (contents(tmp_path / name) for name in "abc")
        assert first == again
        assert first != other

    def test_a_vehicle_is_the_same_in_a_smaller_set(self, written: Written, tmp_path: Path) -> None:
        synthesize(tmp_path / "small", vehicles=4, cameras=6, seed=0)
        small, large = contents(tmp_path / "small"), contents(written.folder)
        images = [name for name in small if name.endswith(".jpg")]
        assert len(images) > 50
        assert all(small[name] == large[name] for name in images)


class TestOutput:
    @pytest.mark.parametrize(
        ("numbers", "named"),
        [
            ({"vehicles": 3}, "3 vehicles"),
            ({"vehicles": 10_000}, "10000 vehicles"),
            ({"cameras": 1}, "1 cameras"),
            ({"cameras": 1000}, "1000 cameras"),
            ({"seed": -1}, "seed -1"),
            ({"seed": 2**63}, "seed 9223372036854775808"),
            ({"seed": 10**30}, "seed 1000000000000000000000000000000"),
        ],
    )
    def test_numbers_out_of_range_are_named(self, tmp_path: Path, numbers: dict[str, Any], named: str) -> None:
        with pytest.raises(DataError, match=f"^{named}.*; choose [^\n]*$"):
            synthesize(tmp_path / "out", **numbers)
        assert not list(tmp_path.iterdir())

    def test_a_folder_in_use_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "keep.txt").write_text("mine")
        with pytest.raises(ReidError, match=r"^[^\n]*not a(n empty)? folder; [^\n]*choose another[^\n]*$"):
            synthesize(tmp_path, vehicles=4, cameras=2)
        assert contents(tmp_path) == {"keep.txt": b"mine"}

    def test_an_empty_folder_is_filled(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        progress = Recorder()
        summary = synthesize(tmp_path / "out", vehicles=4, cameras=2, progress=progress)
        images = summary.train.images + summary.test.images
        assert progress.stages == [Stage("rendering", images, "images", [1] * images)]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_data_set_that_appeared_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        class Rival(Recorder):
            def begin(self, stage: str, total: int, unit: str = "frames") -> None:
                synthesize(tmp_path / "out", vehicles=4, cameras=2, seed=1)

            def advance(self, steps: int = 1) -> None:
                pass

        with pytest.raises(ReidError, match="not an empty folder"):
            synthesize(tmp_path / "out", vehicles=4, cameras=2, seed=0, progress=Rival())
        synthesize(tmp_path / "expected", vehicles=4, cameras=2, seed=1)
        assert contents(tmp_path / "out") == contents(tmp_path / "expected")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "out"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_an_interruption_leaves_nothing(self, tmp_path: Path, error: type[BaseException]) -> None:
        class Interruption(Recorder):
            def advance(self, steps: int = 1) -> None:
                super().advance(steps)
                assert any(path.name.endswith(".partial") for path in tmp_path.iterdir())
                if self.stages[-1].done == 3:
                    raise error

        with pytest.raises(error):
            synthesize(tmp_path / "out", vehicles=4, cameras=2, progress=Interruption())
        assert not list(tmp_path.iterdir())


def color_histogram(path: Path, conversion: int) -> NDArray[np.float64]:
    stored = cv2.imread(str(path))
    assert stored is not None
    image = cv2.cvtColor(stored, conversion)
    top = 180 if conversion == cv2.COLOR_BGR2HSV else 256
    counts, _ = np.histogramdd(image.reshape(-1, 3), bins=8, range=[(0, top), (0, 256), (0, 256)])
    return np.asarray(counts.ravel() / counts.sum())


def naive_map(written: Written, embed: dict[str, NDArray[np.float64]]) -> float:
    """Mean average precision in percent of L1 neighbors, by VeRi-776's rule."""
    precisions = []
    for query in written.query:
        rivals = [name for name in written.test if name[:9] != query[:9]]
        rivals.sort(key=lambda name: np.abs(embed[name] - embed[query]).sum())
        hits, found = [], 0
        for rank, name in enumerate(rivals, start=1):
            if name[:4] == query[:4]:
                found += 1
                hits.append(found / rank)
        precisions.append(sum(hits) / len(hits))
    return 100 * sum(precisions) / len(precisions)


class TestHardness:
    @pytest.mark.parametrize("conversion", [cv2.COLOR_BGR2RGB, cv2.COLOR_BGR2HSV], ids=["rgb", "hsv"])
    def test_color_does_not_tell_vehicles_apart(self, written: Written, conversion: int) -> None:
        folder = written.folder / "image_test"
        embed = {name: color_histogram(folder / name, conversion) for name in written.test}
        assert naive_map(written, embed) < 45

    def test_the_evaluator_would_see_a_perfect_embedding(self, written: Written) -> None:
        assert naive_map(written, {name: np.array([float(name[:4])]) for name in written.test}) == 100

    def test_fleets_are_in_both_splits(self, written: Written) -> None:
        for file, root in (("train_label.xml", "TrainingImages"), ("test_label.xml", "TestImages")):
            looks = {i["vehicleID"]: (i["colorID"], i["typeID"]) for i in written.labels(file, root)}
            assert Counter(looks.values()).most_common(1)[0][1] >= 3

    def test_vehicles_of_a_fleet_differ_in_marks_not_in_shade(self) -> None:
        fleet = [fleet_vehicle(0, number) for number in range(1, 11)]
        (look, size), *_ = Counter((vehicle.body, vehicle.paint) for vehicle in fleet).most_common(1)
        alike = [vehicle for vehicle in fleet if (vehicle.body, vehicle.paint) == look]
        assert size >= 6
        assert np.ptp([vehicle.shade for vehicle in alike], axis=0).max() <= 4
        assert len({vehicle.marks for vehicle in alike}) == size


class TestCamera:
    @pytest.mark.parametrize("number", range(1, 9))
    def test_projects_as_opencv_does(self, number: int) -> None:
        camera = draw_camera(0, number)
        points = np.random.default_rng(number).uniform((-4, -2, 0), (4, 2, 3), size=(20, 3))
        matrix = np.array(
            [[camera.focal, 0, FRAME_WIDTH / 2], [0, camera.focal, FRAME_HEIGHT / 2], [0, 0, 1]], dtype=float
        )
        turn, _ = cv2.Rodrigues(camera.rotation)
        expected, _ = cv2.projectPoints(points, turn, -camera.rotation @ camera.eye, matrix, np.zeros(5))
        np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-6)

    @pytest.mark.parametrize("number", range(1, 9))
    def test_stands_upright_above_every_roof(self, number: int) -> None:
        camera = draw_camera(0, number)
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        low, high = camera.project(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
        assert high[0] == pytest.approx(low[0])
        assert high[1] < low[1]
        roofs = [build_mesh(draw_vehicle(np.random.default_rng(0), body)).vertices[:, 2] for body in range(len(BODIES))]
        assert camera.eye[2] > max(heights.max() for heights in roofs)

    def test_rays_go_through_their_pixels(self) -> None:
        camera = draw_camera(0, 1)
        rays = camera.rays()
        for row, column in ((0, 0), (100, 900), (719, 1279)):
            (pixel,) = camera.project(camera.eye[None] + 7.0 * rays[row, column])
            np.testing.assert_allclose(pixel, (column, row), atol=0.01)

    @pytest.mark.parametrize("number", range(1, 9))
    def test_what_is_behind_stays_below_the_frame(self, number: int) -> None:
        camera = draw_camera(0, number)
        behind = camera.eye * (1.8, 1.8, 0.0)
        assert camera.rotation[2] @ (behind - camera.eye) < 0
        assert FRAME_HEIGHT < camera.project(behind[None])[0, 1] < 1e6

    def test_cameras_see_different_sides(self) -> None:
        azimuths = sorted(np.degrees(np.arctan2(*draw_camera(0, k).eye[1::-1])) % 360 for k in range(1, 7))
        gaps = np.diff([*azimuths, azimuths[0] + 360])
        assert gaps.max() < 150

    def test_what_comes_nearer_grows_steadily(self) -> None:
        camera, mesh = draw_camera(0, 1), build_mesh(fleet_vehicle(0, 1))
        heights = [np.ptp(camera.project(Placed(mesh, x, 0.0, 0.0).vertices())[:, 1]) for x in np.linspace(-5, 5, 9)]
        growth = np.array(heights[1:]) / heights[:-1]
        assert camera.eye[0] > 5
        assert growth.min() > 1
        assert growth.max() < 1.3


class TestMesh:
    @pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
    def test_surfaces_look_outward(self, body: Body) -> None:
        for loft in body.lofts():
            middle = np.concatenate([loft.lower.points(), loft.upper.points()]).mean(axis=0)
            for surface in (*loft.sides().values(), loft.top()):
                assert surface.normal @ (surface.corners.mean(axis=0) - middle) > 0
                assert np.linalg.norm(surface.normal) == pytest.approx(1)

    def test_decals_lie_on_their_surface(self) -> None:
        surface = Surface.spanned([(0, 0, 1), (2, 0, 1), (2, 1, 2), (0, 1, 2)])
        decal = surface.rectangle((0.25, 0.5), (0.0, 0.5), (0, 0, 0))
        np.testing.assert_allclose(decal.points, [(0.5, 0, 1), (1, 0, 1), (1, 0.5, 1.5), (0.5, 0.5, 1.5)])

    def test_paints_only_what_faces_the_eye_and_the_near_part_last(self) -> None:
        near, far = (Part(Level.UPPER, box((x, -1, 0), (x + 1, 1, 1), (k, k, k))) for x, k in ((3, 1), (0, 2)))
        mesh = Mesh.of([near, far])
        order = mesh.paint_order(np.array([10.0, 0.0, 5.0]))
        assert mesh.colors[order, 0].tolist() == [2, 2, 1, 1]
        assert (mesh.normals[order][:, [0, 2]].sum(axis=1) == 1).all()
        assert mesh.colors[mesh.paint_order(np.array([-10.0, 0.0, 5.0])), 0].tolist() == [1, 1, 2, 2]

    def test_marks_are_seen_from_every_side(self) -> None:
        vehicle = next(v for number in range(1, 20) if (v := fleet_vehicle(0, number)).marks.emblem)
        mesh = build_mesh(vehicle)
        assert vehicle.marks.emblem
        for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False):
            visible = mesh.colors[mesh.paint_order(np.array([15 * np.cos(turn), 15 * np.sin(turn), 5.0]))]
            assert (visible == vehicle.marks.emblem.figure).all(axis=1).any()


class TestFilm:
    def test_neighboring_frames_are_alike_and_others_are_not(self) -> None:
        track = next(track for track in plan_tracks(0, 1, 2) if track.camera == 1)
        scene, mesh = draw_scene(0, 1), build_mesh(fleet_vehicle(0, 1))
        frames = [cv2.resize(image, (64, 64)).astype(float) for image in film(scene, track, mesh, seed=0)]
        assert len(frames) == len(track.times)
        steps = [np.abs(a - b).mean() for a, b in pairwise(frames)]
        assert np.mean(steps) < np.abs(frames[0] - frames[-1]).mean()
        assert min(steps) > 0
