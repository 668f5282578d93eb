"""Multi-level vehicle re-identification, from PyTorch training to verified deployment.

The names below are what most programs need; each is imported from its own module when it is first used, so that
`import reid` costs next to nothing. The rooms, each of which may import only those to its right::

    commands > export > train | calibration > serve | bench > pages > evaluation > data > runtime
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.data.layout import read_dataset
    from reid.evaluation.evaluate import evaluate
    from reid.evaluation.metrics import Metrics
    from reid.evaluation.verification.verify import verify
    from reid.runtime.association.associate import Associator, associate, threshold_of
    from reid.runtime.association.tracks import SeenTrack
    from reid.runtime.boxes import embed_boxes
    from reid.runtime.embedding import Embedded, embed
    from reid.runtime.errors import DataError, GateError, ModelError, ReidError, SessionError
    from reid.runtime.folders import read_folder
    from reid.runtime.frame_policies import EveryFrame, OnChange, UntilSettled
    from reid.runtime.galleries.conditions import Condition
    from reid.runtime.galleries.entry import Entry
    from reid.runtime.galleries.memory import MemoryGallery
    from reid.runtime.galleries.opening import open_gallery
    from reid.runtime.galleries.protocol import Gallery
    from reid.runtime.galleries.queries import rank
    from reid.runtime.galleries.ranked_lists import Match, Ranking
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.live.stream import StreamEndedError, TrackletStream
    from reid.runtime.live.tracks import LiveTrack
    from reid.runtime.opening import open_session
    from reid.runtime.pipeline.events import Crop, FrameEvent
    from reid.runtime.pipeline.stream import embed_events
    from reid.runtime.pipeline.tracks import Track
    from reid.runtime.sessions.session import Session
    from reid.runtime.tracklet import Tracklet

    __version__: str

# Nothing that runs here reports to anyone. The libraries read this once, when they are loaded, by whomever; child
# processes inherit it.
os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}

__all__ = [
    "Associator",
    "Condition",
    "Crop",
    "DataError",
    "Dataset",
    "Embedded",
    "Entry",
    "EveryFrame",
    "FrameEvent",
    "Gallery",
    "GateError",
    "LiveTrack",
    "Match",
    "MemoryGallery",
    "Metrics",
    "ModelError",
    "OnChange",
    "Ranking",
    "ReidError",
    "SeenTrack",
    "Session",
    "SessionError",
    "Store",
    "StreamEndedError",
    "Track",
    "Tracklet",
    "TrackletStream",
    "UntilSettled",
    "__version__",
    "associate",
    "embed",
    "embed_boxes",
    "embed_events",
    "evaluate",
    "open_gallery",
    "open_session",
    "rank",
    "read_dataset",
    "read_folder",
    "threshold_of",
    "verify",
]

_MODULES = {
    "Associator": "runtime.association.associate",
    "Condition": "runtime.galleries.conditions",
    "Crop": "runtime.pipeline.events",
    "DataError": "runtime.errors",
    "Dataset": "data.dataset",
    "Embedded": "runtime.embedding",
    "Entry": "runtime.galleries.entry",
    "EveryFrame": "runtime.frame_policies",
    "FrameEvent": "runtime.pipeline.events",
    "Gallery": "runtime.galleries.protocol",
    "GateError": "runtime.errors",
    "LiveTrack": "runtime.live.tracks",
    "Match": "runtime.galleries.ranked_lists",
    "MemoryGallery": "runtime.galleries.memory",
    "Metrics": "evaluation.metrics",
    "ModelError": "runtime.errors",
    "OnChange": "runtime.frame_policies",
    "Ranking": "runtime.galleries.ranked_lists",
    "ReidError": "runtime.errors",
    "SeenTrack": "runtime.association.tracks",
    "Session": "runtime.sessions.session",
    "SessionError": "runtime.errors",
    "Store": "runtime.galleries.store.store",
    "StreamEndedError": "runtime.live.stream",
    "Track": "runtime.pipeline.tracks",
    "Tracklet": "runtime.tracklet",
    "TrackletStream": "runtime.live.stream",
    "UntilSettled": "runtime.frame_policies",
    "associate": "runtime.association.associate",
    "embed": "runtime.embedding",
    "embed_boxes": "runtime.boxes",
    "embed_events": "runtime.pipeline.stream",
    "evaluate": "evaluation.evaluate",
    "open_gallery": "runtime.galleries.opening",
    "open_session": "runtime.opening",
    "rank": "runtime.galleries.queries",
    "read_dataset": "data.layout",
    "read_folder": "runtime.folders",
    "threshold_of": "runtime.association.associate",
    "verify": "evaluation.verification.verify",
}
"""Public name -> the module, within this package, that defines it."""


if not TYPE_CHECKING:  # for a type checker, a name that is not imported above does not exist

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        elif name == "__version__":
            from importlib.metadata import version

            value = version("reid")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
