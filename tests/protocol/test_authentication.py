"""Which AUTH may come and go when (4.12, 4.12.1), and what a Client makes of the others."""

from __future__ import annotations

from itertools import product
from typing import Final

import pytest

from tests.protocol.support import Wire, publish
from trio_mqtt._enums import ReasonCode
from trio_mqtt._errors import LocalProtocolError, PacketTooLarge, RemoteProtocolError
from trio_mqtt._protocol.authentication import RECEIVED, SENT, AuthState
from trio_mqtt.packets import Auth, ConnAck, Connect, Packet, Properties, PubAck, encode

SUCCESS: Final = ReasonCode.SUCCESS
CONTINUE: Final = ReasonCode.CONTINUE_AUTHENTICATION
AGAIN: Final = ReasonCode.RE_AUTHENTICATE
CODES: Final = (SUCCESS, CONTINUE, AGAIN)
METHOD: Final = Properties(authentication_method="m")
CONNECT: Final = Connect("c", properties=METHOD)
ACCEPTED: Final = ConnAck(properties=METHOD)

each_code = pytest.mark.parametrize("code", CODES)


def data(text: bytes) -> Properties:
    return Properties(authentication_method="m", authentication_data=text)


def connecting() -> Wire:
    wire = Wire(connect=CONNECT, connack=None)
    wire.sent()
    return wire


def challenged() -> Wire:
    wire = connecting()
    wire.feed(Auth(CONTINUE, METHOD))
    return wire


def done(connack: ConnAck = ACCEPTED) -> Wire:
    return Wire(connect=CONNECT, connack=connack)


def renewing() -> Wire:
    wire = done()
    wire.connection.authenticate(METHOD)
    wire.sent()
    return wire


def renewal_challenged() -> Wire:
    wire = renewing()
    wire.feed(Auth(CONTINUE, METHOD))
    return wire


WAYS: Final = {
    AuthState.OFF: Wire,
    AuthState.CONNECTING: connecting,
    AuthState.CHALLENGED: challenged,
    AuthState.DONE: done,
    AuthState.RENEWING: renewing,
    AuthState.RENEWAL_CHALLENGED: renewal_challenged,
}
"""How to come to each state."""

FOLLOWS: Final = {
    (AuthState.CONNECTING, CONTINUE): AuthState.CHALLENGED,
    (AuthState.RENEWING, CONTINUE): AuthState.RENEWAL_CHALLENGED,
    (AuthState.RENEWING, SUCCESS): AuthState.DONE,
}
"""All that a Server may send."""

each_state = pytest.mark.parametrize("state", AuthState, ids=lambda state: state.name)


def test_the_tables_are_complete() -> None:
    assert set(RECEIVED) == set(product(AuthState, CODES))
    assert set(SENT) == {AuthState.CHALLENGED, AuthState.DONE, AuthState.RENEWAL_CHALLENGED}


@each_state
@each_code
def test_what_a_server_may_send(state: AuthState, code: ReasonCode) -> None:
    wire = WAYS[state]()
    assert wire.connection.authentication.state is state
    packet = Auth(code, METHOD)
    if (state, code) in FOLLOWS:
        assert wire.feed(packet) == [packet]
        assert wire.connection.authentication.state is FOLLOWS[state, code]
        return
    error = wire.refuses(packet)
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == RECEIVED[state, code]
    assert "AUTH" in str(error)
    assert wire.connection.authentication.state is state


@each_state
def test_what_a_client_may_send(state: AuthState) -> None:
    wire = WAYS[state]()
    if state in SENT:
        wire.connection.authenticate(METHOD)
        code = AGAIN if state is AuthState.DONE else CONTINUE
        assert wire.sent() == [Auth(code, METHOD)]
        assert wire.connection.authentication.state is SENT[state][1]
        return
    with pytest.raises(LocalProtocolError) as caught:
        wire.connection.authenticate(METHOD)
    assert caught.value.statement == ("MQTT-4.12.0-7" if state is AuthState.OFF else "4.12")
    assert wire.sent() == []


def test_two_challenges_and_then_connack() -> None:
    wire = connecting()
    for number in range(2):
        question = Auth(CONTINUE, data(b"question %d" % number))
        assert wire.feed(question) == [question]
        wire.connection.authenticate(data(b"answer %d" % number))
        assert wire.sent() == [Auth(CONTINUE, data(b"answer %d" % number))]
    assert wire.feed(ACCEPTED) == [ACCEPTED]


