"""Looking at a file before anything is done to it: what is refused is left as it is.

To open a database in the usual way may write to it. Without a WAL beside it all is in the file
itself, which is read as one that does not change, so that not even a lock is taken. With one, left
by a crash or in use by a reader, both are read together, and SQLite may add its ``-shm`` file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from trio_mqtt._errors import StorageError
from trio_mqtt._storage.failures import DAMAGED, storage_error
from trio_mqtt._storage.places import beside, has_hot_journal, size_of, uri_of, was_empty
from trio_mqtt._storage.schema import (
    APPLICATION_ID,
    RECORDS,
    client_of,
    newest_version,
    read_records,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mqtt.abc import RecordKey

_MOST_TOLD: Final = 3


def inspect(path: Path, client_id: str) -> list[tuple[RecordKey, bytes]] | None:
    """All records, or None if they can be read only once the file is open.

    Raises:
        StorageError: it keeps no Session of this client that could be read.
    """
    wal = size_of(beside(path, "-wal"))
    size = size_of(path)
    if not size:
        if wal:
            raise StorageError(
                f"cannot keep a Session in {path}: it is missing or empty, but {path}-wal has what"
                " was written last; put both back together, or move that away"
            )
        return None
    if size == 1:  # SQLite takes such a file for an empty one
        raise StorageError(f"cannot read {path}: it is no SQLite database; choose another file")
    hot = has_hot_journal(path)
    if hot and was_empty(path):
        return None
    parameters = "mode=ro" if wal else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri_of(path, parameters), uri=True)
        with contextlib.closing(connection):
            version = identify(connection, path)
            if version == 0 or hot:  # half of a transaction is nothing to check
                return None
            if not wal and size % connection.execute("PRAGMA page_size").fetchone()[0]:
                raise StorageError(f"cannot read {path}: {DAMAGED} (the last page is cut short)")
            check(connection, path, version, client_id)
            return all_records(connection, path) if version == newest_version() else None
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from a message of SQLite
        raise storage_error(f"cannot read {path}", error, otherwise=DAMAGED) from error


def identify(connection: sqlite3.Connection, path: Path) -> int:
    """The version of our tables; 0 if there are no tables at all.

    Raises:
        StorageError: it is a file of another program, or of a newer version.
        sqlite3.Error: it is no database, or damaged.
    """
    application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id == APPLICATION_ID:
        if version > newest_version():
            raise StorageError(
                f"cannot read {path}: a newer trio_mqtt wrote it (version {version} of its tables,"
                f" where this one knows {newest_version()}); use that, or another file"
            )
        if version < 1:
            raise StorageError(f"cannot read {path}: it has no version; {DAMAGED}")
        return version
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id or version or tables:
        raise StorageError(
            f"cannot keep a Session in {path}: it is a database of another program; choose another"
            " file"
        )
    return 0


def check(connection: sqlite3.Connection, path: Path, version: int, client_id: str) -> None:
    """See that the file is sound, and whose it is.

    Raises:
        StorageError: it is damaged, or keeps the Session of another client.
        sqlite3.Error: it is damaged so that SQLite goes no further.
    """
    pragmas = ["quick_check"]
    if version == newest_version():
        # It takes twice the time, and is for ours: other tables may be large.
        pragmas.append(f"integrity_check({RECORDS})")
    for pragma in pragmas:
        found = [row[0] for row in connection.execute(f"PRAGMA {pragma}")]
        if found != ["ok"]:
            told = "; ".join(map(str, found[:_MOST_TOLD]))
            raise StorageError(f"cannot read {path}: {DAMAGED} (SQLite: {told})")
    client = client_of(connection)
    if client != client_id:
        raise StorageError(
            f"cannot keep the Session of {client_id!r} in {path}: it keeps the one of {client!r};"
            " choose another file, or the same client_id"
        )


def all_records(connection: sqlite3.Connection, path: Path) -> list[tuple[RecordKey, bytes]]:
    """All records.

    Raises:
        StorageError: some are not such as we write.
        sqlite3.Error: it is damaged so that SQLite goes no further.
    """
    records = read_records(connection)
    if records is None:
        raise StorageError(f"cannot read {path}: {DAMAGED} (a record of another type)")
    return records
