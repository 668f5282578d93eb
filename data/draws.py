"""The draws of a test set whose gallery is one random image of each vehicle.

This is the protocol of VehicleID (Liu, Tian, Yang, Pang, Huang: *Deep Relative Distance Learning: Tell the Difference
Between Similar Vehicles*, CVPR 2016): all other images are queries, and results are means over ten draws.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from reid.data.dataset import Split, TestSet
from reid.runtime.tracklet import Tracklet

__all__ = ["draw_gallery"]


def draw_gallery(test_set: TestSet, number: int) -> tuple[Split, Split]:
    """Return the query and the gallery split of a draw, the same for the same images in any order.

    Args:
        test_set: a test set with draws, whose query and gallery both hold all images.
        number: the number of the draw, from 0; it is the seed.
    """
    of_vehicle: dict[str, list[Tracklet]] = defaultdict(list)
    for image in test_set.gallery.images:
        of_vehicle[str(image.vehicle)].append(image)
    random = np.random.default_rng(number)
    groups = (sorted(of_vehicle[vehicle], key=lambda image: image.id) for vehicle in sorted(of_vehicle))
    drawn = {images[random.integers(len(images))].frames for images in groups}
    query = tuple(image for image in test_set.query.images if image.frames not in drawn)
    return Split(query, query), Split(tuple(image for image in test_set.gallery.images if image.frames in drawn))
