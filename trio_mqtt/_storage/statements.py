"""SQL that writes many records at once.

SQLite lets go of Python's global lock at each step of a statement, and while the program's main
thread is busy it may take 5 ms each time to get it back. So a thousand records are one statement,
not a thousand. The numbers of rows in a statement are few, so that each is compiled once; the last
rows of a statement repeat a record if there are not enough of them.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from trio_mqtt._storage.schema import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_mqtt.abc import Changes

_T = TypeVar("_T")

SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""How many rows a statement has."""

CACHED_STATEMENTS: Final = 256
"""Room for all of ours and for those of the program's effects."""

_PARAMETERS_OF_A_PUT: Final = 3
_LONG_RUN: Final = 64
"""From this many consecutive keys on, a statement that deletes their range is worth while."""


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Make the changes, inside a transaction."""
    limit = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    puts: list[tuple[str, int | str, bytes]] = []
    gone: dict[str, list[int | str]] = {}
    for (kind, key), value in changes.items():
        if value is None:
            gone.setdefault(kind, []).append(key)
        else:
            puts.append((kind, key, value))
    for chunk in _chunks(puts, limit // _PARAMETERS_OF_A_PUT):
        size = _size_for(len(chunk))
        if size > len(chunk):
            shortest = min(chunk, key=_length_of_value)
            chunk.extend([shortest] * (size - len(chunk)))
        connection.execute(_put(size), [item for row in chunk for item in row])
    for kind, keys in gone.items():
        _delete(connection, kind, keys, limit)


def _delete(
    connection: sqlite3.Connection, kind: str, keys: Sequence[int | str], limit: int
) -> None:
    scattered: list[int | str] = [key for key in keys if isinstance(key, str)]
    for first, last in runs(sorted(key for key in keys if not isinstance(key, str))):
        if last - first + 1 >= _LONG_RUN:
            connection.execute(_DELETE_RANGE, (kind, first, last))
        else:
            scattered += range(first, last + 1)
    for chunk in _chunks(scattered, limit - 1):
        size = _size_for(len(chunk))
        chunk.extend([chunk[0]] * (size - len(chunk)))
        connection.execute(_delete_listed(size), [kind, *chunk])


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of each run of consecutive numbers; they come in order."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start], numbers[index - 1]
            start = index


def _chunks(rows: Sequence[_T], most: int) -> Iterator[list[_T]]:
    """Lists that a statement has a size for, which has so many rows at most."""
    length = SIZES[bisect_right(SIZES, most) - 1]
    for start in range(0, len(rows), length):
        yield list(rows[start : start + length])


def _size_for(count: int) -> int:
    return SIZES[bisect_left(SIZES, count)]


def _length_of_value(row: tuple[str, int | str, bytes]) -> int:
    return len(row[2])


@cache
def _put(size: int) -> str:
    rows = ",".join(["(?,?,?)"] * size)
    return f"REPLACE INTO main.{RECORDS} (kind, key, value) VALUES {rows}"  # noqa: S608 - only marks


@cache
def _delete_listed(size: int) -> str:
    marks = ",".join("?" * size)
    return f"DELETE FROM main.{RECORDS} WHERE kind = ? AND key IN ({marks})"  # noqa: S608 - only marks


_DELETE_RANGE: Final = f"DELETE FROM main.{RECORDS} WHERE kind = ? AND key BETWEEN ? AND ?"  # noqa: S608 - a constant
