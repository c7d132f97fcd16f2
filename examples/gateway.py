"""A gateway: what its sensors measure gets to the server, through outages and restarts.

    python gateway.py [URL]     see also --help

A reading is on disk before the next one is taken, and leaves the file when the server has
acknowledged it. So the sensors need no server: stop yours for a while, look at how many readings
wait, and see them arrive, oldest first, when it is back. Kill this program, even with ``kill -9``,
and it goes on with what waits when it is started again. If an outage lasts so long that the
queue is full, each new one takes the place of the oldest, and is counted.

Readings come to gateways/NAME/SENSOR. gateways/NAME/status, retained, is "online", "offline" after
a good end, or "lost" if the connection or this program broke. Ctrl-C and SIGTERM end it well.

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import trio

import trio_mqtt
from trio_mqtt.events import Connected, Disconnected, PublishFailed

WEEK: Final = 7 * 24 * 60 * 60
PATIENCE: Final = 2  # seconds, as it is told to stop


@dataclass(frozen=True)
class Sensor:
    """Something that measures; put your hardware here."""

    name: str
    unit: str
    middle: float
    swing: float

    def read(self) -> float:
        """What it measures now. What takes its time belongs into `trio.to_thread.run_sync`."""
        return round(self.middle + self.swing * math.sin(time.time() / 20 + self.middle), 2)


SENSORS: Final = (
    Sensor("temperature", "°C", 21.0, 2.5),
    Sensor("humidity", "%", 48.0, 6.0),
    Sensor("pressure", "hPa", 1013.0, 4.0),
)


class Gateway:
    """Takes readings, and tells how it goes.

    Args:
        client: what the readings are handed to.
        root: what their Topic Names begin with.
    """

    def __init__(self, client: trio_mqtt.Client, root: str) -> None:
        self.taken = 0
        self.lost = 0
        self._client = client
        self._root = root
        self._status = f"{root}/status"

    async def run(self, interval: float, report: float) -> None:
        """Do all that it does, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch)
            nursery.start_soon(self.report_often, report)
            for sensor in SENSORS:
                nursery.start_soon(self.sample, sensor, interval)

    async def sample(self, sensor: Sensor, interval: float) -> None:
        """Take a reading in every interval, and have it sent."""
        start = trio.current_time()
        for number in itertools.count(1):
            reading = {
                "number": number,  # since the start of the program: a gap shows what was lost
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "value": sensor.read(),
                "unit": sensor.unit,
            }
            try:
                # Returns when the reading is on disk, whether or not the server can be reached.
                await self._client.enqueue(
                    f"{self._root}/{sensor.name}",
                    json.dumps(reading, ensure_ascii=False),
                    qos=1,
                    content_type="application/json",
                )
                self.taken += 1
            except trio_mqtt.StorageError as error:  # a full disk: others may make room
                print(f"a reading of {sensor.name} is lost: {error}", flush=True)
            await trio.sleep_until(start + number * interval)

    async def watch(self) -> None:
        """Tell of connections, and count what had to go."""
        async with self._client.events() as events:
            async for event in events:
                if isinstance(event, Connected):
                    print(f"connected to {event.server}", flush=True)
                    self.report()
                    await self.announce("online")
                elif isinstance(event, Disconnected):
                    print(f"disconnected: {event.error}", flush=True)
                elif isinstance(event, PublishFailed) and event.message.topic != self._status:
                    self.lost += 1

    async def announce(self, status: str) -> None:
        """Let others know; behind what waits, so that they hear of the past first."""
        try:
            await self._client.enqueue(self._status, status, qos=1, retain=True)
        except trio_mqtt.StorageError as error:
            print(f"nobody is told that it is {status}: {error}", flush=True)

    async def report_often(self, seconds: float) -> None:
        """Report again and again."""
        while True:
            await trio.sleep(seconds)
            self.report()

    def report(self) -> None:
        """Tell how many readings were taken, wait and are lost."""
        now = self._client.statistics()
        state = "online" if now.connected else "offline"
        counts = f"{self.taken} taken, {now.unfinished} waiting, {self.lost} lost"
        print(f"{state}: {counts}", flush=True)


async def main(options: argparse.Namespace) -> None:
    """Run the gateway until a signal."""
    root = f"gateways/{options.name}"
    session = trio_mqtt.Session(
        options.name,
        expiry=WEEK,
        storage=trio_mqtt.SQLiteStorage(options.file),
        queue=options.queue,
        overflow="drop_oldest",
    )
    opening = trio_mqtt.open_client(
        options.url,
        session=session,
        will=trio_mqtt.Will(topic=f"{root}/status", payload="lost", qos=1, retain=True),
        # A gateway is often up before its network is: it begins to measure all the same.
        reconnect=trio_mqtt.Reconnect(initial="background", max_delay=15),
        close_timeout=PATIENCE,  # for what is under way; what does not make it is in the file
        unsupported_properties="leave_out",  # MQTT 3.1.1 has no content_type
    )
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with opening as client, trio.open_nursery() as nursery:
            gateway = Gateway(client, root)
            nursery.start_soon(gateway.run, options.interval, options.report)
            await anext(signals)
            nursery.cancel_scope.cancel()
            if client.statistics().connected:
                with trio.move_on_after(PATIENCE, shield=True):
                    await gateway.announce("offline")
        gateway.report()
        print(f"stopped; what waits is in {options.file}", flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    url = os.environ.get("MQTT_URL", "mqtt://localhost:1883")
    parser.add_argument("url", nargs="?", default=url, help="the server")
    parser.add_argument("--name", default="gateway-1", help="its own; no two may have the same")
    parser.add_argument("--file", default="gateway.db", help="where readings wait")
    parser.add_argument("--interval", type=float, default=1, help="seconds between readings")
    parser.add_argument("--queue", type=int, default=100_000, help="how many readings may wait")
    parser.add_argument("--report", type=float, default=10, help="seconds between reports")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        trio.run(main, parse())
    except KeyboardInterrupt:
        sys.exit(130)  # the first Ctrl-C ends it well; this one came behind it
    except trio_mqtt.MQTTError as error:
        sys.exit(f"the gateway has failed: {error}")
