"""Many simulated devices start, publish, answer commands, come back, and go home."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt
from tests.examples.programs import LONGEST_RUN, running

if TYPE_CHECKING:
    from trio_mqtt.testing import FaultyNetwork, Server

COUNT: Final = 120
FLEET: Final = ("--count", str(COUNT), "--ramp", "0.5", "--interval", "0.5", "--report", "0.1")


class Watcher:
    """What comes from the devices.

    Attributes:
        readings: how many there were.
        statuses: how many there were of each.
    """

    def __init__(self) -> None:
        self.readings = 0
        self.statuses: Counter[str] = Counter()
        self.news = trio.Event()

    async def watch(self, client: trio_mqtt.Client, *, task_status: trio.TaskStatus[None]) -> None:
        async with client.subscribe("devices/+/reading", "devices/+/status", qos=1) as messages:
            task_status.started()
            async for message in messages:
                if message.topic.endswith("/status"):
                    self.statuses[message.text()] += 1
                else:
                    assert 0 < float(message.text()) < 100
                    self.readings += 1
                self.news.set()
                self.news = trio.Event()

    async def wait_for(self, status: str, count: int) -> None:
        """Wait until so many of this status came."""
        with trio.fail_after(LONGEST_RUN):
            while self.statuses[status] < count:
                await self.news.wait()


async def test_devices_live_and_come_back(
    server: Server, url: str, far_url: str, network: FaultyNetwork
) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        trio.open_nursery() as nursery,
        running("devices.py", far_url, *FLEET, longest=2 * LONGEST_RUN) as devices,
    ):
        watcher = Watcher()
        await nursery.start(watcher.watch, client)
        await devices.says(f"devices +{COUNT} of {COUNT} connected")
        await watcher.wait_for("online", COUNT)
        reply = await client.request("devices/0007/command", "interval 0.05")
        assert reply.text() == "a reading every 0.05 s"
        await devices.says("commands +1 answered")
        assert server.sessions["device-0119"].connected

        network.down()
        await watcher.wait_for("dead", COUNT)
        await devices.says(f"devices +0 of {COUNT} connected")
        network.up()
        await watcher.wait_for("online", 2 * COUNT)
        await devices.says(f"devices +{COUNT} of {COUNT} connected")
        await devices.says(f"connections +{2 * COUNT} made, .*")

        for command, answer in {
            "ping": "pong",
            "interval soon": "'soon' is no number",
            "interval nan": "'nan' is no number",
            "dance": 'the commands are "ping" and "interval SECONDS"',
        }.items():
            reply = await client.request("devices/0119/command", command)
            assert reply.text() == answer

        assert await devices.ends(signal.SIGTERM) == 0
        stopped = await devices.says(r"stopped; ([\d,]+) readings were acknowledged")
        await watcher.wait_for("offline", COUNT)
        assert watcher.statuses == {"online": 2 * COUNT, "dead": COUNT, "offline": COUNT}
        assert watcher.readings >= int(stopped[1].replace(",", "")) > COUNT
        nursery.cancel_scope.cancel()


async def test_what_ends_some_devices_does_not_end_the_others(server: Server, url: str) -> None:
    server.authenticate = lambda connect: (
        trio_mqtt.ReasonCode.NOT_AUTHORIZED
        if connect.client_id.endswith("0")
        else trio_mqtt.ReasonCode.SUCCESS
    )
    async with running("devices.py", url, *FLEET, "--count", "20", "--ramp", "0.1") as devices:
        await devices.says("devices +18 of 20 connected")
        await devices.says("failed +2 devices")
        await devices.says(r" +2 .*0x87 \(not authorized\).*")
        assert await devices.ends(signal.SIGINT) == 0


async def test_an_answer_that_may_not_be_published_ends_no_device(server: Server, url: str) -> None:
    server.authorize_publish = lambda _client_id, publish: (
        trio_mqtt.ReasonCode.NOT_AUTHORIZED
        if publish.topic == "secret"
        else trio_mqtt.ReasonCode.SUCCESS
    )
    fleet = (*FLEET, "--count", "3", "--ramp", "0.1")
    async with (
        trio_mqtt.open_client(url) as client,
        running("devices.py", url, *fleet) as devices,
    ):
        await devices.says("devices +3 of 3 connected")
        command = "devices/0001/command"
        await server.wait_subscribed(command)
        await client.publish(command, "ping", qos=1, response_topic="secret")
        await devices.says("under way .* and 1 were refused")
        await devices.says("failed +0 devices")
        with trio.fail_after(LONGEST_RUN):
            assert (await client.request(command, "ping")).text() == "pong"
        assert await devices.ends(signal.SIGTERM) == 0