def test_nothing_of_the_session_goes_on_before_the_caller_says_so() -> None:
    before = Wire(connect=Connect("c", clean_start=False))
    message = before.publish(2)
    before.connection.end()
    connect = Connect("c", clean_start=False, properties=METHOD)
    wire = Wire(connect=connect, connack=None, session=before.session)
    assert wire.sent() == [connect]
    assert wire.feed(ACCEPTED) == [ACCEPTED]
    known = [wire.connection.server is not None]
    doubtful = [list(wire.connection.doubtful)]
    wire.connection.open(ACCEPTED)
    known.append(wire.connection.server is not None)
    doubtful.append(list(wire.connection.doubtful))
    assert known == [False, True]
    assert doubtful == [[], [message]]


def test_messages_behind_connack_wait_for_that() -> None:
    wire = connecting()
    wire.connection.receive_data(
        encode(ACCEPTED, wire.protocol) + encode(publish(1), wire.protocol)
    )
    assert wire.connection.next_events() == [ACCEPTED]
    wire.connection.open(ACCEPTED)
    assert len(wire.connection.next_events()) == 1


OTHER: Final = Properties(authentication_method="other")


@pytest.mark.parametrize(
    ("state", "packet", "has"),
    [
        (AuthState.CONNECTING, ConnAck(), "CONNACK has none"),
        (AuthState.CONNECTING, ConnAck(properties=OTHER), "CONNACK has 'other'"),
        (AuthState.CONNECTING, Auth(CONTINUE, OTHER), "AUTH has 'other'"),
        (AuthState.RENEWING, Auth(CONTINUE, OTHER), "AUTH has 'other'"),
        (AuthState.RENEWING, Auth(SUCCESS, OTHER), "AUTH has 'other'"),
    ],
)
def test_another_method_than_that_of_connect(state: AuthState, packet: Packet, has: str) -> None:
    error = WAYS[state]().refuses(packet)
    assert error.statement == "MQTT-4.12.0-5"
    assert has in str(error)


def test_a_refusal_needs_no_method() -> None:
    refusal = ConnAck(reason_code=ReasonCode.NOT_AUTHORIZED)
    for wire in (connecting(), challenged()):
        assert wire.feed(refusal) == [refusal]


def test_a_method_in_connack_that_nobody_asked_for() -> None:
    error = Wire(connack=None).refuses(ACCEPTED)
    assert error.statement == "MQTT-4.12.0-6"


def test_connack_in_place_of_waiting_for_our_answer() -> None:
    error = challenged().refuses(ACCEPTED)
    assert error.statement == "4.12"


def test_the_shortest_auth_is_a_success() -> None:
    """3.15.2.1 lets all be left out, the method included."""
    wire = renewing()
    assert wire.feed_bytes(b"\xf0\0") == [Auth()]
    assert wire.connection.authentication.state is AuthState.DONE


def test_the_reason_behind_a_violation_is_told() -> None:
    error = done().refuses(Auth(AGAIN, METHOD))
    assert isinstance(error, RemoteProtocolError)
    assert "the server has accepted us" in str(error)


# -- the Maximum Packet Size of the Server ------------------------------------------------------

WORDS: Final = Properties(
    authentication_method="m",
    authentication_data=b"0123456789",
    reason_string="r" * 20,
    user_properties=(("u", "u" * 30),),
)


def size_of(properties: Properties) -> int:
    return len(encode(Auth(AGAIN, properties), Wire().protocol))


def granting(size: int) -> Wire:
    return done(ConnAck(properties=Properties(authentication_method="m", maximum_packet_size=size)))


@pytest.mark.parametrize("missing", [0, 1])
def test_words_for_people_are_left_out_where_they_make_it_too_large(missing: int) -> None:
    wire = granting(size_of(WORDS) - missing)
    wire.connection.authenticate(WORDS)
    (packet,) = wire.sent()
    assert isinstance(packet, Auth)
    assert packet.properties.authentication_data == b"0123456789"
    assert (packet.properties == WORDS) is (not missing)


@pytest.mark.parametrize("missing", [0, 1])
def test_what_has_to_be_said_may_be_too_large(missing: int) -> None:
    limit = size_of(data(b"0123456789")) - missing
    wire = granting(limit)
    if not missing:
        wire.connection.authenticate(WORDS)
        assert wire.sent() == [Auth(AGAIN, data(b"0123456789"))]
        return
    with pytest.raises(PacketTooLarge, match="AUTH would take") as caught:
        wire.connection.authenticate(WORDS)
    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
    assert wire.sent() == []
    wire.connection.authenticate(METHOD)  # nothing was begun
    assert wire.sent() == [Auth(AGAIN, METHOD)]


def test_auth_overtakes_what_waits_for_the_disk() -> None:
    wire = done()
    wire.connection.output.append(b"", after=7)
    wire.connection.output.append(encode(PubAck(1), wire.protocol), after=7)
    wire.connection.authenticate(METHOD)
    assert wire.sent() == [Auth(AGAIN, METHOD)]
