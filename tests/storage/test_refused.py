"""What cannot be used is refused, with a reason, and left as it is, with nothing beside it."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.storage.support import (
    CLIENT,
    copy_as_after_a_crash,
    execute,
    files_of,
    make,
    many,
    opened,
    query,
    records_in,
    unprivileged,
)
from trio_mqtt import SQLiteStorage, StorageBusy, StorageError
from trio_mqtt._storage.schema import newest_version

if TYPE_CHECKING:
    from collections.abc import Generator

PAGE: Final = 4096
RECORDS: Final = {**many(60), ("incoming", "text"): b"x" * 5000}


@functools.cache
def sound_file() -> bytes:
    """A file with a few pages of each sort."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.db")
        with opened(path) as storage:
            storage.commit({**RECORDS, **many(100, kind="gone")})
            storage.commit(dict.fromkeys(many(100, kind="gone")))
        return path.read_bytes()


@pytest.fixture(name="sound")
def _sound() -> bytes:
    return sound_file()


def refuse(path: Path, client_id: str = CLIENT) -> str:
    """The reason; checks that nothing was touched."""
    before = files_of(path)
    with pytest.raises(StorageError) as caught:
        SQLiteStorage(path).open(client_id)
    assert files_of(path) == before
    assert not isinstance(caught.value, StorageBusy)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3",
        b"SQLite format 3\0",
        b"hello, world\n" * 3,
        b"\0" * 100,
        b"\0" * 511,
        b"\0" * PAGE,
        b"\xff" * 10_000,
        bytes(range(256)) * 64,
    ],
)
def test_what_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    assert "no SQLite database, or a damaged one; choose another" in refuse(path)


def test_a_single_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"x")
    assert "no SQLite database; choose another" in refuse(path)


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    make(path)
    assert len(records_in(path)) == 1


def test_an_empty_database_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    execute(path, "PRAGMA journal_mode = WAL")
    assert path.stat().st_size
    make(path)
    assert len(records_in(path)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE records (kind, key, value)",
        "PRAGMA application_id = 5",
        "PRAGMA user_version = 1",
    ],
)
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_database_of_another_program(tmp_path: Path, statement: str, mode: str) -> None:
    path = tmp_path / "a.db"
    execute(path, f"PRAGMA journal_mode = {mode}", statement)
    assert "of another program; choose another file" in refuse(path)


def test_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    execute(path, f"PRAGMA user_version = {newest_version() + 1}")
    assert "a newer trio_mqtt wrote it (version 2 of its tables, where this" in refuse(path)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA user_version = 0", "it has no version"),
        ("PRAGMA user_version = -1", "it has no version"),
        ("DROP TABLE trio_mqtt_records", "it is damaged"),
        ("DROP TABLE trio_mqtt_meta", "it is damaged"),
        ("DELETE FROM trio_mqtt_meta", "the one of None"),
        ("UPDATE trio_mqtt_records SET value = 'text' WHERE key = 7", "of another type"),
        ("UPDATE trio_mqtt_records SET key = 1.5 WHERE key = 7", "of another type"),
        ("UPDATE trio_mqtt_records SET kind = x'00' WHERE key = 7", "of another type"),
        ("UPDATE trio_mqtt_records SET key = CAST(x'ff' AS TEXT) WHERE key = 7", "is damaged"),
    ],
)
def test_a_file_that_we_cannot_have_written(
    tmp_path: Path, sound: bytes, statement: str, reason: str
) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(sound)
    execute(path, statement)
    assert reason in refuse(path)


