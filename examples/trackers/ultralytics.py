"""A bundle's features in Ultralytics' trackers that use appearance: BoT-SORT, Deep OC-SORT and TrackTrack.

Copy this file into your project under another name, such as reid_ultralytics.py: one of this name hides the package::

    from ultralytics import YOLO
    from reid import open_session

    with open_session("bundle") as session:
        use_reid(session)
        for result in YOLO("yolo26n.pt").track("video.mp4", tracker="botsort.yaml", stream=True):
            print(result.boxes.id)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ultralytics.trackers.track import TRACKER_MAP

from reid import Session, embed_boxes

__all__ = ["Encoder", "use_reid"]


class Encoder:
    """What these trackers call their encoder: a picture, BGR, and boxes in, a feature for each out."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, img: NDArray[np.uint8], dets: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return float32 [D] for each row of center, width and height; zeros outside the picture, which they ignore."""
        centers, halves = dets[:, :2], dets[:, 2:4] / 2
        return list(embed_boxes(self.session, img[:, :, ::-1], np.hstack([centers - halves, centers + halves])))


def use_reid(session: Session, name: str = "botsort") -> type[Any]:
    """Give every tracker of this name that is made from now on the session's features, whatever its file says."""

    def initialize(self: Any, args: Any) -> None:  # noqa: ANN401 - Ultralytics has no types
        args.with_reid, args.model = True, "auto"  # which loads no model
        base.__init__(self, args)
        self.args.model, self.encoder = "reid", Encoder(session)

    base = TRACKER_MAP[name]
    TRACKER_MAP[name] = type(base.__name__, (base,), {"__init__": initialize})
    return TRACKER_MAP[name]
