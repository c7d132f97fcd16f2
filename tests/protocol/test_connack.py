"""From CONNECT to CONNACK, in every form that it may come in."""

from __future__ import annotations

import attrs
import pytest

from tests.protocol.support import Wire, outgoing, publish
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, PacketType, Protocol, QoS, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.connection import Connection
from trio_mqtt._protocol.server_info import ServerInfo
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import PROPERTY_TABLE, ConnAck, Connect, Properties, encode
from trio_mqtt.packets._tables import RETURN_CODES

CODES = [code for code in RETURN_CODES.values() if code.is_failure]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("reason", ["", "a", "ab", "\N{SPACE}\N{STX}" * 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_connack_in_pieces(protocol: Protocol, reason: str, size: int) -> None:
    properties = Properties(reason_string=reason if protocol is MQTT_5 else None)
    connack = ConnAck(properties=properties)
    wire = Wire(protocol, connack=None)
    data = encode(connack, protocol)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for piece in pieces[:-1]:
        assert wire.feed_bytes(piece) == []
    assert wire.feed_bytes(pieces[-1]) == [connack]
    assert wire.connection.protocol is protocol
    assert wire.connection.server is not None
    assert wire.connection.server.protocol is protocol


def test_what_is_assumed_is_what_a_server_means_that_says_nothing() -> None:
    wire = Wire(connect=Connect("c", keep_alive=0))
    assert wire.connection.server == ServerInfo(protocol=MQTT_5, client_id="c")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("code", range(1, 6))
def test_connack_of_3_1_1_to_a_connect_of_5(size: int, code: int) -> None:
    wire = Wire(connack=None)
    data = bytes((0x20, 2, 0, code))
    pieces = [data[start : start + size] for start in range(0, 4, size)]
    for piece in pieces[:-1]:
        assert wire.feed_bytes(piece) == []
    (connack,) = wire.feed_bytes(pieces[-1])
    assert isinstance(connack, ConnAck)
    assert encode(connack, MQTT_3_1_1) == data
    assert wire.connection.protocol is MQTT_3_1_1
    assert wire.connection.server is None


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_piece_that_begins_like_a_connack_of_3_1_1(size: int) -> None:
    connack = ConnAck(properties=Properties(reason_string="\N{SPACE}\N{STX}" * 9))
    data = encode(connack, MQTT_5)
    split = data.index(b"\x20\x02")
    wire = Wire(connack=None)
    wire.feed_bytes(data[:split])
    wire.feed_bytes(data[split : split + size])
    assert wire.feed_bytes(data[split + size :]) == [connack]
    assert wire.connection.protocol is MQTT_5


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("first", [ReasonCode.SUCCESS, ReasonCode.SERVER_UNAVAILABLE])
@pytest.mark.parametrize("second", [ReasonCode.SUCCESS, ReasonCode.SERVER_UNAVAILABLE])
def test_second_connack(protocol: Protocol, first: ReasonCode, second: ReasonCode) -> None:
    wire = Wire(protocol, connack=ConnAck(reason_code=first))
    server = wire.connection.server
    error = wire.refuses(ConnAck(reason_code=second))
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert "second CONNACK" in str(error)
    assert wire.connection.server is server
    assert wire.publish(1).packet_id == (first is ReasonCode.SUCCESS)


def test_an_acceptance_of_5_in_the_form_of_3_1_1_leaves_the_session_as_it_is() -> None:
    before = Wire()
    message = before.publish(2)
    before.connection.end()
    wire = Wire(session=before.session, connack=None)
    error = wire.refuses_bytes(b"\x20\x02\0\0")
    assert "in the form of MQTT 3.1.1" in str(error)
    assert error.statement == "3.2.2"
    assert wire.connection.server is None
    assert list(wire.session.messages()) == [message]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("code", CODES)
def test_pitfall_connack_0x86_silently_accepted(protocol: Protocol, code: ReasonCode) -> None:
    wire = Wire(protocol, connack=None)
    wire.session.accept(outgoing(1, protocol=protocol))
    assert wire.feed(ConnAck(reason_code=code)) == [ConnAck(reason_code=code)]
    assert wire.connection.server is None
    assert wire.connection.sender.pump() == 0
    assert [type(packet) for packet in wire.sent()] == [Connect]
    error = wire.refuses(publish(0, 0))
    assert error.statement == "MQTT-3.2.0-1"


@pytest.mark.parametrize(
    ("protocol", "statement"), [(MQTT_5, "MQTT-3.2.2-2"), (MQTT_3_1_1, "MQTT-3.2.2-1")]
)
def test_session_present_with_clean_start(protocol: Protocol, statement: str) -> None:
    wire = Wire(protocol, connect=Connect("c", clean_start=True), connack=None)
    error = wire.refuses(ConnAck(session_present=True))
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == statement
    assert wire.connection.server is None


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1])
@pytest.mark.parametrize("present", [False, True])
def test_session_present_without_clean_start(protocol: Protocol, *, present: bool) -> None:
    connect = Connect("c", clean_start=False)
    wire = Wire(protocol, connect=connect, connack=ConnAck(session_present=present))
    assert wire.connection.server is not None
    assert wire.connection.server.session_present is present


