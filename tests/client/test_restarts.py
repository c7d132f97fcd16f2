"""A server that is restarted under load (Mosquitto with persistence, in real time)."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.budget import WANTED
from tests.client.outages import warnings
from tests.servers import RestartableMosquitto
from trio_mqtt import MQTT_3_1_1, MQTT_5, Protocol, Reconnect, Session

if TYPE_CHECKING:
    from pathlib import Path

RESTARTS: Final = {MQTT_5: 50, MQTT_3_1_1: 50 if WANTED else 10}
"""As many in either version where TRIO_MQTT_EXAMPLES is set."""
SOON: Final = Reconnect(delay=0.02, max_delay=0.1, stable_after=0)


class Load:
    """Publishers and a subscriber that check one another.

    Attributes:
        accepted: by QoS, the numbers whose publishing was acknowledged.
        received: by QoS, the numbers that came, in order.
    """

    def __init__(self) -> None:
        self.accepted: dict[int, list[int]] = {1: [], 2: []}
        self.received: dict[int, list[int]] = {1: [], 2: []}
        self.running = True

    async def publish(self, client: trio_mqtt.Client, qos: int, worker: int) -> None:
        number = worker
        while self.running:
            await client.publish(f"load/{qos}", str(number), qos=qos)
            self.accepted[qos].append(number)
            number += 4
            await trio.sleep(0.002)

    async def receive(self, client: trio_mqtt.Client, task_status: trio.TaskStatus[None]) -> None:
        async with client.subscribe("load/#", qos=2) as messages:
            task_status.started()
            async for message in messages:
                self.received[int(message.topic[-1])].append(int(message.payload))

    def missing(self, qos: int) -> set[int]:
        return set(self.accepted[qos]) - set(self.received[qos])


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
async def test_nothing_is_lost_and_at_qos_2_nothing_doubled(
    tmp_path: Path, protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_mqtt")
    rng = random.Random(protocol)  # noqa: S311 - the same moments each time
    load = Load()
    restarts = RESTARTS[protocol]
    with trio.fail_after(20 + 3 * restarts), RestartableMosquitto(tmp_path) as server:
        async with (
            trio_mqtt.open_client(
                server.url,
                session=Session("publisher", expiry=3600),
                protocol=protocol,
                reconnect=SOON,
            ) as publisher,
            trio_mqtt.open_client(
                server.url,
                session=Session("subscriber", expiry=3600),
                protocol=protocol,
                reconnect=SOON,
            ) as subscriber,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(load.receive, subscriber)
            async with trio.open_nursery() as publishers:
                for worker in range(4):
                    for qos in (1, 2):
                        publishers.start_soon(load.publish, publisher, qos, worker)
                for restart in range(2, restarts + 2):
                    await trio.sleep(rng.uniform(0.02, 0.2))
                    await trio.to_thread.run_sync(server.restart)
                    for client in (publisher, subscriber):
                        await client.wait_connected()
                        while client.statistics().connections < restart:  # noqa: ASYNC110
                            await trio.sleep(0.01)
                load.running = False
            while load.missing(1) or load.missing(2):  # noqa: ASYNC110 - within the time limit
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert load.missing(1) == set()
    assert load.missing(2) == set()
    assert len(load.received[2]) == len(set(load.received[2]))
    assert sorted(set(load.received[2])) == sorted(load.accepted[2])
    assert min(map(len, load.accepted.values())) > restarts
    # One warning for each client and outage, and nothing lost that would deserve another.
    told = warnings(caplog)
    assert all("tries to connect again" in each for each in told)
    assert len(told) == 2 * restarts
