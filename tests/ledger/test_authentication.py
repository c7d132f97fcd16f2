"""AUTH and enhanced authentication (3.15, 4.12)."""

from __future__ import annotations

from typing import Final

import pytest

from tests.packets.support import encode_refused, malformed, refused
from tests.protocol.support import Wire, publish
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt._errors import LocalProtocolError

METHOD: Final = p.Properties(authentication_method="m")
OTHER: Final = p.Properties(authentication_method="other")
CONTINUE: Final = ReasonCode.CONTINUE_AUTHENTICATION
AGAIN: Final = ReasonCode.RE_AUTHENTICATE
CONNECT: Final = p.Connect("c", properties=METHOD)
ACCEPTED: Final = p.ConnAck(properties=METHOD)


def connecting() -> Wire:
    wire = Wire(connect=CONNECT, connack=None)
    wire.sent()
    return wire


def connected() -> Wire:
    return Wire(connect=CONNECT, connack=ACCEPTED)


@pytest.mark.statement("MQTT-3.15.1-1")
def test_the_flags_of_auth() -> None:
    packet = p.Auth(CONTINUE, METHOD)
    data = p.encode(packet, MQTT_5)
    assert data[0] == 0b1111_0000
    for flags in range(1, 16):
        assert refused(bytes((0xF0 | flags,)) + data[1:]) == malformed("MQTT-2.1.3-1")


@pytest.mark.statement("MQTT-3.15.2-1")
def test_the_reason_codes_of_auth() -> None:
    for code in ReasonCode:
        if code.value in {0x00, 0x18, 0x19}:
            assert p.encode(p.Auth(code, METHOD), MQTT_5)[2] == code
        else:
            assert encode_refused(p.Auth(code, METHOD)) == "MQTT-3.15.2-1"
            assert refused(bytes((0xF0, 6, code, 4, 0x15, 0, 1, 0x6D))).statement == "MQTT-3.15.2-1"


WORDS: Final = {
    "MQTT-3.15.2-2": p.Properties(authentication_method="m", reason_string="r" * 30),
    "MQTT-3.15.2-3": p.Properties(authentication_method="m", user_properties=(("name", "v" * 30),)),
}


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(properties, marks=pytest.mark.statement(statement), id=statement)
        for statement, properties in WORDS.items()
    ],
)
def test_words_that_make_auth_too_large_are_left_out(properties: p.Properties) -> None:
    size = len(p.encode(p.Auth(AGAIN, properties), MQTT_5))
    for limit, said in ((size, properties), (size - 1, METHOD)):
        granted = p.Properties(authentication_method="m", maximum_packet_size=limit)
        wire = Wire(connect=CONNECT, connack=p.ConnAck(properties=granted))
        wire.connection.authenticate(properties)
        assert wire.sent() == [p.Auth(AGAIN, said)]


@pytest.mark.statement("MQTT-4.12.0-2")
def test_before_connack_the_server_says_continue() -> None:
    challenge = p.Auth(CONTINUE, METHOD)
    assert connecting().feed(challenge) == [challenge]
    for code in (ReasonCode.SUCCESS, AGAIN):
        error = connecting().refuses(p.Auth(code, METHOD))
        assert error.reason_code is ReasonCode.PROTOCOL_ERROR


@pytest.mark.statement("MQTT-4.12.0-3")
def test_a_challenge_is_answered_with_continue() -> None:
    wire = connecting()
    answer = p.Properties(authentication_method="m", authentication_data=b"answer")
    for _ in range(2):
        wire.feed(p.Auth(CONTINUE, METHOD))
        wire.connection.authenticate(answer)
        assert wire.sent() == [p.Auth(CONTINUE, answer)]


@pytest.mark.statement("MQTT-4.12.0-5", "U-3.15-1")
def test_all_name_the_method_of_connect() -> None:
    assert connecting().refuses(p.Auth(CONTINUE, OTHER)).statement == "MQTT-4.12.0-5"
    for connack in (p.ConnAck(), p.ConnAck(properties=OTHER)):
        assert connecting().refuses(connack).statement == "MQTT-4.12.0-5"
    wire = connected()
    wire.connection.authenticate(METHOD)
    assert wire.refuses(p.Auth(CONTINUE, OTHER)).statement == "MQTT-4.12.0-5"


@pytest.mark.statement("MQTT-4.12.0-6", "U-3.15-1")
@pytest.mark.parametrize("connack", [None, p.ConnAck()], ids=["before CONNACK", "after it"])
def test_without_a_method_the_server_sends_no_auth(connack: p.ConnAck | None) -> None:
    for data in (p.encode(p.Auth(CONTINUE, METHOD), MQTT_5), b"\xf0\0"):
        error = Wire(connack=connack).refuses_bytes(data)
        assert (error.reason_code, error.statement) == (ReasonCode.PROTOCOL_ERROR, "MQTT-4.12.0-6")


@pytest.mark.statement("MQTT-4.12.0-6")
def test_without_a_method_connack_names_none() -> None:
    assert Wire(connack=None).refuses(ACCEPTED).statement == "MQTT-4.12.0-6"


@pytest.mark.statement("MQTT-4.12.0-7", "U-3.15-1")
def test_without_a_method_the_client_sends_no_auth() -> None:
    wire = Wire()
    with pytest.raises(LocalProtocolError) as caught:
        wire.connection.authenticate(METHOD)
    assert caught.value.statement == "MQTT-4.12.0-7"
    assert wire.sent() == []


@pytest.mark.statement("MQTT-4.12.1-1")
def test_the_client_begins_a_later_authentication() -> None:
    wire = connected()
    wire.publish(1)
    wire.sent()
    wire.connection.authenticate(METHOD)
    assert wire.sent() == [p.Auth(AGAIN, METHOD)]
    wire.feed(p.PubAck(1))  # other packets go on
    assert len(wire.receive(publish(1))) == 1
    done = p.Auth(ReasonCode.SUCCESS, METHOD)
    assert wire.feed(done) == [done]
    wire.connection.authenticate(METHOD)
    assert wire.sent() == [p.Auth(AGAIN, METHOD)]


@pytest.mark.statement("U-3.15.2.2.4-1")
@pytest.mark.parametrize("words", ["", "success", "0x87: not authorized"])
def test_words_of_auth_decide_nothing(words: str) -> None:
    said = p.Properties(authentication_method="m", reason_string=words)
    wire = connecting()
    challenge = p.Auth(CONTINUE, said)
    assert wire.feed(challenge) == [challenge]
    wire.connection.authenticate(METHOD)
    assert wire.sent() == [p.Auth(CONTINUE, METHOD)]
    assert wire.feed(ACCEPTED) == [ACCEPTED]
