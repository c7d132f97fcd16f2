"""Answer requests: how much a temperature in degrees Celsius is in degrees Fahrenheit.

    python responder.py [URL]

Ask it with requester.py. The URL may also stand in MQTT_URL; without either it is
mqtt://localhost:1883. Start it twice, and the two share the requests. Ctrl-C ends it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import trio

import trio_mqtt

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")


async def convert(request: trio_mqtt.Message) -> str | None:
    """Answer one request; what this returns is the reply."""
    try:
        celsius = float(request.text())
    except ValueError as error:
        # An exception that left this function would end the program. What others send is no
        # reason for that: they get an answer, with a property that tells it from others, if they
        # want one, and to a topic where the server lets this program publish.
        if request.response_topic is not None:
            with suppress(trio_mqtt.PublishRejected):
                await request.reply(f"no number: {error}", user_properties=[("status", "error")])
        return None
    return f"{celsius * 9 / 5 + 32:.1f}"


async def main() -> None:
    """Serve until Ctrl-C."""
    async with trio_mqtt.open_client(URL) as client, trio.open_nursery() as nursery:
        await nursery.start(client.serve, "$share/converters/convert/fahrenheit", convert)
        print("answering requests to convert/fahrenheit", flush=True)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass
