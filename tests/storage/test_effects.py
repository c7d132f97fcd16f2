"""What a program commits together with the records: done with them, or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.storage.support import Opened, files_of, opened, query, records_in
from trio_mqtt import StorageError
from trio_mqtt._storage import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from trio_mqtt.abc import RecordKey

    Run = Callable[[sqlite3.Connection], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def storage(path: Path) -> Generator[Opened]:
    with opened(path) as storage:
        storage.commit_steps([Effect(lambda c: c.execute("CREATE TABLE mine (x UNIQUE)"), {})])
        yield storage


def insert(value: object) -> Callable[[sqlite3.Connection], int]:
    return lambda connection: connection.execute("INSERT INTO mine VALUES (?)", (value,)).rowcount


def effect(number: int, run: Run | None = None) -> Effect[object]:
    """Its record is there if it was committed, and its number in the table."""
    return Effect(run or insert(number), {("effect", number): b""})


def committed(path: Path) -> tuple[set[object], set[object]]:
    """Numbers of the program's table, and keys of records."""
    rows = {row[0] for row in query(path, "SELECT x FROM mine")}
    keys = {row[0] for row in query(path, "SELECT key FROM trio_mqtt_records")}
    return rows, keys


def test_an_effect_and_its_records_are_one_transaction(storage: Opened, path: Path) -> None:
    first, third = effect(1), effect(3)
    storage.commit_steps([first, {("kind", 2): b""}, third])
    assert committed(path) == ({1, 3}, {1, 2, 3})
    assert (first.result, first.error) == (third.result, third.error) == (1, None)


def test_the_later_step_decides(storage: Opened, path: Path) -> None:
    key: RecordKey = ("kind", 1)
    storage.commit_steps([{key: b"1"}, Effect(lambda _: None, {key: b"2"}), {("kind", 2): b""}])
    assert query(path, "SELECT value FROM trio_mqtt_records WHERE key = 1") == [(b"2",)]
    storage.commit_steps([Effect(lambda _: None, {key: b"3"}), {key: None}])
    assert query(path, "SELECT value FROM trio_mqtt_records WHERE key = 1") == []
    storage.commit_steps([{key: None}, {key: b"4"}])
    assert query(path, "SELECT value FROM trio_mqtt_records WHERE key = 1") == [(b"4",)]


class Unexpected(BaseException):
    pass


@pytest.mark.parametrize("error", [RuntimeError("no"), Unexpected("no")])
def test_an_effect_that_raises_is_left_out(
    storage: Opened, path: Path, error: BaseException
) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        insert(7)(connection)
        connection.execute("CREATE TABLE other (x)")
        raise error

    failing = effect(2, fail)
    others = [effect(1), effect(3)]
    storage.commit_steps([others[0], failing, others[1]])
    assert committed(path) == ({1, 3}, {1, 3})
    assert failing.error is error
    assert failing.result is None
    assert [other.error for other in others] == [None, None]
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        query(path, "SELECT * FROM other")


def begins_and_fails(connection: sqlite3.Connection) -> None:
    with connection:
        insert(7)(connection)


