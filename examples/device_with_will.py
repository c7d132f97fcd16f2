"""A device that others can see come, go and die.

    python device_with_will.py [URL [SECONDS]]

Its status topic says "online" while it runs, "offline" after a good end, and "dead" if the program
or its connection breaks: that is the will, which the server publishes then. All three are retained,
so whoever subscribes later knows as well. Kill it with ``kill -9`` to see the will.

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import sys

import trio

import trio_mqtt
from trio_mqtt.events import Connected

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else math.inf  # noqa: PLR2004 - the second one
STATUS = "devices/thermometer/status"
READINGS = "devices/thermometer/readings"


async def main() -> None:
    """Announce the device, publish readings until told to stop, and say goodbye."""
    will = trio_mqtt.Will(topic=STATUS, payload="dead", qos=1, retain=True)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            trio_mqtt.open_client(URL, will=will) as client,
            client.events() as events,
        ):
            await announce(client)

            with trio.move_on_after(SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(announce_again, client, events)
                    nursery.start_soon(measure, client)
                    await anext(signals)
                    nursery.cancel_scope.cancel()

            # Here only after a good end. An exception in `measure` skips this, and leaving the
            # block of the client with an exception tells the server to publish the will.
            await client.publish(STATUS, "offline", qos=1, retain=True)
            print("offline", flush=True)


async def announce(client: trio_mqtt.Client) -> None:
    """Say that it is there."""
    await client.publish(STATUS, "online", qos=1, retain=True)
    print("online", flush=True)


async def announce_again(client: trio_mqtt.Client, events: trio_mqtt.EventStream) -> None:
    """Say so after each new connection: when the last one broke, the will said otherwise."""
    async for event in events:
        if isinstance(event, Connected):
            await announce(client)


async def measure(client: trio_mqtt.Client) -> None:
    """Publish a reading every second."""
    for step in itertools.count():
        await client.publish(READINGS, f"{20 + 2 * math.sin(step / 10):.1f}", qos=1)
        await trio.sleep(1)


if __name__ == "__main__":
    trio.run(main)
