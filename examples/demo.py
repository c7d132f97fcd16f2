"""What trio_mqtt does, in eight seconds; run by ``make demo``.

Four sensors publish readings at QoS 1. A controller sends commands at QoS 2 to a valve, which
carries them out and reports back. A heater dies: its connection is cut, and the server publishes
its will. Each of them is a client of its own, and so is the dashboard that receives it all. At the
end the demo counts: the exit status is 0 if every reading was received once, every command carried
out once and the will seen.

With ``MQTT_URL`` set it uses that server, else one inside this program. All topics begin with a
name drawn for this run, so that a server shared with others will do.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote, urlsplit

import trio

import trio_mqtt
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from typing import Self

    from rich.console import RenderableType

SECONDS: Final = 7.0
PATIENCE: Final = 4.0  # how long to wait for what is missing at the end
DOUBLES_MAY_FOLLOW: Final = 0.3  # how long to look for what comes twice
REFRESH: Final = 0.1
CONNECT_TIMEOUT: Final = 5.0
WIDTH: Final = 16  # of the little curves
COMMANDS: Final = ("open", "close", "open", "close")


# -- what happened -------------------------------------------------------------------------------


@dataclass
class Sensor:
    """A simulated sensor, and what the dashboard has of it."""

    name: str
    unit: str
    middle: float
    swing: float
    burst: int = 1  # readings at once, every tenth of a second
    sent: int = 0
    received: Counter[int] = field(default_factory=Counter[int])
    latest: deque[float] = field(default_factory=lambda: deque[float](maxlen=WIDTH))

    def readings(self) -> Iterator[float]:
        """What it measures."""
        for step in range(sys.maxsize):
            yield self.middle + self.swing * math.sin(step / self.burst / 6 + self.middle)

    @property
    def missing(self) -> int:
        """How many readings were sent and have not arrived."""
        return sum(1 for number in range(1, self.sent + 1) if number not in self.received)

    @property
    def doubled(self) -> int:
        """How many arrived more than once."""
        return self.received.total() - len(self.received)


@dataclass
class Demo:
    """One run: what takes part, and what became of it."""

    url: str
    seconds: float
    tell: Callable[[float, str], None]
    prefix: str = field(default_factory=lambda: f"trio_mqtt-demo-{token_hex(4)}")
    start: float = field(default_factory=trio.current_time)
    sensors: list[Sensor] = field(
        default_factory=lambda: [
            Sensor("temperature", "°C", 21.0, 2.5),
            Sensor("humidity", "%", 48.0, 6.0),
            Sensor("pressure", "hPa", 1013.0, 4.0, burst=2),
            Sensor("vibration", "mm/s", 1.2, 0.9, burst=20),
        ]
    )
    valve: str = "?"
    heater: str = "?"
    carried_out: Counter[str] = field(default_factory=Counter[str])
    round_trips: list[float] = field(default_factory=list[float])
    cut_at: float | None = None
    will_after: float | None = None
    news: trio.Event = field(default_factory=trio.Event)

    def say(self, text: str) -> None:
        """Tell whoever watches what has just happened."""
        self.tell(trio.current_time() - self.start, text)

    def something_came(self) -> None:
        """Let `everything_is_here` look again."""
        self.news.set()
        self.news = trio.Event()

    async def everything_is_here(self) -> None:
        """Wait until no reading is missing and the will has come."""
        while self.will_after is None or any(sensor.missing for sensor in self.sensors):
            await self.news.wait()

    def faults(self) -> list[str]:
        """What should not have happened."""
        wanted = Counter(f"{number} {what}" for number, what in enumerate(COMMANDS, 1))
        checks = [
            (not sensor.missing, f"{sensor.missing} readings of {sensor.name} were lost")
            for sensor in self.sensors
        ]
        checks += [
            (not sensor.doubled, f"{sensor.doubled} readings of {sensor.name} came twice")
            for sensor in self.sensors
        ]
        checks += [
            (all(sensor.sent for sensor in self.sensors), "a sensor has sent nothing"),
            (self.carried_out == wanted, f"the valve has carried out {dict(self.carried_out)}"),
            (len(self.round_trips) == len(COMMANDS), "a command was not reported as carried out"),
            (self.will_after is not None, "the will of the heater has not come"),
        ]
        return [text for is_right, text in checks if not is_right]

    def summary(self) -> list[str]:
        """What was sent and what arrived."""
        sent = sum(sensor.sent for sensor in self.sensors)
        received = sum(len(sensor.received) for sensor in self.sensors)
        lost = sum(sensor.missing for sensor in self.sensors)
        doubled = sum(sensor.doubled for sensor in self.sensors)
        once = sum(times == 1 for times in self.carried_out.values())
        trips = [f"{seconds * 1000:.1f}" for seconds in sorted(self.round_trips)]
        times = f"round trip {trips[0]} to {trips[-1]} ms" if trips else "none came back"
        will = "not seen"
        if self.will_after is not None:
            will = f"seen {self.will_after * 1000:.1f} ms after the connection was cut"
        return [
            f"readings, QoS 1:  {sent} sent, {received} received, lost {lost}, doubled {doubled}",
            f"commands, QoS 2:  {len(COMMANDS)} sent, {once} carried out once, {times}",
            f"will:             {will}",
        ]


# -- who takes part ------------------------------------------------------------------------------


async def run_sensor(demo: Demo, sensor: Sensor) -> None:
    """Publish readings, without waiting for the acknowledgement of each."""
    topic = f"{demo.prefix}/readings/{sensor.name}"
    readings = sensor.readings()
    async with trio_mqtt.open_client(demo.url) as client, client.open_publisher(qos=1) as publisher:
        while trio.current_time() < demo.start + demo.seconds:
            for value in (next(readings) for _ in range(sensor.burst)):
                await publisher.send(topic, f"{publisher.sent + 1} {value:.2f}")
                sensor.sent = publisher.sent
            await trio.sleep(0.1)
    # Here every acknowledgement has come: leaving the publisher's block waits for them.


async def run_valve(
    demo: Demo, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Carry out commands and report each."""
    async with (
        trio_mqtt.open_client(demo.url) as client,
        client.subscribe(f"{demo.prefix}/valve/command", qos=2) as commands,
    ):
        task_status.started()
        async for command in commands:
            demo.valve = command.text().split()[1]
            demo.carried_out[command.text()] += 1
            await client.publish(f"{demo.prefix}/valve/report", command.payload, qos=2)


