"""One owner at a time; anybody may read."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.storage.contenders import KEY
from tests.storage.support import (
    CLIENT,
    PATIENCE,
    ROOT,
    execute,
    files_of,
    make,
    many,
    opened,
    query,
    records_in,
    run_module,
)
from trio_mqtt import SQLiteStorage, StorageBusy, StorageError

if TYPE_CHECKING:
    from pathlib import Path

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

KEEPS_OPEN = """
import sys
from trio_mqtt import SQLiteStorage
storage = SQLiteStorage(sys.argv[1])
print(len(list(storage.open("gateway-7"))), flush=True)
storage.commit({("kind", "child"): b"committed"})
print("committed", flush=True)
sys.stdin.read()
"""

READS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM trio_mqtt_records").fetchone()[0])
"""


def test_somebody_else_in_this_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        storage.commit({("kind", 1): b"value"})
        before = files_of(path)
        with pytest.raises(StorageBusy, match="has one owner at a time; close it there") as caught:
            SQLiteStorage(path).open(CLIENT)
        assert str(path) in str(caught.value)
        assert files_of(path) == before
        storage.commit({("kind", 2): b"value"})
    assert len(records_in(path)) == 2


def test_by_another_name_it_is_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "link.db").symlink_to(path)
    with opened(path):
        for other in (tmp_path / "deeper" / ".." / "a.db", tmp_path / "deeper" / "link.db"):
            with pytest.raises(StorageBusy):
                SQLiteStorage(other).open(CLIENT)
    assert records_in(tmp_path / "deeper" / "link.db") == {}
    assert [entry.name for entry in (tmp_path / "deeper").iterdir()] == ["link.db"]


def test_whoever_is_refused_takes_no_lock_along(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path):
        for _ in range(2):
            with pytest.raises(StorageBusy):
                SQLiteStorage(path).open(CLIENT)
    make(path)


def test_another_client_of_a_file_in_use_hears_that_it_is_in_use(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db"), pytest.raises(StorageBusy):
        SQLiteStorage(tmp_path / "a.db").open("somebody else")


def test_another_process_has_it_until_it_crashes(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    with subprocess.Popen(
        [sys.executable, "-c", KEEPS_OPEN, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "1\n"
            assert child.stdout.readline() == "committed\n"
            before = files_of(path)
            with pytest.raises(StorageBusy):
                SQLiteStorage(path).open(CLIENT)
            assert files_of(path) == before
            assert query(path, "SELECT count(*) FROM trio_mqtt_records") == [(2,)]
        finally:
            child.kill()
        child.wait(PATIENCE)
    assert child.returncode == -signal.SIGKILL
    assert records_in(path) == {("kind", 1): b"value", ("kind", "child"): b"committed"}


def test_another_process_reads_while_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        storage.commit(many(100))
        done = subprocess.run(
            [sys.executable, "-c", READS, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert done.stdout == "100\n"
        storage.commit({("kind", 1): b""})
        assert query(path, "SELECT count(*) FROM trio_mqtt_records") == [(101,)]


@needs_fork
def test_processes_that_contend_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    printed = run_module("tests.storage.contenders", str(path), "3", "25")
    assert printed == "exit 0 0 0\n"
    assert records_in(path) == {KEY: b"75"}


def test_a_reader_in_this_process_disturbs_nobody(tmp_path: Path) -> None:
    # Locks of POSIX are those of the process: to close one file drops those of all.
    path = tmp_path / "a.db"
    with opened(path) as storage:
        storage.commit(many(10))
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trio_mqtt_records").fetchone() == (10,)
        with pytest.raises(StorageBusy):
            SQLiteStorage(path).open(CLIENT)
        storage.commit(many(10, first=10))
        assert reader.execute("SELECT count(*) FROM trio_mqtt_records").fetchone() == (10,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM trio_mqtt_records").fetchone() == (20,)
    make(path)  # while somebody reads
    assert reader.execute("SELECT count(*) FROM trio_mqtt_records").fetchone() == (21,)
    reader.close()
    assert len(records_in(path)) == 21


def test_a_refused_open_drops_no_lock_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    make(path)
    (tmp_path / "a.db-owner").unlink()  # so that the file is looked at first
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trio_mqtt_meta SET value = 'x'")
    with pytest.raises(StorageError, match="keeps the one of"):
        SQLiteStorage(path).open("somebody else")
    locked = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    )
    done = subprocess.run(
        [sys.executable, "-c", locked, str(path)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "database is locked" in done.stderr
    writer.close()


def test_tables_of_others_are_written_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as storage:
        execute(path, "CREATE TABLE mine (x)")
        storage.commit({("kind", 1): b""})
        execute(path, "INSERT INTO mine VALUES (1)")
        storage.commit({("kind", 2): b""})
    assert query(path, "SELECT x FROM mine") == [(1,)]
    assert len(records_in(path)) == 2
