"""Print what arrives for some Topic Filters, until Ctrl-C.

    python subscriber.py [URL [FILTER ...]]

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import trio

import trio_mqtt

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
FILTERS = sys.argv[2:] or ["sensors/#"]


async def main() -> None:
    """Subscribe and print."""
    async with (
        trio_mqtt.open_client(URL) as client,
        client.subscribe(*FILTERS, qos=1) as messages,
    ):
        # Inside the block the server has agreed: `granted` says to what. A filter that it refused
        # would have raised SubscribeRejected.
        for topic_filter, qos in messages.granted.items():
            print(f"subscribed to {topic_filter} at QoS {qos:d}", flush=True)

        # A message is acknowledged when the loop asks for the next one: should the program die
        # while it handles one, a server that keeps the session sends that message again.
        async for message in messages:
            mark = " (retained)" if message.retain else ""
            text = message.payload.decode(errors="backslashreplace")
            print(f"{message.topic}: {text}{mark}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        trio.run(main)
