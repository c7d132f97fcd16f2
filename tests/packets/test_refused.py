"""What `encode` refuses to send: LocalProtocolError with the statement, before a byte exists."""

from __future__ import annotations

import copy
import enum
import pickle
import random
from typing import Any, cast

import attrs
import pytest

from tests.budget import WANTED
from tests.packets.support import OLD_VERSIONS, VERSIONS, encode_refused, read_one
from tests.packets.test_examples import ROWS
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import LocalProtocolError

R = ReasonCode
REQUEST = p.SubscriptionRequest
TOO_LONG = "x" * 65536
BELOW = {"MQTT-4.7.1-1": "MQTT-4.7.1-2", "MQTT-4.7.1-2": "MQTT-4.7.1-3"}


def will(
    topic: str = "w", payload: bytes = b"", qos: int = 0, *, retain: bool = False
) -> p.Connect:
    return p.Connect("c", will=p.WillMessage(topic, payload, qos, retain))


# Refused in every version: the packet, the statement of MQTT 5.0, and that of MQTT 3.1.1.
EVERYWHERE: list[tuple[p.Packet, str, str]] = [
    *((p.Connect("c", keep_alive=n), "3.1.2.10", "3.1.2.10") for n in (-1, 65536, 2**80)),
    (p.Connect("c\0"), "MQTT-1.5.4-2", "MQTT-1.5.3-2"),
    (p.Connect("\ud800"), "MQTT-1.5.4-1", "MQTT-1.5.3-1"),
    (p.Connect("c", username="\0"), "MQTT-1.5.4-2", "MQTT-1.5.3-2"),
    (p.Connect("c", username="\udfff"), "MQTT-1.5.4-1", "MQTT-1.5.3-1"),
    (p.Connect("c", username=TOO_LONG), "1.5.6", "3.1.3"),
    (p.Connect("c", username="u", password=bytes(65536)), "1.5.6", "3.1.3"),
    (will(""), "MQTT-4.7.3-1", "MQTT-4.7.3-1"),
    (will("#"), "MQTT-4.7.0-1", "MQTT-4.7.1-1"),
    (will("a/+"), "MQTT-4.7.0-1", "MQTT-4.7.1-1"),
    (will("\0"), "MQTT-1.5.4-2", "MQTT-1.5.3-2"),
    (will("\ud800"), "MQTT-1.5.4-1", "MQTT-1.5.3-1"),
    (will(TOO_LONG), "MQTT-4.7.3-3", "MQTT-4.7.3-3"),
    (will(payload=bytes(65536)), "1.5.6", "3.1.3"),
    *((will(qos=n), "MQTT-3.1.2-12", "MQTT-3.1.2-14") for n in (-1, 3, 4, 2**40)),
    *((p.Publish("t", qos=n), "MQTT-3.3.1-4", "MQTT-3.3.1-4") for n in (-1, 3, 4, 2**40)),
    (p.Publish("t", dup=True), "MQTT-3.3.1-2", "MQTT-3.3.1-2"),
    (p.Publish("t", packet_id=1), "MQTT-2.2.1-2", "MQTT-2.3.1-5"),
    *(
        (p.Publish("t", qos=qos, packet_id=n), "MQTT-2.2.1-3", "MQTT-2.3.1-1")
        for n in (-1, 0, 65536, 2**80)
        for qos in (1, 2)
    ),
    (p.Publish(""), "MQTT-4.7.3-1", "MQTT-4.7.3-1"),
    (p.Publish("a/#"), "MQTT-3.3.2-2", "MQTT-3.3.2-2"),
    (p.Publish("+"), "MQTT-3.3.2-2", "MQTT-3.3.2-2"),
    (p.Publish("a\0"), "MQTT-1.5.4-2", "MQTT-1.5.3-2"),
    (p.Publish("\ud83d\ude00"), "MQTT-1.5.4-1", "MQTT-1.5.3-1"),
    (p.Publish("\u20ac" * 21846), "MQTT-4.7.3-3", "MQTT-4.7.3-3"),
    (p.Publish("t", bytes(2**28)), "1.5.5", "2.2.3"),
    *(
        (packet_class(n), "MQTT-2.2.1-3", "MQTT-2.3.1-1")
        for packet_class in (p.PubAck, p.PubRec, p.PubRel, p.PubComp)
        for n in (-1, 0, 65536, 2**80)
    ),
    *(
        (p.Subscribe(n, (REQUEST("a"),)), "MQTT-2.2.1-3", "MQTT-2.3.1-1")
        for n in (-1, 0, 65536, 2**80)
    ),
    (p.Subscribe(1, ()), "MQTT-3.8.3-2", "MQTT-3.8.3-3"),
    *((p.Subscribe(1, (REQUEST("a", n),)), "3.8.3.1", "MQTT-3.8.3-4") for n in (-1, 3, 2**40)),
    *(
        (p.Subscribe(1, (REQUEST("a", retain_handling=n),)), "3.8.3.1", "MQTT-3.8.3-4")
        for n in (-1, 3, 2**40)
    ),
    (
        p.Subscribe(1, (REQUEST("$share/g/a", no_local=True),)),
        "MQTT-3.8.3-4",
        "MQTT-3.8.3-4",
    ),
    *((p.SubAck(n, (R.GRANTED_QOS_1,)), "MQTT-2.2.1-3", "MQTT-2.3.1-1") for n in (-1, 0, 65536)),
    (p.SubAck(1, ()), "MQTT-3.8.4-6", "MQTT-3.8.4-5"),
    *((p.Unsubscribe(n, ("a",)), "MQTT-2.2.1-3", "MQTT-2.3.1-1") for n in (-1, 0, 65536)),
    (p.Unsubscribe(1, ()), "MQTT-3.10.3-2", "MQTT-3.10.3-2"),
    (
        p.ConnAck(session_present=True, reason_code=R.NOT_AUTHORIZED),
        "MQTT-3.2.2-6",
        "MQTT-3.2.2-4",
    ),
]


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.parametrize(("packet", "statement", "older"), EVERYWHERE)
def test_refused_in_every_version(
    packet: p.Packet, statement: str, older: str, protocol: Protocol
) -> None:
    expected = statement if protocol is MQTT_5 else older
    if protocol is MQTT_3_1 and isinstance(packet, p.Connect) and len(packet.client_id) > 23:
        expected = ""
    assert encode_refused(packet, protocol) == expected


