"""Publish many messages at QoS 1 without waiting for each acknowledgement.

    python pipelined_publisher.py [URL [COUNT]]

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import os
import sys

import trio

import trio_mqtt

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000  # noqa: PLR2004 - the second argument


async def main() -> None:
    """Publish, wait for all acknowledgements, and tell how long it took."""
    async with trio_mqtt.open_client(URL) as client:
        start = trio.current_time()
        async with client.open_publisher(qos=1) as publisher:
            for number in range(COUNT):
                # Waits only while the server has as many unacknowledged messages as it takes.
                await publisher.send("examples/pipelined", f"message {number}")
            print(f"{publisher.sent} sent, {publisher.pending} of them not acknowledged yet")
        # Leaving the block has waited for every acknowledgement, and a refusal had raised.
        seconds = trio.current_time() - start
        print(f"all acknowledged after {seconds:.2f} s, {COUNT / seconds:,.0f} a second")


if __name__ == "__main__":
    trio.run(main)
