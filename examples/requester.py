"""Ask responder.py how much some temperatures are in degrees Fahrenheit, all at once.

    python requester.py [URL [CELSIUS ...]]

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import os
import sys

import trio

import trio_mqtt

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
TEMPERATURES = sys.argv[2:] or ["-40", "0", "21.5", "hot", "100"]
PATIENCE = 5  # seconds


async def ask(client: trio_mqtt.Client, celsius: str) -> None:
    """Ask for one; nobody says that somebody will answer, so the waiting has an end."""
    with trio.move_on_after(PATIENCE):
        reply = await client.request("convert/fahrenheit", celsius)
        if ("status", "error") in reply.user_properties:
            print(f"{celsius}: {reply.text()}")
        else:
            print(f"{celsius} °C are {reply.text()} °F")
        return
    print(f"{celsius}: no answer within {PATIENCE} s")


async def main() -> None:
    """Ask for all at once; the answers come in any order."""
    async with trio_mqtt.open_client(URL) as client, trio.open_nursery() as nursery:
        for celsius in TEMPERATURES:
            nursery.start_soon(ask, client, celsius)


if __name__ == "__main__":
    trio.run(main)
