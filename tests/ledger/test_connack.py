"""CONNACK (3.2): what a Server may answer, and what the Client then keeps to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_once
from tests.ledger.support import PATIENCE, again, by_version, first_connection
from tests.packets.support import refused
from tests.protocol.support import Wire, publish
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._protocol.server_info import read_server_info
from trio_mqtt.testing import Expect, ExpectEnd, ScriptedPeer, Send, ServerLimits, open_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from trio_mqtt.testing import Server

QOS_0: Final = ReasonCode.GRANTED_QOS_0


@by_version("MQTT-3.2.0-1 MQTT-3.14.0-1", "MQTT-3.2.0-1")
def test_nothing_comes_before_connack(protocol: Protocol) -> None:
    packets: list[p.Packet] = [
        publish(1),
        p.SubAck(1, (QOS_0,)),
        p.PingResp(),
        p.Disconnect(),
    ]
    for packet in packets:
        error = Wire(protocol, connack=None).refuses(packet)
        assert error.reason_code is ReasonCode.PROTOCOL_ERROR
        assert error.statement == "MQTT-3.2.0-1"


@pytest.mark.statement("MQTT-3.2.0-2")
def test_one_connack_is_enough() -> None:
    assert Wire().refuses(p.ConnAck()).statement == "MQTT-3.2.0-2"


@by_version("MQTT-3.2.2-1", "U-3.2.2.1-1")
def test_the_reserved_bits_of_connack(protocol: Protocol) -> None:
    properties = b"\0" if protocol is MQTT_5 else b""
    for bit in range(1, 8):
        data = bytes((0x20, 2 + len(properties), 1 << bit, 0)) + properties
        assert refused(data, protocol).malformed


@by_version("MQTT-3.2.2-2 MQTT-3.2.2-4", "MQTT-3.2.2-1")
def test_no_session_is_present_where_none_was_asked_for(protocol: Protocol) -> None:
    """Who has no Session State asks for none, but for a Session that the caller declares."""
    wire = Wire(protocol, connect=p.Connect("c", clean_start=True), connack=None)
    error = wire.refuses(p.ConnAck(session_present=True))
    assert error.statement == ("MQTT-3.2.2-2" if protocol is MQTT_5 else "MQTT-3.2.2-1")


@pytest.mark.statement("MQTT-3.2.2-4")
async def test_a_session_that_the_client_does_not_have_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer(
        [Expect(p.Connect, clean_start=True), Send(p.ConnAck(session_present=True)), ExpectEnd()],
        timeout=PATIENCE,
    )
    with pytest.raises(trio_mqtt.RemoteProtocolError, match="Session Present"):
        async with open_once(connector=peer.connect):
            raise AssertionError
    peer.assert_done()


@by_version("MQTT-3.2.2-6", "MQTT-3.2.2-4")
def test_no_session_is_present_where_the_connection_is_refused(protocol: Protocol) -> None:
    data = bytes.fromhex("20 03 01 87 00" if protocol is MQTT_5 else "20 02 01 05")
    outcome = refused(data, protocol)
    assert outcome.reason_code is ReasonCode.PROTOCOL_ERROR
    assert outcome.statement == ("MQTT-3.2.2-6" if protocol is MQTT_5 else "MQTT-3.2.2-4")


@pytest.mark.statement("MQTT-3.2.2-8")
def test_the_reason_codes_of_connack() -> None:
    allowed = set(bytes.fromhex("00 8081828384858687 88898A8C 90 95 97 999A9B9C9D9F"))
    for code in range(256):
        data = bytes((0x20, 3, 0, code, 0))
        if code in allowed:
            continue
        assert refused(data).statement == "MQTT-3.2.2-8", code


@pytest.mark.statement("MQTT-3.2.2-5")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_session_that_the_server_lost_is_discarded(qos: int) -> None:
    before = first_connection()
    before.publish(qos, b"ours")
    (message,) = before.receive(publish(5, 2))
    before.connection.receiver.settle(message)
    wire = again(before, present=False)
    # At QoS 1 the message is published anew; at QoS 2 the Server may have had it.
    assert wire.sent() == ([p.Publish("t", b"ours", 1, packet_id=2)] if qos == 1 else [])
    assert len(wire.receive(publish(5, 2))) == 1
    assert wire.feed(p.PubAck(1)) == []


@pytest.mark.statement("MQTT-3.2.2-16")
async def test_the_assigned_client_identifier_is_used() -> None:
    async with open_server() as server, open_once(connector=server.connect, client_id="") as client:
        (connect,) = received(server, p.Connect)
        assert connect.client_id == ""
        assert [client.server.client_id] == list(server.sessions)
        assert client.server.client_id


@pytest.mark.statement("U-3.2.2.3.2-2", "U-3.2.2.3.4-2")
def test_what_connack_does_not_say() -> None:
    properties = p.Properties(session_expiry_interval=77)
    server = read_server_info(p.Connect("c", properties=properties), p.ConnAck(), MQTT_5)
    assert (server.session_expiry_interval, server.maximum_qos) == (77, 2)
    granted = p.ConnAck(properties=p.Properties(session_expiry_interval=5, maximum_qos=0))
    server = read_server_info(p.Connect("c", properties=properties), granted, MQTT_5)
    assert (server.session_expiry_interval, server.maximum_qos) == (5, 0)


# -- limits ------------------------------------------------------------------------------------


async def subscribe_to(topic_filter: str, client: trio_mqtt.Client) -> None:
    async with client.subscribe(topic_filter):
        pass


async def publish_with(options: dict[str, Any], client: trio_mqtt.Client) -> None:
    await client.publish("t", **options)


LIMITS: Final[list[tuple[str, ServerLimits, Callable[[trio_mqtt.Client], Awaitable[None]]]]] = [
    (
        "MQTT-3.2.2-11 U-3.2.2.3.4-3",
        ServerLimits(maximum_qos=1),
        partial(publish_with, {"qos": 2}),
    ),
    (
        "MQTT-3.2.2-14 U-3.2.2.3.5-2",
        ServerLimits(retain_available=False),
        partial(publish_with, {"retain": True}),
    ),
    (
        "MQTT-3.2.2-15",
        ServerLimits(maximum_packet_size=100),
        partial(publish_with, {"payload": bytes(95)}),
    ),
    (
        "MQTT-3.2.2-15",
        ServerLimits(maximum_packet_size=100),
        partial(subscribe_to, "t" * 95),
    ),
    (
        "U-3.2.2.3.11-2",
        ServerLimits(wildcard_subscription_available=False),
        partial(subscribe_to, "t/#"),
    ),
    (
        "U-3.2.2.3.13-2",
        ServerLimits(shared_subscription_available=False),
        partial(subscribe_to, "$share/group/t"),
    ),
]


@pytest.mark.parametrize(
    ("limits", "use"),
    [
        pytest.param(limits, use, marks=pytest.mark.statement(*statements.split()))
        for statements, limits, use in LIMITS
    ],
)
async def test_what_the_server_does_not_take_is_not_sent(
    limits: ServerLimits, use: Callable[[trio_mqtt.Client], Awaitable[None]]
) -> None:
    async with (
        open_server(limits=limits) as server,
        open_once(connector=server.connect) as client,
    ):
        with pytest.raises((trio_mqtt.FeatureNotSupported, trio_mqtt.PacketTooLarge)):
            await use(client)
        await client.publish("t", "still there", qos=1)
        sent = [type(packet) for packet in received_by(server)]
    assert sent == [p.Connect, p.Publish]


def received_by(server: Server) -> list[p.Packet]:
    return [entry.packet for entry in server.log if entry.direction == "received"]


@pytest.mark.statement("U-3.2.2.3.12-2")
async def test_no_subscription_identifier_where_they_are_not_available() -> None:
    limits = ServerLimits(subscription_identifier_available=False)
    async with (
        open_server(limits=limits) as server,
        open_once(connector=server.connect) as client,
        client.subscribe("t"),
    ):
        (packet,) = received(server, p.Subscribe)
        assert packet.properties.subscription_identifiers == ()


@pytest.mark.statement("U-3.8.4-1")
async def test_a_message_may_come_before_its_suback(autojump_clock: MockClock) -> None:
    await message_before_suback(MQTT_5)


@pytest.mark.statement("311:U-3.8.4-1")
async def test_a_message_may_come_before_its_suback_below_5(autojump_clock: MockClock) -> None:
    await message_before_suback(MQTT_3_1_1)


async def message_before_suback(protocol: Protocol) -> None:
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Expect(p.Subscribe, packet_id=1),
            Send(publish(9, 1, payload=b"early")),
            Send(p.SubAck(1, (QOS_0,))),
            Expect(p.PubAck(9)),
            Expect(p.Unsubscribe),
            Send(p.UnsubAck(2, (ReasonCode.SUCCESS,) if protocol is MQTT_5 else ())),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with trio.fail_after(PATIENCE):
        async with (
            open_once(connector=peer.connect, protocol=protocol) as client,
            client.subscribe("t") as messages,
        ):
            message = await messages.receive()
            assert message.payload == b"early"
            message.ack()
    peer.assert_done()


@pytest.mark.statement("MQTT-4.9.0-1")
def test_the_window_is_what_the_server_grants() -> None:
    for granted in (1, 7):
        wire = Wire(connack=p.ConnAck(properties=p.Properties(receive_maximum=granted)))
        assert wire.connection.sender.quota == granted
    assert Wire().connection.sender.quota > 0
