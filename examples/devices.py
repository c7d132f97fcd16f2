"""A thousand simulated devices in one process, to see what a server does with them.

    python devices.py [URL] [--count COUNT] [--ramp SECONDS] [--interval SECONDS]

Each device is a client of its own, with a will and a keep alive. They start one after the other
during the ramp; then each publishes a reading at QoS 1 in every interval and answers commands. A
table shows the totals. Restart the server, and look at how many connections a second are made: the
devices do not come back all at once, for each waits for a random part of a growing delay.

A device's status comes to devices/NUMBER/status: "online", "offline" after a good end, and its will
is "dead". A request to devices/NUMBER/command, such as devices/0007/command, is answered: "ping",
or "interval 0.5". Ctrl-C and SIGTERM send all devices home.

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import random
import signal
import sys
from collections import Counter, deque
from statistics import median
from typing import Final

import trio

import trio_mqtt
from trio_mqtt.events import Connected

# Nobody stays away for longer than max_delay, and nobody knows beforehand for how long.
RECONNECT: Final = trio_mqtt.Reconnect(initial="retry", delay=1, max_delay=20)
KEEP_ALIVE: Final = 30  # seconds
PATIENCE: Final = 10  # seconds, to send all devices home
NO_REPLY: Final = (trio_mqtt.PublishRejected, trio_mqtt.PacketTooLarge)


class Fleet:
    """All devices together.

    Args:
        options: the command line.

    Attributes:
        stopping: is set when the devices are to go home.
        acknowledged: how many readings the server has.
        refused: how many readings and answers it did not want.
        answered: how many commands were answered.
        failed: why devices have ended before their time.
        times: what the last readings took to be acknowledged, in seconds.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.stopping = trio.Event()
        self.acknowledged = self.refused = self.answered = 0
        self.failed: Counter[str] = Counter()
        self.times: deque[float] = deque(maxlen=1000)
        self.devices = [Device(number, self) for number in range(options.count)]
        self._before = (trio.current_time(), 0, 0)

    def table(self) -> list[str]:
        """The totals, as lines of text."""
        now = [device.client.statistics() for device in self.devices if device.client is not None]
        connected = sum(each.connected for each in now)
        made = sum(each.connections for each in now)
        under_way = sum(each.unfinished for each in now)
        time, made_before, acknowledged_before = self._before
        self._before = (trio.current_time(), made, self.acknowledged)
        seconds = max(trio.current_time() - time, 0.001)
        made_rate = (made - made_before) / seconds
        rate = (self.acknowledged - acknowledged_before) / seconds
        took = [1000 * each for each in self.times] or [0.0]
        rows = {
            "devices": f"{connected:,} of {len(self.devices):,} connected",
            "connections": f"{made:,} made, {made_rate:,.0f} a second",
            "readings": f"{self.acknowledged:,} acknowledged, {rate:,.0f} a second",
            "under way": f"{under_way:,}, and {self.refused:,} were refused",
            "took": f"{median(took):.1f} ms, the slowest of the last 1,000 {max(took):.1f} ms",
            "commands": f"{self.answered:,} answered",
            "failed": f"{self.failed.total():,} devices",
        }
        lines = [f"{name:13}{text}" for name, text in rows.items()]
        return lines + [f"{count:12,} {why}" for why, count in self.failed.most_common(3)]