FILTERS: list[tuple[str, str]] = [
    ("", "MQTT-4.7.3-1"),
    ("a#", "MQTT-4.7.1-1"),
    ("#/a", "MQTT-4.7.1-1"),
    ("a/#/b", "MQTT-4.7.1-1"),
    ("##", "MQTT-4.7.1-1"),
    ("a/b+", "MQTT-4.7.1-2"),
    ("++", "MQTT-4.7.1-2"),
    ("+a/#", "MQTT-4.7.1-2"),
    ("a\0", "MQTT-1.5.4-2"),
    ("\ud800", "MQTT-1.5.4-1"),
    (TOO_LONG, "MQTT-4.7.3-3"),
    ("$share", "MQTT-4.8.2-1"),
    ("$share/", "MQTT-4.8.2-1"),
    ("$share//a", "MQTT-4.8.2-1"),
    ("$share/g", "MQTT-4.8.2-2"),
    ("$share/g/", "MQTT-4.8.2-2"),
    ("$share/+/a", "MQTT-4.8.2-2"),
    ("$share/g#/a", "MQTT-4.8.2-2"),
    ("$share/g/a#", "MQTT-4.7.1-1"),
    ("$share/\ud800/a", "MQTT-1.5.4-1"),
    ("$share/g/" + "x" * 65530, "MQTT-4.7.3-3"),
]


