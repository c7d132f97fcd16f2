"""What goes wrong with a file, in words that tell what to do about it."""

from __future__ import annotations

import sqlite3
from typing import Final

from trio_mqtt._errors import StorageError

DAMAGED: Final = (
    "it is damaged; restore it from a copy, or move it away and the Session begins anew"
)

_REASONS: Final = {
    sqlite3.SQLITE_FULL: "there is no room left; make room and try again",
    sqlite3.SQLITE_IOERR: "reading or writing failed; see that the disk works and has room left",
    sqlite3.SQLITE_BUSY: "another program is writing to it; let it finish and try again",
    sqlite3.SQLITE_LOCKED: "another program is writing to it; let it finish and try again",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: (
        "it is no SQLite database, or a damaged one; choose another file, or move it away"
    ),
    sqlite3.SQLITE_READONLY: "it is read-only; make it and its directory writable",
    sqlite3.SQLITE_PERM: "access is denied; make it and its directory writable",
    sqlite3.SQLITE_CANTOPEN: "it or a file beside it cannot be opened; make both accessible",
}
_PRIMARY: Final = 0xFF
"""The part of an extended result code that tells its kind."""


def code_of(error: Exception) -> int:
    """The primary result code; SQLITE_ERROR where Python noticed by itself."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & _PRIMARY


def storage_error(
    doing: str, error: Exception, *, otherwise: str = "SQLite refused"
) -> StorageError:
    """What to raise from an error of SQLite that came up while `doing`, which names the file."""
    reason = _REASONS.get(code_of(error), otherwise)
    return StorageError(f"{doing}: {reason} (SQLite: {error})")