def swallows(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.execute("ROLLBACK")
    insert(7)(connection)
    connection.commit()


def executes(sql: str) -> Run:
    def run(connection: sqlite3.Connection) -> object:
        insert(7)(connection)
        return connection.execute(sql).fetchall()

    return run


FORBIDDEN: Final[dict[str, Run]] = {
    "commit": swallows,
    "with connection": begins_and_fails,
    "executescript": lambda c: c.executescript("INSERT INTO mine VALUES (7); COMMIT"),
    "end": executes("END"),
    "cached text of ours": executes("COMMIT"),
    "rollback": executes("ROLLBACK"),
    "begin": executes("BEGIN"),
    "release ours": executes('RELEASE "Trio_MQTT_Effect"'),
    "roll back to ours": executes("ROLLBACK TO trio_mqtt_effect"),
    "savepoint like ours": executes("SAVEPOINT trio_mqtt_effect"),
    "attach": executes("ATTACH ':memory:' AS other"),
    "detach": executes("DETACH main"),
    "delete ours": executes("DELETE FROM trio_mqtt_records"),
    "insert ours": executes("INSERT INTO TRIO_MQTT_META VALUES ('a', 'b')"),
    "update ours": executes("UPDATE main.trio_mqtt_meta SET value = 'b'"),
    "drop ours": executes("DROP TABLE trio_mqtt_records"),
    "rename ours": executes("ALTER TABLE trio_mqtt_records RENAME TO x"),
    "hide ours": executes("CREATE TEMP TABLE TRIO_MQTT_records (x)"),
    "hide ours by a view": executes("CREATE TEMP VIEW trio_mqtt_records AS SELECT 1"),
    "index ours": executes("CREATE UNIQUE INDEX i ON trio_mqtt_records (kind)"),
    "trigger on ours": executes(
        "CREATE TRIGGER t AFTER INSERT ON trio_mqtt_records BEGIN DELETE FROM mine; END"
    ),
    "trigger to ours": lambda c: [
        c.execute("CREATE TRIGGER t AFTER INSERT ON mine BEGIN DELETE FROM trio_mqtt_records; END"),
        insert(7)(c),
    ],
    "pragma": executes("PRAGMA user_version = 5"),
    "checkpoint": executes("PRAGMA wal_checkpoint(TRUNCATE)"),
    "unsafe": executes("PRAGMA synchronous = OFF"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_would_spoil_the_transaction_is_refused(
    storage: Opened, path: Path, name: str
) -> None:
    storage.commit({("kept", 0): b""})
    spoiling = effect(2, FORBIDDEN[name])
    others = [effect(1), effect(3)]
    storage.commit_steps([others[0], spoiling, others[1]])
    assert committed(path) == ({1, 3}, {0, 1, 3})
    assert isinstance(spoiling.error, sqlite3.DatabaseError)
    assert "cannot use BEGIN, COMMIT" in spoiling.error.__notes__[0]
    assert [other.error for other in others] == [None, None]
    storage.close()
    assert len(records_in(path)) == 3


def test_the_connection_stays_open_and_guarded(storage: Opened, path: Path) -> None:
    closing = effect(1, lambda connection: connection.close())
    freeing = effect(2, lambda connection: connection.set_authorizer(None))
    storage.commit_steps([closing, freeing, effect(3)])
    assert committed(path) == ({3}, {3})
    for one, call in (closing, "close"), (freeing, "set_authorizer"):
        assert isinstance(one.error, sqlite3.ProgrammingError)
        assert call in str(one.error)


ALLOWED: Final[dict[str, Run]] = {
    "own savepoints": lambda c: [
        c.execute("SAVEPOINT a"),
        c.execute("DROP TABLE mine"),
        c.execute("ROLLBACK TO a"),
        c.execute("SAVEPOINT b"),  # and left open
    ],
    "tables": lambda c: [
        c.execute("CREATE TABLE other (a INTEGER PRIMARY KEY AUTOINCREMENT, b)"),
        c.execute(
            "ALTER TABLE other ADD COLUMN trio_mqtt_x NOT NULL DEFAULT 1 CHECK (trio_mqtt_x)"
        ),
        c.execute("INSERT INTO other (b) VALUES (1)"),
        c.execute("UPDATE other SET trio_mqtt_x = 2"),
        c.execute("CREATE INDEX i ON other (b)"),
        c.execute("CREATE TEMP TABLE t (x)"),
        c.execute("ALTER TABLE other RENAME COLUMN b TO d"),
        c.execute("CREATE TRIGGER r AFTER DELETE ON other BEGIN SELECT 1; END"),
        c.execute("ANALYZE"),
        c.execute("DROP TABLE other"),
    ],
    "reading": lambda c: [
        c.execute("SELECT count(*) FROM trio_mqtt_records").fetchall(),
        c.execute("PRAGMA table_info(mine)").fetchall(),
        c.execute(
            "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 9)"
            " SELECT sum(x) FROM n"
        ).fetchall(),
    ],
    "a cursor left open": lambda c: c.execute("SELECT * FROM trio_mqtt_meta, mine"),
    "many rows": lambda c: c.executemany("INSERT INTO mine VALUES (?)", [(8,), (9,)]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_spoils_nothing_is_allowed(storage: Opened, path: Path, name: str) -> None:
    def run(connection: sqlite3.Connection) -> object:
        insert(1)(connection)
        return ALLOWED[name](connection)

    one = effect(1, run)
    storage.commit_steps([one, effect(2)])
    assert one.error is None
    rows, keys = committed(path)
    assert rows >= {1, 2}
    assert keys == {1, 2}
    storage.commit({("kind", 3): b""})
    assert committed(path)[1] == {1, 2, 3}


def test_what_an_effect_sets_is_not_for_the_next(storage: Opened) -> None:
    def change(connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        connection.text_factory = bytes

    reading: Effect[list[Any]] = Effect(lambda c: c.execute("SELECT 'a'").fetchall(), {})
    storage.commit_steps([Effect(change, {}), reading])
    assert reading.result == [("a",)]


def or_rollback(connection: sqlite3.Connection) -> None:
    insert(7)(connection)
    connection.execute("INSERT OR ROLLBACK INTO mine VALUES (7)")


def or_rollback_and_on(connection: sqlite3.Connection) -> str:
    with contextlib.suppress(sqlite3.IntegrityError):
        or_rollback(connection)
    insert(8)(connection)
    return "done"


def or_rollback_and_stop(connection: sqlite3.Connection) -> str:
    with contextlib.suppress(sqlite3.IntegrityError):
        or_rollback(connection)
    return "done"


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (or_rollback, sqlite3.IntegrityError),
        (or_rollback_and_on, sqlite3.DatabaseError),
        (or_rollback_and_stop, StorageError),
    ],
)
def test_an_effect_that_rolls_all_back_is_left_out_and_all_else_is_done(
    storage: Opened, path: Path, run: Any, error: type[Exception]
) -> None:
    storage.commit({("kind", 0): b""})
    spoiling = [effect(2, run), effect(4, run)]
    others = [effect(1), effect(3), effect(5)]
    storage.commit_steps(
        [others[0], spoiling[0], {("kind", 10): b""}, others[1], spoiling[1], others[2]]
    )
    assert committed(path) == ({1, 3, 5}, {0, 1, 3, 5, 10})
    for one in spoiling:
        assert isinstance(one.error, error)
        assert one.result is None
    assert [(other.result, other.error) for other in others] == [(1, None)] * 3


def test_nothing_is_told_before_all_is_committed(storage: Opened, path: Path) -> None:
    before = committed(path)
    waiting = threading.Event()
    steps = [effect(1), effect(2, or_rollback), effect(3, lambda _: 1 / 0)]
    seen: list[object] = []

    def look(_: sqlite3.Connection) -> None:
        seen.extend([step.result, step.error] for step in steps)
        seen.append(committed(path))
        waiting.set()

    storage.commit_steps([*steps, effect(4, look)])
    assert waiting.is_set()
    assert seen == [[None, None]] * 3 + [before]


def test_where_the_commit_fails_no_effect_is_told_anything(storage: Opened, path: Path) -> None:
    before = committed(path), files_of(path)["a.db"]
    steps = [effect(1), effect(2, or_rollback), effect(3, lambda _: 1 / 0)]
    wrong: Any = {("kind", 1): object()}
    with pytest.raises(StorageError):
        storage.commit_steps([*steps, wrong])
    assert (committed(path), files_of(path)["a.db"]) == before
    assert [(step.result, step.error) for step in steps] == [(None, None)] * 3
    storage.commit_steps(steps)
    assert committed(path) == ({1}, {1})