async def run_controller(demo: Demo, client: trio_mqtt.Client) -> None:
    """Send commands to the valve, each when the one before was reported."""
    async with client.subscribe(f"{demo.prefix}/valve/report", qos=2) as reports:
        for number, what in enumerate(COMMANDS, 1):
            await trio.sleep(demo.seconds / (len(COMMANDS) + 1))
            command = f"{number} {what}"
            sent_at = trio.current_time()
            await client.publish(f"{demo.prefix}/valve/command", command, qos=2)
            with await reports.receive() as report:  # acknowledged when the block is done
                if report.text() != command:
                    demo.say(f"the valve reported {report.text()!r} instead of {command!r}")
                    continue
            demo.round_trips.append(trio.current_time() - sent_at)
            took = demo.round_trips[-1] * 1000
            demo.say(f"command {number}, {what!r}, was carried out and reported in {took:.1f} ms")


class Cable:
    """A connection to the server that can be cut, as by a power failure."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 1883
        self.username = None if parts.username is None else unquote(parts.username)
        self.password = None if parts.password is None else unquote(parts.password)
        self._stream: trio.SocketStream | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        """What `open_client` takes as its `connector`."""
        async with await trio.open_tcp_stream(*self._address) as stream:
            self._stream = stream
            yield stream

    def cut(self) -> None:
        """End it at once: no DISCONNECT gets through."""
        if self._stream is not None:
            self._stream.socket.shutdown(trio.socket.SHUT_RDWR)


async def run_heater(demo: Demo) -> None:
    """Say that it lives, and die."""
    topic = f"{demo.prefix}/status/heater"
    cable = Cable(demo.url)
    try:
        async with trio_mqtt.open_client(
            connector=cable.connect,
            username=cable.username,
            password=cable.password,
            will=trio_mqtt.Will(topic=topic, payload="dead", qos=1),
            reconnect=None,  # it does not come back
        ) as client:
            await client.publish(topic, "alive", qos=1)
            await trio.sleep(demo.seconds / 2)
            demo.say("the connection of the heater is cut")
            demo.cut_at = trio.current_time()
            cable.cut()
            await trio.sleep_forever()
    except trio_mqtt.ConnectionLost as error:
        demo.say(f"the heater notices: {error}")


async def run_dashboard(
    demo: Demo, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Receive the readings and what becomes of the heater."""
    sensors = {f"{demo.prefix}/readings/{sensor.name}": sensor for sensor in demo.sensors}
    async with (
        trio_mqtt.open_client(demo.url) as client,
        client.subscribe(
            f"{demo.prefix}/readings/+", f"{demo.prefix}/status/heater", qos=1
        ) as messages,
    ):
        task_status.started()
        async for message in messages:
            if message.topic in sensors:
                sensor = sensors[message.topic]
                number, value = message.text().split()
                sensor.received[int(number)] += 1
                if int(number) % sensor.burst == 0:
                    sensor.latest.append(float(value))
            else:
                demo.heater = message.text()
                if demo.heater == "dead" and demo.cut_at is not None:
                    demo.will_after = trio.current_time() - demo.cut_at
                    took = demo.will_after * 1000
                    demo.say(f"the will of the heater arrived, {took:.1f} ms after the cut")
            demo.something_came()


