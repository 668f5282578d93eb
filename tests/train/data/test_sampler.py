import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from reid.runtime.errors import DataError
from reid.train.data.sampler import PKSampler, Sample

VEHICLES = [vehicle for vehicle, images in enumerate([1, 2, 3, 4, 5, 9, 12, 4, 4, 4]) for _ in range(images)]


@st.composite
def training_sets(sample: st.DrawFn) -> tuple[list[int], int, int]:
    """(vehicle of each image, p, k)."""
    images = sample(st.lists(st.integers(1, 20), min_size=1, max_size=8))
    vehicles = [10 * vehicle for vehicle, count in enumerate(images) for _ in range(count)]
    random.Random(sample(st.integers(0, 9))).shuffle(vehicles)
    return vehicles, sample(st.integers(1, len(images))), sample(st.integers(1, 6))


@given(training_sets(), st.integers(0, 2**40), st.integers(0, 500))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_p_vehicles_with_k_images_each(
    training_set: tuple[list[int], int, int], seed: int, epoch: int
) -> None:
    vehicles, p, k = training_set
    sampler = PKSampler(vehicles, p=p, k=k, seed=seed, epoch=epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) >= 1
    for batch in batches:
        assert sorted(Counter(vehicles[sample.index] for sample in batch).values()) == [k] * p