class Device:
    """One simulated device.

    Args:
        number: tells it from the others.
        fleet: them.
    """

    def __init__(self, number: int, fleet: Fleet) -> None:
        self.client: trio_mqtt.Client | None = None
        self._fleet = fleet
        self._interval: float = fleet.options.interval
        self._name = f"{number:04d}"
        self._status = f"devices/{self._name}/status"

    async def run(self, delay: float) -> None:
        """Start after a while, and live until all go home."""
        await trio.sleep(delay)
        opening = trio_mqtt.open_client(
            self._fleet.options.url,
            client_id=f"device-{self._name}",
            will=trio_mqtt.Will(topic=self._status, payload="dead", qos=1),
            keep_alive=KEEP_ALIVE,
            reconnect=RECONNECT,
        )
        try:
            async with opening as client:
                self.client = client
                async with trio.open_nursery() as nursery:
                    for task in (self._announce, self._measure, self._obey):
                        nursery.start_soon(task, client)
                    await self._fleet.stopping.wait()
                    nursery.cancel_scope.cancel()
                await client.publish(self._status, "offline", qos=1)
        except* trio_mqtt.MQTTError as errors:  # what ends one device does not end the others
            self._fleet.failed[str(errors.exceptions[0])] += 1

    async def _announce(self, client: trio_mqtt.Client) -> None:
        """Say after each connection that it is there, for its will has said otherwise."""
        async with client.events() as events:
            await client.publish(self._status, "online", qos=1)
            async for event in events:
                if isinstance(event, Connected):
                    await client.publish(self._status, "online", qos=1)

    async def _measure(self, client: trio_mqtt.Client) -> None:
        """Publish readings, one at a time."""
        fleet, value = self._fleet, random.uniform(15, 25)  # noqa: S311 - no secret
        while True:
            await trio.sleep(random.uniform(0.9, 1.1) * self._interval)  # noqa: S311 - no secret
            value += random.uniform(-0.2, 0.2)  # noqa: S311 - no secret
            start = trio.current_time()
            try:
                await client.publish(f"devices/{self._name}/reading", f"{value:.1f}", qos=1)
            except trio_mqtt.PublishRejected:
                fleet.refused += 1
                continue
            fleet.acknowledged += 1
            fleet.times.append(trio.current_time() - start)

    async def _obey(self, client: trio_mqtt.Client) -> None:
        """Carry commands out, and answer those who want an answer."""
        async with client.subscribe(f"devices/{self._name}/command", qos=1) as commands:
            async for command in commands:
                answer = self._carry_out(command.payload.decode(errors="replace").split())
                if command.response_topic is None:
                    continue
                try:
                    await command.reply(answer)
                except NO_REPLY:  # who asks says where to, so no such topic may end a device
                    self._fleet.refused += 1
                else:
                    self._fleet.answered += 1

    def _carry_out(self, words: list[str]) -> str:
        match words:
            case ["ping"]:
                return "pong"
            case ["interval", number]:
                try:
                    seconds = float(number)
                except ValueError:
                    seconds = math.nan
                if math.isnan(seconds):  # "nan" is one to float, and none to sleep
                    return f"{number!r} is no number"
                self._interval = min(max(seconds, 0.01), 3600.0)
                return f"a reading every {self._interval:g} s"
            case _:
                return 'the commands are "ping" and "interval SECONDS"'


async def show(fleet: Fleet) -> None:
    """Show the totals again and again; on a terminal, where they were before."""
    height = 0
    while True:
        lines = fleet.table()
        if sys.stdout.isatty():
            back = f"\x1b[{height}F\x1b[J" if height else ""
            print(back, end="")
        print("\n".join(lines), flush=True)
        height = len(lines)
        await trio.sleep(fleet.options.report)


def allow_sockets(count: int) -> None:
    """Ask for as many open files as there will be sockets, where they are counted."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not for Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + 100
        if soft not in {resource.RLIM_INFINITY, -1} and soft < wanted:
            limit = wanted if hard in {resource.RLIM_INFINITY, -1} else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


async def main(options: argparse.Namespace) -> None:
    """Run all devices until a signal."""
    logging.getLogger("trio_mqtt").setLevel(logging.ERROR)  # the table tells of lost connections
    allow_sockets(options.count)
    fleet = Fleet(options)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as showing:
            showing.start_soon(show, fleet)
            async with trio.open_nursery() as running:
                for number, device in enumerate(fleet.devices):
                    running.start_soon(device.run, options.ramp * number / options.count)
                await anext(signals)
                fleet.stopping.set()
                running.cancel_scope.deadline = trio.current_time() + PATIENCE
            showing.cancel_scope.cancel()
        print(f"stopped; {fleet.acknowledged:,} readings were acknowledged", flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    url = os.environ.get("MQTT_URL", "mqtt://localhost:1883")
    parser.add_argument("url", nargs="?", default=url, help="the server")
    parser.add_argument("--count", type=int, default=1000, help="how many devices")
    parser.add_argument("--ramp", type=float, default=10, help="seconds until all have started")
    parser.add_argument("--interval", type=float, default=5, help="seconds between readings")
    parser.add_argument("--report", type=float, default=1, help="seconds between tables")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        trio.run(main, parse())
    except KeyboardInterrupt:
        sys.exit(130)  # the first Ctrl-C ends it well; this one came behind it
