"""Processes that want the same file at the same time, or crash while they have it.

``python -m tests.storage.contenders PATH PROCESSES TURNS``: each process opens the file TURNS
times, as soon as it gets it, and counts up a record.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.storage.support import CLIENT, Opened
from trio_mqtt import StorageBusy

KEY = ("kind", "counter")


def take_turns(path: Path, turns: int) -> None:
    """Count up so many times."""
    storage = Opened(path)
    while turns:
        try:
            storage.open(CLIENT)
        except StorageBusy:
            continue
        count = int(storage.records.get(KEY, b"0"))
        storage.commit({KEY: b"%d" % (count + 1)})
        storage.close()
        turns -= 1


def main(path: Path, processes: int, turns: int) -> None:
    children: list[int] = []
    for _ in range(processes):
        child = os.fork()
        if not child:
            status = 1
            try:
                take_turns(path, turns)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print("exit", *sorted(statuses))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
