"""Our messages and requests, and the Server's answers to them, late and wrong ones, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from tests.protocol.support import Wire, outgoing, subscribe, unsubscribe
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._protocol.exchanges import Request


GRANTED = ReasonCode.GRANTED_QOS_0


def name_of(packet: Packet) -> str:
    return type(packet).__name__.upper()


# -- PUBLISH -----------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_retain_is_sent(qos: int, *, retain: bool) -> None:
    wire = Wire()
    message = attrs.evolve(outgoing(qos), retain=retain)
    if qos:
        wire.session.accept(message)
        wire.connection.sender.pump()
    else:
        wire.connection.sender.send(message)
    assert wire.sent() == [Publish("t", b"", qos, retain, packet_id=1 if qos else 0)]


# -- SUBSCRIBE and UNSUBSCRIBE -----------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_requests_and_their_answers(protocol: Protocol) -> None:
    wire = Wire(protocol)
    one, two, three = subscribe(2), unsubscribe(2), subscribe()
    for request in (one, two, three):
        wire.request(request)
    assert wire.sent() == [one.packet, two.packet, three.packet]
    assert [request.packet.packet_id for request in (one, two, three)] == [1, 2, 3]
    assert wire.session.unfinished == 3
    codes = (ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED) if protocol is MQTT_5 else ()
    answers: list[Packet] = [
        SubAck(3, (ReasonCode.UNSPECIFIED_ERROR,)),
        UnsubAck(2, codes),
        SubAck(1, (ReasonCode.GRANTED_QOS_2, ReasonCode.UNSPECIFIED_ERROR)),
    ]
    assert wire.feed(*answers) == [three, two, one]
    assert [three.answer, two.answer, one.answer] == answers
    assert wire.session.unfinished == 0


@pytest.mark.parametrize("codes", [1, 3])
def test_unsuback_with_the_wrong_number_of_reason_codes(codes: int) -> None:
    wire = Wire()
    request = wire.request(unsubscribe(2))
    error = wire.refuses(UnsubAck(1, (ReasonCode.SUCCESS,) * codes))
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == "MQTT-3.11.3-1"
    assert f"{codes} Reason Codes for 2 Topic Filters" in str(error)
    assert request.answer is None
    assert wire.session.unfinished == 1


@pytest.mark.parametrize(
    ("request_made", "answer"),
    [(subscribe, UnsubAck(1, (ReasonCode.SUCCESS,))), (unsubscribe, SubAck(1, (GRANTED,)))],
    ids=["SUBSCRIBE", "UNSUBSCRIBE"],
)
def test_the_answer_to_the_other_request(
    request_made: Callable[[], Request], answer: SubAck | UnsubAck
) -> None:
    wire = Wire()
    wire.request(request_made())
    error = wire.refuses(answer)
    assert error.statement == "MQTT-2.2.1-6"
    assert "answers another packet" in str(error)


@pytest.mark.parametrize("packet", [PubAck(1), PubRec(1), PubComp(1)], ids=name_of)
@pytest.mark.parametrize("request_made", [subscribe, unsubscribe])
def test_an_acknowledgement_with_the_identifier_of_a_request(
    packet: Packet, request_made: Callable[[], Request]
) -> None:
    wire = Wire()
    wire.request(request_made())
    error = wire.refuses(packet)
    assert error.statement == "2.2.1"
    assert "belongs to a SUBSCRIBE or UNSUBSCRIBE" in str(error)


# -- what other clients get wrong --------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_pitfall_late_puback_kills_the_client(protocol: Protocol) -> None:
    wire = Wire(protocol)
    stale: list[Packet] = [
        PubAck(1),
        PubRec(2),
        PubComp(3),
        SubAck(4, (GRANTED,)),
        UnsubAck(5, (ReasonCode.SUCCESS,) if protocol is MQTT_5 else ()),
    ]
    sender = wire.connection.sender
    quota = sender.quota
    for number, packet in enumerate(stale, start=1):
        assert wire.feed(packet) == []
        assert sender.strays == number
    code = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if protocol is MQTT_5 else ReasonCode.SUCCESS
    assert wire.sent() == [PubRel(2, code)]
    for _ in range(3):
        message = wire.publish(1)
        assert wire.feed(PubAck(message.packet_id)) == [message]
        assert wire.feed(PubAck(message.packet_id)) == []
    assert sender.strays == 8
    assert sender.quota == quota
    assert wire.session.unfinished == 0


def test_pitfall_pubrel_follows_a_pubrec_that_refused() -> None:
    wire = Wire()
    message = wire.publish(2)
    wire.sent()
    refusal = PubRec(1, ReasonCode.QUOTA_EXCEEDED, Properties(reason_string="full"))
    assert wire.feed(refusal) == [message]
    assert message.acknowledgement == refusal
    assert wire.sent() == []
    assert wire.session.unfinished == 0
    assert wire.feed(refusal) == []  # nor does it follow one that comes too late
    assert wire.sent() == []


@pytest.mark.parametrize("qos", [1, 2])
def test_pitfall_subscribe_counts_against_receive_maximum_or_value_1_ignored(qos: int) -> None:
    wire = Wire(connack=ConnAck(properties=Properties(receive_maximum=1)))
    sender = wire.connection.sender
    first, second = wire.publish(qos), wire.publish(qos)
    assert (first.packet_id, second.packet_id) == (1, 0)
    assert sender.quota == 0
    # MQTT-4.9.0-3: all else goes on.
    requests = [wire.request(subscribe()), wire.request(unsubscribe())]
    sender.send(outgoing(0))
    assert [type(packet) for packet in wire.sent()] == [Publish, Subscribe, Unsubscribe, Publish]
    assert sender.quota == 0
    answers: list[Packet] = [SubAck(2, (GRANTED,)), UnsubAck(3, (ReasonCode.SUCCESS,))]
    assert wire.feed(*answers) == requests
    assert sender.quota == 0
    assert sender.pump() == 0
    if qos == 2:
        assert wire.feed(PubRec(1)) == []
        assert sender.pump() == 0  # PUBREC changes nothing
        assert wire.sent() == [PubRel(1)]
    assert wire.feed(PubAck(1) if qos == 1 else PubComp(1)) == [first]
    assert sender.pump() == 1
    assert second.packet_id == 4
    assert sender.quota == 0


def test_the_quota_never_exceeds_the_receive_maximum() -> None:
    before = Wire()
    message = before.publish(1)
    small = ConnAck(session_present=True, properties=Properties(receive_maximum=2))
    connect = Connect("c", clean_start=False)
    wire = Wire(connect=connect, connack=small, session=before.session)
    assert wire.connection.sender.quota == 2
    # An answer to what an earlier connection sent.
    assert wire.feed(PubAck(message.packet_id)) == [message]
    assert wire.connection.sender.quota == 2
