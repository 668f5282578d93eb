"""The style `varied`: its data set, its vehicles, and its renderer against second computations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.data.synthesis.body import BODIES
from reid.data.synthesis.camera import draw_camera
from reid.data.synthesis.scene import plan_tracks
from reid.data.synthesis.styles import STYLES
from reid.data.synthesis.varied.conditions import WEATHERS, Conditions, draw_conditions, draw_lamp
from reid.data.synthesis.varied.lighting import shade
from reid.data.synthesis.varied.livery import letter
from reid.data.synthesis.varied.loft import loft_points, trace
from reid.data.synthesis.varied.models import draw_model
from reid.data.synthesis.varied.raster import texels_seen
from reid.data.synthesis.varied.sensor import SHOT, develop
from reid.data.synthesis.varied.sheets import Sheet, Solid, plain_box, wrap
from reid.data.synthesis.varied.vehicle import build_solid, numbered_vehicle
from reid.data.synthesis.veri import synthesize

SQUARE = [(0, 0, 0), (0, 4, 0), (0, 4, 3), (0, 0, 3)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("varied") / "veri"
    synthesize(folder, vehicles=4, cameras=2, seed=3, style="varied")
    return folder


def still_air() -> Conditions:
    """Sun from straight ahead, along x, and nothing else."""
    nothing = np.zeros(3)
    return Conditions(
        sun_direction=np.array([1.0, 0.0, 0.0]), sun=np.array([1.0, 0.8, 0.6]), sky=nothing, horizon=nothing,
        lamp=nothing, lamp_place=np.array([50.0, 0.0, 7.0]), lights_on=False, wet=0.0, fog=0.0, exposure=1.0, way=0.0,
        noise=0.0,
    )  # fmt: skip


class TestDataSet:
    def test_has_the_tracks_of_the_plain_style(self, written: Path) -> None:
        planned = [name for number in range(1, 5) for track in plan_tracks(3, number, 2) for name in track.names()]
        listed = [name for part in ("train", "test") for name in (written / f"name_{part}.txt").read_text().split()]
        assert sorted(listed) == sorted(planned)
        found = {path.name for part in ("train", "test") for path in (written / f"image_{part}").iterdir()}
        assert found == set(planned)

    def test_a_track_is_the_same_in_every_set_and_every_time(self, written: Path) -> None:
        track = next(track for track in plan_tracks(3, 2, 2) if track.camera == 2)
        (shots,) = STYLES["varied"].shoot(3, 2, [track])
        for name, (image, quality) in zip(track.names(), shots, strict=True):
            _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            assert (written / "image_test" / name).read_bytes() == encoded.tobytes()

    def test_images_are_neither_tiny_nor_blank(self, written: Path) -> None:
        for path in (written / "image_train").iterdir():
            image = cv2.imread(str(path))
            assert image is not None
            assert 60 <= max(image.shape[:2]) <= 240
            assert image.std() > 2

    def test_labels_are_those_of_the_vehicles(self, written: Path) -> None:
        vehicle = numbered_vehicle(3, 2)
        label = f'vehicleID="0002" cameraID="c001" colorID="{vehicle.paint + 1}" typeID="{vehicle.model.body + 1}"'
        assert label in (written / "test_label.xml").read_text("gb2312")


class TestVehicles:
    def test_many_share_model_and_paint_and_none_its_marks(self) -> None:
        vehicles = [numbered_vehicle(0, number) for number in range(1, 101)]
        alike = Counter((vehicle.model, vehicle.paint) for vehicle in vehicles)
        assert sum(size for size in alike.values() if size > 1) > 40
        assert len(alike) > 30
        assert len({vehicle.marks for vehicle in vehicles}) == 100

    @pytest.mark.parametrize("body", range(len(BODIES)), ids=[body.name for body in BODIES])
    def test_a_body_is_closed_symmetric_and_looks_outward(self, body: int) -> None:
        shape = draw_model(np.random.default_rng(body), body).shape
        points = loft_points(shape, trace(shape), 61, 41)
        np.testing.assert_allclose(points, points[:, ::-1] * (1, -1, 1), atol=1e-5)
        np.testing.assert_allclose(points[[0, -1], :, 1], 0, atol=0.02)
        assert points[..., 2].max() == pytest.approx(shape.height, abs=0.05)
        assert np.abs(points[..., 1]).max() == pytest.approx(shape.width / 2, rel=0.02)
        sheet = Sheet.blank(points, (6, 4))
        outward = points[5:-5] - (0, 0, shape.height / 2)
        assert ((sheet.normals[5:-5] * outward).sum(axis=-1) > 0)[:, [0, 10, 20, 30, 40]].mean() > 0.9
        assert (sheet.normals[20:40, 20, 2] > 0.2).all()

    def test_marks_change_a_vehicle_and_its_place_does_not(self) -> None:
        vehicle = numbered_vehicle(0, 1)
        other = replace(vehicle, marks=numbered_vehicle(0, 2).marks)
        first, again, changed = (build_solid(one) for one in (vehicle, vehicle, other))
        np.testing.assert_array_equal(first.albedo, again.albedo)
        body = slice(0, 50_000)
        assert (first.albedo[body] != changed.albedo[body]).any()
        np.testing.assert_array_equal(first.points[body], changed.points[body])

    def test_letters_are_bits_of_three_by_five(self) -> None:
        letters = (0b101_000_111_000_010, 0b000_000_000_000_001)
        up, along = np.meshgrid((np.arange(5) + 0.5) / 5, (np.arange(8) + 0.5) / 8, indexing="ij")
        ink, ground = letter(letters, along.astype(np.float32), up.astype(np.float32))
        assert ground.all()
        for row in range(5):
            for column in range(8):
                expected = column % 4 < 3 and f"{letters[column // 4]:015b}"[::-1][3 * row + column % 4] == "1"
                assert ink[row, column] == expected


class TestRenderer:
    def test_texels_are_where_a_homography_puts_them(self) -> None:
        sheet = replace(wrap(SQUARE, texels=(61, 81)), cells=(12, 16))
        solid = Solid.of([sheet])
        quad = np.array([(10, 180), (230, 200), (220, 30), (25, 15)], np.float32)  # as if seen a little from the side
        ends = np.array([(0, 0), (80, 0), (80, 60), (0, 60)], np.float32)
        matrix = cv2.getPerspectiveTransform(ends, quad)
        rows, columns = np.divmod(np.arange(61 * 81), 81)
        places = cv2.perspectiveTransform(np.stack([columns, rows], axis=1)[None].astype(np.float64), matrix)[0]
        faces = len(solid.corners)
        seen = texels_seen(solid, places[solid.corners], np.zeros(faces), np.ones(faces, np.bool_), (240, 210))
        inside = cv2.fillConvexPoly(np.zeros((210, 240), np.uint8), quad.astype(int), 1) > 0
        assert ((seen >= 0) == inside).mean() > 0.99
        y, x = np.nonzero(seen >= 0)
        assert np.hypot(*(places[seen[y, x]] - np.stack([x, y], axis=1)).T).max() < 6  # a texel is up to 4 pixels

    def test_what_is_nearer_hides_what_is_farther(self) -> None:
        boxes = [plain_box((x, -1, 0), (x + 1, 1, 1), (shade, shade, shade)) for x, shade in ((0, 50), (3, 200))]
        solid = Solid.of([sheet for sheets in boxes for sheet in sheets])
        corners = solid.points[solid.corners].astype(np.float64)
        pixels = np.stack([50 + 20 * corners[..., 1], 50 - 20 * corners[..., 2]], axis=-1)  # seen from the front
        facing = solid.normals[solid.corners[:, 0], 0] > 0.5
        for eye, hidden in ((10.0, 50), (-10.0, 200)):
            depth = np.abs(eye - corners[..., 0].mean(axis=1))
            seen = texels_seen(solid, pixels, depth, facing, (100, 100))
            shades = solid.albedo[seen[seen >= 0], 0]
            assert not np.isclose(shades, (hidden / 255) ** 2.2).any()
            assert len(shades) > 700

    @pytest.mark.parametrize("turned", [0.0, 0.5, 1.2])
    def test_dull_surfaces_obey_lamberts_law(self, turned: float) -> None:
        sheet = wrap(SQUARE)
        sheet.paint(sheet.mirror == 0, (255, 128, 0))
        turn = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
        light = still_air()
        found = shade(Solid.of([sheet]), np.arange(4), np.array([9.0, 2.0, 4.0]), light, turn)
        albedo = np.array([1, (128 / 255) ** 2.2, 0])
        np.testing.assert_allclose(found, np.tile(albedo * light.sun * np.cos(turned), (4, 1)), atol=1e-5)

    def test_lights_shine_when_they_are_on(self) -> None:
        sheet = wrap(SQUARE)
        sheet.paint(sheet.mirror == 0, (200, 200, 200), glow=1.0)
        solid, eye, dark = Solid.of([sheet]), np.array([9.0, 2.0, 4.0]), replace(still_air(), sun=np.zeros(3))
        off, on = (shade(solid, np.arange(4), eye, replace(dark, lights_on=on), np.eye(3)) for on in (False, True))
        assert off.max() == 0
        assert on.min() > 0.5


class TestCamera:
    def test_weather_changes_from_track_to_track(self) -> None:
        camera = draw_camera(0, 1)
        lamp = draw_lamp(np.random.default_rng(0))
        drawn = [draw_conditions(camera, lamp, np.random.default_rng(seed)) for seed in range(600)]
        assert np.mean([one.wet > 0 for one in drawn]) == pytest.approx(0.18, abs=0.05)
        assert np.mean([one.lamp.max() > 0 for one in drawn]) == pytest.approx(0.16, abs=0.05)
        assert np.mean([one.sun.max() > 0 for one in drawn]) == pytest.approx(0.42, abs=0.06)
        for one in drawn:
            assert np.linalg.norm(one.sun_direction) == pytest.approx(1)
            assert one.sun_direction[2] > 0.1
            assert one.lights_on or not one.lamp.any()
        assert sum(weather.share for weather in WEATHERS.values()) == pytest.approx(1)

    @pytest.mark.parametrize("level", [0.1, 0.3, 0.6])
    def test_noise_is_shot_and_read_noise(self, level: float) -> None:
        look = replace(draw_camera(0, 1).look, gains=np.ones(3), saturation=1.0, blur=0.3)
        light = replace(still_air(), noise=0.004)
        picture = develop(np.full((200, 200, 3), level, np.float32), look, light, np.random.default_rng(0))
        toned = 2.5 - np.sqrt(6.25 - 4 * picture.astype(np.float64) / 255)  # the inverse of 1.25 t - 0.25 t ** 2
        signal = toned**2.2
        assert signal.mean() == pytest.approx(level, rel=0.03)
        slope = 2.2 * level ** (1.2 / 2.2) / (1.25 - 0.5 * level ** (1 / 2.2))
        rounding = (slope / 255) ** 2 / 12
        assert signal.var() - rounding == pytest.approx(light.noise**2 + SHOT * light.noise * level, rel=0.1)