@pytest.mark.parametrize(("topic_filter", "statement"), FILTERS)
def test_topic_filters(topic_filter: str, statement: str) -> None:
    older = {
        **BELOW,
        "MQTT-1.5.4-2": "MQTT-1.5.3-2",
        "MQTT-1.5.4-1": "MQTT-1.5.3-1",
        "MQTT-4.8.2-1": None,
        "MQTT-4.8.2-2": None,
    }
    for packet in (
        p.Subscribe(1, (REQUEST("fine"), REQUEST(topic_filter))),
        p.Unsubscribe(1, ("fine", topic_filter)),
    ):
        assert encode_refused(packet) == statement
        for protocol in OLD_VERSIONS:
            assert encode_refused(packet, protocol) == older.get(statement, statement)


MQTT_5_ONLY: list[tuple[p.Packet, str | None]] = [
    (p.Connect("c", properties=p.Properties(authentication_data=b"")), "3.1.2.11.10"),
    (p.Auth(R.CONTINUE_AUTHENTICATION), "3.15.2.2.2"),
    (p.Auth(), "3.15.2.2.2"),
    (p.UnsubAck(1), "MQTT-3.11.3-1"),
    (p.UnsubAck(0, (R.SUCCESS,)), "MQTT-2.2.1-3"),
    (p.Publish("", properties=p.Properties(topic_alias=0)), "MQTT-3.3.2-8"),
    (p.Publish("", properties=p.Properties(content_type="t")), "MQTT-4.7.3-1"),
]


@pytest.mark.parametrize(("packet", "statement"), MQTT_5_ONLY)
def test_refused_in_mqtt_5(packet: p.Packet, statement: str) -> None:
    assert encode_refused(packet, MQTT_5) == statement


BELOW_MQTT_5: list[tuple[p.Packet, str | None]] = [
    (p.Connect("c", password=b"p"), "MQTT-3.1.2-22"),
    (p.Auth(R.SUCCESS, p.Properties(authentication_method="m")), None),
    (p.Auth(), None),
    (p.Disconnect(R.DISCONNECT_WITH_WILL_MESSAGE), None),
    (p.PubAck(1, R.NOT_AUTHORIZED), None),
    (p.PubRec(1, R.NO_MATCHING_SUBSCRIBERS), None),
    (p.PubRel(1, R.PACKET_IDENTIFIER_NOT_FOUND), None),
    (p.PubComp(1, R.PACKET_IDENTIFIER_NOT_FOUND), None),
    (p.UnsubAck(1, (R.SUCCESS,)), "3.11.3"),
    (p.UnsubAck(0), "MQTT-2.3.1-1"),
    (p.Subscribe(1, (REQUEST("a", no_local=True),)), None),
    (p.Subscribe(1, (REQUEST("a", retain_as_published=True),)), None),
    (p.Subscribe(1, (REQUEST("a", retain_handling=1),)), None),
    (p.Publish("", properties=p.Properties(topic_alias=1)), "MQTT-4.7.3-1"),
    (p.Connect("c", will=p.WillMessage("w", properties=p.Properties(content_type=""))), None),
]


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
@pytest.mark.parametrize(("packet", "statement"), BELOW_MQTT_5)
def test_refused_below_mqtt_5(packet: p.Packet, statement: str | None, protocol: Protocol) -> None:
    assert encode_refused(packet, protocol) == statement


def test_client_identifiers_of_the_versions() -> None:
    assert encode_refused(p.Connect("", clean_start=False), MQTT_3_1_1) == "MQTT-3.1.3-7"
    assert encode_refused(p.Connect(""), MQTT_3_1) is None
    assert encode_refused(p.Connect("c" * 24), MQTT_3_1) is None
    for protocol in (MQTT_3_1_1, MQTT_5):
        assert encode_refused(p.Connect(TOO_LONG), protocol) is not None
    assert p.encode(p.Connect("", clean_start=False), MQTT_5)
    assert p.encode(p.Connect("c" * 23), MQTT_3_1)


