"""Many records are few statements, whatever the limits of SQLite."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.support import many, opened, records_in
from trio_mqtt._storage.statements import CACHED_STATEMENTS, SIZES, runs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storage.support import Opened
    from trio_mqtt.abc import Changes, RecordKey


def statements_of(storage: Opened, changes: Changes) -> list[str]:
    """The first words of what is executed."""
    seen: list[str] = []
    storage.connection.set_trace_callback(seen.append)
    storage.commit(changes)
    storage.connection.set_trace_callback(None)
    return [statement.partition(" ")[0] for statement in seen]


@given(st.sets(st.integers(-20, 40)))
def test_runs_are_the_numbers(numbers: set[int]) -> None:
    found = list(runs(sorted(numbers)))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))


@pytest.mark.parametrize("count", [1, 5, 1000, 1024])
def test_records_are_written_by_one_statement(tmp_path: Path, count: int) -> None:
    with opened(tmp_path / "a.db") as storage:
        if storage.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) < 3 * count:
            pytest.skip("this SQLite takes fewer parameters")
        assert statements_of(storage, many(count)) == ["BEGIN", "REPLACE", "COMMIT"]
    assert records_in(tmp_path / "a.db") == many(count)


def test_records_in_a_row_are_deleted_by_one_statement(tmp_path: Path) -> None:
    gone: dict[RecordKey, None] = dict.fromkeys(many(1000, first=10))
    with opened(tmp_path / "a.db") as storage:
        storage.commit({**many(1020), **many(1020, kind="other")})
        assert statements_of(storage, gone) == ["BEGIN", "DELETE", "COMMIT"]
    left = [number for kind, number in records_in(tmp_path / "a.db") if kind == "outgoing"]
    assert left == [*range(10), *range(1010, 1020)]


def test_scattered_records_are_deleted_together(tmp_path: Path) -> None:
    gone: dict[RecordKey, None] = {("outgoing", number): None for number in range(0, 1000, 2)}
    gone.update({("outgoing", number): None for number in range(2000, 2100)})
    gone["outgoing", "text"] = None
    with opened(tmp_path / "a.db") as storage:
        storage.commit({**many(3000), ("outgoing", "text"): b"", ("outgoing", "other"): b""})
        assert statements_of(storage, gone) == ["BEGIN", "DELETE", "DELETE", "COMMIT"]
    expected = (set(many(3000)) | {("outgoing", "other")}) - set(gone)
    assert set(records_in(tmp_path / "a.db")) == expected


@pytest.mark.parametrize("limit", [999, 40, 3])
@pytest.mark.parametrize("count", [1, 3, 341, 1500])
def test_a_lower_limit_of_parameters_takes_more_statements(
    tmp_path: Path, limit: int, count: int
) -> None:
    texts: Changes = {("texts", str(number)): b"" for number in range(count)}
    changes = {**many(count), **texts}
    with opened(tmp_path / "a.db") as storage:
        storage.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)
        storage.commit(changes)
    assert records_in(tmp_path / "a.db") == changes
    with opened(tmp_path / "a.db") as storage:
        storage.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)
        storage.commit(dict.fromkeys(changes))
    assert records_in(tmp_path / "a.db") == {}


def test_a_repeated_row_is_a_short_one(tmp_path: Path) -> None:
    sizes = [50_000, 50_001, 50_002, 3, 50_003]
    changes: dict[RecordKey, bytes] = {("k", size): bytes(size) for size in sizes}
    seen: list[str] = []
    with opened(tmp_path / "a.db") as storage:
        storage.connection.set_trace_callback(seen.append)
        storage.commit(changes)
        storage.connection.set_trace_callback(None)
    assert sum(map(len, seen)) < 2.1 * sum(sizes)  # in hexadecimal digits
    assert records_in(tmp_path / "a.db") == changes


def test_all_statements_find_room_in_the_cache() -> None:
    assert 2 * len(SIZES) + 20 < CACHED_STATEMENTS
    assert all(4 * later <= 6 * max(sooner, 2) or later == 1 for sooner, later in pairwise(SIZES))