async def run_all(demo: Demo, controller: trio_mqtt.Client, show: Show) -> None:
    """Let everybody do their part, and wait for what is still under way."""
    async with trio.open_nursery() as receiving:
        receiving.start_soon(show.keep_current, demo)
        await receiving.start(run_dashboard, demo)
        await receiving.start(run_valve, demo)
        async with trio.open_nursery() as sending:
            for sensor in demo.sensors:
                sending.start_soon(run_sensor, demo, sensor)
            sending.start_soon(run_controller, demo, controller)
            sending.start_soon(run_heater, demo)
        await demo.everything_is_here()
        await trio.sleep(DOUBLES_MAY_FOLLOW)
        receiving.cancel_scope.cancel()


async def run(url: str | None, seconds: float) -> int:
    """Run the demo and tell the outcome.

    Args:
        url: the server; None for one in this process.
        seconds: how long the sensors send.

    Returns:
        The exit status.
    """
    if url is None:
        async with open_server(port=0) as server:
            assert server.url is not None  # noqa: S101 - it listens on a port
            return await run_against(server.url, "a server inside this program", seconds)
    return await run_against(url, "from MQTT_URL", seconds)


async def run_against(url: str, origin: str, seconds: float) -> int:
    """Run the demo against a server; see `run`."""
    with make_show() as show:
        async with trio_mqtt.open_client(url, connect_timeout=CONNECT_TIMEOUT) as controller:
            parts = urlsplit(url)
            version = controller.server.protocol.title
            show.head(f"trio_mqtt demo: {version} at {parts.hostname} ({origin})")
            demo = Demo(url, seconds, show.tell)
            with trio.move_on_after(seconds + PATIENCE) as scope:
                await run_all(demo, controller, show)
        show.refresh(demo)
    faults = demo.faults()
    if scope.cancelled_caught:
        faults.append(f"it was not over {PATIENCE:g} s after the last reading")
    print("\nSummary")
    for line in demo.summary():
        print(f"  {line}")
    for fault in faults:
        print(f"  FAULT: {fault}")
    print("The demo has failed." if faults else "Everything arrived, and nothing twice.")
    return 1 if faults else 0


# -- what is to be seen --------------------------------------------------------------------------


