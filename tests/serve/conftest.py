"""A store of few entries, and the crops that it was made of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from served import Client, serving

from reid.runtime.appending import append
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import Session
from reid.runtime.sightings import Seen


@dataclass(frozen=True)
class Material:
    """Files for tests: a store, the crops in it, and crops to ask with."""

    store: Path
    crops: Path
    queries: list[Path]


@pytest.fixture(scope="session")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle) as opened:
        yield opened


@pytest.fixture(scope="session")
def material(veri: Path, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """A gallery with a tracklet of three frames, and every third entry without a time."""
    folder = tmp_path_factory.mktemp("served")
    crops, images = folder / "crops", sorted((veri / "image_test").glob("*.jpg"))
    (crops / "track").mkdir(parents=True)
    for image in images[:3]:
        shutil.copy(image, crops / "track")
    for image in images[3:30]:
        shutil.copy(image, crops)
    names = sorted(path.name for path in crops.iterdir())
    sightings = {name: Seen(None, float(number)) for number, name in enumerate(names) if number % 3}
    append(session, folder / "store", crops, sightings=sightings)
    return Material(folder / "store", crops, sorted((veri / "image_query").glob("*.jpg"))[:6])


@pytest.fixture(scope="module")
def client(session: Session, material: Material) -> Iterator[Client]:
    """A client of a service that only reads."""
    with serving(session, material.store, read_only=True) as served:
        yield served


@pytest.fixture
def store(material: Material, tmp_path: Path) -> Path:
    """A copy of the store, to change."""
    return Path(shutil.copytree(material.store, tmp_path / "store"))
