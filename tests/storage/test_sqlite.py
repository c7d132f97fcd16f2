"""SQLiteStorage keeps what it is given: against a dict, over openings, from several threads."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.storage.support import (
    CLIENT,
    Opened,
    copy_as_after_a_crash,
    execute,
    files_of,
    make,
    many,
    opened,
    query,
    records_in,
)
from trio_mqtt import SQLiteStorage, StorageBusy, StorageError

if TYPE_CHECKING:
    from trio_mqtt.abc import Changes, RecordKey

KINDS = st.sampled_from(["", "incoming", "outgoing"])
NUMBERS = st.integers(0, 12) | st.integers(-(2**63), 2**63 - 1)
TEXTS = st.sampled_from(["", "a", "1", "\0"]) | st.text(st.characters(codec="utf-8"))
KEYS = st.tuples(KINDS, NUMBERS | TEXTS)
CHANGES: st.SearchStrategy[Changes] = st.dictionaries(
    KEYS, st.none() | st.binary(max_size=40), max_size=12
)


def changes_in_a_row(kind: str, first: int, count: int, value: bytes | None) -> Changes:
    return {(kind, first + number): value for number in range(count)}


RANGES = st.builds(
    changes_in_a_row,
    KINDS,
    st.integers(-5, 300),
    st.integers(0, 300),
    st.none() | st.binary(max_size=3),
)


@examples(60)
@given(st.lists(CHANGES | RANGES | st.sampled_from(["close", "crash"]), max_size=12))
def test_it_is_a_dict_that_lasts(steps: list[Changes | str]) -> None:
    model: dict[RecordKey, bytes] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "0", "a.db")
        path.parent.mkdir()
        storage = Opened(path)
        storage.open(CLIENT)
        for number, step in enumerate([*steps, "close"], 1):
            if not isinstance(step, str):
                storage.commit(step)
                for key, value in step.items():
                    model.pop(key, None)
                    if value is not None:
                        model[key] = value
                continue
            if step == "crash":
                copy = Path(directory, str(number), "a.db")
                copy_as_after_a_crash(path, copy)
                path = copy
            storage.close()
            storage = Opened(path)
            storage.open(CLIENT)
            assert storage.records == model
        storage.close()


def test_each_kind_comes_in_the_order_of_its_keys(tmp_path: Path) -> None:
    keys: list[int | str] = [-5, 2, 10, 100, "", "1", "10", "2", "Z", "a", "ä", "𝄞"]
    with opened(tmp_path / "a.db") as storage:
        storage.commit({(kind, key): b"" for key in reversed(keys) for kind in ("b", "a")})
    with opened(tmp_path / "a.db") as storage:
        assert storage.order == [(kind, key) for kind in ("a", "b") for key in keys]


def test_opening_writes_nothing_to_a_file_that_is_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    before = files_of(path)
    with opened(path):
        assert set(files_of(path)) == {"a.db", "a.db-owner", "a.db-shm", "a.db-wal"}
        assert files_of(path)["a.db-wal"] == b""
    assert files_of(path) == before


def test_it_may_be_opened_again_after_it_was_closed(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "a.db")
    for number in range(3):
        assert len(list(storage.open(CLIENT))) == number
        storage.commit({("kind", number): b""})
        storage.close()
        storage.close()


def test_only_what_is_open_takes_commits(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "a.db")
    with pytest.raises(StorageError, match=r"a\.db: it is not open"):
        storage.commit({("kind", 1): b""})
    storage.open(CLIENT)
    with pytest.raises(StorageBusy, match="is open already"):
        storage.open(CLIENT)
    storage.commit({("kind", 1): b""})
    storage.close()
    with pytest.raises(StorageError, match=r"a\.db: it is not open"):
        storage.commit({("kind", 1): b""})


def test_each_call_may_come_from_another_thread(tmp_path: Path) -> None:
    storage = Opened(tmp_path / "a.db")
    failures: list[BaseException] = []

    def in_a_thread(call: Any, *arguments: Any) -> None:
        def run() -> None:
            try:
                call(*arguments)
            except BaseException as error:  # noqa: BLE001 - told to the test
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    in_a_thread(storage.open, CLIENT)
    for number in range(5):
        in_a_thread(storage.commit, {("kind", number): b""})
    in_a_thread(storage.close)
    assert failures == []
    assert len(records_in(tmp_path / "a.db")) == 5


def test_it_keeps_the_session_of_one_client(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    before = files_of(path)
    storage = SQLiteStorage(path)
    with pytest.raises(StorageError, match=r"'somebody else'.*keeps the one of 'gateway-7'"):
        storage.open("somebody else")
    assert files_of(path) == before
    assert len(records_in(path)) == 1


def test_no_change_is_no_transaction(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        before = files_of(path)
        storage.commit({})
        storage.commit_steps([])
        storage.commit_steps([{}, {}])
        assert files_of(path) == before


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({("kind", 2**63): b""}, OverflowError),
        ({("kind", "\ud800"): b""}, UnicodeEncodeError),
        ({("kind", object()): b""}, StorageError),
        ({("kind", 1): object()}, StorageError),
        ({(None, 1): b""}, StorageError),
    ],
)
def test_what_cannot_be_stored_changes_nothing(
    tmp_path: Path, changes: Any, error: type[Exception]
) -> None:
    with opened(tmp_path / "a.db") as storage:
        with pytest.raises(error):
            storage.commit_steps([{("kind", 0): b""}, changes])
        storage.commit({("kind", 3): b""})
    assert set(records_in(tmp_path / "a.db")) == {("kind", 3)}


@pytest.mark.parametrize("name", ["a b%20?mode=memory#x.db", "file:a.db", ":memory:", "ü𝄞'\".db"])
def test_any_name_is_the_name_of_a_file(tmp_path: Path, name: str) -> None:
    make(tmp_path / name)
    assert set(files_of(tmp_path / name)) == {name, name + "-owner"}
    assert len(records_in(tmp_path / name)) == 1


def test_a_name_is_that_of_the_directory_it_was_given_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = SQLiteStorage("a.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    storage.open(CLIENT)
    storage.close()
    assert (tmp_path / "a.db").exists()
    assert repr(storage) == f"SQLiteStorage({str(tmp_path / 'a.db')!r}, synchronous='FULL')"


def permissions(path: Path) -> dict[str, str]:
    return {
        name: stat.filemode(path.with_name(name).stat().st_mode)
        for name in files_of(path)
        if not name.endswith("-owner")
    }


@pytest.mark.skipif(os.name != "posix", reason="elsewhere permissions are no bits of a file")
@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_what_it_makes_is_for_its_user_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a.db"
    before = os.umask(umask)
    try:
        with opened(path) as storage:
            storage.commit(many(10))
            assert permissions(path) == dict.fromkeys(
                ["a.db", "a.db-shm", "a.db-wal"], "-rw-------"
            )
    finally:
        os.umask(before)
    assert permissions(path) == {"a.db": "-rw-------"}


@pytest.mark.skipif(os.name != "posix", reason="elsewhere permissions are no bits of a file")
@pytest.mark.parametrize("content", ["", "a Session"])
def test_a_file_that_is_there_keeps_its_permissions(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.db"
    if content:
        make(path)
    else:
        path.touch()
    path.chmod(0o640)
    with opened(path) as storage:
        storage.commit(many(10))
        assert permissions(path) == dict.fromkeys(["a.db", "a.db-shm", "a.db-wal"], "-rw-r-----")


def test_arguments_are_checked() -> None:
    wrong: Any = b"a.db"
    with pytest.raises(TypeError):
        SQLiteStorage(wrong)
    wrong = "OFF"
    with pytest.raises(ValueError, match="'OFF'"):
        SQLiteStorage("a.db", synchronous=wrong)


@pytest.mark.parametrize(("synchronous", "number"), [("FULL", 2), ("NORMAL", 1)])
def test_settings_of_the_connection(tmp_path: Path, synchronous: Any, number: int) -> None:
    storage = SQLiteStorage(tmp_path / "a.db", synchronous=synchronous)
    storage.open(CLIENT)
    assert storage._connection is not None
    for pragma, value in [
        ("journal_mode", "wal"),
        ("synchronous", number),
        ("fullfsync", number - 1),
        ("busy_timeout", 5000),
        ("user_version", 1),
        ("application_id", 0x744D5154),
    ]:
        assert storage._connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    storage.close()


def test_tables_of_the_program_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    execute(path, "CREATE TABLE mine (x)", "INSERT INTO mine VALUES (5)")
    with opened(path) as storage:
        storage.commit({**many(100), ("kind", 1): None})
    assert query(path, "SELECT x FROM mine") == [(5,)]
    assert len(records_in(path)) == 100


def test_a_failed_commit_names_the_file_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        storage.connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program is writing to it") as caught:
            storage.commit({("kind", 1): b""})
        assert str(path) in str(caught.value)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        other.execute("ROLLBACK")
        other.close()
        storage.commit({("kind", 2): b""})
    assert set(records_in(path)) == {("kind", 2)}


@pytest.mark.skipif(os.name != "posix", reason="names a way to lock files that POSIX systems have")
def test_a_file_system_without_wal_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uri_of(path: Path, parameters: str) -> str:
        return f"{path.as_uri()}?{parameters}&vfs=unix-dotfile"

    monkeypatch.setattr("trio_mqtt._storage.sqlite.uri_of", uri_of)
    with pytest.raises(StorageError, match="has no WAL on this file system, but delete"):
        SQLiteStorage(tmp_path / "a.db").open(CLIENT)
