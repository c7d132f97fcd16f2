"""A program with a durable Session whose system calls are watched.

``python -m tests.client.traced_child URL FILE COUNT`` publishes COUNT messages at QoS 1 and as many
at QoS 2, and settles COUNT messages that it receives: every other one together with an effect.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio

import trio_mqtt
from tests.storage.support import CLIENT

if TYPE_CHECKING:
    import sqlite3


def effect(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS effects (time)")
    connection.execute("INSERT INTO effects VALUES (CURRENT_TIMESTAMP)")


async def publish(client: trio_mqtt.Client, qos: int, count: int) -> None:
    for number in range(count):
        await client.enqueue(f"out/{qos}", f"message {number}", qos=qos)


async def main(url: str, path: str, count: int) -> None:
    session = trio_mqtt.Session(CLIENT, expiry=3600, storage=trio_mqtt.SQLiteStorage(path))
    async with (
        trio_mqtt.open_client(url, session=session) as client,
        client.subscribe("in", qos=2) as messages,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(publish, client, 1, count)
        nursery.start_soon(publish, client, 2, count)
        for number in range(count):
            message = await messages.receive()
            if number % 2:
                await session.settle(message, effect)
            else:
                message.ack()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
