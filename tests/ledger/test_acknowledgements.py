"""PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7)."""

from __future__ import annotations

from typing import Final

import pytest

from tests.ledger.support import by_version
from tests.packets.support import encode_refused, refused
from tests.protocol.support import Wire, publish
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode

ALLOWED: Final[dict[type, str]] = {
    p.PubAck: "00 10 80 83 87 90 91 97 99",
    p.PubRec: "00 10 80 83 87 90 91 97 99",
    p.PubRel: "00 92",
    p.PubComp: "00 92",
}
FIRST: Final[dict[type, int]] = {p.PubAck: 0x40, p.PubRec: 0x50, p.PubRel: 0x62, p.PubComp: 0x70}
Kind = type[p.PubAck | p.PubRec | p.PubRel | p.PubComp]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.statement(statement), id=kind.__name__)
        for kind, statement in (
            (p.PubAck, "MQTT-3.4.2-1"),
            (p.PubRec, "MQTT-3.5.2-1"),
            (p.PubRel, "MQTT-3.6.2-1"),
            (p.PubComp, "MQTT-3.7.2-1"),
        )
    ],
)
def test_each_has_its_own_reason_codes(kind: Kind) -> None:
    allowed = set(bytes.fromhex(ALLOWED[kind]))
    assert {each.value for each in ReasonCode} > allowed
    for code in ReasonCode:
        if code.value in allowed:
            assert p.encode(kind(1, code), MQTT_5)[0] == FIRST[kind]
        else:
            assert encode_refused(kind(1, code)) is not None, code
            assert refused(bytes((FIRST[kind], 3, 0, 1, code.value))) is not None


LONG: Final = (("name", "value" * 5),)
WORDS: Final = "words" * 5


@pytest.mark.parametrize(
    ("qos", "properties"),
    [
        pytest.param(qos, properties, marks=pytest.mark.statement(statement), id=statement)
        for statement, qos, properties in (
            ("MQTT-3.4.2-2", 1, p.Properties(reason_string=WORDS)),
            ("MQTT-3.4.2-3", 1, p.Properties(user_properties=LONG)),
            ("MQTT-3.5.2-2", 2, p.Properties(reason_string=WORDS)),
            ("MQTT-3.5.2-3", 2, p.Properties(user_properties=LONG)),
        )
    ],
)
def test_words_that_make_an_acknowledgement_too_large_are_left_out(
    qos: int, properties: p.Properties
) -> None:
    code = ReasonCode.QUOTA_EXCEEDED
    kind = p.PubAck if qos == 1 else p.PubRec
    size = len(p.encode(kind(7, code, properties), MQTT_5))
    for limit, said in ((size, properties), (size - 1, p.NO_PROPERTIES)):
        wire = Wire(connack=p.ConnAck(properties=p.Properties(maximum_packet_size=limit)))
        (message,) = wire.receive(publish(7, qos))
        wire.session.explain(message, code, properties)
        wire.connection.receiver.settle(message, code)
        assert wire.sent() == [kind(7, code, said)]


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        pytest.param(
            p.PubRec(7),
            p.PubRel(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND),
            marks=pytest.mark.statement("MQTT-3.6.2-2", "MQTT-3.6.2-3"),
            id="PUBREL",
        ),
        pytest.param(
            p.PubRel(7),
            p.PubComp(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND),
            marks=pytest.mark.statement("MQTT-3.7.2-2", "MQTT-3.7.2-3"),
            id="PUBCOMP",
        ),
    ],
)
def test_an_answer_to_nothing_says_nothing_but_its_reason_code(
    packet: p.Packet, answer: p.Packet
) -> None:
    """No Reason String and no User Property, so that none makes it too large."""
    wire = Wire(connack=p.ConnAck(properties=p.Properties(maximum_packet_size=6)))
    wire.feed(packet)
    assert wire.sent() == [answer]


@by_version("MQTT-3.6.1-1", "MQTT-3.6.1-1")
def test_the_flags_of_pubrel(protocol: Protocol) -> None:
    assert p.encode(p.PubRel(1), protocol)[0] == 0b0110_0010
    for flags in set(range(16)) - {0b0010}:
        assert refused(bytes((0x60 | flags, 2, 0, 1)), protocol).malformed
