"""Store readings in an SQLite database, each exactly once, whatever crashes.

    python exactly_once.py [URL [FILE]]

Publish numbers to sensors/NAME at QoS 2. Each becomes a row of the table `readings`, and the table
`sensors` sums up. Kill this program at any moment, even with ``kill -9``, publish more, and start
it again: no reading is missing, none is there twice, and the sums are right. For the Session is
kept in the same FILE, readings.db if none is named, and one transaction holds the row, the sum and
the receipt of the message.

What is no number is told and left out, and so is, silently, a retained message from before: it is a
copy, and comes at each start. Look at the FILE at any time, also while this runs:

    sqlite3 readings.db 'SELECT * FROM sensors'

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883. Ctrl-C and SIGTERM
end it well.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt

if TYPE_CHECKING:
    import sqlite3

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
FILE = sys.argv[2] if len(sys.argv) > 2 else "readings.db"  # noqa: PLR2004 - the second argument
WEEK: Final = 7 * 24 * 60 * 60

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS readings
    (number INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL,
     stored TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)
    """,
    """
    CREATE TABLE IF NOT EXISTS sensors
    (sensor TEXT PRIMARY KEY, count INTEGER NOT NULL, total REAL NOT NULL)
    """,
)
SUM_UP: Final = """
    INSERT INTO sensors VALUES (?1, 1, ?2)
    ON CONFLICT (sensor) DO UPDATE SET count = count + 1, total = total + ?2
"""


def store(sensor: str, value: float, database: sqlite3.Connection) -> int | None:
    """Note a reading in both tables; runs in a thread, inside the transaction."""
    for table in TABLES:
        database.execute(table)
    database.execute(SUM_UP, (sensor, value))
    insert = "INSERT INTO readings (sensor, value) VALUES (?, ?)"
    return database.execute(insert, (sensor, value)).lastrowid


def number_in(message: trio_mqtt.Message) -> float:
    """The value of a reading.

    Raises:
        ValueError: it is no number.
    """
    value = float(message.text())
    if not math.isfinite(value):
        raise ValueError(f"{value} is no measurement")
    return value


async def ingest(client: trio_mqtt.Client, session: trio_mqtt.Session) -> None:
    """Store what comes, and also what came to the server while nothing ran here."""
    async with client.subscribe("sensors/#", qos=2) as messages:
        print(f"storing readings in {FILE}", flush=True)
        async for message in messages:
            if message.retain:  # a copy that the server keeps, and sends at each start
                continue
            sensor = message.topic.removeprefix("sensors/")
            try:
                value = number_in(message)
            except ValueError as error:
                # The loop acknowledges it. Trying again would not make a number of it, and an
                # exception here would end the program, today and at each start.
                print(f"not stored: {sensor}: {error}", flush=True)
                continue
            # When this returns, the reading and its receipt are on disk. Should the program die
            # before, neither is, and the server sends the reading again.
            number = await session.settle(message, partial(store, sensor, value))
            print(f"reading {number}: {sensor} {value:g}", flush=True)


async def main() -> None:
    """Run until a signal."""
    storage = trio_mqtt.SQLiteStorage(FILE)
    session = trio_mqtt.Session("exactly-once", expiry=WEEK, storage=storage)
    reconnect = trio_mqtt.Reconnect(initial="background")  # it may be up before the server is
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            trio_mqtt.open_client(URL, session=session, reconnect=reconnect) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(ingest, client, session)
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    status: int | str = 0
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        status = 130  # the first Ctrl-C ends it well; this one came behind it
    except* trio_mqtt.MQTTError as failures:  # alone, or in a group that the nursery has made
        status = f"the ingest has failed: {failures.exceptions[0]}"
    sys.exit(status)
