"""Kills a process that uses the storage, again and again, and looks at what is left.

``python -m tests.storage.crashes DIRECTORY ROUNDS SEED``. Commit number n writes n into each record
of a few, adds a record n, deletes the oldest, and has an effect that adds n to a table of the
program: so it shows which commit a file is at, and whether all of it is. The child tells each
commit that has returned; it dies

- by SIGKILL from outside, after so many commits;
- by SIGKILL in a statement, after so many steps of SQLite;
- by SIGXFSZ where a file would grow beyond a limit, so in the middle of a write.

Then files are made, and the process dies in the middle of each write, and before each statement.
"""

from __future__ import annotations

import functools
import os
import random
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.storage.support import CLIENT, Opened, query
from trio_mqtt._storage import Effect, sqlite

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from trio_mqtt._storage.effects import GuardedConnection
    from trio_mqtt.abc import RecordKey

KEPT: Final = 8
"""Records ("batch", n) that are there at a time."""
FEW: Final = 20
SIZES_TRIED: Final = (36_000, 110_000)
"""From what the index of the WAL takes to what the WAL grows to."""
SIZES_TRIED_WHILE_MAKING: Final = range(0, 32_000, 800)
STATEMENTS_WHILE_MAKING: Final = range(1, 20)


def changes_of(number: int, size: int) -> dict[RecordKey, bytes | None]:
    changes: dict[RecordKey, bytes | None] = {
        ("few", index): b"%d" % number + bytes(size) for index in range(FEW)
    }
    changes["batch", number] = b"%d" % number
    changes["batch", number - KEPT] = None
    return changes


def effect_of(number: int) -> Effect[object]:
    def run(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO mine VALUES (?)", (number,))
        connection.execute("DELETE FROM mine WHERE x = ?", (number - KEPT,))

    return Effect(run, {("effect", 0): b"%d" % number})


def state_of(storage: Opened, path: Path) -> int:
    """The number of the commit that all of it is at."""
    records = storage.records
    if not records:
        return 0
    number = int(records["batch", max(int(key) for kind, key in records if kind == "batch")])
    last = range(max(1, number - KEPT + 1), number + 1)
    expected = {("batch", n) for n in last} | {("few", n) for n in range(FEW)} | {("effect", 0)}
    assert set(records) == expected, (number, set(records) ^ expected)
    values = {value.rstrip(b"\0") for (kind, _), value in records.items() if kind != "batch"}
    assert values == {b"%d" % number}, (number, values)
    rows = [row[0] for row in query(path, "SELECT x FROM mine ORDER BY x")]
    assert rows == list(last), (number, rows)
    return number


def work(path: Path, report: int, arm: Callable[[sqlite3.Connection], None]) -> None:
    """Commit for ever; tell first which commit the file was at, then each that returned."""
    storage = Opened(path)
    storage.open(CLIENT)
    number = state_of(storage, path)
    os.write(report, b"%d\n" % number)
    # More often than usual, so that crashes fall into it.
    storage.connection.execute("PRAGMA wal_autocheckpoint = 20")
    if not number:
        storage.commit_steps(
            [Effect(lambda c: c.execute("CREATE TABLE IF NOT EXISTS mine (x)"), {})]
        )
    arm(storage.connection)
    while True:
        number += 1
        storage.commit_steps([effect_of(number), changes_of(number, number % 7 * 100)])
        os.write(report, b"%d\n" % number)


def run_child(job: Callable[[int], object], commits: int) -> tuple[list[int], int]:
    """What it told, and how it ended; it is killed when it has told `commits` numbers."""
    reading, report = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            job(report)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            raise
        finally:
            os._exit(1)
    os.close(report)
    told = b""
    while chunk := os.read(reading, 4096):
        told += chunk
        if told.count(b"\n") >= commits:
            os.kill(child, signal.SIGKILL)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [int(line) for line in told.split()], status


def limit_files(size: int) -> None:
    """Die at the write that goes beyond it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def kill_while_it_works(path: Path, rounds: int, chance: random.Random) -> dict[int, int]:
    """How often which signal ended it."""
    ends: dict[int, int] = {}
    committed = 0
    for number in range(rounds):
        way = number % 3

        commits = chance.randrange(1, 12)
        steps = chance.randrange(1, 3000)
        size = chance.randrange(*SIZES_TRIED)

        def arm(
            connection: sqlite3.Connection, way: int = way, steps: int = steps, size: int = size
        ) -> None:
            if way == 1:
                connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), steps)
            elif way == 2:
                limit_files(size)

        job = functools.partial(work, path, arm=arm)
        told, status = run_child(job, 40 if way else commits)
        assert told, "it could not open the file"
        # The commit under way when it died is there in full, or not at all.
        assert told[0] in {committed, committed + 1}, (told, committed)
        assert told == list(range(told[0], told[0] + len(told)))
        committed = told[-1]
        assert status < 0, status
        ends[-status] = ends.get(-status, 0) + 1
    return ends


def kill_at_statement(number: int) -> None:
    """Die before that one is executed by the storage that is opened next."""
    connect = sqlite._connect
    seen: list[str] = []

    def note(statement: str) -> None:
        seen.append(statement)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect_and_watch(path: Path) -> GuardedConnection:
        connection = connect(path)
        connection.set_trace_callback(note)
        return connection

    sqlite._connect = connect_and_watch


def kill_while_it_is_made(directory: Path) -> int:
    """In how many places it died."""
    died = 0
    ways = [functools.partial(limit_files, size) for size in SIZES_TRIED_WHILE_MAKING]
    ways += [functools.partial(kill_at_statement, number) for number in STATEMENTS_WHILE_MAKING]
    for number, arm in enumerate(ways):
        path = directory / f"{number}.db"

        def make(_report: int, path: Path = path, arm: Callable[[], None] = arm) -> None:
            arm()
            Opened(path).open(CLIENT)

        _, status = run_child(make, 1)
        died += status < 0
        storage = Opened(path)
        storage.open(CLIENT)
        assert storage.records == {}
        storage.commit({("kind", 1): b""})
        storage.close()
    return died


def main(directory: Path, rounds: int, seed: int) -> None:
    ends = kill_while_it_works(directory / "a.db", rounds, random.Random(seed))  # noqa: S311
    died = kill_while_it_is_made(directory)
    print(ends.get(signal.SIGKILL, 0), ends.get(signal.SIGXFSZ, 0), died)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