def test_session_present_does_not_exist_in_3_1() -> None:
    wire = Wire(MQTT_3_1, connack=None)
    assert wire.feed_bytes(b"\x20\x02\x01\0") == [ConnAck()]
    assert wire.connection.server is not None
    assert not wire.connection.server.session_present


@pytest.mark.parametrize("data", [b"\x20\x03\0\x01\0", b"\x21\x02\0\0", b"HTTP/1.1"])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_what_is_no_connack(data: bytes, size: int) -> None:
    wire = Wire(connack=None)
    with pytest.raises(RemoteProtocolError):
        for start in range(0, len(data), size):
            wire.feed_bytes(data[start : start + size])
    assert wire.connection.server is None


@pytest.mark.parametrize("unheard", [False, True])
@pytest.mark.parametrize(
    ("protocol", "present", "clean_start"),
    [
        (protocol, present, clean_start)
        for protocol in Protocol
        for present, clean_start in ((False, False), (False, True), (True, False))
        if not present or protocol is not MQTT_3_1  # whose Servers do not say so
    ],
)
def test_whether_the_session_may_be_another_one(
    protocol: Protocol, *, present: bool, clean_start: bool, unheard: bool
) -> None:
    """MQTT 3.1 does not say whether it is present; an answer that was lost may have begun it."""
    connect = Connect("c", clean_start=clean_start)
    connection = Connection(
        SessionState(), connect, protocol, receive_maximum=10, hold=True, unheard=unheard
    )
    connection.receive_data(encode(ConnAck(session_present=present), protocol))
    assert len(connection.next_events()) == 1
    no_word = protocol is MQTT_3_1 and not clean_start
    assert connection.resumed is (present or no_word)
    assert connection.unsure is (no_word or (present and unheard))
    connection.session.accept(outgoing(1, protocol=protocol))
    is_held = connection.unsure or not connection.resumed
    assert connection.sender.pump() == (0 if is_held else 1)


# -- what the Server granted -------------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_server_info_when_connack_says_nothing(protocol: Protocol) -> None:
    wire = Wire(protocol, connect=Connect("mine", keep_alive=77))
    assert wire.connection.server == ServerInfo(
        protocol=protocol,
        client_id="mine",
        session_present=False,
        keep_alive=77,
        session_expiry_interval=0,
        receive_maximum=65535,
        maximum_qos=QoS.EXACTLY_ONCE,
        retain_available=True,
        maximum_packet_size=None,
        topic_alias_maximum=0,
        wildcard_subscription_available=True,
        subscription_identifier_available=protocol is MQTT_5,
        shared_subscription_available=True,
        response_information=None,
        server_reference=None,
        reason_string=None,
        user_properties=(),
    )


