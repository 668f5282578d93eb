"""The layouts that are written: what each calls its files, and what its lists say."""

from __future__ import annotations

from functools import partial

from reid.data.conversion import labels
from reid.data.conversion.targets import flat, table, trees, vehicleid, veri, veriwild
from reid.data.conversion.targets.target import Target

__all__ = ["TARGETS", "Target"]

TARGETS = {
    "veri": Target(partial(labels.numbered, needs_cameras=True), veri.names, veri.lists, is_split=True),
    "vehicleid": Target(labels.numbered, vehicleid.names, vehicleid.lists, is_split=True),
    "veriwild": Target(labels.wild_labels, veriwild.names, veriwild.lists, is_split=True),
    "tracklets": Target(labels.folder_labels, trees.names_by_vehicle),
    "vehicle-folders": Target(flat.labels_in_folders, flat.names_in_folders),
    "camera-vehicle": Target(labels.folder_labels, trees.names_by_camera),
    "flat": Target(labels.numbered, flat.names),
    "table": Target(labels.table_labels, table.names, table.lists),
}
