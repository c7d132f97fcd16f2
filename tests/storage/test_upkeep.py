"""The files do not grow without bound; a full disk is an error that passes; older files."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

import pytest

from tests.storage.support import (
    CLIENT,
    files_of,
    make,
    many,
    opened,
    query,
    records_in,
)
from trio_mqtt import SQLiteStorage, StorageError
from trio_mqtt._storage import Effect, sqlite
from trio_mqtt._storage.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

COUNT: Final = "SELECT count(*) FROM trio_mqtt_records"


def test_free_pages_are_used_again(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    sizes: list[int] = []
    with opened(path) as storage:
        for number in range(60):
            storage.commit(many(500, first=number * 500))
            storage.commit(dict.fromkeys(many(500, first=number * 500 - 250)))
            storage.commit({("large", 0): bytes(100_000)})
            storage.commit({("large", 0): None})
            [pages] = storage.connection.execute("PRAGMA page_count").fetchone()
            sizes.append(pages * 4096)
    assert sizes[-1] <= max(sizes[:10])
    assert path.stat().st_size < 20 * 500 * 256
    assert len(records_in(path)) == 250


def test_the_wal_stays_small(tmp_path: Path) -> None:
    wal = tmp_path / "a.db-wal"
    with opened(tmp_path / "a.db") as storage:
        for number in range(100):
            storage.commit(many(500, first=number * 500))
            storage.commit(dict.fromkeys(many(500, first=number * 500)))
            assert wal.stat().st_size < 6_000_000
    assert not wal.exists()


def test_with_readers_about_all_the_time_the_wal_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = 1_000_000
    monkeypatch.setattr(sqlite, "_LARGE_WAL", large)
    monkeypatch.setattr(sqlite, "_PATIENCE_WITH_READERS", 0)
    path, wal = tmp_path / "a.db", tmp_path / "a.db-wal"
    with opened(path) as storage, contextlib.ExitStack() as stack:
        storage._large_wal = large
        storage.connection.execute("PRAGMA wal_autocheckpoint = 0")

        def reader() -> sqlite3.Connection:
            connection = sqlite3.connect(path, isolation_level=None)
            stack.callback(connection.close)
            connection.execute("BEGIN")
            connection.execute(COUNT).fetchall()
            return connection

        first = reader()
        attempts: list[bool] = []
        empty_wal = sqlite._empty_wal

        def count(connection: sqlite3.Connection) -> bool:
            attempts.append(empty_wal(connection))
            return attempts[-1]

        monkeypatch.setattr(sqlite, "_empty_wal", count)
        for number in range(40):
            storage.commit(many(500, first=number * 500))
        assert wal.stat().st_size > 3 * large
        assert 3 <= len(attempts) <= wal.stat().st_size // large
        assert not any(attempts)
        second = reader()
        first.close()
        assert second.execute(COUNT).fetchone() == (20_000,)
        second.close()
        while not attempts[-1]:
            storage.commit(many(500))
        assert wal.stat().st_size == 0
        for number in range(10):
            storage.commit(many(500, first=number * 500))
            assert wal.stat().st_size < 2 * large
        assert storage.connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)


def test_closing_leaves_no_wal_even_with_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    with contextlib.closing(sqlite3.connect(path)) as reader:
        assert reader.execute(COUNT).fetchone() == (1,)
        make(path, many(100))
        assert (tmp_path / "a.db-wal").stat().st_size == 0
        assert path.stat().st_size > 20_000


def test_closing_does_not_wait_for_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    monkeypatch.setattr(sqlite, "_PATIENCE_WITH_READERS", 0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        with opened(path) as storage:
            storage.commit({("kind", 1): b""})
            reader.execute("BEGIN")
            assert reader.execute(COUNT).fetchone() == (1,)
            storage.commit({("kind", 2): b""})
        assert len(records_in(path)) == 2
        assert reader.execute(COUNT).fetchone() == (1,)
    assert len(records_in(path)) == 2


# A full disk.


@contextlib.contextmanager
def file_size_limit(size: int) -> Generator[None]:
    """No file of this process can grow beyond it; Python ignores the signal of that."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 24, 1000, 4096, 4121, 10_000, 50_000])
def test_no_room_for_the_wal(tmp_path: Path, room: int) -> None:
    path, wal = tmp_path / "a.db", tmp_path / "a.db-wal"
    with opened(path) as storage:
        storage.commit(many(200))
        effect = Effect(lambda c: c.execute("CREATE TABLE mine (x)"), {("kind", 1): b""})
        before = wal.read_bytes()
        with file_size_limit(len(before) + room):
            for _ in range(3):
                with pytest.raises(StorageError, match="see that the disk works and has room"):
                    storage.commit_steps([many(1000, first=100), effect])
                assert (effect.result, effect.error) == (None, None)
                assert query(path, COUNT) == [(200,)]
        assert wal.read_bytes()[: len(before)] == before
        storage.commit_steps([many(1000, first=100), effect])
        assert query(path, COUNT) == [(1101,)]
    assert set(records_in(path)) == {*many(1100), ("kind", 1)}


