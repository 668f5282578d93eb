"""A bundle's features in BoxMOT's trackers that use appearance: BotSort, StrongSort, DeepOcSort, BoostTrack and others.

Copy this file into your project under another name, such as reid_boxmot.py: one of this name hides the package::

    from boxmot import BotSort
    from reid import open_session

    with open_session("bundle") as session:
        tracker = BotSort(reid_model=ReidModel(session))
        for picture, detections in video:  # BGR, and [n, 6]: left, top, right, bottom, confidence, class
            tracks = tracker.update(detections, picture)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid import Session, embed_boxes

__all__ = ["ReidModel"]


class ReidModel:
    """What BoxMOT takes as `reid_model`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._black = embed_boxes(session, np.zeros((1, 1, 3), np.uint8), [(0, 0, 1, 1)])

    def get_features(self, boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 [n, D] for boxes [n, 4] of an image, BGR.

        A box outside the image counts as black, as in BoxMOT's own models: it refuses a feature of zeros.
        """
        features = embed_boxes(self.session, image[:, :, ::-1], boxes)
        return np.where(features.any(axis=1, keepdims=True), features, self._black)
