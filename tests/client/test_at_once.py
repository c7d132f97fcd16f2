"""Messages that are sent as soon as they are made: where that must not be, although it could."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_bounded_server, open_once
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt.packets import PubAck, Publish, encode
from trio_mqtt.testing import ServerLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio_mqtt.testing import Server


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


def payloads(server: Server) -> list[bytes]:
    return [packet.payload for packet in received(server, Publish)]


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_client_that_completes_what_is_under_way_takes_nothing_new(
    server: Server, nursery: trio.Nursery, qos: int
) -> None:
    holds, refused = trio.Event(), trio.Event()

    async def publish_late() -> None:
        with server.holding(PubAck):
            holds.set()
            await wait_all_tasks_blocked()
            with pytest.raises(trio.ClosedResourceError, match="is closed"):
                await client.publish("a", b"late", qos=qos)
        refused.set()

    async with open_once(connector=server.connect) as client:
        await client.publish("a", b"first")
        nursery.start_soon(publish_late)
        await holds.wait()
        await client.enqueue("a", b"under way", qos=1)
    assert refused.is_set()
    assert payloads(server) == [b"first", b"under way"]


async def test_a_message_that_has_expired_is_not_sent(server: Server) -> None:
    async with open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.MessageDropped):
            await client.publish("a", b"old", qos=1, message_expiry=0)
    assert payloads(server) == []


@pytest.mark.parametrize("payload", [b"x" * 4_456, "x" * 4_454], ids=["bytes", "text"])
async def test_a_long_topic_name_takes_its_room(server: Server, payload: Any) -> None:
    server.limits = ServerLimits(maximum_packet_size=70_000)
    topic = "t" * 65_535
    async with open_once(connector=server.connect) as client:
        await client.publish(topic, payload, qos=1)
        with pytest.raises(trio_mqtt.PacketTooLarge):
            await client.publish(topic, payload + payload[:1], qos=1)
    (packet,) = received(server, Publish)
    assert len(encode(packet, trio_mqtt.MQTT_5)) == 70_000


async def test_properties_take_their_room(server: Server) -> None:
    server.limits = ServerLimits(maximum_packet_size=70_000)
    async with open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.PacketTooLarge):
            await client.publish("a", qos=1, user_properties=[("name", "x" * 60_000)] * 2)
    assert received(server, Publish) == []


async def both_send(nursery: trio.Nursery, send: Callable[[str, bytes], Awaitable[object]]) -> None:
    """Two tasks that wait for room, of which the first has more to send."""

    async def first() -> None:
        await send("a", b"1")
        await send("a", b"3")

    nursery.start_soon(first)
    await wait_all_tasks_blocked()
    nursery.start_soon(send, "a", b"2")
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("pipelined", [False, True])
async def test_qos_0_does_not_overtake_those_who_wait(server: Server, pipelined: bool) -> None:
    large = bytes(OUTPUT_HIGH_WATER)
    async with (
        open_once(connector=partial(server.connect, capacity=1000)) as client,
        client.open_publisher(qos=0) as publisher,
        trio.open_nursery() as nursery,
    ):
        send = publisher.send if pipelined else client.publish
        await client.publish("a", b"first")
        await wait_all_tasks_blocked()
        server.pause_reading(client.server.client_id)
        for _ in range(2):  # one is being written, the other waits
            await client.publish("a", large)
            await wait_all_tasks_blocked()
        await both_send(nursery, send)
        client._supervisor.sending.pacer.deadline = math.inf  # nobody steps back for others
        server.resume_reading(client.server.client_id)
    assert payloads(server) == [b"first", large, large, b"1", b"2", b"3"]


@pytest.mark.parametrize("pipelined", [False, True])
async def test_qos_1_does_not_overtake_those_who_wait(server: Server, pipelined: bool) -> None:
    session = trio_mqtt.Session("c", expiry=100, queue_bytes=10_000)
    large = bytes(10_000)
    async with (
        open_once(connector=server.connect, session=session) as client,
        client.open_publisher() as publisher,
        trio.open_nursery() as nursery,
    ):
        with server.holding(PubAck):
            await client.enqueue("a", large)
            await both_send(nursery, publisher.send if pipelined else client.enqueue)
            assert payloads(server) == [large]
            client._supervisor.sending.pacer.deadline = math.inf  # nobody steps back for others
    assert payloads(server) == [large, b"1", b"2", b"3"]
