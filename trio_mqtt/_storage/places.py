"""Where a file can be, and who has it: found out without changing anything.

Nothing here opens a database file that exists but SQLite. Its locks are those of the process: to
close a file that was opened in another way would drop the locks of every connection of the process
to it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from trio_mqtt._errors import StorageBusy, StorageError
from trio_mqtt._storage.failures import code_of, storage_error

if TYPE_CHECKING:
    from pathlib import Path

_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
_ORIGINAL_SIZE: Final = slice(16, 20)
"""In the header of a rollback journal: of how many pages the database was."""


def uri_of(path: Path, parameters: str) -> str:
    """The name by which SQLite opens a file in a certain way, whatever characters are in it."""
    return f"{path.as_uri()}?{parameters}"


def beside(path: Path, suffix: str) -> Path:
    """The file whose name has something added."""
    return path.with_name(path.name + suffix)


def size_of(path: Path) -> int:
    """In bytes; 0 if there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def find_place(path: Path) -> Path:
    """The one name of the file, by whatever name it is asked for, if a database can be kept there.

    Raises:
        StorageError: why not.
    """
    try:
        place = path.resolve()
        problem = _problem_with(place)
    except (OSError, RuntimeError) as error:  # the latter is a loop of symbolic links
        raise StorageError(f"cannot keep a Session in {path}: {error}") from error
    if problem is not None:
        raise StorageError(f"cannot keep a Session in {place}: {problem}")
    return place


def _problem_with(path: Path) -> str | None:
    directory = path.parent
    if not directory.is_dir():
        return f"there is no directory {directory}; make it first"
    if not _permits(directory, os.W_OK | os.X_OK):
        return (
            "its directory is read-only, and SQLite has to make files beside it; make the"
            " directory writable, or choose another"
        )
    return _problem_with_file(path) if path.exists() else None


def _problem_with_file(path: Path) -> str | None:
    if path.is_dir():
        return "it is a directory; add the name of a file"
    if not path.is_file():
        return "it is no regular file; choose another name"
    if not _permits(path, os.R_OK | os.W_OK):
        return "it is read-only; make it writable, or choose another"
    return None


def _permits(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def owner_file(database: Path) -> Path:
    """What is locked by the owner, of which there is one at a time."""
    return beside(database, "-owner")


def was_ever_owned(database: Path) -> bool:
    """Whether there is that file; without it nobody owns the database now."""
    try:
        owner_file(database).stat()
    except OSError:
        return False
    return True


def take_ownership(database: Path) -> sqlite3.Connection:
    """Lock the empty file beside it until the connection is closed, or the process ends.

    The lock is one of SQLite's, which knows how on each system and file system. The file stays
    where it is: whoever removed it might remove the lock of the next owner.

    Raises:
        StorageBusy: somebody else has it.
        StorageError: it cannot be had.
    """
    path = owner_file(database)
    doing = f"cannot take possession of {database} by {path}"
    try:
        connection = sqlite3.connect(
            uri_of(path, "mode=rwc"),
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise storage_error(doing, error) from error
    try:
        # Otherwise a journal would lie beside it all the time.
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("BEGIN EXCLUSIVE")
        # It would lock nothing if the file is read-only: this finds out, and is never committed.
        connection.execute("PRAGMA user_version = 1")
    except sqlite3.Error as error:
        connection.close()
        if code_of(error) == sqlite3.SQLITE_BUSY:
            raise StorageBusy(
                f"{database} is in use by another process, or by another Session of this one: a"
                " Session has one owner at a time; close it there, or choose another file"
            ) from error
        raise storage_error(doing, error) from error
    return connection


def make_private(database: Path) -> None:
    """Make the empty file, if there is none, for the program's user alone.

    It is to keep payloads, and SQLite would leave it to the umask who may read them. The files
    beside it get the permissions that it has.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        with contextlib.suppress(FileExistsError):
            # A new file: no connection of the process has a lock to lose by the closing.
            os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StorageError(f"cannot make {database}: {error}") from error


def has_hot_journal(path: Path) -> bool:
    """Whether a crash cut a transaction short that used a rollback journal.

    Our transactions use none, except the one that makes a new file a database with a WAL.
    """
    return size_of(beside(path, "-journal")) > 0


def was_empty(path: Path) -> bool:
    """Whether it was before the transaction that a crash cut short, so that it will be again."""
    with beside(path, "-journal").open("rb") as journal:
        header = journal.read(_ORIGINAL_SIZE.stop)
    return header.startswith(_JOURNAL_MAGIC) and not any(header[_ORIGINAL_SIZE])
