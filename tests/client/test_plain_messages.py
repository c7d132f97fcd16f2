"""Messages that have nothing but a topic and a payload, which are sent by a shorter way.

The first message to a topic is made in any case; so each test looks at the second one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_bounded_server, open_once
from trio_mqtt import (
    MQTT_5,
    FeatureNotSupported,
    LocalProtocolError,
    PacketTooLarge,
    Protocol,
    QoS,
    ReasonCode,
)
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt.packets import Properties, PubAck, Publish, encode
from trio_mqtt.testing import Server, ServerLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZES: Final = (0, 1, 100, 121, 122, 123, 124, 125, 1023, 1024, 1025, 20_000)
"""Around the sizes at which another byte of length is needed, and the payload is not copied."""


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


def without_identifiers(packets: list[Publish]) -> list[Publish]:
    return [attrs.evolve(packet, packet_id=0) for packet in packets]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("qos", QoS)
async def test_it_is_the_packet_that_it_would_be(
    server: Server, protocol: Protocol, pipelined: bool, qos: QoS
) -> None:
    payloads = [bytes(size) for size in SIZES]
    async with open_once(connector=server.connect, protocol=protocol) as client:
        await client.publish("a", b"first")
        async with client.open_publisher(qos=qos) as publisher:
            publish = publisher.send if pipelined else partial(client.publish, qos=qos)
            for payload in payloads:
                await publish("a", payload)
    sent = received(server, Publish)[1:]
    assert without_identifiers(sent) == [Publish("a", payload, qos) for payload in payloads]
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
@pytest.mark.parametrize("qos", QoS)
async def test_what_has_more_to_it_is_made(
    server: Server,
    payload: trio_mqtt.Payload,
    options: Any,
    expected: Publish,
    pipelined: bool,
    qos: QoS,
) -> None:
    async with (
        open_once(connector=server.connect) as client,
        client.open_publisher(qos=qos) as publisher,
    ):
        publish = publisher.send if pipelined else partial(client.publish, qos=qos)
        await client.publish("a", b"first")
        await publish("a", payload, **options)
    assert without_identifiers(received(server, Publish))[1] == attrs.evolve(expected, qos=qos)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"topic": "a/#", "payload": b"x"}, LocalProtocolError),
        ({"topic": "a", "payload": 7}, TypeError),
        ({"topic": "a", "payload": b"x", "qos": None}, LocalProtocolError),
        ({"topic": "a", "payload": b"x", "qos": ""}, LocalProtocolError),
        ({"topic": "a", "payload": bytes(100)}, PacketTooLarge),
        ({"topic": "a", "payload": bytes(100), "qos": 1}, PacketTooLarge),
        ({"topic": "a", "payload": b"x", "qos": 2}, FeatureNotSupported),
        ({"topic": "a", "payload": b"x", "qos": 3}, LocalProtocolError),
        ({"topic": "a/#", "payload": b"x", "qos": 1}, LocalProtocolError),
        ({"topic": ["a"], "payload": b"x"}, TypeError),
        ({"topic": ["a"], "payload": b"x", "qos": 1}, TypeError),
    ],
    ids=[
        "a filter",
        "a number",
        "no qos",
        "an empty qos",
        "too large",
        "too large at QoS 1",
        "not granted",
        "no such qos",
        "a filter at QoS 1",
        "a list",
        "a list at QoS 1",
    ],
)
async def test_what_is_wrong_is_refused_the_second_time_as_well(
    server: Server, arguments: dict[str, Any], error: type[Exception]
) -> None:
    server.limits = ServerLimits(maximum_packet_size=64, maximum_qos=QoS.AT_LEAST_ONCE)
    async with open_once(connector=server.connect) as client:
        await client.publish("a", b"first")
        for _ in range(2):
            with pytest.raises(error) as caught:
                await client.publish(**arguments)
            assert "unhashable" not in str(caught.value)  # it is said what is wrong with a list
    assert len(received(server, Publish)) == 1


@pytest.mark.parametrize("qos", QoS)
async def test_the_largest_that_the_server_takes(server: Server, qos: QoS) -> None:
    largest = 64 - len(encode(Publish("a", b"", qos, packet_id=qos and 1), MQTT_5))
    server.limits = ServerLimits(maximum_packet_size=64)
    async with open_once(connector=server.connect) as client:
        await client.publish("a", b"first")
        await client.publish("a", bytes(largest), qos=qos)
        with pytest.raises(PacketTooLarge):
            await client.publish("a", bytes(largest + 1), qos=qos)
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


@pytest.mark.parametrize("qos", [0.0, 1.0, 2.0, 1.5, "1", None])
@pytest.mark.parametrize("window", [0, 1, 20])
async def test_what_only_equals_a_qos_is_refused_and_nothing_kept(
    server: Server, qos: Any, window: int
) -> None:
    """However it is published, whether or not there is room in the window."""
    server.limits = ServerLimits(receive_maximum=max(1, window))
    async with open_once(connector=server.connect) as client:
        await client.publish("a", b"first")
        with server.holding(PubAck):
            deliveries = [] if window else [await client.enqueue("a", b"in the way")]
            for _ in range(3):
                for publish in (client.publish, client.enqueue):
                    with pytest.raises(LocalProtocolError, match="it must be 0, 1 or 2"):
                        await publish("a", b"x", qos=qos)
                with pytest.raises(LocalProtocolError, match="it must be 0, 1 or 2"):
                    client.publish_nowait("a", b"x", qos=qos)
                with pytest.raises(LocalProtocolError, match="it must be 0, 1 or 2"):
                    async with client.open_publisher(qos=qos):
                        raise AssertionError("not reached")
            assert len(client._supervisor.session._state.identifiers) == len(deliveries)
        for delivery in deliveries:
            await delivery.wait()
        await client.publish("a", b"last", qos=1)
    assert [each.payload for each in received(server, Publish)][-1] == b"last"


async def test_qos_0_waits_for_another_connection_once_the_last_packet_is_out(
    server: Server,
) -> None:
    """Behind DISCONNECT nothing is sent, so nothing is taken for that."""
    soon = trio_mqtt.Reconnect(delay=0.001)
    async with open_once(connector=server.connect, reconnect=soon) as client:
        await client.publish("a", b"first")
        link = client._sending._link
        assert link is not None
        link.fail(trio_mqtt.ConnectionLost("a test"), ReasonCode.PROTOCOL_ERROR, "a test")
        with pytest.raises(trio.WouldBlock):
            client.publish_nowait("a", b"lost", qos=0)
        await client.publish("a", b"second")
    assert [each.payload for each in received(server, Publish)] == [b"first", b"second"]
