"""A consumer that publishes in its own loop, at QoS 1 and 2, and waits for each answer.

That locks up every client whose reader waits for its consumers: the acknowledgement sits behind
the message for which there is no room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import ReasonCode
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from tests.servers import RealServer
    from trio_mqtt.packets import Publish

MESSAGES: Final = 10_000
PATIENCE: Final = 120
QOS: Final = (1, 2)
NO_LIMIT: Final = 65_535
"""Mosquitto 2.0 sends one message too many for each acknowledgement, while it has any queued."""

Forwarded = dict[tuple[str, int], list[int]]


def numbers(qos: int) -> list[int]:
    """What is published at one QoS, in order."""
    return list(range(qos - 1, MESSAGES, len(QOS)))


def expected() -> Forwarded:
    """By topic, which tells the QoS before and after forwarding, and by the latter."""
    return {(f"out/{qos}/{out}", out): numbers(qos) for qos in QOS for out in QOS}


async def forward(client: trio_mqtt.Client, messages: trio_mqtt.Subscription) -> None:
    """Publish each message at QoS 1 and 2, and settle it by asking for the next."""
    left = MESSAGES
    async for message in messages:
        for qos in QOS:
            await client.publish(f"out/{message.qos}/{qos}", message.payload, qos=qos)
        left -= 1
        if not left:
            message.ack()
            break
    statistics = messages.statistics()
    assert (statistics.received, statistics.taken, statistics.dropped) == (MESSAGES, MESSAGES, 0)
    assert client.statistics().published == MESSAGES * len(QOS)
    assert client.statistics().unfinished == 0


async def test_with_the_test_server() -> None:
    forwarded: Forwarded = {}

    def note(_client_id: str, packet: Publish) -> ReasonCode:
        forwarded.setdefault((packet.topic, packet.qos), []).append(int(packet.payload))
        return ReasonCode.SUCCESS

    async with (
        open_server() as server,
        open_once(connector=server.connect, receive_maximum=2) as client,
        client.subscribe("in", qos=2, buffer=1) as messages,
    ):
        server.authorize_publish = note
        for number in range(MESSAGES):
            server.publish("in", str(number), qos=QOS[number % len(QOS)])
        with trio.fail_after(PATIENCE):
            await forward(client, messages)
    assert forwarded == expected()


async def feed(url: str) -> None:
    async with (
        open_once(url) as client,
        client.open_publisher(qos=1) as one,
        client.open_publisher(qos=2) as two,
    ):
        for number in range(MESSAGES):
            await (two if number % len(QOS) else one).send("in", str(number))


async def watch(results: trio_mqtt.Subscription, forwarded: Forwarded) -> None:
    for _ in range(MESSAGES * len(QOS)):
        message = await results.receive()
        message.ack()
        found = forwarded.setdefault((message.topic, message.qos), [])
        found.append(int(message.payload))


async def test_with_mosquitto(mosquitto: RealServer) -> None:
    forwarded: Forwarded = {}
    async with (
        open_once(mosquitto.url, receive_maximum=NO_LIMIT) as watcher,
        watcher.subscribe("out/#", qos=2) as results,
        open_once(mosquitto.url, receive_maximum=NO_LIMIT) as client,
        client.subscribe("in", qos=2, buffer=1) as messages,
    ):
        assert client.server.receive_maximum == 20
        assert client.server.topic_alias_maximum == 10
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, results, forwarded)
                nursery.start_soon(feed, mosquitto.url)
                nursery.start_soon(forward, client, messages)
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()
    assert forwarded == expected()
