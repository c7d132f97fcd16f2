"""The incremental parser: arbitrary chunks of bytes in, Control Packets out.

What has arrived lies in one `bytes` object with a position in it. Once a packet in it turns out to
be incomplete, what follows is collected in a BytesIO, whose value becomes the next such object,
without another copy, when the packet is whole. So nothing is reserved because a length field says
so, and a large payload is copied twice, not once a chunk.

PUBLISH has its own path. Topic Names and short property blocks repeat, so what their bytes mean
is remembered, up to a bound; validation is paid for when they are first seen.
"""

from __future__ import annotations

import io
from typing import Final

from trio_mqtt._enums import MQTT_5, PacketType, Protocol, QoS, ReasonCode
from trio_mqtt._errors import MalformedPacket, RemoteProtocolError
from trio_mqtt.packets import _tables, _wire
from trio_mqtt.packets._classes import Packet, PubAck, PubComp, Publish, PubRec, PubRel
from trio_mqtt.packets._decoder import DECODERS, check_topic_name, read_packet_id, read_protocol
from trio_mqtt.packets._properties import NO_PROPERTIES, Properties, read_property_block

_PUBLISH: Final = PacketType.PUBLISH
_MOST_LENGTH_BYTES = 4
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 256


class PacketReader:
    """Turns a stream of bytes into Control Packets.

    Feed it with what arrives, in whatever chunks, then take the packets::

        reader.feed(data)
        while packets := reader.read_packets():
            ...

    Args:
        protocol: the version of MQTT spoken; None takes it from the CONNECT that must come first.
        maximum_packet_size: refuse packets of more bytes than this, as soon as their fixed header
            is known; None for no limit but that of the format.
        publish_type: the class made for each PUBLISH, a subclass of `Publish` that can be
            constructed with the same positional arguments.

    Attributes:
        protocol: the version of MQTT spoken, or None if no CONNECT has come yet.
        maximum_packet_size: as given; may be set at any time.
    """

    def __init__(
        self,
        protocol: Protocol | None = MQTT_5,
        *,
        maximum_packet_size: int | None = None,
        publish_type: type[Publish] = Publish,
    ) -> None:
        self.protocol = protocol
        self.maximum_packet_size = maximum_packet_size
        self._publish_type = publish_type
        self._data = b""
        self._position = 0
        self._pending: io.BytesIO | None = None  # if not None, then the data is empty
        self._needed = 2  # bytes from the position on without which there is no use in looking
        self._topics: dict[bytes, str] = {}
        self._property_blocks: dict[bytes, Properties] = {}
        self._failure: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many bytes were fed and are not yet part of a packet that was read."""
        if self._pending is not None:
            return self._pending.tell()
        return len(self._data) - self._position

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they arrived; parsing them is left to `read_packets`."""
        if self._failure is not None:
            return
        pending = self._pending
        if pending is None:
            if self._position >= len(self._data):
                self._data = bytes(data)
                self._position = 0
                return
            self._pending = pending = io.BytesIO()
            pending.write(memoryview(self._data)[self._position :])
            self._data = b""
            self._position = 0
        pending.write(data)

    def read_packets(self, limit: int = 256) -> list[Packet]:
        """Parse up to `limit` packets; an empty list means that more bytes are needed.

        Packets in front of a malformed one are returned first; the error comes with the next call,
        and with every call after that, since nothing behind it can be trusted.

        Raises:
            MalformedPacket: the bytes are no Control Packet.
            RemoteProtocolError: they are one that the standard forbids.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # else each call would add to the same one
        if self.buffered < self._needed:
            return []
        if self._pending is not None:
            self._data = self._pending.getvalue()
            self._pending = None
        packets: list[Packet] = []
        try:
            self._parse(packets, limit)
        except RemoteProtocolError as error:
            error.statement = _tables.statement_in(self.protocol or MQTT_5, error.statement)
            self._fail(error)
            if not packets:
                raise
        return packets

    def _fail(self, error: RemoteProtocolError) -> None:
        self._failure = error
        self._data = b""
        self._position = 0
        self._property_blocks.clear()
        self._topics.clear()

    def _parse(self, packets: list[Packet], limit: int) -> None:
        data = self._data
        size = len(data)
        position = self._position
        maximum = self.maximum_packet_size
        protocol = self.protocol
        append = packets.append
        for _ in range(limit):
            if size - position < 2:  # noqa: PLR2004 - the shortest packet
                self._needed = 2
                break
            length = data[position + 1]
            body = position + 2
            if length > 127:  # noqa: PLR2004 - more length bytes follow
                if body < size and 0 < data[body] < 128:  # noqa: PLR2004 - just one more
                    length += (data[body] << 7) - 128
                    body += 1
                else:
                    length, body = self._long_length(data, position)
                    if not body:
                        break
            end = body + length
            if maximum is not None and end - position > maximum:
                raise RemoteProtocolError(
                    f"a packet of {end - position} bytes; the Maximum Packet Size is {maximum}",
                    reason_code=ReasonCode.PACKET_TOO_LARGE,
                    statement="MQTT-3.1.2-24",
                )
            first = data[position]
            if end > size:
                self._check_first_byte(first)
                self._needed = end - position
                break
            flags = _PUBLISH_FLAGS.get(first)
            if flags is not None and protocol is not None:
                append(self._publish(flags, data, body, end))
            else:
                append(self._other(first, data, body, end))
                protocol = self.protocol
            position = end
        else:
            self._needed = 2
        if position == size:
            self._data = b""
            position = 0
        self._position = position

    def _long_length(self, data: bytes, position: int) -> tuple[int, int]:
        """Read a Remaining Length of several bytes; the second value is 0 if it is incomplete."""
        end = min(len(data), position + 1 + _MOST_LENGTH_BYTES)
        if end - position <= _MOST_LENGTH_BYTES and min(data[position + 1 : end]) > 127:  # noqa: PLR2004
            self._needed = end - position + 1
            return 0, 0
        shortest = self.protocol is MQTT_5
        return _wire.read_varint(data, position + 1, end, "the Remaining Length", shortest=shortest)

    def _check_first_byte(self, first: int) -> PacketType:
        """The packet type of a fixed header, refusing a wrong one before the body has come."""
        if first < 1 << 4:
            raise MalformedPacket("the packet type is 0, which is reserved", statement="2.1.2")
        packet_type = PacketType(first >> 4)
        if self.protocol is None and packet_type is not PacketType.CONNECT:
            message = f"the first packet is {packet_type.name}, not CONNECT"
            raise RemoteProtocolError(message, statement="MQTT-3.1.0-1")
        flags = first & 0x0F
        if packet_type is _PUBLISH:
            if flags & 0b0110 == 0b0110:  # noqa: PLR2004 - both QoS bits
                raise MalformedPacket("PUBLISH has both QoS bits set", statement="MQTT-3.3.1-4")
            if flags & 0b1110 == 0b1000:  # noqa: PLR2004 - DUP without QoS
                raise MalformedPacket("PUBLISH has DUP 1 at QoS 0", statement="MQTT-3.3.1-2")
        elif not _tables.flags_are_right(packet_type, flags, self.protocol or MQTT_5):
            message = f"{packet_type.name} has the fixed-header flags {flags:04b}"
            raise MalformedPacket(message, statement="MQTT-2.1.3-1")
        return packet_type

    def _other(self, first: int, data: bytes, body: int, end: int) -> Packet:
        if end - body == 2 and first in _SHORT and self.protocol is not None:  # noqa: PLR2004
            # A Packet Identifier and nothing else: most of what is acknowledged.
            packet_id = data[body] << 8 | data[body + 1]
            if packet_id:
                return _SHORT[first](packet_id)
        decoder = _DECODERS.get(first)
        if decoder is not None and self.protocol is not None:
            return decoder(data, body, end, self.protocol)
        packet_type = self._check_first_byte(first)
        if packet_type is PacketType.CONNECT:
            protocol, _ = read_protocol(data, body, end)
            if self.protocol not in {None, protocol}:
                message = f"a CONNECT of {protocol.title} where another version is spoken"
                raise RemoteProtocolError(message, statement="MQTT-3.1.0-2")
            self.protocol = protocol
        return DECODERS[packet_type](data, body, end, self.protocol or MQTT_5)

    def _publish(
        self, flags: tuple[QoS, bool, bool], data: bytes, position: int, end: int
    ) -> Publish:
        qos, retain, dup = flags
        start = position + 2
        position = start + (data[position] << 8 | data[position + 1]) if start <= end else end + 1
        if position > end:
            raise MalformedPacket("the packet ends inside the Topic Name", statement="2.1.4")
        raw = data[start:position]
        topic = self._topics.get(raw)
        if topic is None:
            topic = self._new_topic(raw)
        packet_id = 0
        if qos:
            if position + 2 <= end:
                packet_id = data[position] << 8 | data[position + 1]
            if not packet_id:
                read_packet_id(data, position, end)  # says what is wrong with it
            position += 2
        properties = NO_PROPERTIES
        if self.protocol is MQTT_5:
            if position < end and data[position] == 0:
                position += 1
            else:
                if position < end and data[position] < 128:  # noqa: PLR2004 - in one byte
                    block_start = position + 1
                    block_end = block_start + data[position]
                else:
                    length, block_start = _wire.read_varint(
                        data, position, end, "the property length"
                    )
                    block_end = block_start + length
                position = block_end
                block = data[block_start:block_end]
                found = self._property_blocks.get(block) if position <= end else None
                properties = found or self._new_properties(data, block_start, position, end)
            if not topic and properties.topic_alias is None:
                message = "PUBLISH has neither a Topic Name nor a Topic Alias"
                raise RemoteProtocolError(message, statement="3.3.2.1")
        return self._publish_type(
            topic,
            data[position:end],
            qos,
            retain,
            dup,
            packet_id,
            properties,
        )

    def _new_topic(self, raw: bytes) -> str:
        topic = _wire.decode_string(raw, "the Topic Name")
        if topic or self.protocol is not MQTT_5:
            check_topic_name(topic)
        if len(raw) <= _LONGEST_REMEMBERED:
            if len(self._topics) >= _REMEMBERED:
                self._topics.clear()
            self._topics[raw] = topic
        return topic

    def _new_properties(self, data: bytes, start: int, stop: int, end: int) -> Properties:
        if stop > end:
            message = f"the properties take {stop - start} bytes, {end - start} are left"
            raise MalformedPacket(message, statement="2.2.2.1")
        properties = read_property_block(data, start, stop, _PUBLISH)
        if stop - start <= _LONGEST_REMEMBERED:
            if len(self._property_blocks) >= _REMEMBERED:
                self._property_blocks.clear()
            self._property_blocks[data[start:stop]] = properties
        return properties


_PUBLISH_FLAGS: Final = {
    _PUBLISH << 4 | dup << 3 | qos << 1 | retain: (qos, retain, dup)
    for qos in QoS
    for retain in (False, True)
    for dup in ((False, True) if qos else (False,))
}
"""The first byte of each PUBLISH that there may be, and QoS, RETAIN and DUP in it."""
_SHORT: Final = {
    packet_type << 4 | _tables.fixed_flags(packet_type): packet_class
    for packet_type, packet_class in (
        (PacketType.PUBACK, PubAck),
        (PacketType.PUBREC, PubRec),
        (PacketType.PUBREL, PubRel),
        (PacketType.PUBCOMP, PubComp),
    )
}
"""The first byte of each acknowledgement that may have no Reason Code (3.4.2.1)."""
_DECODERS: Final = {
    packet_type << 4 | _tables.fixed_flags(packet_type): decoder
    for packet_type, decoder in DECODERS.items()
    if packet_type is not PacketType.CONNECT
}
"""The decoder of each packet with nothing to look at before, by its first byte."""