def test_what_is_no_packet() -> None:
    for thing in (None, b"\xc0\0", "PINGREQ", p.NO_PROPERTIES, p.WillMessage("w")):
        wrong: Any = thing
        with pytest.raises(TypeError, match="not a Control Packet"):
            p.encode(wrong, MQTT_5)


def test_subclasses_are_written_as_what_they_are() -> None:
    @attrs.define
    class Mine(p.Publish):
        extra: int = 0

    assert p.encode(Mine("t", b"x", extra=3), MQTT_5) == p.encode(p.Publish("t", b"x"), MQTT_5)


def test_flags_that_are_not_bool_set_one_bit() -> None:
    """2 << 5 would be the Password Flag, and 2 in RETAIN's place a QoS."""
    two: Any = 2
    assert read_one(p.encode(will(retain=two), MQTT_5)) == will(retain=True)
    assert read_one(p.encode(p.Publish("t", retain=two), MQTT_5)) == p.Publish("t", retain=True)
    dup = p.Publish("t", qos=1, dup=True, packet_id=1)
    assert read_one(p.encode(attrs.evolve(dup, dup=two), MQTT_5)) == dup
    assert read_one(p.encode(p.Connect("c", clean_start=two), MQTT_5)) == p.Connect("c")
    assert read_one(p.encode(p.ConnAck(two), MQTT_5)) == p.ConnAck(session_present=True)
    request = REQUEST("a", no_local=two, retain_as_published=two)
    wanted = p.Subscribe(1, (REQUEST("a", no_local=True, retain_as_published=True),))
    assert read_one(p.encode(p.Subscribe(1, (request,)), MQTT_5)) == wanted


def test_an_error_copies_and_pickles() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        p.encode(p.Publish("+"), MQTT_5)
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301
        assert again.statement == "MQTT-3.3.2-2"
        assert str(again) == str(caught.value)


WRONG: dict[type, list[Any]] = {
    int: [-(2**70), -1, 0, 1, 2, 3, 4, 127, 128, 255, 256, 65535, 65536, 2**28, 2**32, 2**70],
    str: ["", "\0", "\ud800", "#", "+", "a/#", "$share/", "$share/g/+", TOO_LONG, "\ufeff"],
    bytes: [b"", b"\0", bytes(65535), bytes(65536)],
    bool: [False, True],
}


def spoil(value: object, rng: random.Random) -> object:
    """Put a surprising value of the same type somewhere into a packet, or a part of one."""
    changed = cast("Any", value)
    names = [field.name for field in getattr(value, "__attrs_attrs__", ())]
    if names:
        name = rng.choice(names)
        return attrs.evolve(changed, **{name: spoil(getattr(value, name), rng)})
    for kind, values in WRONG.items():
        if type(value) is kind or (kind is int and isinstance(value, enum.IntEnum)):
            return rng.choice(values)
    if isinstance(value, tuple) and changed:
        index = rng.randrange(len(changed))
        item = [] if len(changed) != 2 and rng.random() < 0.2 else [spoil(changed[index], rng)]
        return (*changed[:index], *item, *changed[index + 1 :])
    return changed


def test_surprising_values_are_refused_or_read_back() -> None:
    """Never OverflowError, IndexError, ValueError, struct.error and the like."""
    rng = random.Random(f"surprising {WANTED}")  # noqa: S311 - no secrets here
    refused = 0
    number = WANTED or 5000
    for _ in range(number):
        protocol = rng.choice(VERSIONS)
        packet: Any = rng.choice(ROWS[rng.choice(VERSIONS)])[0]
        for _ in range(rng.randrange(1, 4)):
            packet = spoil(packet, rng)
        try:
            data = p.encode(packet, protocol)
        except LocalProtocolError:
            refused += 1
        else:
            assert data[0] >> 4
            if not (isinstance(packet, p.ConnAck) and protocol is MQTT_3_1):
                assert read_one(data, protocol) == packet
    assert refused > number // 10
