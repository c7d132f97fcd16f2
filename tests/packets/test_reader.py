"""How PacketReader takes bytes apart: chunks, limits, versions and errors in the middle."""

from __future__ import annotations

import pytest

from tests.packets.support import forbidden, malformed, read_all, refused
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5
from trio_mqtt._errors import RemoteProtocolError


def test_a_length_ends_where_it_ends_although_the_body_looks_like_more_of_it() -> None:
    """The body begins with a byte above 127, which must not be taken for part of the length."""
    reader = p.PacketReader(MQTT_5, maximum_packet_size=100)
    reader.feed(bytes.fromhex("30 80 01 FF"))
    with pytest.raises(RemoteProtocolError):
        reader.read_packets()
    assert refused(bytes.fromhex("E0 81 00 80")) == malformed("MQTT-1.5.5-1")


def test_the_version_of_a_connection_does_not_change() -> None:
    """What was remembered of one version must never be taken for another's."""
    connects = {protocol: p.encode(p.Connect("c"), protocol) for protocol in (MQTT_3_1_1, MQTT_5)}
    alias = p.Publish("", properties=p.Properties(topic_alias=1))
    reader = p.PacketReader(None)
    reader.feed(connects[MQTT_5] + p.encode(alias, MQTT_5) + connects[MQTT_3_1_1] + b"\x30\2\0\0")
    assert reader.read_packets() == [p.Connect("c"), alias]
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read_packets()
    assert caught.value.statement == "MQTT-3.1.0-2"
    assert refused(connects[MQTT_3_1_1], MQTT_5) == forbidden("MQTT-3.1.0-2")
    assert read_all(connects[MQTT_5] * 2, MQTT_5) == [p.Connect("c")] * 2


def test_the_version_is_known_once_a_connect_names_it_even_if_it_is_wrong_otherwise() -> None:
    """So that the CONNACK that refuses it can be one that the Client understands."""
    reader = p.PacketReader(None)
    reader.feed(bytes.fromhex("10 0C 00044D515454 04 FF 0000 0000"))
    with pytest.raises(RemoteProtocolError):
        reader.read_packets()
    assert reader.protocol is MQTT_3_1_1
