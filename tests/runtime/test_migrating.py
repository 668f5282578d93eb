"""Another model for a store: what is embedded again, what a failure leaves, and how it goes on and goes back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from pictured_galleries import embed, expected, model, write_crops
from recording import Recorder
from stored_galleries import contents, files_of, make_entries, unit

from reid.runtime import appending, migrating
from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError, ModelError
from reid.runtime.files import publishing
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store import reordering
from reid.runtime.galleries.store import store as opening
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import writable_store
from reid.runtime.migrating import Migrated, migrate
from reid.runtime.space import Space

OLD, NEW, THIRD = model("a"), model("b"), model("c")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (appending, migrating):
        monkeypatch.setattr(module, "embed", embed)
    monkeypatch.setattr(appending, "_PIECE", 2)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of five images and three tracklets of two frames and more."""
    appending.append(OLD, tmp_path / "store", write_crops(tmp_path / "crops"))
    return tmp_path / "store"


def entries_of(path: Path) -> list[Entry]:
    with Store.open(path) as store:
        return [entry for entry, _ in contents(store).values()]


def check(path: Path, session: Any, crops: Path) -> None:  # noqa: ANN401
    """Hold a store to what a model makes of the crops."""
    with Store.open(path) as store:
        assert store.space == session.info.space
        assert store.verify() == []
        found = contents(store)
    images = {one.name: [one] for one in crops.glob("*.jpg")}
    tracks = {one.relative_to(crops).as_posix(): sorted(one.iterdir()) for one in crops.glob("*/*") if one.is_dir()}
    assert found.keys() == images.keys() | tracks.keys()
    for name, frames in {**images, **tracks}.items():
        entry, embedding = found[name]
        assert entry.frames == len(frames)
        assert embedding == tuple(expected(session, [frame.read_bytes() for frame in frames]).tolist())


def fail_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def failing(*arguments: Any, **options: Any) -> Iterator[Embedded]:  # noqa: ANN401
        for number, one in enumerate(embed(*arguments, **options)):
            if number == count:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(migrating, "embed", failing)


def test_all_entries_are_embedded_again_from_all_their_frames(store: Path, tmp_path: Path) -> None:
    before, progress = entries_of(store), Recorder()
    found = migrate(NEW, store, progress=progress)
    assert found == Migrated(8, 0, 0, 8, (), (), tmp_path / "store.before")
    check(store, NEW, tmp_path / "crops")
    assert entries_of(store) == before
    check(tmp_path / "store.before", OLD, tmp_path / "crops")
    assert files_of(tmp_path) == {"crops", "store", "store.before"}
    assert [(one.name, one.total, one.done) for one in progress.stages] == [
        ("looking for pictures", 8, 8),
        ("embedding", 8, 8),
    ]


def test_what_is_of_the_model_already_is_left_alone(store: Path) -> None:
    files = {path.name: path.read_bytes() for path in store.iterdir()}
    assert migrate(OLD, store) == Migrated(0, 8, 0, 8, (), (), None)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == files


