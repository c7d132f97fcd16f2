"""What whole packets may not say, on receipt: the Reason Code and the statement of each refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.packets.support import (
    OLD_VERSIONS,
    VERSIONS,
    Refusal,
    forbidden,
    frame,
    malformed,
    read_one,
    refused,
)
from tests.packets.test_examples import ROWS
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol, ReasonCode

if TYPE_CHECKING:
    Row = tuple[str, Refusal]

NAME = ReasonCode.TOPIC_NAME_INVALID
FILTER = ReasonCode.TOPIC_FILTER_INVALID
CUT = malformed("2.1.4")
OLD_CUT = malformed("2.2.3")
NO_ID = forbidden("2.2.1")
OLD_NO_ID = forbidden("MQTT-2.3.1-1")

# The packet without its Remaining Length: the first byte, then what follows the length.
MQTT_5_ROWS: list[Row] = [
    # CONNECT
    ("10", CUT),
    ("10 0004", CUT),
    ("10 00044D515454", CUT),
    ("10 00044D515454 05", CUT),
    ("10 00044D515454 05 02 00", CUT),
    ("10 00044D515454 05 02 003C", CUT),
    ("10 00044D515454 05 02 003C 00", CUT),
    ("10 00044D515454 05 02 003C 00 0001", CUT),
    ("10 00044D515454 05 02 003C 00 0000 00", CUT),
    ("10 00044D515454 05 82 003C 00 0000", CUT),
    ("10 00044D515454 05 42 003C 00 0000", CUT),
    ("10 00044D515454 05 C2 003C 00 0000 0000", CUT),
    ("10 00044D515454 05 06 003C 00 0000", CUT),
    ("10 00044D515454 05 06 003C 00 0000 00", CUT),
    ("10 00044D515454 05 06 003C 00 0000 00 0001 77", CUT),
    ("10 00044D515454 05 06 003C 00 0000 00 0001 77 0001", CUT),
    ("10 00044D515454 05 02 003C 07 21 0001 00", malformed("2.2.2.1")),
    ("10 00044D515454 05 02 003C 03 16 0000 0000", forbidden("3.1.2.11.10")),
    ("10 00044D515454 05 06 003C 00 0000 00 0000 0000", forbidden("MQTT-4.7.3-1", NAME)),
    ("10 00044D515454 05 06 003C 00 0000 00 0001 23 0000", forbidden("MQTT-4.7.0-1", NAME)),
    ("10 00044D515454 05 06 003C 00 0000 00 0003 612F2B 0000", forbidden("MQTT-4.7.0-1", NAME)),
    # CONNACK
    ("20", CUT),
    ("20 00", CUT),
    ("20 00 00", CUT),
    ("20 00 00 00 00", CUT),
    ("20 00 00 01", malformed("2.2.2.1")),
    ("20 02 00 00", malformed("MQTT-3.2.2-1")),
    ("20 03 00 00", malformed("MQTT-3.2.2-1")),
    ("20 80 00 00", malformed("MQTT-3.2.2-1")),
    ("20 01 87 00", forbidden("MQTT-3.2.2-6")),
    # PUBLISH
    ("30", CUT),
    ("30 00", CUT),
    ("30 0001", CUT),
    ("30 FFFF 61", CUT),
    ("30 0001 61", CUT),
    ("32 0001 61", CUT),
    ("32 0001 61 00", CUT),
    ("32 0001 61 0001", CUT),
    ("30 0001 61 05", malformed("2.2.2.1")),
    ("30 0001 61 FF01", malformed("2.2.2.1")),
    ("30 0001 61 80", CUT),
    ("32 0001 61 0000 00", NO_ID),
    ("34 0001 61 0000 00", NO_ID),
    ("30 0000 00", forbidden("3.3.2.1")),
    ("30 0000 00 78", forbidden("3.3.2.1")),
    ("30 0000 02 01 01", forbidden("3.3.2.1")),
    ("32 0000 0000 00", NO_ID),
    ("30 0001 23 00", forbidden("MQTT-3.3.2-2", NAME)),
    ("30 0001 2B 00", forbidden("MQTT-3.3.2-2", NAME)),
    ("30 0003 612F2B 00", forbidden("MQTT-3.3.2-2", NAME)),
    ("30 0003 612362 00", forbidden("MQTT-3.3.2-2", NAME)),
    ("30 0001 2B 03 23 0001", forbidden("MQTT-3.3.2-2", NAME)),
    # Acknowledgements
    *((f"{first} 0000", NO_ID) for first in ("40", "50", "62", "70")),
    *((f"{first}", CUT) for first in ("40", "50", "62", "70")),
    *((f"{first} 00", CUT) for first in ("40", "50", "62", "70")),
    *((f"{first} 0001 00 01", malformed("2.2.2.1")) for first in ("40", "50", "62", "70")),
    *((f"{first} 0001 00 00 00", CUT) for first in ("40", "50", "62", "70")),
    # SUBSCRIBE
    ("82 00", CUT),
    ("82 0000 00 0001 61 00", NO_ID),
    ("82 0001", CUT),
    ("82 0001 00", forbidden("MQTT-3.8.3-2")),
    ("82 0001 02 0B 01", forbidden("MQTT-3.8.3-2")),
    ("82 0001 00 0001 61", CUT),
    ("82 0001 00 0001 61 00 00", CUT),
    ("82 0001 00 0001 61 03", forbidden("3.8.3.1")),
    ("82 0001 00 0001 61 30", forbidden("3.8.3.1")),
    ("82 0001 00 0001 61 40", malformed("MQTT-3.8.3-5")),
    ("82 0001 00 0001 61 80", malformed("MQTT-3.8.3-5")),
    ("82 0001 00 0000 00", forbidden("MQTT-4.7.3-1", FILTER)),
    ("82 0001 00 0003 612F61 00 0002 6123 00", forbidden("MQTT-4.7.1-1", FILTER)),
    ("82 0001 00 0003 232F61 00", forbidden("MQTT-4.7.1-1", FILTER)),
    ("82 0001 00 0002 2B61 00", forbidden("MQTT-4.7.1-2", FILTER)),
    ("82 0001 00 0002 2B23 00", forbidden("MQTT-4.7.1-1", FILTER)),
    ("82 0001 00 0008 2473686172652F67 00", forbidden("MQTT-4.8.2-2", FILTER)),
    ("82 0001 00 0009 2473686172652F672F 00", forbidden("MQTT-4.8.2-2", FILTER)),
    ("82 0001 00 0009 2473686172652F2F61 00", forbidden("MQTT-4.8.2-1", FILTER)),
    ("82 0001 00 000A 2473686172652F2B2F61 00", forbidden("MQTT-4.8.2-2", FILTER)),
    ("82 0001 00 000A 2473686172652F232F61 00", forbidden("MQTT-4.8.2-2", FILTER)),
    ("82 0001 00 000B 2473686172652F672F2361 00", forbidden("MQTT-4.7.1-1", FILTER)),
    ("82 0001 00 000A 2473686172652F672F61 04", forbidden("MQTT-3.8.3-4")),
    # SUBACK
    ("90 0000 00 00", NO_ID),
    ("90 0001", CUT),
    ("90 0001 00", forbidden("MQTT-3.8.4-6")),
    # UNSUBSCRIBE
    ("A2 0000 00 0001 61", NO_ID),
    ("A2 0001", CUT),
    ("A2 0001 00", forbidden("MQTT-3.10.3-2")),
    ("A2 0001 00 00", CUT),
    ("A2 0001 00 0000", forbidden("MQTT-4.7.3-1", FILTER)),
    ("A2 0001 00 0002 2323", forbidden("MQTT-4.7.1-1", FILTER)),
    # UNSUBACK
    ("B0 0000 00 00", NO_ID),
    ("B0 0001", CUT),
    ("B0 0001 00", forbidden("MQTT-3.11.3-1")),
    # PINGREQ, PINGRESP, DISCONNECT, AUTH
    ("C0 00", CUT),
    ("D0 00", CUT),
    ("E0 00 00 00", CUT),
    ("E0 00 01", malformed("2.2.2.1")),
    ("F0 18", forbidden("3.15.2.2.2")),
    ("F0 00", forbidden("3.15.2.2.2")),
    ("F0 00 00", forbidden("3.15.2.2.2")),
    ("F0 18 03 1F 0000", forbidden("3.15.2.2.2")),
    ("F0 18 04 15 0001 6D 00", CUT),
]
OLD_ROWS: list[Row] = [
    ("20", OLD_CUT),
    ("20 00", OLD_CUT),
    ("20 00 00 00", OLD_CUT),
    ("30 00", OLD_CUT),
    ("30 0001", OLD_CUT),
    ("30 0000", forbidden("MQTT-4.7.3-1", NAME)),
    ("30 0001 23", forbidden("MQTT-3.3.2-2", NAME)),
    ("30 0001 2B", forbidden("MQTT-3.3.2-2", NAME)),
    ("32 0001 61", OLD_CUT),
    ("32 0001 61 0000", OLD_NO_ID),
    *((f"{first} 0000", OLD_NO_ID) for first in ("40", "50", "62", "70", "B0")),
    *((f"{first} 00", OLD_CUT) for first in ("40", "50", "62", "70", "B0")),
    *((f"{first} 0001 00", OLD_CUT) for first in ("40", "50", "62", "70", "B0")),
    ("82 0001", forbidden("MQTT-3.8.3-3")),
    ("82 0000 0001 61 00", OLD_NO_ID),
    ("82 0001 0001 61", OLD_CUT),
    ("82 0001 0001 61 03", forbidden("MQTT-3.8.3-4")),
    *((f"82 0001 0001 61 {bit:02X}", malformed("MQTT-3.8.3-4")) for bit in (4, 8, 16, 32, 64, 128)),
    ("82 0001 0002 6123 00", forbidden("MQTT-4.7.1-2", FILTER)),
    ("82 0001 0002 612B 00", forbidden("MQTT-4.7.1-3", FILTER)),
    ("82 0001 0000 00", forbidden("MQTT-4.7.3-1", FILTER)),
    ("90 0001", forbidden("MQTT-3.8.4-5")),
    ("90 0000 00", OLD_NO_ID),
    ("A2 0001", forbidden("MQTT-3.10.3-2")),
    ("A2 0000 0001 61", OLD_NO_ID),
    ("A2 0001 0001", OLD_CUT),
    ("C0 00", OLD_CUT),
    ("D0 00", OLD_CUT),
    ("E0 00", OLD_CUT),
    ("F0", malformed("2.2.1")),
    ("F0 00", malformed("2.2.1")),
]
MQTT_3_1_1_ROWS: list[Row] = [
    ("10 00044D515454 04 02 003C", OLD_CUT),
    ("10 00044D515454 04 02 003C 0000 00", OLD_CUT),
    ("10 00044D515454 04 06 003C 0000 0000 0000", forbidden("MQTT-4.7.3-1", NAME)),
    ("10 00044D515454 04 06 003C 0000 0001 23 0000", forbidden("MQTT-4.7.1-1", NAME)),
    ("20 01 05", forbidden("MQTT-3.2.2-4")),
    ("20 02 00", malformed("3.2.2.1")),
    ("20 FF 00", malformed("3.2.2.1")),
]
CASES = [
    *((MQTT_5, *row) for row in MQTT_5_ROWS),
    *((protocol, *row) for protocol in OLD_VERSIONS for row in OLD_ROWS),
    *((MQTT_3_1_1, *row) for row in MQTT_3_1_1_ROWS),
]


@pytest.mark.parametrize(("protocol", "text", "refusal"), CASES)
def test_refusals(protocol: Protocol, text: str, refusal: Refusal) -> None:
    data = bytes.fromhex(text)
    assert refused(frame(data[0], data[1:]), protocol) == refusal


@pytest.mark.parametrize("protocol", VERSIONS)
def test_no_packet_goes_on_behind_its_end(protocol: Protocol) -> None:
    """One more byte is refused, unless it is payload or begins another item of a list."""
    checked = set[type]()
    for packet, text in ROWS[protocol]:
        data = bytes.fromhex(text)
        if data[1] > 126 or isinstance(packet, p.Publish | p.SubAck):
            continue
        if isinstance(packet, p.UnsubAck) and protocol is MQTT_5:
            continue
        short = isinstance(packet, p.PubAck | p.PubRec | p.PubRel | p.PubComp | p.Disconnect)
        if protocol is MQTT_5 and short and data[1] <= 2:
            continue
        longer = frame(data[0], data[2:] + b"\0")
        assert refused(longer, protocol).statement == ("2.1.4" if protocol is MQTT_5 else "2.2.3")
        checked.add(type(packet))
    assert len(checked) == 12


@pytest.mark.parametrize("protocol", VERSIONS)
def test_a_server_hears_connect_first(protocol: Protocol) -> None:
    for packet, text in ROWS[protocol]:
        data = bytes.fromhex(text)
        if isinstance(packet, p.Connect):
            assert read_one(data, None) == packet
        else:
            assert refused(data, None) == forbidden("MQTT-3.1.0-1")
            assert refused(data[:1] + b"\x7f", None) == forbidden("MQTT-3.1.0-1")


def test_reserved_bytes_that_mqtt_3_1_does_not_use() -> None:
    for flags in range(256):
        assert read_one(bytes((0x20, 2, flags, 5)), MQTT_3_1) == p.ConnAck(
            reason_code=ReasonCode.NOT_AUTHORIZED
        )


@pytest.mark.parametrize("value", range(256))
def test_every_value_of_the_subscription_options(value: int) -> None:
    data = frame(0x82, bytes.fromhex("0001 00 0001 61") + bytes((value,)))
    if value & 0xC0:
        statement = "3.8.3.1" if value & 3 == 3 else "MQTT-3.8.3-5"
        assert refused(data).statement == statement
    elif value & 3 == 3 or value & 0x30 == 0x30:
        assert refused(data) == forbidden("3.8.3.1")
    else:
        request = p.SubscriptionRequest(
            "a", value & 3, bool(value & 4), bool(value & 8), value >> 4
        )
        assert read_one(data) == p.Subscribe(1, (request,))
        assert p.encode(p.Subscribe(1, (request,)), MQTT_5) == data
