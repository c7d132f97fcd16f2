"""QoS 0 messages that have nothing but a topic and a payload, which are sent without being made.

The first message to a topic is made in any case; so each test looks at the second one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_bounded_server, open_once
from trio_mqtt import MQTT_5, LocalProtocolError, PacketTooLarge, Protocol
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt.packets import Properties, Publish, encode
from trio_mqtt.testing import Server, ServerLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZES: Final = (0, 1, 100, 121, 122, 123, 124, 125, 1023, 1024, 1025, 20_000)
"""Around the sizes at which another byte of length is needed, and the payload is not copied."""


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("pipelined", [False, True])
async def test_it_is_the_packet_that_it_would_be(
    server: Server, protocol: Protocol, pipelined: bool
) -> None:
    payloads = [bytes(size) for size in SIZES]
    async with open_once(connector=server.connect, protocol=protocol) as client:
        await client.publish("a", b"first")
        async with client.open_publisher(qos=0) as publisher:
            for payload in payloads:
                await (publisher.send if pipelined else client.publish)("a", payload)
    sent = received(server, Publish)[1:]
    assert sent == [Publish("a", payload) for payload in payloads]
    assert client.statistics().published == len(SIZES) + 1


@pytest.mark.parametrize(
    ("payload", "options", "expected"),
    [
        ("text", {}, Publish("a", b"text", properties=Properties(payload_format_indicator=1))),
        (b"x", {"retain": True}, Publish("a", b"x", retain=True)),
        (
            b"x",
            {"content_type": "c"},
            Publish("a", b"x", properties=Properties(content_type="c")),
        ),
        (bytearray(b"x"), {}, Publish("a", b"x")),
    ],
    ids=["text", "retained", "with a property", "a bytearray"],
)
@pytest.mark.parametrize("pipelined", [False, True])
async def test_what_has_more_to_it_is_made(
    server: Server, payload: trio_mqtt.Payload, options: Any, expected: Publish, pipelined: bool
) -> None:
    async with (
        open_once(connector=server.connect) as client,
        client.open_publisher(qos=0) as publisher,
    ):
        publish = publisher.send if pipelined else client.publish
        await client.publish("a", b"first")
        await publish("a", payload, **options)
    assert received(server, Publish)[1] == expected


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"topic": "a/#", "payload": b"x"}, LocalProtocolError),
        ({"topic": "a", "payload": 7}, TypeError),
        ({"topic": "a", "payload": b"x", "qos": None}, LocalProtocolError),
        ({"topic": "a", "payload": b"x", "qos": ""}, LocalProtocolError),
        ({"topic": "a", "payload": bytes(100)}, PacketTooLarge),
    ],
    ids=["a filter", "a number", "no qos", "an empty qos", "too large"],
)
async def test_what_is_wrong_is_refused_the_second_time_as_well(
    server: Server, arguments: dict[str, Any], error: type[Exception]
) -> None:
    server.limits = ServerLimits(maximum_packet_size=64)
    async with open_once(connector=server.connect) as client:
        await client.publish("a", b"first")
        for _ in range(2):
            with pytest.raises(error):
                await client.publish(**arguments)
    assert len(received(server, Publish)) == 1


async def test_the_largest_that_the_server_takes(server: Server) -> None:
    largest = 64 - len(encode(Publish("a"), MQTT_5))
    server.limits = ServerLimits(maximum_packet_size=64)
    async with open_once(connector=server.connect) as client:
        await client.publish("a", b"first")
        await client.publish("a", bytes(largest))
        with pytest.raises(PacketTooLarge):
            await client.publish("a", bytes(largest + 1))
    assert [len(each.payload) for each in received(server, Publish)] == [5, largest]


@pytest.mark.parametrize("pipelined", [False, True])
async def test_it_waits_while_too_much_is_to_be_written(server: Server, pipelined: bool) -> None:
    sent = 0

    async def publish_on() -> None:
        nonlocal sent
        while True:
            await publish("a", bytes(1000))
            sent += 1

    async with (
        open_once(connector=partial(server.connect, capacity=1000)) as client,
        client.open_publisher(qos=0) as publisher,
        trio.open_nursery() as nursery,
    ):
        publish = publisher.send if pipelined else client.publish
        server.pause_reading(client.server.client_id)
        nursery.start_soon(publish_on)
        await wait_all_tasks_blocked()
        assert OUTPUT_HIGH_WATER // 1000 <= sent < 2 * OUTPUT_HIGH_WATER // 1000
        nursery.cancel_scope.cancel()
        server.resume_reading(client.server.client_id)
    assert len(received(server, Publish)) == sent


async def test_it_is_refused_once_the_block_is_left(server: Server) -> None:
    """Also where `send` let others run, and the block was left meanwhile."""
    refusals: list[trio.ClosedResourceError] = []

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError) as caught:
            await publisher.send("a", b"late")
        refusals.append(caught.value)

    async with (
        open_once(connector=server.connect) as client,
        trio.open_nursery() as nursery,
        client.open_publisher(qos=0) as publisher,
    ):
        nursery.start_soon(send)
        await trio.lowlevel.checkpoint()  # it begins, and lets others run
        assert refusals == []
    assert len(refusals) == 1
    assert received(server, Publish) == []
