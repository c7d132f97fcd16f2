"""PUBLISH (3.3): its form, Topic Aliases, and who gets a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_once
from tests.ledger.support import PATIENCE, again, by_version, first_connection
from tests.packets.support import encode_refused, frame, length_bytes, refused, text
from tests.protocol.support import Wire, outgoing, publish, subscribe, unsubscribe
from tests.protocol.test_aliases import granting, send
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt.testing import Expect, ExpectEnd, ScriptedPeer, Send, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock


def none(protocol: Protocol) -> bytes:
    """No properties."""
    return b"\0" if protocol is MQTT_5 else b""


@by_version("MQTT-3.3.1-2 MQTT-4.3.1-1", "MQTT-3.3.1-2 MQTT-4.3.1-1")
def test_qos_0_is_sent_without_dup(protocol: Protocol) -> None:
    wire = Wire(protocol)
    wire.connection.sender.send(outgoing(0, b"x", protocol))
    assert wire.connection.output.take() == [frame(0x30, text("t") + none(protocol) + b"x")]
    assert encode_refused(p.Publish("t", dup=True), protocol) == "MQTT-3.3.1-2"


@by_version("MQTT-3.3.1-4", "MQTT-3.3.1-4")
async def test_no_message_has_qos_3(protocol: Protocol) -> None:
    assert encode_refused(p.Publish("t", b"", 3, packet_id=1), protocol) == "MQTT-3.3.1-4"
    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
    ):
        with pytest.raises(trio_mqtt.LocalProtocolError, match="qos is 3"):
            await client.publish("t", qos=3)


@by_version("MQTT-3.3.2-1", "MQTT-3.3.2-1")
def test_the_topic_name_comes_first(protocol: Protocol) -> None:
    body = text("\u20ac/t") + b"\0\7" + none(protocol) + b"payload"
    packet = p.Publish("\u20ac/t", b"payload", 1, packet_id=7)
    assert p.encode(packet, protocol) == frame(0x32, body)
    assert encode_refused(p.Publish("\ud800"), protocol) is not None
    assert encode_refused(p.Publish(""), protocol) is not None


@by_version("MQTT-3.3.2-2", "MQTT-3.3.2-2")
async def test_no_topic_name_has_wildcards(protocol: Protocol) -> None:
    for topic in ("#", "a/+", "a/#", "+", "a+b"):
        assert encode_refused(p.Publish(topic), protocol) == "MQTT-3.3.2-2"
        assert refused(frame(0x30, text(topic) + none(protocol)), protocol) is not None


@pytest.mark.statement("MQTT-3.3.2-13")
def test_the_response_topic_is_utf_8() -> None:
    block = b"\x08" + text("\u20ac")
    packet = p.Publish("t", properties=p.Properties(response_topic="\u20ac"))
    assert p.encode(packet, MQTT_5) == frame(0x30, text("t") + length_bytes(len(block)) + block)
    packet = p.Publish("t", properties=p.Properties(response_topic="\ud800"))
    assert encode_refused(packet) == "MQTT-1.5.4-1"


@pytest.mark.statement("MQTT-3.3.2-14")
def test_the_response_topic_has_no_wildcards() -> None:
    for topic in ("#", "a/+"):
        packet = p.Publish("t", properties=p.Properties(response_topic=topic))
        assert encode_refused(packet) == "MQTT-3.3.2-14"


@pytest.mark.statement("MQTT-3.3.2-19")
def test_the_content_type_is_utf_8() -> None:
    block = b"\x03" + text("\u20ac")
    packet = p.Publish("t", properties=p.Properties(content_type="\u20ac"))
    assert p.encode(packet, MQTT_5) == frame(0x30, text("t") + length_bytes(len(block)) + block)
    packet = p.Publish("t", properties=p.Properties(content_type="\ud800"))
    assert encode_refused(packet) == "MQTT-1.5.4-1"


FORBIDDEN: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("MQTT-3.3.2-1 MQTT-1.5.4-1", "\ud800", {}),
    ("MQTT-3.3.2-2 MQTT-4.7.0-1", "a/#", {}),
    ("MQTT-4.7.3-1", "", {}),
    ("MQTT-4.7.3-2 MQTT-1.5.4-2", "a\0", {}),
    ("MQTT-4.7.3-3", "a" * 65536, {}),
    ("MQTT-3.3.2-13", "t", {"response_topic": "\ud800"}),
    ("MQTT-3.3.2-14", "t", {"response_topic": "a/+"}),
    ("MQTT-3.3.2-19", "t", {"content_type": "\ud800"}),
    ("MQTT-1.5.7-1", "t", {"user_properties": [("fine", "fine"), ("n", "\ud800")]}),
]


@pytest.mark.parametrize(
    ("topic", "options"),
    [
        pytest.param(topic, options, marks=pytest.mark.statement(*statements.split()))
        for statements, topic, options in FORBIDDEN
    ],
    ids=[statements for statements, *_ in FORBIDDEN],
)
@pytest.mark.parametrize("qos", [0, 1])
async def test_what_is_forbidden_is_not_published(
    topic: str, options: dict[str, Any], qos: int
) -> None:
    async with open_server() as server, open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.LocalProtocolError):
            await client.publish(topic, qos=qos, **options)
        await client.publish("t", "still there", qos=1)
        (sent,) = received(server, p.Publish)
    assert (sent.topic, sent.payload) == ("t", b"still there")


@pytest.mark.statement("U-3.3.2.3.2-1")
async def test_what_is_marked_as_text_is_utf_8() -> None:
    async with open_server() as server, open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.LocalProtocolError, match="UTF-8"):
            await client.publish("t", "\ud800")
        await client.publish("t", "\u20ac", qos=1)
        for qos in (0, 1):
            for topic in ("t", f"another/{qos}"):  # known to the client, and not
                await client.publish(topic, b"\xff", qos=qos)
        sent = received(server, p.Publish)
    assert [each.payload for each in sent] == [b"\xe2\x82\xac"] + [b"\xff"] * 4
    assert [each.properties.payload_format_indicator for each in sent] == [1] + [None] * 4


@pytest.mark.statement("MQTT-3.3.4-6")
async def test_a_client_publishes_without_subscription_identifiers() -> None:
    options: dict[str, Any] = {"subscription_identifiers": (1,)}
    async with open_server() as server, open_once(connector=server.connect) as client:
        with pytest.raises(TypeError):
            await client.publish("t", **options)
        await client.publish("t", "text", qos=1, content_type="c", user_properties=[("n", "v")])
        (sent,) = received(server, p.Publish)
    assert sent.properties.subscription_identifiers == ()


# -- Topic Aliases of the Server ---------------------------------------------------------------


def alias_of(topic: str, alias: int) -> p.Publish:
    return p.Publish(topic, properties=p.Properties(topic_alias=alias))


def with_aliases(maximum: int = 2, **options: Any) -> Wire:
    properties = p.Properties(topic_alias_maximum=maximum)
    return Wire(connect=p.Connect("c", clean_start=False, properties=properties), **options)


def topics(wire: Wire, *packets: p.Publish) -> list[str]:
    return [message.topic for message in wire.receive(*packets)]


@pytest.mark.statement("MQTT-3.3.2-10", "U-3.3.4-4")
def test_every_topic_alias_up_to_the_maximum_is_taken() -> None:
    wire = with_aliases(65535)
    for alias in (1, 2, 255, 256, 65534, 65535):
        assert topics(wire, alias_of(f"t/{alias}", alias)) == [f"t/{alias}"]
    for alias in (65535, 1, 256):
        assert topics(wire, alias_of("", alias)) == [f"t/{alias}"]


@pytest.mark.statement("U-3.3.4-5", "U-3.3.4-7")
def test_a_topic_alias_stands_for_the_last_name_given_to_it() -> None:
    wire = with_aliases()
    packets = [alias_of("one", 1), alias_of("", 1), alias_of("other", 1), alias_of("", 1)]
    assert topics(wire, *packets) == ["one", "one", "other", "other"]


@pytest.mark.statement("MQTT-3.3.2-7")
def test_a_topic_alias_ends_with_the_connection() -> None:
    wire = with_aliases()
    assert topics(wire, alias_of("one", 1)) == ["one"]
    wire.connection.end()
    wire = with_aliases(session=wire.session, connack=p.ConnAck(session_present=True))
    assert wire.refuses(alias_of("", 1)).reason_code is ReasonCode.PROTOCOL_ERROR


@pytest.mark.statement("U-3.3.4-6")
async def test_an_alias_that_stands_for_nothing(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Send(alias_of("", 1)),
            Expect(p.Disconnect, reason_code=ReasonCode.PROTOCOL_ERROR),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with pytest.raises(trio_mqtt.RemoteProtocolError, match="Topic Alias"):
        async with open_once(connector=peer.connect, topic_alias_maximum=1):
            await trio.sleep(PATIENCE)
    peer.assert_done()


@pytest.mark.statement("U-3.3.2.1-1")
def test_neither_topic_name_nor_alias() -> None:
    outcome = refused(bytes.fromhex("30 03 0000 00"))
    assert outcome.reason_code is ReasonCode.PROTOCOL_ERROR
    assert not outcome.malformed
    assert encode_refused(p.Publish("")) is not None


# -- our own Topic Aliases ---------------------------------------------------------------------


@pytest.mark.statement("MQTT-3.2.2-17", "MQTT-3.3.2-8", "MQTT-3.3.2-9")
def test_our_topic_aliases_are_from_1_to_the_server_s_maximum() -> None:
    names = [f"{name}/with/a/long/name" for name in "abcdef"]
    aliases = [alias for _, alias in send(granting(3), *names, *names, *names, *names)]
    assert {alias for alias in aliases if alias is not None} == {1, 2, 3}


@pytest.mark.statement("MQTT-3.2.2-18")
@pytest.mark.parametrize("maximum", [None, 0])
def test_no_topic_alias_where_the_server_allows_none(maximum: int | None) -> None:
    name = "a/long/topic/name"
    assert send(granting(maximum), name, name, name) == [(name, None)] * 3


@pytest.mark.statement("MQTT-3.3.2-7")
def test_our_topic_aliases_end_with_the_connection() -> None:
    name = "a/long/topic/name"
    wire = granting(5)
    assert send(wire, name, name, name) == [(name, None), (name, 1), ("", 1)]
    wire.connection.end()
    wire = granting(5, session=wire.session, present=True)
    assert send(wire, name) == [(name, None)]


# -- answers and limits ------------------------------------------------------------------------


@by_version("MQTT-3.3.4-1", "MQTT-3.3.4-1")
def test_the_answer_goes_by_the_qos(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for qos, answers in ((0, []), (1, [p.PubAck(3)]), (2, [p.PubRec(3)])):
        (message,) = wire.receive(publish(3 if qos else 0, qos))
        if qos:
            wire.connection.receiver.settle(message)
        assert wire.sent() == answers


@pytest.mark.statement("MQTT-3.3.4-7", "MQTT-4.9.0-2")
def test_no_more_are_unacknowledged_than_the_server_takes() -> None:
    wire = Wire(connack=p.ConnAck(properties=p.Properties(receive_maximum=3)))
    for qos in (1, 2, 1, 2, 1):
        wire.publish(qos)
    assert [each.packet_id for each in wire.sent() if isinstance(each, p.Publish)] == [1, 2, 3]
    for answer, sent in (
        (p.PubRec(2), [p.PubRel(2)]),
        (p.PubAck(1), [p.Publish("t", b"", 2, packet_id=4)]),
        (p.PubRec(4, ReasonCode.QUOTA_EXCEEDED), [p.Publish("t", b"", 1, packet_id=5)]),
    ):
        wire.feed(answer)
        wire.connection.sender.pump()
        assert wire.sent() == sent


@pytest.mark.statement("MQTT-3.3.4-8", "MQTT-4.9.0-3")
def test_a_full_window_delays_nothing_else() -> None:
    wire = Wire(connack=p.ConnAck(properties=p.Properties(receive_maximum=1)))
    wire.publish(2)
    wire.publish(1)
    (message,) = wire.receive(publish(9, 1))
    wire.sent()
    wire.request(subscribe())
    wire.request(unsubscribe())
    wire.connection.receiver.settle(message)
    wire.connection.ping()
    wire.connection.sender.send(outgoing(0))
    wire.feed(p.PubRec(1))
    sent = {type(each) for each in wire.sent()}
    assert sent == {p.Subscribe, p.Unsubscribe, p.PubAck, p.PingReq, p.Publish, p.PubRel}


@pytest.mark.statement("MQTT-3.3.4-9", "U-3.3.4-9")
def test_far_more_than_our_receive_maximum() -> None:
    """A slight excess is tolerated: up to twice as many, or a number of bytes."""
    wire = Wire(receive_maximum=2)
    packets = [publish(each, 1 + each % 2, payload=bytes(each << 20)) for each in (1, 2, 7, 8, 9)]
    assert len(wire.receive(*packets[:4])) == 4
    error = wire.refuses(packets[4])
    assert error.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.statement("U-4.9-1", "U-4.9-2", "U-4.9-3")
def test_what_gives_a_place_in_the_window_back() -> None:
    wire = Wire(connack=p.ConnAck(properties=p.Properties(receive_maximum=6)))
    sender = wire.connection.sender
    for qos in (1, 1, 2, 2, 2):
        wire.publish(qos)
    quotas = [sender.quota]
    for answer in (
        p.PubAck(1),
        p.PubAck(2, ReasonCode.QUOTA_EXCEEDED),
        p.PubRec(3),
        p.PubComp(3),
        p.PubRec(4, ReasonCode.QUOTA_EXCEEDED),
        p.PubRec(5),
        p.PubComp(5, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND),
        p.PubComp(4),  # of nothing
        p.PubAck(1),  # again
    ):
        wire.feed(answer)
        quotas.append(sender.quota)
    assert quotas == [1, 2, 3, 3, 4, 5, 5, 6, 6, 6]


@pytest.mark.statement("U-4.9-4")
def test_each_connection_has_a_window_of_its_own() -> None:
    before = first_connection()
    before.publish(2)
    before.feed(p.PubRec(1))
    wire = again(before, receive_maximum=2)
    assert wire.sent() == [p.PubRel(1)]
    assert wire.connection.sender.quota == 2
    wire.feed(p.PubComp(1))  # it had no place in this window
    assert wire.connection.sender.quota == 2
    assert again(wire, receive_maximum=9).connection.sender.quota == 9


# -- who gets a message ------------------------------------------------------------------------


@by_version("MQTT-3.3.2-3 U-3.3.4-2", "MQTT-3.3.2-3")
async def test_a_message_goes_to_no_subscription_that_does_not_match(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    """Not even if it has the Subscription Identifier."""
    identifiers = p.Properties(subscription_identifiers=(1,) if protocol is MQTT_5 else ())
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Expect(p.Subscribe, packet_id=1),
            Send(p.SubAck(1, (ReasonCode.GRANTED_QOS_1,))),
            Send(p.Publish("b/c", b"wrong", properties=identifiers)),
            Send(p.Publish("a", b"wrong", properties=identifiers)),
            Send(p.Publish("a/c", b"right", properties=identifiers)),
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
            client.subscribe("a/+", qos=1) as messages,
        ):
            assert (await messages.receive()).payload == b"right"
            with pytest.raises(trio.WouldBlock):
                messages.receive_nowait()
    peer.assert_done()


@by_version("MQTT-4.5.0-2 U-4.5-1", "MQTT-4.5.0-2 U-4.5-1")
async def test_what_nobody_subscribed_to_is_acknowledged(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Send(publish(1, 1)),
            Expect(p.PubAck(1)),
            Send(publish(2, 2)),
            Expect(p.PubRec(2)),
            Send(p.PubRel(2)),
            Expect(p.PubComp(2)),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    async with open_once(connector=peer.connect, protocol=protocol):
        await trio.sleep(1)
    peer.assert_done()


@by_version("U-4.5-2", "U-4.5-2")
async def test_messages_while_an_unsubscribe_is_under_way(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Expect(p.Subscribe),
            Send(p.SubAck(1, (ReasonCode.GRANTED_QOS_1,))),
            Expect(p.Unsubscribe),
            Send(publish(5, 1)),
            Expect(p.PubAck(5)),
            Send(p.UnsubAck(2, (ReasonCode.SUCCESS,) if protocol is MQTT_5 else ())),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with trio.fail_after(PATIENCE):
        async with (
            open_once(connector=peer.connect, protocol=protocol) as client,
            client.subscribe("t", qos=1),
        ):
            pass
    peer.assert_done()