class Show:
    """Plain lines, for a file or a pipe."""

    interval = 1.0

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what is shown as it is."""

    def head(self, text: str) -> None:
        """Say what this is."""
        print(text, flush=True)

    def tell(self, when: float, text: str) -> None:
        """Say what has happened."""
        print(f"{when:5.1f} s  {text}", flush=True)

    def refresh(self, demo: Demo) -> None:
        """Show how far it is."""
        counts = ", ".join(
            f"{sensor.name} {len(sensor.received)} of {sensor.sent}" for sensor in demo.sensors
        )
        demo.say(f"received: {counts}")

    async def keep_current(self, demo: Demo) -> None:
        """Refresh from time to time."""
        while True:
            await trio.sleep(self.interval)
            self.refresh(demo)


class LiveShow(Show):
    """A live table, for a terminal; needs rich."""

    interval = REFRESH

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - an extra

        self._live = Live(auto_refresh=False)
        self._head = ""
        self._events: deque[str] = deque(maxlen=9)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last table on the screen."""
        self._live.stop()

    def head(self, text: str) -> None:
        """Set the title of the table."""
        self._head = text

    def tell(self, when: float, text: str) -> None:
        """Put what has happened below the table."""
        self._events.append(f"{when:5.1f} s  {text}")

    def refresh(self, demo: Demo) -> None:
        """Draw everything anew."""
        self._live.update(self._draw(demo), refresh=True)

    def _draw(self, demo: Demo) -> RenderableType:
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - an extra
        from rich.console import Group  # noqa: PLC0415 - an extra
        from rich.table import Table  # noqa: PLC0415 - an extra
        from rich.text import Text  # noqa: PLC0415 - an extra

        table = Table(title=self._head, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("sensor", no_wrap=True)
        table.add_column("reading", justify="right", min_width=12)
        for column in ("sent", "received", "missing", "doubled"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("course", width=WIDTH)
        for sensor in demo.sensors:
            latest = f"{sensor.latest[-1]:.2f} {sensor.unit}" if sensor.latest else "-"
            table.add_row(
                sensor.name,
                latest,
                str(sensor.sent),
                str(len(sensor.received)),
                str(sensor.missing),
                str(sensor.doubled),
                Text(sparkline(sensor), style="cyan"),
            )
        style = {"alive": "green", "dead": "bold red"}.get(demo.heater, "")
        devices = Text(" valve: ").append(demo.valve, "bold").append("   heater: ")
        devices.append(demo.heater, style)
        return Group(table, devices, *(Text(event, no_wrap=True) for event in self._events))


def sparkline(sensor: Sensor) -> str:
    """The latest readings as a little curve."""
    steps = "▁▂▃▄▅▆▇█"
    low = sensor.middle - sensor.swing
    scale = (len(steps) - 1) / (2 * sensor.swing)
    return "".join(
        steps[max(0, min(len(steps) - 1, round((value - low) * scale)))] for value in sensor.latest
    )


def make_show() -> Show:
    """A live table if there is a terminal and rich, else plain lines."""
    if sys.stdout.isatty():
        try:
            return LiveShow()
        except ImportError:
            print("(for a live table: pip install 'trio-mqtt[cli]')")
    return Show()


def main() -> int:
    """Run the demo as a program."""
    parser = argparse.ArgumentParser(description="What trio_mqtt does, in eight seconds.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the sensors send")
    seconds = parser.parse_args().seconds
    status = 1
    try:
        status = trio.run(partial(run, os.environ.get("MQTT_URL") or None, seconds))
    except* (trio_mqtt.MQTTError, ValueError) as group:
        for text in dict.fromkeys(messages(group)):
            print(f"The demo has failed: {text}", file=sys.stderr)
    except* KeyboardInterrupt:
        status = 130
    return status


def messages(group: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    """What the exceptions in a group say."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from messages(cast("BaseExceptionGroup[BaseException]", error))
        else:
            yield str(error)


if __name__ == "__main__":
    sys.exit(main())
