"""What it costs to keep a Session on disk.

``python -m benchmarks.storage`` writes records in batches and then deletes them, each batch one
commit, in a worker thread as a Session does: while the main thread is idle, and while it is busy,
as that of a program under load is. Beside it stands the same done row by row with ``executemany``,
and with an effect of the program for each record. Each commit waits for an fsync, whose cost on
this disk is measured as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from benchmarks import report
from trio_mqtt import SQLiteStorage
from trio_mqtt._storage import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from trio_mqtt.abc import Changes

    Commit = Callable[[Changes], object]

RECORDS: Final = 30_000
BATCH: Final = 1_000
SIZE: Final = 256
ROUNDS: Final = 3
WANTED: Final = 30_000
_SYNCS: Final = 100


@contextlib.contextmanager
def ours(path: Path) -> Generator[Commit]:
    """As a Session does it."""
    storage = SQLiteStorage(path)
    storage.open("benchmark")
    yield storage.commit
    storage.close()


@contextlib.contextmanager
def with_effects(path: Path) -> Generator[Commit]:
    """Each record comes with a row in a table of the program."""

    def step(key: tuple[str, int | str], value: bytes | None) -> Effect[object]:
        sql = "DELETE FROM mine WHERE x = ?" if value is None else "INSERT INTO mine VALUES (?)"
        return Effect(lambda connection: connection.execute(sql, key[1:]), {key: value})

    storage = SQLiteStorage(path)
    storage.open("benchmark")
    create = "CREATE TABLE mine (x INTEGER PRIMARY KEY)"
    storage.commit_steps([Effect(lambda connection: connection.execute(create), {})])
    yield lambda changes: storage.commit_steps([step(*change) for change in changes.items()])
    storage.close()


@contextlib.contextmanager
def row_by_row(path: Path) -> Generator[Commit]:
    """The same table and settings, in the plain way."""
    with ours(path):
        pass
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")

    def commit(changes: Changes) -> None:
        puts = [(*key, value) for key, value in changes.items() if value is not None]
        gone = [key for key, value in changes.items() if value is None]
        connection.executemany("REPLACE INTO trio_mqtt_records VALUES (?, ?, ?)", puts)
        connection.executemany("DELETE FROM trio_mqtt_records WHERE kind = ? AND key = ?", gone)
        connection.commit()

    yield commit
    connection.close()


WAYS: Final = {"ours": ours, "with effects": with_effects, "row by row": row_by_row}


def measure(way: str, directory: Path, records: int, *, busy: bool) -> tuple[float, float]:
    """Records put in a second, and deleted.

    Raises:
        RuntimeError: they are not there, or not gone.
    """
    value = bytes(SIZE)
    rates: list[float] = []
    counts: list[int] = []

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=directory) as name:
            path = Path(name, "benchmark.db")
            with WAYS[way](path) as commit:
                for content in (value, None):
                    start = perf_counter()
                    for first in range(0, records, BATCH):
                        numbers = range(first, min(first + BATCH, records))
                        commit({("outgoing", number): content for number in numbers})
                    rates.append(records / (perf_counter() - start))
                    counts.append(_count(path))

    thread = threading.Thread(target=work)
    thread.start()
    while busy and thread.is_alive():
        sum(range(1000))
    thread.join()
    if counts != [records, 0]:
        raise RuntimeError(f"{way} left {counts} records")
    puts, deletes = rates
    return puts, deletes


def _count(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        [count] = connection.execute("SELECT count(*) FROM trio_mqtt_records").fetchone()
    return int(count)


def file_system(path: Path) -> str:
    """What the directory is on, where the system tells."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "an unknown file system"
    best: tuple[int, str] = (-1, "an unknown file system")
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        device, where, kind, *_ = line.split()
        if path.is_relative_to(where):
            best = max(best, (len(where), f"{kind} ({device} on {where})"))
    return best[1]


def fsync_seconds(directory: Path) -> float:
    """The median of an fsync after 4 KiB were appended."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            start = perf_counter()
            os.fsync(file.fileno())
            times.append(perf_counter() - start)
    return statistics.median(times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status tells whether ours is fast enough, whoever is busy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS, help="of a run (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(%(default)s)")
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk in question")
    options = parser.parse_args(arguments)
    directory: Path = options.directory.resolve()
    print(
        f"Records of {SIZE} bytes a second, in commits of {BATCH:,}, synchronous FULL;"
        f" medians of {options.rounds} rounds.\n"
        f"SQLite {sqlite3.sqlite_version}, Python {platform.python_version()}, {report.load()};"
        f" {file_system(directory)}, an fsync takes {fsync_seconds(directory) * 1e3:.2f} ms.\n"
    )
    print(f"  {'main thread':14}{'':14}{'put':>12}{'deleted':>12}")
    slowest = float("inf")
    for busy in (False, True):
        for way in WAYS:
            results = [
                measure(way, directory, options.records, busy=busy) for _ in range(options.rounds)
            ]
            puts, deletes = map(statistics.median, zip(*results, strict=True))
            print(f"  {'busy' if busy else 'idle':14}{way:14}{puts:>12,.0f}{deletes:>12,.0f}")
            if way == "ours":
                slowest = min(slowest, puts, deletes)
    print(f"\nThe slowest of ours is {slowest:,.0f}; {WANTED:,} is wanted.")
    return 0 if slowest >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
