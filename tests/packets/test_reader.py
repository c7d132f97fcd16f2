"""How PacketReader takes bytes apart: chunks, limits, versions and errors in the middle."""

from __future__ import annotations

import pytest

from tests.packets.support import malformed, refused
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5
from trio_mqtt._errors import RemoteProtocolError


def test_a_length_ends_where_it_ends_although_the_body_looks_like_more_of_it() -> None:
    """The body begins with a byte above 127, which must not be taken for part of the length."""
    reader = p.PacketReader(MQTT_5, maximum_packet_size=100)
    reader.feed(bytes.fromhex("30 80 01 FF"))
    with pytest.raises(RemoteProtocolError):
        reader.read_packets()
    assert refused(bytes.fromhex("E0 81 00 80")) == malformed("MQTT-1.5.5-1")
