"""What the tests of the storage share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_mqtt._storage import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio_mqtt.abc import Changes, RecordKey

CLIENT: Final = "gateway-7"
PATIENCE: Final = 60
ROOT: Final = Path(__file__).parents[2]
SUFFIXES: Final = ("", "-wal", "-shm", "-owner", "-journal")


class Opened(SQLiteStorage):
    """One that remembers what it found when it was opened."""

    records: dict[RecordKey, bytes]
    order: list[RecordKey]

    def open(self, client_id: str) -> list[tuple[RecordKey, bytes]]:
        found = list(super().open(client_id))
        self.records = dict(found)
        self.order = [key for key, _ in found]
        return found

    @property
    def connection(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection


@contextlib.contextmanager
def opened(path: Path, client_id: str = CLIENT) -> Generator[Opened]:
    storage = Opened(path)
    storage.open(client_id)
    try:
        yield storage
    finally:
        storage.close()


def records_in(path: Path) -> dict[RecordKey, bytes]:
    with opened(path) as storage:
        return storage.records


def make(path: Path, changes: Changes | None = None) -> None:
    """A file of ours, closed in an orderly way."""
    with opened(path) as storage:
        storage.commit(changes or {("kind", 1): b"value"})


def many(count: int, size: int = 256, kind: str = "outgoing", first: int = 0) -> Changes:
    return {(kind, number): bytes(size) for number in range(first, first + count)}


def files_of(path: Path) -> dict[str, bytes]:
    """The contents of the directory, whatever was left in it."""
    return {
        entry.name: entry.read_bytes() for entry in sorted(path.parent.iterdir()) if entry.is_file()
    }


def copy_as_after_a_crash(path: Path, to: Path, suffixes: tuple[str, ...] = ("", "-wal")) -> None:
    """What is on disk at this moment, while it is open."""
    to.parent.mkdir(exist_ok=True)
    for suffix in suffixes:
        source = path.with_name(path.name + suffix)
        to.with_name(to.name + suffix).write_bytes(source.read_bytes())


def execute(path: Path, *statements: str) -> None:
    """Do something to a database, as another program would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Read from a database, as another program would."""
    uri = f"{path.as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(statement).fetchall()


def run_module(module: str, *arguments: str) -> str:
    """What a program prints; it has to end well, in time."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextlib.contextmanager
def unprivileged() -> Generator[None]:
    """Root may write to everything: here it may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)
