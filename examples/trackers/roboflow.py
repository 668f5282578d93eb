"""A bundle's features in Roboflow's trackers, which know boxes alone: BoTSORTTracker, ByteTrackTracker, SORTTracker.

They let one choose how boxes are compared. Here that is their IoU, or 0 where the features differ. Copy this file::

    from trackers import BoTSORTTracker
    from reid import open_session, threshold_of

    with open_session("bundle") as session:
        tracker = ReidTracker(session, BoTSORTTracker, threshold_of(session.info, 0.01))
        for picture, detections in video:  # BGR, and supervision's Detections
            tracked = tracker.update(detections, picture)
            print(tracked.tracker_id, tracked.data["reid"].shape)  # the features are there, too
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from supervision import Detections
from trackers import IoU

from reid import Session, embed_boxes

__all__ = ["ReidTracker"]


class ReidTracker(IoU):
    """A tracker that compares boxes with this object; `make` is its class, or a partial of it with options."""

    def __init__(self, session: Session, make: Callable[..., Any], threshold: float) -> None:
        self.session, self.threshold, self.tracker = session, threshold, make(iou=self)
        self.known: dict[int, NDArray[np.float32]] = {}  # a track's mean, by its id
        self.shown: dict[bytes, NDArray[np.float32]] = {}  # the picture's features, by their boxes

    def update(self, detections: Detections, picture: NDArray[np.uint8], timestamp: float | None = None) -> Detections:
        """Track the detections of a picture, BGR, and keep their features, float32 [n, D], in `data["reid"]`."""
        features = detections.data["reid"] = embed_boxes(self.session, picture[:, :, ::-1], detections.xyxy)
        self.shown = {box.tobytes(): feature for box, feature in zip(detections.xyxy, features, strict=True)}
        seen = picture if getattr(self.tracker, "enable_cmc", False) else None
        tracked: Detections = self.tracker.update(detections, seen, timestamp)
        for name, feature in zip(tracked.tracker_id.tolist(), tracked.data.get("reid", ()), strict=True):
            mean = 0.9 * self.known.get(name, feature) + 0.1 * feature
            self.known[name] = mean / max(np.linalg.norm(mean), 1e-12)
        self.known = {t.tracker_id: self.known[t.tracker_id] for t in self.tracker.tracks if t.tracker_id in self.known}
        return tracked

    def _compute(self, boxes_1: NDArray[Any], boxes_2: NDArray[Any]) -> NDArray[Any]:
        names = {track.get_state_bbox().tobytes(): track.tracker_id for track in self.tracker.tracks}
        shown = np.stack([self.shown[box.tobytes()] for box in boxes_2])
        means = [self.known.get(names.get(box.tobytes(), -1), shown[0] * 0) for box in boxes_1]
        either = np.outer(np.any(means, axis=1), shown.any(axis=1))  # zeros: nothing is known of it
        return super()._compute(boxes_1, boxes_2) * (~either | (means @ shown.T >= self.threshold))