def test_no_room_after_a_crash_in_a_failed_commit(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "copy" / "a.db"
    copy.parent.mkdir()
    with opened(path) as storage:
        storage.commit(many(200))
        with file_size_limit((tmp_path / "a.db-wal").stat().st_size + 50_000):
            with pytest.raises(StorageError):
                storage.commit(many(1000))
            for suffix in ("", "-wal"):
                copy.with_name(f"a.db{suffix}").write_bytes(
                    path.with_name(f"a.db{suffix}").read_bytes()
                )
    assert records_in(copy) == many(200)


def test_no_room_for_the_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        storage.commit(many(200))
        storage.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size
        with file_size_limit(max(size, 40_000)):
            # It goes to the WAL, and cannot be moved from there.
            storage.commit(many(1, size=30_000, kind="large"))
            assert storage.connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)
            storage.close()
        assert (tmp_path / "a.db-wal").stat().st_size > 30_000
    assert len(records_in(path)) == 201
    assert path.stat().st_size > size


def test_no_page_left(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        storage.commit(many(200))
        [pages] = storage.connection.execute("PRAGMA page_count").fetchone()
        storage.connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(StorageError, match="there is no room left; make room") as caught:
            storage.commit({("kind", 1): b"", **many(1000, first=100)})
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert query(path, COUNT) == [(200,)]
        storage.commit(dict.fromkeys(many(150)))  # what was sent makes room
        storage.commit(many(100, first=1000))
        storage.connection.execute("PRAGMA max_page_count = 100000")
        storage.commit(many(1000, first=100))
    assert len(records_in(path)) == 1000


def test_an_effect_that_fills_the_disk_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE mine (x)")
        connection.execute("INSERT INTO mine VALUES (zeroblob(1000000))")

    with opened(path) as storage:
        storage.connection.execute("PRAGMA max_page_count = 50")
        filling = Effect(fill, {("effect", 1): b""})
        storage.commit_steps([{("kind", 1): b""}, filling, {("kind", 2): b""}])
        assert isinstance(filling.error, sqlite3.OperationalError)
    assert set(records_in(path)) == {("kind", 1), ("kind", 2)}


def test_no_room_to_make_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for size in (0, 100, 512, 4000, 4096, 8000, 20_000, 32_000):
        with file_size_limit(size), pytest.raises(StorageError, match=r"a\.db"):
            SQLiteStorage(path).open(CLIENT)
    make(path)
    assert len(records_in(path)) == 1


# Older versions.


def upgrade(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE trio_mqtt_records ADD COLUMN size")
    connection.execute("UPDATE trio_mqtt_records SET size = length(value)")


def rename(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE trio_mqtt_records SET kind = 'new'")


def fail(connection: sqlite3.Connection) -> None:
    rename(connection)
    connection.execute("no SQL")


def test_an_older_file_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    make(path, {("old", 1): b"value"})
    monkeypatch.setitem(MIGRATIONS, 1, upgrade)
    monkeypatch.setitem(MIGRATIONS, 2, rename)
    assert records_in(path) == {("new", 1): b"value"}
    assert query(path, "SELECT key, size FROM trio_mqtt_records") == [(1, 5)]
    assert query(path, "PRAGMA user_version") == [(3,)]
    monkeypatch.setitem(MIGRATIONS, 2, fail)
    assert records_in(path) == {("new", 1): b"value"}  # it is done once
    monkeypatch.delitem(MIGRATIONS, 2)
    with pytest.raises(StorageError, match=r"version 3 .* this one knows 2"):
        SQLiteStorage(path).open(CLIENT)


def test_a_failed_migration_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    make(path, {("old", 1): b"value"})
    before = files_of(path)
    with monkeypatch.context() as patch:
        patch.setitem(MIGRATIONS, 1, upgrade)
        patch.setitem(MIGRATIONS, 2, fail)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"cannot open .*syntax error"):
                SQLiteStorage(path).open(CLIENT)
    assert files_of(path) == before
    assert records_in(path) == {("old", 1): b"value"}


def test_an_older_file_of_somebody_else_stays_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    make(path)
    before = files_of(path)
    monkeypatch.setitem(MIGRATIONS, 1, upgrade)
    with pytest.raises(StorageError, match="keeps the one of"):
        SQLiteStorage(path).open("somebody else")
    assert files_of(path) == before
