"""The tables, and how an older file is brought up to date.

A program may have tables of its own in the file. Whatever begins with `PREFIX` is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from trio_mqtt.abc import RecordKey

APPLICATION_ID: Final = 0x744D5154
"""Tells our files from other SQLite databases; `file` and the like show it."""

PREFIX: Final = "trio_mqtt_"
RECORDS: Final = "trio_mqtt_records"


def _create_tables(connection: sqlite3.Connection) -> None:
    # Every version keeps client_id in this table, so that each can tell whose a file is.
    connection.execute(
        "CREATE TABLE trio_mqtt_meta (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)"
    )
    # The key has no declared type, so that numbers stay numbers, ordered before texts. With the
    # values in an index (WITHOUT ROWID) those from 1000 bytes on would take a page each.
    connection.execute(
        f"CREATE TABLE {RECORDS}"
        " (kind TEXT NOT NULL, key NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key))"
    )


MIGRATIONS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {0: _create_tables}
"""By the version that a file has, what makes the next one of it; an empty file has version 0."""


def newest_version() -> int:
    """What `migrate` leads to."""
    return max(MIGRATIONS) + 1


def migrate(connection: sqlite3.Connection, version: int, client_id: str) -> None:
    """Bring a file of this version up to date, in one transaction.

    Raises:
        sqlite3.Error: nothing was done; so, too, if all is up to date, but the file is read-only.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version, newest_version()):
            MIGRATIONS[number](connection)
        if version == 0:
            connection.execute("INSERT INTO trio_mqtt_meta VALUES ('client_id', ?)", (client_id,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest_version()}")
        if version < newest_version():
            connection.commit()
    finally:
        connection.rollback()  # does nothing after commit()


def client_of(connection: sqlite3.Connection) -> str | None:
    """Whose Session the file keeps."""
    row = connection.execute(
        "SELECT value FROM main.trio_mqtt_meta WHERE name = 'client_id'"
    ).fetchone()
    return row and str(row[0])


def read_records(connection: sqlite3.Connection) -> list[tuple[RecordKey, bytes]] | None:
    """All records, each kind in the order of its keys; None if some are of wrong types."""
    rows = connection.execute(
        f"SELECT kind, key, value FROM main.{RECORDS} ORDER BY kind, key"  # noqa: S608 - a constant
    )
    records: list[tuple[RecordKey, bytes]] = []
    for kind, key, value in rows:
        if type(kind) is not str or type(key) not in {int, str} or type(value) is not bytes:
            return None
        records.append(((kind, key), value))
    return records
