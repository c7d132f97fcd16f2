"""Store readings in an SQLite database, each exactly once, whatever crashes.

    python exactly_once.py [URL [FILE]]

The Session is kept in the same FILE, readings.db if none is named, so that one transaction holds a
reading and its receipt. Publish some at QoS 2, kill this program at any moment, publish more, and
start it again: in the table `readings`, none is missing and none is there twice.

Other programs may read the FILE at any time, as the sqlite3 command does. Ctrl-C ends this one.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

import trio_mqtt

if TYPE_CHECKING:
    import sqlite3

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
FILE = sys.argv[2] if len(sys.argv) > 2 else "readings.db"  # noqa: PLR2004 - the second argument
WEEK = 7 * 24 * 60 * 60

TABLE = """
    CREATE TABLE IF NOT EXISTS readings
    (number INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value TEXT NOT NULL)
"""


def store(sensor: str, value: str, database: sqlite3.Connection) -> int | None:
    """Add a reading to the table; runs in a thread, inside the transaction."""
    database.execute(TABLE)
    insert = "INSERT INTO readings (sensor, value) VALUES (?, ?)"
    return database.execute(insert, (sensor, value)).lastrowid


async def main() -> None:
    """Store what comes, and also what came to the server while nothing ran here."""
    storage = trio_mqtt.SQLiteStorage(FILE)
    session = trio_mqtt.Session("exactly-once", expiry=WEEK, storage=storage)
    async with (
        trio_mqtt.open_client(URL, session=session) as client,
        client.subscribe("sensors/#", qos=2) as messages,
    ):
        print(f"storing readings in {FILE}", flush=True)
        async for message in messages:
            sensor, value = message.topic, message.payload.decode(errors="backslashreplace")
            # When this returns, both the reading and its receipt are on disk. Should the program
            # die before, neither is, and the server sends the reading again.
            number = await session.settle(message, partial(store, sensor, value))
            print(f"reading {number}: {sensor} {value}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        trio.run(main)