@pytest.mark.parametrize("count", [0, 1, 2, 5, 7])
def test_it_goes_on_where_it_was_interrupted(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as patch:
        fail_after(patch, count)
        with pytest.raises(KeyboardInterrupt):
            migrate(NEW, store)
    check(store, OLD, tmp_path / "crops")
    found = migrate(NEW, store)
    assert (found.known, found.embedded) == (count // 2 * 2, 8 - count // 2 * 2)
    check(store, NEW, tmp_path / "crops")


def test_what_changed_since_an_interruption_is_noticed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_after(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            migrate(NEW, store)
    with Store.open(store, write=True) as opened:
        opened.remove(["000.jpg", "001.jpg"])
    (tmp_path / "crops" / "000.jpg").unlink()
    appended = tmp_path / "crops" / "001.jpg"
    appended.write_bytes(appended.read_bytes() + b" another")
    with Store.open(store, write=True) as opened:
        picture = Entry("001.jpg", "c9", None, 3.0, str(appended), 1)
        opened.add([picture], expected(OLD, [appended.read_bytes()])[None])
    found = migrate(NEW, store)
    assert (found.known, found.embedded) == (4, 3)
    check(store, NEW, tmp_path / "crops")
    assert entries_of(store)[-1] == picture


def test_going_back_embeds_only_what_came_since(store: Path, tmp_path: Path) -> None:
    migrate(NEW, store)
    (tmp_path / "crops" / "new.jpg").write_bytes(b"a picture that is new")
    appending.append(NEW, store, tmp_path / "crops", skip_known=True)
    found = migrate(OLD, store)
    assert (found.known, found.embedded, found.entries) == (8, 1, 9)
    check(store, OLD, tmp_path / "crops")
    check(tmp_path / "store.before", NEW, tmp_path / "crops")


def replace_picture(store: Path, session: Any, picture: Path) -> None:  # noqa: ANN401
    """Remove an image, and append another of the same name."""
    with Store.open(store, write=True) as opened:
        (entry,) = (one for one in entries_of(store) if one.id == picture.name)
        opened.remove([entry.id])
        picture.write_bytes(picture.read_bytes() + b" of another vehicle")
        opened.add([entry], expected(session, [picture.read_bytes()])[None])


def test_going_back_embeds_what_is_another_picture_by_now(store: Path, tmp_path: Path) -> None:
    migrate(NEW, store)
    replace_picture(store, NEW, tmp_path / "crops" / "002.jpg")
    with Store.open(store, write=True) as opened:
        opened.compact()
    found = migrate(OLD, store)
    assert (found.known, found.embedded) == (7, 1)
    check(store, OLD, tmp_path / "crops")


def test_going_on_embeds_what_is_another_picture_by_now(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_after(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            migrate(NEW, store)
    replace_picture(store, OLD, tmp_path / "crops" / "002.jpg")
    found = migrate(NEW, store)
    assert (found.known, found.embedded) == (5, 3)
    check(store, NEW, tmp_path / "crops")


def test_going_back_does_not_lose_what_was_left_out(store: Path, tmp_path: Path) -> None:
    for name in ("001.jpg", "003.jpg"):
        (tmp_path / "crops" / name).unlink()
    migrate(NEW, store, skip_missing=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "store.before").iterdir()}
    with pytest.raises(DataError, match=r"store\.before has 2 entries that .*store has not, '001.jpg' first: move it"):
        migrate(OLD, store)
    assert {path.name: path.read_bytes() for path in (tmp_path / "store.before").iterdir()} == before
    (tmp_path / "store.before").rename(tmp_path / "store.migrating")  # as the error proposes
    found = migrate(OLD, store)
    assert (found.known, found.embedded) == (6, 0)
    check(store, OLD, tmp_path / "crops")


def test_a_way_back_that_fails_leaves_the_store_before_as_it_was(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(NEW, store)
    for name in ("001.jpg", "002.jpg", "003.jpg"):
        replace_picture(store, NEW, tmp_path / "crops" / name)
    before = {path.name: path.read_bytes() for path in (tmp_path / "store.before").iterdir()}
    with monkeypatch.context() as patch:
        fail_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            migrate(OLD, store)
    assert {path.name: path.read_bytes() for path in (tmp_path / "store.before").iterdir()} == before
    found = migrate(OLD, store)
    assert (found.known, found.embedded) == (7, 1)
    check(store, OLD, tmp_path / "crops")
    check(tmp_path / "store.before", NEW, tmp_path / "crops")
    assert files_of(tmp_path) == {"crops", "store", "store.before"}


@pytest.mark.parametrize("piece", [2, 100])
def test_what_could_not_be_read_at_first_comes_in_its_place(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(migrating, "PIECE", piece)
    ids, content = [entry.id for entry in entries_of(store)], (tmp_path / "crops" / "002.jpg").read_bytes()
    (tmp_path / "crops" / "002.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError):
        migrate(NEW, store)
    (tmp_path / "crops" / "002.jpg").write_bytes(content)
    assert migrate(NEW, store).embedded == 1
    assert [entry.id for entry in entries_of(store)] == ids
    check(store, NEW, tmp_path / "crops")


def test_a_kill_while_the_order_is_restored_loses_nothing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, picture = entries_of(store), tmp_path / "crops" / "001.jpg"
    content = picture.read_bytes()
    picture.write_bytes(b"damaged")
    with pytest.raises(DataError):
        migrate(NEW, store)
    picture.write_bytes(content)
    monkeypatch.setattr(migrating, "PIECE", 2)
    with monkeypatch.context() as patch:
        real, times = reordering._taken, iter(range(9))
        patch.setattr(reordering, "_taken", lambda *given: ([], np.empty(0)) if next(times) == 1 else real(*given))
        with pytest.raises(DataError):  # after the second piece was removed
            migrate(NEW, store)
    assert migrate(NEW, store).embedded == 2
    assert entries_of(store) == before
    check(store, NEW, tmp_path / "crops")


def test_who_may_use_the_store_stays(store: Path) -> None:
    for path, mode in ((store, 0o2770), *((path, 0o640) for path in store.iterdir())):
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 1234, 1235)
            path.chmod(mode)

    def access(path: Path) -> set[tuple[int, int, int]]:
        return {(one.stat().st_mode, one.stat().st_uid, one.stat().st_gid) for one in (path, *path.iterdir())}

    before = access(store)
    for session in (NEW, OLD):
        migrate(session, store)
        assert access(store) == before


def test_the_store_before_is_named_where_it_is(store: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current"
    link.symlink_to(store)
    assert migrate(NEW, link).before == tmp_path / "store.before"


def test_a_store_that_a_killed_exchange_left_aside_is_not_made_anew(store: Path, tmp_path: Path) -> None:
    store.rename(tmp_path / "store.replaced")
    with (
        pytest.raises(DataError, match=r"store\.replaced is .*store, which a migration was about to replace"),
        writable_store(store, OLD.info.space),
    ):
        pytest.fail("it was made")
    assert files_of(tmp_path) == {"crops", "store.replaced"}
    for path in ("store", "store.before"):
        shutil.copytree(tmp_path / "store.replaced", tmp_path / path)
    with pytest.raises(DataError, match=r"store\.replaced is .*store as it was once; move it elsewhere"):
        migrate(NEW, store)


def test_missing_pictures_are_an_error_before_any_work_or_left_out(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(store, write=True) as opened:
        opened.add(make_entries(["without"]), unit(1))
    (tmp_path / "crops" / "002.jpg").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "embed", lambda *arguments, **options: pytest.fail("work began"))
        with pytest.raises(
            DataError, match=r"2 of 9 entries of .*store have no picture .*002.jpg: No such file.*--skip"
        ):
            migrate(NEW, store)
    found = migrate(NEW, store, skip_missing=True)
    assert (found.embedded, found.entries, len(found.missing)) == (7, 7, 2)
    check(store, NEW, tmp_path / "crops")


def test_a_picture_that_cannot_be_read_keeps_the_store_as_it_is_or_is_left_out(store: Path, tmp_path: Path) -> None:
    (tmp_path / "crops" / "002.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"1 of 8 entries .*002.jpg: not a readable image"):
        migrate(NEW, store)
    with Store.open(store) as opened:
        assert opened.space == OLD.info.space
    found = migrate(NEW, store, skip_missing=True)
    assert (found.known, found.embedded, found.entries) == (7, 0, 7)
    (tmp_path / "crops" / "002.jpg").unlink()
    check(store, NEW, tmp_path / "crops")


def test_nothing_that_can_be_read_is_an_error_whatever_is_skipped(store: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "crops")
    with pytest.raises(DataError, match="8 of 8 entries"):
        migrate(NEW, store, skip_missing=True)
    with Store.open(store) as opened:
        assert (opened.space, len(opened)) == (OLD.info.space, 8)


def test_a_tracklet_whose_other_frames_are_gone_is_embedded_by_its_picture(store: Path, tmp_path: Path) -> None:
    for frame in ("0.jpg", "1.jpg"):
        (tmp_path / "crops" / "north" / "t2" / frame).unlink()
    found = migrate(NEW, store)
    assert (found.embedded, found.by_one_picture) == (8, 1)
    with Store.open(store) as opened:
        entry, embedding = contents(opened)["north/t2"]
    assert entry.frames == 1
    assert embedding == tuple(expected(NEW, [Path(entry.picture).read_bytes()]).tolist())


def test_while_it_migrates_nobody_else_writes_and_who_searches_goes_on(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watching(*arguments: Any, **options: Any) -> Iterator[Embedded]:  # noqa: ANN401
        with pytest.raises(DataError, match="is being written by"):
            Store.open(store, write=True)
        with Store.open(store) as reader:
            seen.append(reader.space)
        yield from embed(*arguments, **options)

    monkeypatch.setattr(migrating, "embed", watching)
    with Store.open(store) as reader:
        queries = expected(OLD, [b"a picture 3"])[None]
        first = reader.search(queries, 3)
        migrate(NEW, store)
        assert reader.search(queries, 3) == first
        with pytest.raises(ModelError, match="was made by model bbbbbbbbbbbb, this one is aaaaaaaaaaaa"):
            reader.refresh()
        assert reader.search(queries, 3) == first
    assert seen == [OLD.info.space]
    Store.open(store, write=True).close()


@pytest.mark.parametrize("space", [None, OLD.info.space])
def test_who_opens_it_as_it_is_exchanged_takes_it_as_it_is_unless_it_has_to_be_of_a_model(
    store: Path, monkeypatch: pytest.MonkeyPatch, space: Space | None
) -> None:
    real, times = opening.read_manifest, iter(range(99))

    def read(folder: Path) -> opening.Manifest:
        manifest = real(folder)
        if next(times) == 0:
            migrate(NEW, store)
        return manifest

    monkeypatch.setattr(opening, "read_manifest", read)
    if space:
        with pytest.raises(ModelError, match="was made by model bbbbbbbbbbbb, this one is aaaaaaaaaaaa"):
            Store.open(store, space)
    else:
        with Store.open(store) as opened:
            assert opened.space == NEW.info.space


def test_what_is_in_the_way_is_an_error_before_any_work(store: Path, tmp_path: Path) -> None:
    (tmp_path / "store.before").mkdir()
    with pytest.raises(DataError, match=r"store\.before is there, of an earlier migration; remove it"):
        migrate(NEW, store)
    (tmp_path / "store.before").rmdir()
    Store.create(tmp_path / "store.migrating", THIRD.info.space).close()
    with pytest.raises(DataError, match=r"store\.migrating is not of this model; go on with the one it was begun for"):
        migrate(NEW, store)
    migrate(THIRD, store)
    with pytest.raises(DataError, match=r"store\.before is there, of an earlier migration"):
        migrate(NEW, store)
    check(store, THIRD, tmp_path / "crops")


def test_where_one_works_cannot_be_replaced(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store)
    with pytest.raises(DataError, match="cannot be replaced: it is a mount point, or where you are"):
        migrate(NEW, Path("."))


def test_an_empty_store_is_of_the_new_model_afterwards(tmp_path: Path) -> None:
    Store.create(tmp_path / "store", OLD.info.space, storage="fp16").close()
    migrate(NEW, tmp_path / "store")
    with Store.open(tmp_path / "store") as store:
        assert (store.space, len(store), store.storage) == (NEW.info.space, 0, "fp16")


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("step", range(4))
def test_where_folders_cannot_be_exchanged_a_kill_between_can_be_made_good(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A kill at the first, second, ... rename of the store; what an exception would mend stays as it is."""
    monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
    real, steps = Path.rename, iter(range(9))

    def rename(path: Path, target: Path) -> Path:
        if str(path).startswith(str(store)) and path.is_dir() and next(steps) == step:
            raise KilledError
        return real(path, target)

    def killed(*_: object) -> NoReturn:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        patch.setattr(publishing, "finish_exchange", killed)
        with pytest.raises(KilledError):
            migrate(NEW, store)
    found = migrate(NEW, store)
    assert found.embedded == 0
    check(store, NEW, tmp_path / "crops")
    check(tmp_path / "store.before", OLD, tmp_path / "crops")
    assert files_of(tmp_path) == {"crops", "store", "store.before"}


def test_the_steps_of_an_exchange_that_fails_are_undone(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "store.before" and target == store:
            raise OSError(5, "Input/output error")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="Input/output"):
            migrate(NEW, store)
    check(store, OLD, tmp_path / "crops")
    assert migrate(NEW, store).embedded == 0
    check(store, NEW, tmp_path / "crops")


def test_embeddings_are_never_of_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred images, a fifth of which cannot be read."""
    monkeypatch.setattr(appending, "_PIECE", 64)
    crops = write_crops(tmp_path / "crops", images=200, tracks=0)
    appending.append(OLD, tmp_path / "store", crops)
    random = np.random.default_rng(0)
    for number in random.choice(200, 40, replace=False).tolist():
        (crops / f"{number:03}.jpg").write_bytes(b"damaged")
    found = migrate(NEW, tmp_path / "store", skip_missing=True)
    assert (found.entries, len(found.missing)) == (160, 40)
    for path in crops.glob("*.jpg"):
        if path.read_bytes() == b"damaged":
            path.unlink()
    check(tmp_path / "store", NEW, crops)
