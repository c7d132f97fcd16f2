"""``python -m benchmarks.memory.client DIRECTION URL FILE SIZE`` prints its peak of memory.

That is what the process grew by at its highest, beyond what it took before the message, in bytes;
the payload that is published counts, as the one that is received does.
"""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt
from benchmarks.memory.server import TOPIC
from trio_mqtt import MQTT_5

if TYPE_CHECKING:
    import ssl

_STATUS: Final = Path("/proc/self/status")
_FORGET_PEAK: Final = "5"


def _read(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"this system does not tell {field}")
    return int(found[1]) * 1024


def peak(before: int) -> int:
    """How much more than that it was at the highest, in bytes."""
    return _read("VmHWM") - before


def begin() -> int:
    """What the process takes now; its peak is forgotten."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text(_FORGET_PEAK)
    return _read("VmRSS")


async def receive(client: trio_mqtt.Client, size: int) -> int:
    """Take the message."""
    before = begin()
    async with client.subscribe(TOPIC, qos=1) as messages:
        message = await messages.receive()
        if len(message.payload) != size:
            raise RuntimeError("it is not the message that was sent")
        message.ack()
        return peak(before)


async def publish(client: trio_mqtt.Client, size: int) -> int:
    """Publish it."""
    before = begin()
    await client.publish(TOPIC, b"x" * size, qos=1)
    return peak(before)


async def main(direction: str, url: str, file: str, size: int) -> None:
    """Connect, and move it."""
    context: ssl.SSLContext | None = None
    if file != "-":
        context = trio_mqtt.make_ssl_context(ca_file=file)
    async with trio_mqtt.open_client(
        url, protocol=MQTT_5, ssl_context=context, maximum_packet_size=2 * size, ping_timeout=60
    ) as client:
        work = receive if direction == "in" else publish
        print(await work(client, size), flush=True)


if __name__ == "__main__":
    _, where, to, trusted, length = sys.argv
    trio.run(main, where, to, trusted, int(length))