def test_a_file_cut_short(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "a.db"
    sizes = {*range(2, len(sound), 997), *range(PAGE, len(sound), PAGE), len(sound) - 1, 99, 100}
    for size in sorted(sizes):
        path.write_bytes(sound[:size])
        reason = refuse(path)
        assert re.search("damaged", reason), size


def test_a_page_that_is_garbage(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "a.db"
    pages = len(sound) // PAGE
    assert pages > 10
    noticed = 0
    for number in range(pages):
        damaged = bytearray(sound)
        damaged[number * PAGE : (number + 1) * PAGE] = b"\xa5" * PAGE
        path.write_bytes(damaged)
        try:
            SQLiteStorage(path).open("nobody")
        except StorageError as error:
            noticed += "damaged" in str(error)
        assert files_of(path) == {"a.db": damaged}
    # A free page is not read, and of one with a part of a long value only the reference to the
    # next is known.
    free = execute_and_fetch(path, sound, "PRAGMA freelist_count")
    assert noticed >= pages - free - 1
    assert free > 5


def execute_and_fetch(path: Path, content: bytes, pragma: str) -> int:
    path.write_bytes(content)
    connection = sqlite3.connect(path)
    [number] = connection.execute(pragma).fetchone()
    connection.close()
    assert isinstance(number, int)
    return number


def root_of(path: Path, name: str) -> int:
    """Where the first page of a table or index begins."""
    for found, page in query(path, "SELECT name, rootpage FROM sqlite_master"):
        if found == name:
            assert isinstance(page, int)
            return (page - 1) * PAGE
    raise LookupError(name)


def test_a_table_of_the_program_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    execute(path, "CREATE TABLE mine (x)", "INSERT INTO mine VALUES (1), (2)")
    damaged = bytearray(path.read_bytes())
    damaged[root_of(path, "mine")] ^= 0xFF
    path.write_bytes(damaged)
    assert "damaged" in refuse(path)


def test_an_index_that_disagrees(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path, many(10))
    start = root_of(path, "sqlite_autoindex_trio_mqtt_records_1")
    damaged = bytearray(path.read_bytes())
    position = damaged.index(b"outgoing", start, start + PAGE)
    damaged[position : position + 8] = b"outgoinG"
    path.write_bytes(damaged)
    assert "SQLite: row" in refuse(path)


def test_an_error_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    execute(
        path,
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_master VALUES"
        " ('table', CAST(x'6dff' AS TEXT), CAST(x'6dff' AS TEXT), 99999, 'CREATE TABLE x (y)')",
    )
    assert "it is damaged" in refuse(path)


@examples(200)
@given(
    number=st.integers(0, 1000),
    # Most of a page is values; its beginning is what holds it together.
    offset=st.integers(0, 100) | st.integers(0, PAGE - 1),
    bits=st.integers(1, 255),
)
def test_flipped_bits_are_noticed_or_harmless(number: int, offset: int, bits: int) -> None:
    damaged = bytearray(sound_file())
    damaged[number * PAGE % len(damaged) + offset] ^= bits
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.db")
        path.write_bytes(damaged)
        storage = SQLiteStorage(path)
        try:
            found = dict(storage.open(CLIENT))
        except StorageError:
            after = files_of(path)
            assert after.pop("a.db") == damaged
            # A header that says that nobody may write is found out by trying to.
            assert not after or (offset == 18 and set(after) == {"a.db-owner"})
        else:
            storage.close()
            assert len(found) == len(RECORDS)
            assert sum(found.get(key) != value for key, value in RECORDS.items()) <= 1


def test_damage_beside_what_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    copy = tmp_path / "copy" / "a.db"
    with opened(path) as storage:
        storage.commit(many(200))
        storage.connection.execute("PRAGMA wal_checkpoint(FULL)")
        storage.commit({("kind", 1): b"value"})
        copy_as_after_a_crash(path, copy, ("", "-wal", "-shm"))
    damaged = bytearray(copy.read_bytes())
    damaged[PAGE * 2 : PAGE * 2 + 20] = b"\xa5" * 20
    copy.write_bytes(damaged)
    before = files_of(copy)
    with pytest.raises(StorageError, match="it is damaged; restore it from a copy"):
        SQLiteStorage(copy).open(CLIENT)
    after = files_of(copy)
    del before["a.db-shm"], after["a.db-shm"]  # SQLite makes it anew
    assert after == before


@pytest.mark.parametrize("suffixes", [("", "-wal"), ("", "-wal", "-shm")])
def test_what_a_crash_left_beside_it_is_read(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "copy" / "a.db"
    with opened(path) as storage:
        storage.commit({("kind", 1): b"value"})
        copy_as_after_a_crash(path, copy, suffixes)
    assert len(copy.read_bytes()) == PAGE  # so that all of it is in the WAL
    assert records_in(copy) == {("kind", 1): b"value"}


@pytest.mark.parametrize("rest", [None, b""])
def test_half_of_a_database(tmp_path: Path, rest: bytes | None) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "copy" / "a.db"
    with opened(path) as storage:
        storage.commit({("kind", 1): b"value"})
        copy_as_after_a_crash(path, copy, ("-wal",))
    if rest is not None:
        copy.write_bytes(rest)
    assert "a.db-wal has what was written last; put both back together" in refuse(copy)


def test_a_database_that_another_program_put_into_another_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    execute(path, "PRAGMA journal_mode = DELETE")
    assert len(records_in(path)) == 1


def hot_journal(path: Path, *statements: str) -> Path:
    """What a crash leaves of a transaction that uses a rollback journal."""
    copy = path.parent / "copy" / path.name
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("BEGIN")
    for statement in statements:
        connection.execute(statement)
    copy_as_after_a_crash(path, copy, ("", "-journal"))
    connection.close()
    journal = copy.with_name(f"{copy.name}-journal").read_bytes()
    assert journal.startswith(bytes.fromhex("d9d505f920a163d7"))
    return copy


def test_a_transaction_of_another_mode_that_a_crash_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path, many(300))
    execute(path, "PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    copy = hot_journal(path, "UPDATE trio_mqtt_records SET value = zeroblob(300)")
    assert copy.read_bytes() != before
    assert records_in(copy) == many(300)


def test_the_making_of_a_database_that_a_crash_cut_short(tmp_path: Path) -> None:
    copy = hot_journal(
        tmp_path / "a.db",
        "CREATE TABLE x (y)",
        "WITH n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 99)"
        " INSERT INTO x SELECT zeroblob(1000) FROM n",
    )
    assert copy.stat().st_size
    make(copy)
    assert len(records_in(copy)) == 1


def test_a_transaction_of_another_program_that_a_crash_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    execute(
        path,
        "CREATE TABLE x (y)",
        "WITH n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 99)"
        " INSERT INTO x SELECT zeroblob(1000) FROM n",
    )
    copy = hot_journal(path, "UPDATE x SET y = zeroblob(1001)")
    assert "of another program" in refuse(copy)


def test_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.db"
    with pytest.raises(StorageError, match=r"no directory .*missing; make it first"):
        SQLiteStorage(path).open(CLIENT)
    assert list(tmp_path.iterdir()) == []


def test_a_directory(tmp_path: Path) -> None:
    assert "it is a directory; add the name of a file" in refuse(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    os.mkfifo(path)
    assert "it is no regular file" in refuse(path)


def test_a_loop_of_links(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.symlink_to(path)
    with pytest.raises(StorageError, match=r"a\.db"):
        SQLiteStorage(path).open(CLIENT)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot keep a Session in .*xxx"):
        SQLiteStorage(tmp_path / ("x" * 300)).open(CLIENT)
    # This one is not, but those beside it are.
    with pytest.raises(StorageError, match="it or a file beside it cannot be opened"):
        SQLiteStorage(tmp_path / ("x" * 253)).open(CLIENT)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def common() -> Generator[Path]:
    """A directory that belongs to whom `unprivileged` makes us."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if os.geteuid() == 0:
            os.chown(directory, 65_534, 65_534)
        yield directory
        directory.chmod(0o700)


def test_a_read_only_file(common: Path) -> None:
    path = common / "a.db"
    with unprivileged():
        make(path)
        path.chmod(0o400)
        assert "it is read-only; make it writable" in refuse(path)
        path.chmod(0o200)
        with pytest.raises(StorageError, match="it is read-only"):
            SQLiteStorage(path).open(CLIENT)


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_directory(common: Path, exists: bool) -> None:
    path = common / "a.db"
    with unprivileged():
        if exists:
            make(path)
        common.chmod(0o500)
        assert "its directory is read-only, and SQLite has to make files" in refuse(path)
        common.chmod(0o000)
        with pytest.raises(StorageError, match="its directory is read-only"):
            SQLiteStorage(path).open(CLIENT)
        with pytest.raises(StorageError, match="Permission denied"):
            SQLiteStorage(common / "deeper" / "a.db").open(CLIENT)


def test_a_read_only_lock(common: Path) -> None:
    path = common / "a.db"
    with unprivileged():
        make(path)
        (common / "a.db-owner").chmod(0o400)
        assert "take possession of" in refuse(path)


def everything_is_permitted(_path: Path, _mode: int) -> bool:
    return True


def test_a_read_only_file_that_seems_writable(
    common: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = common / "a.db"
    with unprivileged():
        make(path)
        path.chmod(0o400)
        monkeypatch.setattr("trio_mqtt._storage.places._permits", everything_is_permitted)
        before = path.read_bytes()
        with pytest.raises(StorageError, match="it is read-only; make it and its directory"):
            SQLiteStorage(path).open(CLIENT)
        assert path.read_bytes() == before


def test_a_directory_that_seems_writable(common: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_mqtt._storage.places._permits", everything_is_permitted)
    with unprivileged():
        (common / "a.db-owner").touch()
        common.chmod(0o500)
        with pytest.raises(StorageError, match=r"cannot make .*a\.db: .*Permission denied"):
            SQLiteStorage(common / "a.db").open(CLIENT)


def test_a_lock_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    (tmp_path / "a.db-owner").mkdir()
    with pytest.raises(StorageError, match=r"a\.db by .*-owner"):
        SQLiteStorage(path).open(CLIENT)
    (tmp_path / "a.db-owner").rmdir()
    (tmp_path / "a.db-owner").write_bytes(b"something else" * 1000)
    assert "no SQLite database" in refuse(path)


def test_a_file_that_changes_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody makes it just now, which looks like damage: the lock tells.
    path = tmp_path / "a.db"
    other = SQLiteStorage(path)

    def inspect(path: Path, client_id: str) -> None:
        monkeypatch.undo()
        other.open(client_id)
        raise StorageError(f"{path} is half written")

    monkeypatch.setattr("trio_mqtt._storage.sqlite.inspect", inspect)
    with pytest.raises(StorageBusy):
        SQLiteStorage(path).open(CLIENT)
    other.close()


def test_a_refused_file_can_be_opened_once_it_is_repaired(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(sound[:PAGE])
    storage = SQLiteStorage(path)
    with pytest.raises(StorageError, match="damaged"):
        storage.open(CLIENT)
    path.write_bytes(sound)
    assert dict(storage.open(CLIENT)) == RECORDS
    storage.close()
