"""The gateway brings its readings to the server through outages and restarts."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import trio
from gateway import SENSORS, Gateway
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.examples.programs import LONGEST_RUN, Running, output_of, running
from trio_mqtt.events import PublishFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    import pytest

    from trio_mqtt._storage import Effect
    from trio_mqtt.abc import Changes
    from trio_mqtt.testing import FaultyNetwork, Server

REPORT: Final = r"(online|offline): (\d+) taken, (\d+) waiting, (\d+) lost"
STATUS: Final = "gateways/g/status"


class Collector:
    """What comes from the gateway.

    Attributes:
        readings: the numbers that came, by sensor and run; those that came twice once.
        statuses: in their order.
    """

    def __init__(self, messages: trio_mqtt.Subscription) -> None:
        self.readings: dict[tuple[str, int], list[int]] = {}
        self.statuses: list[str] = []
        self._messages = messages
        self._seen: set[tuple[str, str]] = set()
        self._runs: dict[str, int] = {}

    async def collect(self, until: Callable[[], bool]) -> None:
        with trio.fail_after(LONGEST_RUN):
            while not until():
                with await self._messages.receive() as message:
                    self._note(message)

    def _note(self, message: trio_mqtt.Message) -> None:
        sensor = message.topic.rpartition("/")[2]
        if sensor == "status":
            self.statuses.append(message.text())
            return
        reading = cast("dict[str, object]", message.json())
        number, when = int(str(reading["number"])), str(reading["time"])
        if (sensor, when) in self._seen:
            return  # QoS 1: the PUBACK was lost with the connection
        self._seen.add((sensor, when))
        if number == 1:
            self._runs[sensor] = self._runs.get(sensor, 0) + 1
        self.readings.setdefault((sensor, self._runs.get(sensor, 0)), []).append(number)

    def count(self, run: int) -> int:
        return sum(len(numbers) for (_, each), numbers in self.readings.items() if each == run)


@asynccontextmanager
async def open_collector(url: str) -> AsyncGenerator[Collector]:
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe("gateways/g/#", qos=1) as messages,
    ):
        yield Collector(messages)


def gateway(url: str, file: Path, *more: str) -> tuple[str, ...]:
    pace = ("--interval", "0.02", "--report", "0.1")
    return ("gateway.py", url, "--name", "g", "--file", str(file), *pace, *more)


class Report(NamedTuple):
    """A line that the gateway has printed."""

    state: str
    taken: int
    waiting: int
    lost: int


async def report(program: Running, which: Callable[[Report], bool]) -> Report:
    """Wait for a report that is as it should be."""
    while True:
        line = await program.says(REPORT)
        found = Report(line[1], int(line[2]), int(line[3]), int(line[4]))
        if which(found):
            return found


async def test_no_reading_is_lost_in_an_outage_and_a_crash_in_it(
    url: str, far_url: str, network: FaultyNetwork, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.db"
    async with open_collector(url) as collector:
        async with running(*gateway(far_url, file)) as program:
            await report(program, lambda now: now.state == "online" and now.taken > 0)
            await collector.collect(lambda: collector.count(1) > 10)
            network.down()
            taken = (await report(program, lambda now: now.waiting > 40)).taken
            assert await program.ends(signal.SIGKILL) == -signal.SIGKILL
        assert collector.count(1) < taken
        async with running(*gateway(far_url, file)) as program:
            await report(program, lambda now: now.waiting > 40 + now.taken // 2)
            network.up()
            await report(program, lambda now: now.state == "online")
            await collector.collect(lambda: collector.count(2) > 30)
            assert await program.ends(signal.SIGTERM) == 0
            await program.prints(f"stopped; what waits is in {file}")
            total = (await report(program, lambda now: now.state == "offline")).taken
        await collector.collect(lambda: collector.statuses[-1:] == ["offline"])
    assert collector.count(1) >= taken
    # As it was told to stop, each sensor may have been storing one more.
    assert total <= collector.count(2) <= total + 3
    for numbers in collector.readings.values():
        assert numbers == list(range(1, len(numbers) + 1))
    assert collector.statuses == ["online", "lost", "online", "offline"]


async def test_the_queue_is_bounded_and_keeps_the_newest(
    url: str, far_url: str, network: FaultyNetwork, tmp_path: Path
) -> None:
    network.down()
    async with (
        open_collector(url) as collector,
        running(*gateway(far_url, tmp_path / "gateway.db", "--queue", "30")) as program,
    ):
        full = await report(program, lambda now: now.waiting == 30 and now.lost > 20)
        network.up()
        await report(program, lambda now: now.state == "online" and now.waiting < 10)
        await collector.collect(lambda: collector.count(0) > 40)
        assert await program.ends(signal.SIGINT) == 0
    first = min(numbers[0] for numbers in collector.readings.values())
    assert first > (full.taken - 30) // 3 - 1  # a third of what was taken is of each sensor
    for numbers in collector.readings.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


class FullAtTimes(trio_mqtt.SQLiteStorage):
    """A disk that has no room at times."""

    full = False

    def commit_steps(self, steps: Sequence[Changes | Effect[object]]) -> None:
        if self.full:
            raise trio_mqtt.StorageError("there is no room left")
        super().commit_steps(steps)


async def test_a_full_disk_ends_nothing_and_each_reading_is_counted_once(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = FullAtTimes(tmp_path / "gateway.db")
    session = trio_mqtt.Session("g", expiry=100, storage=storage)
    async with (
        trio_mqtt.open_client(url, session=session) as client,
        client.events() as events,
        trio.open_nursery() as nursery,
    ):
        under_test = Gateway(client, "gateways/g")
        nursery.start_soon(under_test.watch)
        await wait_all_tasks_blocked()
        storage.full = True
        await under_test.announce("online")
        nursery.start_soon(under_test.sample, SENSORS[0], 0.01)
        failures = 0
        with trio.fail_after(LONGEST_RUN):
            while failures < 1 + 5:  # the status, and readings
                failures += isinstance(await anext(events), PublishFailed)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        storage.full = False
    printed = capsys.readouterr().out
    assert printed.startswith("nobody is told that it is online: ")
    told = printed.count("a reading of temperature is lost: ")
    assert told >= 5
    assert abs(under_test.lost - told) <= 1  # the last one may be under way
    assert under_test.taken == 0


async def test_it_says_that_it_may_not_connect(server: Server, url: str, tmp_path: Path) -> None:
    server.authenticate = lambda _connect: trio_mqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD
    output = await output_of(*gateway(url, tmp_path / "gateway.db"), status=1)
    assert "the gateway has failed: " in output
    assert "0x86" in output
    assert "Traceback" not in output
