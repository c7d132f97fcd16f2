"""The QoS handshakes, sending again, and order (4.1 to 4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio

from tests.client.support import open_once
from tests.ledger.support import PATIENCE, again, by_version, first_connection
from tests.protocol.support import Wire, outgoing, publish
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets._encoder import encode_publish_properties
from trio_mqtt.testing import Expect, ExpectEnd, ScriptedPeer, Send

if TYPE_CHECKING:
    from trio.testing import MockClock

FAILURE: Final = ReasonCode.QUOTA_EXCEEDED


def message(packet_id: int, qos: int, payload: bytes = b"", *, dup: bool = False) -> p.Publish:
    """A PUBLISH of ours."""
    return p.Publish("t", payload, qos, dup=dup, packet_id=packet_id)


# -- the sender --------------------------------------------------------------------------------


@by_version("MQTT-4.3.2-1 MQTT-4.3.2-2", "MQTT-4.3.2-1")
def test_qos_1_is_sent_with_a_free_identifier_and_without_dup(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for payload in (b"1", b"2"):
        wire.publish(1, payload)
    assert wire.sent() == [message(1, 1, b"1"), message(2, 1, b"2")]


@by_version("MQTT-4.3.2-3 U-4.3.2-1", "MQTT-4.3.2-1 U-4.3.2-1")
def test_qos_1_is_unacknowledged_until_puback(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    wire.publish(1)
    wire.publish(1)
    wire.feed(p.PubAck(1))
    assert wire.session.identifiers.holder(1) is None
    wire = again(wire)
    assert wire.sent() == [message(2, 1, dup=True)]
    wire.feed(p.PubAck(2))
    assert again(wire).sent() == []


@by_version("MQTT-4.3.3-1 MQTT-4.3.3-2", "MQTT-4.3.3-1")
def test_qos_2_is_sent_with_a_free_identifier_and_without_dup(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for payload in (b"1", b"2"):
        wire.publish(2, payload)
    assert wire.sent() == [message(1, 2, b"1"), message(2, 2, b"2")]


@by_version("MQTT-4.3.3-3 MQTT-4.3.3-6", "MQTT-4.3.3-1")
def test_qos_2_is_unacknowledged_until_pubrec_and_not_sent_after_that(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    wire.publish(2)
    wire = again(wire)
    assert wire.sent() == [message(1, 2, dup=True)]
    wire.feed(p.PubRec(1))
    assert wire.sent() == [p.PubRel(1)]
    assert again(wire).sent() == [p.PubRel(1)]


@by_version("MQTT-4.3.3-4", "MQTT-4.3.3-1")
def test_pubrec_is_answered_with_pubrel(protocol: Protocol) -> None:
    for code in (ReasonCode.SUCCESS, ReasonCode.NO_MATCHING_SUBSCRIBERS):
        wire = Wire(protocol)
        wire.publish(2)
        wire.sent()
        wire.feed(p.PubRec(1, code if protocol is MQTT_5 else ReasonCode.SUCCESS))
        assert wire.sent() == [p.PubRel(1)]


@by_version("MQTT-4.3.3-5 U-4.3.3-1", "MQTT-4.3.3-1 U-4.3.3-1")
def test_pubrel_is_unacknowledged_until_pubcomp(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    ours = wire.publish(2)
    wire.feed(p.PubRec(1))
    wire = again(wire)
    assert wire.sent() == [p.PubRel(1)]
    assert wire.session.identifiers.holder(1) is ours
    assert wire.feed(p.PubComp(1)) == [ours]
    assert wire.session.identifiers.holder(1) is None
    assert again(wire).sent() == []


@pytest.mark.statement("MQTT-4.3.3-7")
def test_what_was_sent_does_not_expire() -> None:
    wire = first_connection()
    now = 0.0
    wire.session.clock = lambda: now
    ours = outgoing(2)
    ours.properties = encode_publish_properties(p.Properties(message_expiry_interval=10))
    ours.expires_at, ours.expiry_at = 10.0, 2
    wire.session.accept(ours)
    wire.connection.sender.pump()
    now = 100.0
    (sent,) = again(wire).sent()
    assert isinstance(sent, p.Publish)
    assert (sent.packet_id, sent.dup) == (1, True)


@pytest.mark.statement("MQTT-4.4.0-2")
@pytest.mark.parametrize(("qos", "kind"), [(1, p.PubAck), (2, p.PubRec)])
def test_what_was_refused_is_not_sent_again(qos: int, kind: type[p.PubAck | p.PubRec]) -> None:
    wire = first_connection()
    ours = wire.publish(qos)
    assert wire.feed(kind(1, FAILURE)) == [ours]
    assert again(wire).sent() == []


# -- the receiver ------------------------------------------------------------------------------


@by_version("MQTT-4.3.2-4", "MQTT-4.3.2-2")
def test_qos_1_is_answered_once_it_is_dealt_with(protocol: Protocol) -> None:
    wire = Wire(protocol)
    (theirs,) = wire.receive(publish(7, 1))
    assert wire.sent() == []
    wire.connection.receiver.settle(theirs)
    assert wire.sent() == [p.PubAck(7)]


@by_version("MQTT-4.3.2-5", "MQTT-4.3.2-2")
def test_after_puback_the_identifier_stands_for_a_new_message(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for dup in (False, True, True):
        (theirs,) = wire.receive(publish(7, 1, dup=dup))
        wire.connection.receiver.settle(theirs)
        assert wire.sent() == [p.PubAck(7)]


@by_version("MQTT-4.3.3-8", "MQTT-4.3.3-2")
def test_qos_2_is_answered_once_it_is_dealt_with(protocol: Protocol) -> None:
    wire = Wire(protocol)
    (theirs,) = wire.receive(publish(7, 2))
    assert wire.sent() == []
    wire.connection.receiver.settle(theirs)
    assert wire.sent() == [p.PubRec(7)]


@pytest.mark.statement("MQTT-4.3.3-9")
@pytest.mark.parametrize("dup", [False, True])
def test_after_a_refusal_the_identifier_stands_for_a_new_message(*, dup: bool) -> None:
    wire = Wire()
    (theirs,) = wire.receive(publish(7, 2))
    wire.connection.receiver.settle(theirs, FAILURE)
    assert wire.sent() == [p.PubRec(7, FAILURE)]
    assert len(wire.receive(publish(7, 2, dup=dup))) == 1


@by_version("MQTT-4.3.3-10", "MQTT-4.3.3-2")
def test_until_pubrel_a_repeated_message_is_answered_and_not_delivered(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    (theirs,) = wire.receive(publish(7, 2))
    assert wire.receive(publish(7, 2, dup=True)) == []  # PUBREC is still to come
    wire.connection.receiver.settle(theirs)
    assert wire.sent() == [p.PubRec(7)]
    assert wire.receive(publish(7, 2, dup=True)) == []
    assert wire.sent() == [p.PubRec(7)]
    wire = again(wire)
    assert wire.receive(publish(7, 2, dup=True)) == []
    assert wire.sent() == [p.PubRec(7)]


@by_version("MQTT-4.3.3-11", "MQTT-4.3.3-2")
def test_pubrel_is_answered_with_pubcomp(protocol: Protocol) -> None:
    wire = Wire(protocol)
    (theirs,) = wire.receive(publish(7, 2))
    wire.connection.receiver.settle(theirs)
    wire.sent()
    wire.feed(p.PubRel(7))
    assert wire.sent() == [p.PubComp(7)]
    wire.feed(p.PubRel(8))  # of nothing
    code = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if protocol is MQTT_5 else ReasonCode.SUCCESS
    assert wire.sent() == [p.PubComp(8, code)]


@by_version("MQTT-4.3.3-12", "MQTT-4.3.3-2")
def test_after_pubcomp_the_identifier_stands_for_a_new_message(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for dup in (False, True, True):
        (theirs,) = wire.receive(publish(7, 2, dup=dup))
        wire.connection.receiver.settle(theirs)
        wire.feed(p.PubRel(7))
        assert wire.sent() == [p.PubRec(7), p.PubComp(7)]


@pytest.mark.statement("MQTT-4.3.3-13")
async def test_what_has_expired_is_acknowledged_to_the_end(autojump_clock: MockClock) -> None:
    expiring = p.Properties(message_expiry_interval=1)
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Expect(p.Subscribe),
            Send(p.SubAck(1, (ReasonCode.GRANTED_QOS_2,))),
            Send(p.Publish("t", b"", 2, packet_id=7, properties=expiring)),
            Expect(p.PubRec(7)),
            Send(p.PubRel(7)),
            Expect(p.PubComp(7)),
            Expect(p.Unsubscribe),
            Send(p.UnsubAck(2, (ReasonCode.SUCCESS,))),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with trio.fail_after(PATIENCE):
        async with (
            open_once(connector=peer.connect) as client,
            client.subscribe("t", qos=2) as messages,
        ):
            theirs = await messages.receive()
            await trio.sleep(10)
            theirs.ack()
            await trio.sleep(1)
    peer.assert_done()


# -- sending again, and order ------------------------------------------------------------------


@by_version("MQTT-4.4.0-1 MQTT-3.3.1-1", "MQTT-4.4.0-1 MQTT-3.3.1-1 MQTT-2.3.1-3")
def test_what_is_unacknowledged_is_sent_again_as_it_was(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    for qos, payload in ((1, b"1"), (2, b"2"), (2, b"3")):
        wire.publish(qos, payload)
    wire.feed(p.PubRec(3))
    wire = again(wire)
    assert wire.sent() == [
        p.PubRel(3),
        message(1, 1, b"1", dup=True),
        message(2, 2, b"2", dup=True),
    ]


@by_version("MQTT-4.4.0-1", "U-4.4-1")
async def test_nothing_is_sent_again_while_the_connection_lasts(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer(
        [
            Expect(p.Connect),
            Send(p.ConnAck()),
            Expect(p.Publish, packet_id=1),
            Expect(p.Publish, packet_id=2),
            Send(p.PubRec(2)),
            Expect(p.PubRel(2)),
            # Days go by.
            *[step for _ in range(20) for step in (Expect(p.PingReq), Send(p.PingResp()))],
            Send(p.PubAck(1)),
            Send(p.PubComp(2)),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=20_000,
    )
    with trio.fail_after(1_000_000):
        async with open_once(
            connector=peer.connect, protocol=protocol, keep_alive=10_000
        ) as client:
            deliveries = [await client.enqueue("t", qos=qos) for qos in (1, 2)]
            for delivery in deliveries:
                await delivery.wait()
    peer.assert_done()


@by_version("MQTT-4.6.0-1", "MQTT-4.6.0-1")
def test_messages_are_sent_again_in_their_order(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    wire.session.identifiers.last = 65533  # the numbers begin again in between
    for qos in (1, 2, 1, 2, 1):
        wire.publish(qos)
    wire.feed(p.PubAck(65534))
    wire = again(wire)
    wire.publish(1)
    sent = [(each.packet_id, each.dup) for each in wire.sent() if isinstance(each, p.Publish)]
    assert sent == [(65535, True), (1, True), (2, True), (3, True), (4, False)]


@by_version("MQTT-4.6.0-2", "MQTT-4.6.0-2")
def test_pubacks_leave_in_the_order_of_their_publishes(protocol: Protocol) -> None:
    wire = Wire(protocol)
    theirs = wire.receive(*(publish(each, 1) for each in (9, 3, 5)))
    for settled in (theirs[2], theirs[1]):
        wire.connection.receiver.settle(settled)
    assert wire.sent() == []
    wire.connection.receiver.settle(theirs[0])
    assert wire.sent() == [p.PubAck(9), p.PubAck(3), p.PubAck(5)]


@by_version("MQTT-4.6.0-3", "MQTT-4.6.0-3")
def test_pubrecs_leave_in_the_order_of_their_publishes(protocol: Protocol) -> None:
    wire = Wire(protocol)
    theirs = wire.receive(*(publish(each, 2) for each in (9, 3, 5)))
    for settled in (theirs[2], theirs[1]):
        wire.connection.receiver.settle(settled)
    assert wire.sent() == []
    wire.connection.receiver.settle(theirs[0])
    assert wire.sent() == [p.PubRec(9), p.PubRec(3), p.PubRec(5)]


@by_version("MQTT-4.6.0-4", "MQTT-4.6.0-4")
def test_pubrels_leave_in_the_order_of_their_pubrecs(protocol: Protocol) -> None:
    wire = first_connection(protocol)
    for _ in range(3):
        wire.publish(2)
    wire.sent()
    wire.feed(p.PubRec(3), p.PubRec(1), p.PubRec(2))
    expected = [p.PubRel(3), p.PubRel(1), p.PubRel(2)]
    assert wire.sent() == expected
    assert again(wire).sent() == expected
