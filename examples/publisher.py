"""Publish one reading and say what the server answered.

    python publisher.py [URL]

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import os
import sys

import trio

import trio_mqtt

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")


async def main() -> None:
    """Publish at each Quality of Service."""
    async with trio_mqtt.open_client(URL) as client:
        print(f"connected with {client.server.protocol.title}")

        # QoS 0 is on its way when `publish` returns, and nobody says whether it arrived.
        await client.publish("sensors/kitchen/temperature", "21.5")

        # QoS 1 and 2: `publish` returns when the server has acknowledged the message. If it refuses
        # it, that is PublishRejected; if the connection is lost, ConnectionLost.
        await client.publish("sensors/kitchen/temperature", "21.6", qos=1)

        # A retained message is what later subscribers get at once.
        result = await client.publish("sensors/kitchen/unit", "°C", qos=2, retain=True)
        print(f"the server answered {result.reason_code.name}")


if __name__ == "__main__":
    trio.run(main)
