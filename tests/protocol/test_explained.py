"""Reason Strings and User Properties: what we send as far as it fits, and what we declined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.protocol.support import Wire, publish, subscribe, unsubscribe
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, ReasonCode
from trio_mqtt._protocol.fitting import encode_within
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
    encode,
)

if TYPE_CHECKING:
    from trio_mqtt._protocol.exchanges import IncomingMessage

WORDS: Final = Properties(reason_string="because", user_properties=(("a", "b"),))
NO_PAIRS: Final = Properties(reason_string="because")
NO_STRING: Final = Properties(user_properties=(("a", "b"),))
CODE: Final = ReasonCode.QUOTA_EXCEEDED
EXPLAINED: Final = [
    PubAck(7, CODE, WORDS),
    PubRec(7, CODE, WORDS),
    PubRel(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, WORDS),
    PubComp(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, WORDS),
    Disconnect(CODE, WORDS),
]
each_explained = pytest.mark.parametrize(
    "packet", EXPLAINED, ids=[type(packet).__name__ for packet in EXPLAINED]
)
Explained = PubAck | PubRec | PubRel | PubComp | Disconnect


def with_properties(packet: Explained, properties: Properties) -> bytes:
    return encode(attrs.evolve(packet, properties=properties), MQTT_5)


@each_explained
def test_what_is_too_large_is_left_out(packet: Explained) -> None:
    whole = encode(packet, MQTT_5)
    assert encode_within(packet, MQTT_5, None) == whole
    assert encode_within(packet, MQTT_5, len(whole)) == whole
    no_pairs = with_properties(packet, NO_PAIRS)
    assert encode_within(packet, MQTT_5, len(whole) - 1) == no_pairs
    assert encode_within(packet, MQTT_5, len(no_pairs)) == no_pairs
    no_string = with_properties(packet, NO_STRING)
    assert len(no_string) < len(no_pairs)
    assert encode_within(packet, MQTT_5, len(no_pairs) - 1) == no_string
    assert encode_within(packet, MQTT_5, len(no_string)) == no_string
    neither = with_properties(packet, Properties())
    assert encode_within(packet, MQTT_5, len(no_string) - 1) == neither
    assert encode_within(packet, MQTT_5, len(neither)) == neither


def test_what_must_be_in_auth_stays() -> None:
    packet = Auth(
        ReasonCode.CONTINUE_AUTHENTICATION,
        Properties(authentication_method="m", reason_string="because"),
    )
    small = Auth(packet.reason_code, Properties(authentication_method="m"))
    assert encode_within(packet, MQTT_5, 20) == encode(packet, MQTT_5)
    assert encode_within(packet, MQTT_5, 1) == encode(small, MQTT_5)


def limited(maximum_packet_size: int | None = None) -> Wire:
    properties = Properties(maximum_packet_size=maximum_packet_size)
    return Wire(connack=ConnAck(properties=properties))


def settle(
    wire: Wire, message: IncomingMessage, code: ReasonCode, properties: Properties
) -> list[Packet]:
    wire.session.explain(message, code, properties)
    wire.connection.receiver.settle(message, code)
    return wire.sent()


@pytest.mark.parametrize("code", [ReasonCode.SUCCESS, CODE])
@pytest.mark.parametrize(("qos", "answer"), [(1, PubAck), (2, PubRec)])
def test_an_acknowledgement_says_what_it_is_to_say(
    qos: int, answer: type[PubAck | PubRec], code: ReasonCode
) -> None:
    wire = limited()
    (message,) = wire.receive(publish(7, qos))
    assert settle(wire, message, code, WORDS) == [answer(7, code, WORDS)]
    assert not wire.session.explanations


@pytest.mark.parametrize(("qos", "answer"), [(1, PubAck), (2, PubRec)])
def test_an_acknowledgement_says_it_only_where_the_server_takes_so_much(
    qos: int, answer: type[PubAck | PubRec]
) -> None:
    wire = limited(20)
    (message,) = wire.receive(publish(7, qos))
    assert settle(wire, message, CODE, WORDS) == [answer(7, CODE, NO_PAIRS)]


@pytest.mark.parametrize(("qos", "answer"), [(1, PubAck), (2, PubRec)])
def test_what_was_said_for_another_reason_code_is_left_out(
    qos: int, answer: type[PubAck | PubRec]
) -> None:
    wire = limited()
    first, second = wire.receive(publish(7, qos), publish(8, qos))
    wire.session.explain(first, CODE, WORDS)
    wire.session.explain(second, ReasonCode.SUCCESS, WORDS)
    for message in (first, second):
        wire.connection.receiver.settle(message)
    assert wire.sent() == [answer(7), answer(8, properties=WORDS)]


@pytest.mark.parametrize(("qos", "answer"), [(1, PubAck), (2, PubRec)])
def test_a_message_that_comes_again_is_acknowledged_with_the_same_words(
    qos: int, answer: type[PubAck | PubRec]
) -> None:
    wire = limited()
    (message,) = wire.receive(publish(7, qos))
    wire.connection.end()
    again = Wire(
        connect=Connect("c", clean_start=False),
        connack=ConnAck(session_present=True),
        session=wire.session,
    )
    wire.session.explain(message, ReasonCode.SUCCESS, WORDS)
    again.connection.receiver.settle(message)
    assert again.sent() == []
    assert again.receive(publish(7, qos, dup=True)) == []
    assert again.sent() == [answer(7, properties=WORDS)]


def test_words_for_a_message_that_is_gone_are_forgotten() -> None:
    wire = limited()
    (message,) = wire.receive(publish(7, 1))
    wire.session.explain(message, ReasonCode.SUCCESS, WORDS)
    wire.connection.end()
    wire.session.held.clear()
    del message
    assert not wire.session.explanations


def test_disconnect_says_only_what_the_server_takes() -> None:
    wire = limited(20)
    wire.connection.disconnect(Disconnect(CODE, WORDS))
    assert wire.sent() == [Disconnect(CODE, NO_PAIRS)]


def test_disconnect_before_connack_is_whole() -> None:
    wire = Wire(connack=None)
    wire.sent()
    wire.connection.disconnect(Disconnect(CODE, WORDS))
    assert wire.sent() == [Disconnect(CODE, WORDS)]


def declining(protocol_says: int | None) -> Wire:
    properties = Properties(request_problem_information=protocol_says, authentication_method="m")
    connack = ConnAck(properties=Properties(authentication_method="m"))
    return Wire(connect=Connect("c", properties=properties), connack=connack)


UNWANTED: Final[list[tuple[Packet, str]]] = [
    (PubAck(1, properties=NO_PAIRS), "PUBACK"),
    (PubAck(1, properties=NO_STRING), "PUBACK"),
    (PubRec(2, properties=NO_PAIRS), "PUBREC"),
    (PubRel(3, properties=NO_PAIRS), "PUBREL"),
    (PubComp(4, properties=NO_PAIRS), "PUBCOMP"),
    (SubAck(5, (ReasonCode.SUCCESS,), NO_STRING), "SUBACK"),
    (UnsubAck(6, (ReasonCode.SUCCESS,), NO_PAIRS), "UNSUBACK"),
    (
        Auth(
            ReasonCode.CONTINUE_AUTHENTICATION,
            Properties(authentication_method="m", reason_string="because"),
        ),
        "AUTH",
    ),
]


@pytest.mark.parametrize(("packet", "name"), UNWANTED)
def test_words_that_were_declined_break_the_protocol(packet: Packet, name: str) -> None:
    error = declining(0).refuses(packet)
    assert str(error).startswith(f"{name} has a Reason String or User Properties")
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == "MQTT-3.1.2-29"


@pytest.mark.parametrize("says", [None, 1])
def test_words_that_were_not_declined_are_taken(says: int | None) -> None:
    wire = declining(says)
    wire.publish()
    wire.request(subscribe())
    wire.request(unsubscribe())
    wire.sent()
    codes = (ReasonCode.SUCCESS,)
    answers: list[Packet] = [
        PubAck(1, properties=WORDS),
        SubAck(2, codes, WORDS),
        UnsubAck(3, codes, WORDS),
    ]
    assert len(wire.feed(*answers)) == 3


def test_who_declines_words_takes_those_that_the_standard_allows() -> None:
    wire = declining(0)
    message = Publish("t", properties=NO_STRING)
    (received,) = wire.receive(message)
    assert received.properties == NO_STRING
    wire.publish()
    wire.sent()
    assert len(wire.feed(PubAck(1))) == 1
    words = Properties(reason_string="because", user_properties=(("a", "b"),))
    (event,) = wire.feed(Disconnect(CODE, words))
    assert event == Disconnect(CODE, words)


def test_below_5_there_are_no_words_to_decline() -> None:
    wire = Wire(MQTT_3_1_1, connect=Connect("c"))
    wire.publish()
    wire.sent()
    assert len(wire.feed(PubAck(1))) == 1