ASKED = Connect(
    "mine", keep_alive=77, properties=Properties(session_expiry_interval=11, receive_maximum=12)
)
PAIRS = (("a", "1"), ("a", "2"))
GRANTED: dict[str, tuple[Properties, object]] = {
    "client_id": (Properties(assigned_client_identifier="theirs"), "theirs"),
    "keep_alive": (Properties(server_keep_alive=5), 5),
    "session_expiry_interval": (Properties(session_expiry_interval=6), 6),
    "receive_maximum": (Properties(receive_maximum=7), 7),
    "maximum_qos": (Properties(maximum_qos=1), QoS.AT_LEAST_ONCE),
    "retain_available": (Properties(retain_available=0), False),
    "maximum_packet_size": (Properties(maximum_packet_size=100), 100),
    "topic_alias_maximum": (Properties(topic_alias_maximum=8), 8),
    "wildcard_subscription_available": (Properties(wildcard_subscription_available=0), False),
    "subscription_identifier_available": (Properties(subscription_identifier_available=0), False),
    "shared_subscription_available": (Properties(shared_subscription_available=0), False),
    "response_information": (Properties(response_information="r"), "r"),
    "server_reference": (Properties(server_reference="s"), "s"),
    "reason_string": (Properties(reason_string="w"), "w"),
    "user_properties": (
        Properties(user_properties=(("a", "1"), ("a", "2"))),
        (("a", "1"), ("a", "2")),
    ),
}
ZERO: dict[str, tuple[Properties, object]] = {
    "keep_alive": (Properties(server_keep_alive=0), 0),
    "session_expiry_interval": (Properties(session_expiry_interval=0), 0),
    "maximum_qos": (Properties(maximum_qos=0), QoS.AT_MOST_ONCE),
    "topic_alias_maximum": (Properties(topic_alias_maximum=0), 0),
    "response_information": (Properties(response_information=""), ""),
}
ONE: dict[str, tuple[Properties, object]] = {
    "retain_available": (Properties(retain_available=1), True),
    "wildcard_subscription_available": (Properties(wildcard_subscription_available=1), True),
    "subscription_identifier_available": (Properties(subscription_identifier_available=1), True),
    "shared_subscription_available": (Properties(shared_subscription_available=1), True),
}


def server_info(properties: Properties) -> dict[str, object]:
    server = Wire(connect=ASKED, connack=ConnAck(properties=properties)).connection.server
    assert server is not None
    return attrs.asdict(server)


@pytest.mark.parametrize(
    ("field", "properties", "value"),
    [
        pytest.param(field, properties, value, id=f"{field}={value}")
        for table in (GRANTED, ZERO, ONE)
        for field, (properties, value) in table.items()
    ],
)
def test_server_info_takes_each_property_and_leaves_the_rest(
    field: str, properties: Properties, value: object
) -> None:
    assumed = server_info(Properties())
    assert assumed["session_expiry_interval"] == 11
    assert assumed["receive_maximum"] == 65535  # that of CONNECT is for the other direction
    assert server_info(properties) == assumed | {field: value}


def test_server_info_has_a_field_for_each_property_of_connack() -> None:
    of_connack = [row.name for row in PROPERTY_TABLE if PacketType.CONNACK in row.packets]
    fields = [attribute.name for attribute in attrs.fields(ServerInfo)]
    renamed = {"assigned_client_identifier": "client_id", "server_keep_alive": "keep_alive"}
    covered = {renamed.get(name, name) for name in of_connack} - {
        "authentication_method",  # they belong to the exchange, not to what was granted
        "authentication_data",
    }
    assert covered == set(GRANTED) == set(fields) - {"protocol", "session_present"}


@pytest.mark.parametrize(
    ("granted", "quota"), [(None, 65000), (1, 1), (65000, 65000), (65535, 65000)]
)
def test_the_window_is_that_of_connack(granted: int | None, quota: int) -> None:
    wire = Wire(connack=ConnAck(properties=Properties(receive_maximum=granted)))
    assert wire.connection.sender.quota == quota
