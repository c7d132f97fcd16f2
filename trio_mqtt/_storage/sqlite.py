"""A storage in a file of SQLite.

The file is in WAL mode: a commit appends to the file beside it, and is safe after one fsync; others
read the database meanwhile. Who writes Sessions to it is kept by a lock on a second file, see
`take_ownership`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from trio_mqtt._errors import StorageBusy, StorageError
from trio_mqtt._storage.effects import Effect, GuardedConnection
from trio_mqtt._storage.failures import storage_error
from trio_mqtt._storage.inspection import all_records, check, identify, inspect
from trio_mqtt._storage.places import (
    beside,
    find_place,
    make_private,
    size_of,
    take_ownership,
    uri_of,
    was_ever_owned,
)
from trio_mqtt._storage.schema import migrate, newest_version
from trio_mqtt._storage.statements import CACHED_STATEMENTS
from trio_mqtt._storage.transactions import commit_steps
from trio_mqtt.abc import RecordKey, Storage

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from trio_mqtt.abc import Changes

_LARGE_WAL: Final = 64 * 2**20
"""Bytes; SQLite keeps the WAL at about 4 MB unless readers are always about."""
_PATIENCE: Final = 5000
"""Milliseconds to wait for another program that writes to tables of its own in the file."""
_PATIENCE_WITH_READERS: Final = 100
"""Milliseconds to wait for the end of all reading, where to go on without it is no harm."""


class SQLiteStorage(Storage):
    """Keeps a Session in a file, so that it survives the end of the process, and a crash.

    One file keeps one Session and has one owner at a time, which the operating system sees to, also
    when a process crashes; another one gets `StorageBusy`. Other programs may read the file at any
    time, and programs may have tables of their own in it. Its name and those beside it, which end
    in ``-wal``, ``-shm`` and ``-owner``, belong together; ``-owner`` is empty, and stays when all
    is closed.

    What is not a file of ours, or damaged, or of a newer version, or read-only, is a
    `StorageError`, and stays as it is. SQLite has no checksums of what is in its tables: damage
    there may not be noticed.

    Args:
        path: of the file. If there is none it is made, readable for the program's user alone; one
            that is there keeps its permissions, and may be empty. The disk must be of this
            machine: over a network, locks and fsync are not to be relied on.
        synchronous: ``"FULL"`` keeps what is committed safe from a loss of power as well;
            ``"NORMAL"`` is faster where fsync is slow, and safe from a crash of the process.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, synchronous: Literal["FULL", "NORMAL"] = "FULL"
    ) -> None:
        if synchronous not in {"FULL", "NORMAL"}:
            raise ValueError(f'synchronous must be "FULL" or "NORMAL", not {synchronous!r}')
        self._path = Path(path).absolute()
        self._synchronous = synchronous
        self._connection: GuardedConnection | None = None
        self._owner: sqlite3.Connection | None = None
        self._wal = self._path
        self._large_wal = _LARGE_WAL

    def __repr__(self) -> str:
        return f"SQLiteStorage({str(self._path)!r}, synchronous={self._synchronous!r})"

    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        """Take possession of the file, and make it if there is none.

        Args:
            client_id: whose Session it is.

        Returns:
            All records, each kind in the order of its keys, numbers before texts.

        Raises:
            StorageBusy: somebody else has it open.
            StorageError: it cannot be read, or is not ours; it is left as it is.
        """
        if self._connection is not None:
            raise StorageBusy(f"{self._path} is open already; close it first")
        path = find_place(self._path)
        if not was_ever_owned(path):
            # Nobody has it, so that what is refused is left without a trace of us.
            try:
                inspect(path, client_id)
            except StorageError:
                if not was_ever_owned(path):
                    raise
        with contextlib.ExitStack() as undo:
            owner = take_ownership(path)
            undo.callback(owner.close)
            records = inspect(path, client_id)
            make_private(path)
            try:
                connection = _connect(path)
                undo.callback(connection.close)
                self._prepare(connection, path, client_id)
                if records is None:
                    check(connection, path, newest_version(), client_id)
                    records = all_records(connection, path)
            except sqlite3.Error as error:
                raise storage_error(f"cannot open {path}", error) from error
            undo.pop_all()
        self._connection, self._owner = connection, owner
        self._wal = beside(path, "-wal")
        return records

    def commit(self, changes: Changes) -> None:
        """Make all changes, or none; on return they are on disk.

        Raises:
            StorageError: nothing was changed; it may be tried again.
        """
        self.commit_steps([changes])

    def commit_steps(self, steps: Sequence[Changes | Effect[object]]) -> None:
        """Make all changes and have all effects in one transaction, in order.

        An effect that raises is undone and its changes are left out; the others are committed.
        On return each effect has its result or error; it has neither if this raises.

        Raises:
            StorageError: nothing was changed; it may be tried again.
        """
        connection = self._connection
        if connection is None:
            raise StorageError(f"cannot write to {self._path}: it is not open; open it first")
        if not any(isinstance(step, Effect) or step for step in steps):
            return
        try:
            commit_steps(connection, steps)
        except sqlite3.Error as error:
            raise storage_error(f"cannot write to {self._path}", error) from error
        self._keep_wal_small(connection)

    def close(self) -> None:
        """Give the file back. Closing what is not open does nothing."""
        connection, owner = self._connection, self._owner
        self._connection = self._owner = None
        if connection is None or owner is None:
            return
        _empty_wal(connection)
        connection.close()
        owner.close()

    def _prepare(self, connection: GuardedConnection, path: Path, client_id: str) -> None:
        """Set how the file is kept, and make the tables what they must be."""
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageError(
                f"cannot keep a Session in {path}: SQLite has no WAL on this file system, but"
                f" {mode}; choose a file on a disk of this machine"
            )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # macOS has an fsync that leaves data in the cache of the disk, and this that does not.
        connection.execute(f"PRAGMA fullfsync = {int(self._synchronous == 'FULL')}")
        migrate(connection, identify(connection, path), client_id)

    def _keep_wal_small(self, connection: sqlite3.Connection) -> None:
        """Begin the WAL anew before it grows without bound.

        SQLite does so by itself when a commit meets no reader, which never comes about if readers
        take turns. So once it is large they are waited for, and new ones kept out, for a moment; if
        that is too short, again when it has grown as much.
        """
        size = size_of(self._wal)
        if size > self._large_wal:
            self._large_wal = _LARGE_WAL if _empty_wal(connection) else size + _LARGE_WAL


def _connect(path: Path) -> GuardedConnection:
    """Open the file for writing."""
    connection = sqlite3.connect(
        uri_of(path, "mode=rwc"),
        uri=True,
        timeout=_PATIENCE / 1000,
        isolation_level="IMMEDIATE",  # see trio_mqtt._storage.effects
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        factory=GuardedConnection,
    )
    connection.guard()
    return connection


def _empty_wal(connection: sqlite3.Connection) -> bool:
    """Move all of the WAL into the database and truncate it, unless readers are in the way."""
    busy = 1
    with contextlib.suppress(sqlite3.Error):  # what the WAL holds is safe in it
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_WITH_READERS}")
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    return not busy