@given(training_sets(), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_all_images_are_drawn_of_all_but_at_most_p_minus_1_vehicles(
    training_set: tuple[list[int], int, int], seed: int
) -> None:
    vehicles, p, k = training_set
    drawn = {sample.index for batch in PKSampler(vehicles, p=p, k=k, seed=seed) for sample in batch}
    assert len({vehicle for image, vehicle in enumerate(vehicles) if image not in drawn}) <= p - 1


@given(training_sets(), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_an_image_is_drawn_again_only_to_fill_up_a_group(training_set: tuple[list[int], int, int], seed: int) -> None:
    vehicles, p, k = training_set
    images = Counter(vehicles)
    samples = Counter(sample.index for batch in PKSampler(vehicles, p=p, k=k, seed=seed) for sample in batch)
    again = Counter[int]()
    for image, count in samples.items():
        again[vehicles[image]] += count - 1
    assert all(again[vehicle] <= -images[vehicle] % k for vehicle in images)


@given(training_sets(), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_group_repeats_an_image_only_where_its_vehicle_has_fewer_than_k(
    training_set: tuple[list[int], int, int], seed: int
) -> None:
    vehicles, p, k = training_set
    images = Counter(vehicles)
    for batch in PKSampler(vehicles, p=p, k=k, seed=seed):
        different = Counter(vehicles[image] for image in {sample.index for sample in batch})
        assert all(count == min(k, images[vehicle]) for vehicle, count in different.items())


@given(training_sets(), st.integers(0, 99), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_cameras_are_dealt_out_over_a_vehicles_groups_as_evenly_as_possible(
    training_set: tuple[list[int], int, int], seed: int, most_cameras: int
) -> None:
    vehicles, p, k = training_set
    cameras = [f"c{random.Random(seed + image).randrange(most_cameras)}" for image in range(len(vehicles))]
    for batch in PKSampler(vehicles, p=p, k=k, seed=seed, views=[(camera,) for camera in cameras]):
        for vehicle in {vehicles[sample.index] for sample in batch}:
            images = [image for image, other in enumerate(vehicles) if other == vehicle]
            groups = -(-len(images) // k)
            again = groups * k - len(images)  # drawn a second time, from any camera
            drawn = Counter(cameras[sample.index] for sample in batch if vehicles[sample.index] == vehicle)
            for camera, of_camera in Counter(cameras[image] for image in images).items():
                assert of_camera // groups <= drawn[camera] <= -(-(of_camera + again) // groups)


def test_a_vehicle_with_k_cameras_is_seen_by_all_of_them_at_once() -> None:
    vehicles = [v for v in range(6) for _ in range(16)]
    cameras = [f"c{image % 4}" for image in range(len(vehicles))]
    for batch in PKSampler(vehicles, p=3, k=4, seed=0, views=[(camera,) for camera in cameras]):
        for vehicle in {vehicles[sample.index] for sample in batch}:
            assert len({cameras[sample.index] for sample in batch if vehicles[sample.index] == vehicle}) == 4
    unaware = [
        len({cameras[sample.index] for sample in batch if vehicles[sample.index] == vehicle})
        for batch in PKSampler(vehicles, p=3, k=4, seed=0)
        for vehicle in {vehicles[sample.index] for sample in batch}
    ]
    assert min(unaware) < 4


def test_cameras_change_neither_what_is_drawn_nor_the_mixing_of_epochs() -> None:
    vehicles, views = [0] * 40, [(f"c{image % 3}",) for image in range(40)]
    sampler = PKSampler(vehicles, p=1, k=4, seed=0, views=views)
    groups = {frozenset(sample.index for sample in batch) for batch in sampler}
    assert sorted(sample.index for batch in sampler for sample in batch) == list(range(40))
    sampler.set_epoch(1)
    again = {frozenset(sample.index for sample in batch) for batch in sampler}
    assert len(groups & again) < 3
    assert list(sampler) == list(PKSampler(vehicles, p=1, k=4, seed=0, epoch=1, views=views))


@given(training_sets(), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_unknown_views_do_not_change_the_contract(training_set: tuple[list[int], int, int], seed: int) -> None:
    vehicles, p, k = training_set
    images = Counter(vehicles)
    for batch in PKSampler(vehicles, p=p, k=k, seed=seed, views=[("", "")] * len(vehicles)):
        different = Counter(vehicles[image] for image in {sample.index for sample in batch})
        assert all(count == min(k, images[vehicle]) for vehicle, count in different.items())


def test_views_must_be_as_many_as_images() -> None:
    with pytest.raises(ValueError, match="1 views for 2 images"):
        PKSampler([0, 1], p=1, k=1, seed=0, views=[("c1",)])


@given(training_sets(), st.integers(0, 99), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_tracks_are_dealt_out_as_evenly_as_possible_and_so_are_their_cameras(
    training_set: tuple[list[int], int, int], seed: int, most_cameras: int, most_tracks: int
) -> None:
    vehicles, p, k = training_set
    drawn = random.Random(seed)
    views = [(f"c{drawn.randrange(most_cameras)}", f"t{drawn.randrange(most_tracks)}") for _ in vehicles]
    for batch in PKSampler(vehicles, p=p, k=k, seed=seed, views=views):
        for vehicle in {vehicles[sample.index] for sample in batch}:
            own = [image for image, other in enumerate(vehicles) if other == vehicle]
            groups = -(-len(own) // k)
            again = groups * k - len(own)  # drawn a second time, of any view
            group = [sample.index for sample in batch if vehicles[sample.index] == vehicle]
            for depth in (1, 2):
                seen = Counter(views[image][:depth] for image in group)
                for view, of_view in Counter(views[image][:depth] for image in own).items():
                    assert of_view // groups <= seen[view] <= -(-(of_view + again) // groups)


def test_dealing_by_cameras_has_not_changed_since_it_was_the_only_way() -> None:
    """Runs that were begun then can go on: the same batches, as plain numbers."""
    cameras = ["c1", "c2", "c1", "c3", "c2", "c1", "c3", "c2", "c1", "c1"]
    sampler = PKSampler([0] * 5 + [1] * 5, p=2, k=2, seed=3, views=[(camera,) for camera in cameras])
    assert [[sample.index for sample in batch] for batch in sampler] == [[9, 5, 0, 1], [9, 7, 2, 4], [1, 3, 6, 8]]


def test_the_same_seed_and_epoch_give_the_same_samples() -> None:
    sampler = PKSampler(VEHICLES, p=3, k=4, seed=7, epoch=2)
    first = list(sampler)
    assert list(sampler) == first
    torch.manual_seed(123)
    assert list(PKSampler(VEHICLES, p=3, k=4, seed=7, epoch=2)) == first


def test_set_epoch_is_as_good_as_starting_there() -> None:
    sampler = PKSampler(VEHICLES, p=3, k=4, seed=7)
    before = list(sampler)
    sampler.set_epoch(5)
    assert list(sampler) == list(PKSampler(VEHICLES, p=3, k=4, seed=7, epoch=5))
    sampler.set_epoch(0)
    assert list(sampler) == before


@pytest.mark.parametrize("other", [{"seed": 8}, {"epoch": 1}, {"seed": 0, "epoch": 7}])
def test_another_seed_or_epoch_gives_other_samples(other: dict[str, int]) -> None:
    here = [sample for batch in PKSampler(VEHICLES, p=3, k=4, seed=7) for sample in batch]
    there = [sample for batch in PKSampler(VEHICLES, p=3, k=4, **{"seed": 7, **other}) for sample in batch]
    assert [sample.index for sample in here] != [sample.index for sample in there]
    assert not {sample.seed for sample in here} & {sample.seed for sample in there}


def test_the_seed_of_a_sample_depends_only_on_its_position() -> None:
    here = [sample.seed for batch in PKSampler(VEHICLES, p=3, k=4, seed=7) for sample in batch]
    there = [sample.seed for batch in PKSampler(list(range(9)), p=2, k=1, seed=7) for sample in batch]
    assert here[: len(there)] == there
    assert len(set(here)) == len(here)
    assert all(0 <= seed < 2**63 for seed in here)


def test_images_are_combined_differently_in_another_epoch() -> None:
    sampler = PKSampler([0] * 40, p=1, k=4, seed=0)
    groups = {frozenset(sample.index for sample in batch) for batch in sampler}
    sampler.set_epoch(1)
    again = {frozenset(sample.index for sample in batch) for batch in sampler}
    assert len(groups) == len(again) == 10
    assert groups != again


@pytest.mark.parametrize("seed", range(5))
def test_big_vehicles_do_not_remain_at_the_end(seed: int) -> None:
    """Of 2 vehicles with 80 images and 40 with 8, nearly all of the 120 groups are drawn, in batches of 4.

    With all vehicles as likely, the small ones would run out first, after 22 batches or so.
    """
    vehicles = [v for v in range(2) for _ in range(80)] + [v for v in range(2, 42) for _ in range(8)]
    assert len(PKSampler(vehicles, p=4, k=4, seed=seed)) >= 27


class Echo(Dataset):
    def __getitem__(self, sample: Sample) -> tuple[int, int]:
        return sample.index, sample.seed


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_passes_the_samples_on_with_any_number_of_workers(workers: int) -> None:
    sampler = PKSampler(VEHICLES, p=3, k=4, seed=7)
    loader = DataLoader(Echo(), batch_sampler=sampler, num_workers=workers, collate_fn=list)
    assert [[Sample(*pair) for pair in batch] for batch in loader] == list(sampler)
    assert len(loader) == len(sampler)


@pytest.mark.parametrize(
    ("vehicles", "message"),
    [
        (
            list(range(12)) * 9,
            "a batch of 16 vehicles x 4 images needs 16 vehicles; the training data has 12: use --batch 12x4",
        ),
        ([5, 5], "the training data has 1: add vehicles, at least 2"),
        ([], "the training data has 0: add vehicles, at least 2"),
    ],
)
def test_too_few_vehicles_are_refused(vehicles: list[int], message: str) -> None:
    with pytest.raises(DataError) as failure:
        PKSampler(vehicles, p=16, k=4, seed=0)
    assert str(failure.value).endswith(message)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("batch", [{"p": 0, "k": 4}, {"p": 2, "k": 0}])
def test_an_empty_batch_is_refused(batch: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="both must be 1 or more"):
        PKSampler(VEHICLES, seed=0, **batch)


@pytest.mark.parametrize("start", [{"seed": -1}, {"seed": 0, "epoch": -1}])
def test_a_negative_seed_or_epoch_is_refused(start: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        PKSampler(VEHICLES, p=2, k=2, **start)
