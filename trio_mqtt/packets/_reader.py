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
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Final, cast

from trio_mqtt._enums import MQTT_5, PacketType, Protocol, QoS, ReasonCode
from trio_mqtt._errors import MalformedPacket, RemoteProtocolError
from trio_mqtt.packets import _tables, _wire
from trio_mqtt.packets._classes import Packet, Publish
from trio_mqtt.packets._decoder import DECODERS, check_topic_name, read_packet_id, read_protocol
from trio_mqtt.packets._properties import NO_PROPERTIES, Properties, read_property_block
from trio_mqtt.packets._runs import (
    ACKNOWLEDGEMENTS,
    AcknowledgementRun,
    PublishRun,
    read_acknowledgements,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mqtt.packets._runs import Acknowledgement

_PUBLISH: Final = PacketType.PUBLISH
Found = Packet | PublishRun[Publish] | AcknowledgementRun
"""A packet, or several of a kind in a row."""

_MOST_LENGTH_BYTES = 4
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 256
_SHORT_REMEMBERED = 16_384
"""How many Topic Names, or property blocks, are remembered while short ones come: of the latter one
for each Subscription Identifier."""
_MOST_CHANGES = 16
"""How often Topic Name or properties may be others, in a batch, until they are no longer compared
with those before."""
_UNKNOWN = _wire.LARGEST_PACKET  # more bytes than are left of a packet
_PACKET_ID_ALONE = 2
"""The Remaining Length of an acknowledgement that says nothing else."""
_ALONE = 2 + _PACKET_ID_ALONE
_SHORT_TOPIC = 64
_SHORT_BLOCK = 16


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

    @property
    def needed(self) -> int:
        """How many bytes the packet takes that has come in part, as far as that is known."""
        return self._needed

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
        packets: list[Packet] = []
        for found in self._read_runs(limit):
            if isinstance(found, PublishRun):
                packets += found
            elif isinstance(found, AcknowledgementRun):
                packets += found.packets()
            else:
                packets.append(found)
        return packets

    def _read_runs(self, limit: int = 256) -> list[Found]:
        """As `read_packets`, but packets of a kind in a row are one element of the list."""
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # else each call would add to the same one
        if self.buffered < self._needed:
            return []
        if self._pending is not None:
            self._data = self._pending.getvalue()
            self._pending = None
        if len(self._data) == _ALONE and limit:
            found = self._read_alone(self._data)
            if found is not None:
                return [found]
        packets: list[Found] = []
        try:
            self._parse(packets, limit)
        except RemoteProtocolError as error:
            error.statement = _tables.statement_in(self.protocol or MQTT_5, error.statement)
            self._fail(error)
            if packets and packets[-1] == []:
                packets.pop()  # a run of which not even the first is right
            if not packets:
                raise
        return packets

    def _read_alone(self, data: bytes) -> Packet | None:
        """An acknowledgement that came by itself, as those of messages published one at a time.

        That takes a third of beginning with a row; whatever is not like most is for `_parse`. The
        bytes are nothing else's, then, so that none of them was read before.
        """
        acknowledgement = ACKNOWLEDGEMENTS.get(data[0])
        packet_id = data[2] << 8 | data[3]
        if (
            acknowledgement is None
            or data[1] != _PACKET_ID_ALONE
            or not packet_id
            or self.protocol is None
            or self.maximum_packet_size is not None
        ):
            return None
        self._data = b""
        self._needed = 2
        return acknowledgement(packet_id)

    def _fail(self, error: RemoteProtocolError) -> None:
        self._failure = error
        self._data = b""
        self._position = 0
        self._property_blocks.clear()
        self._topics.clear()

    def _parse(self, packets: list[Found], limit: int) -> None:  # noqa: C901, PLR0912, PLR0915
        # In one piece, since a call for each packet is a tenth of what receiving a message costs.
        data = self._data
        size = len(data)
        last = size - 2  # where the shortest packet can begin
        position = self._position
        maximum = self.maximum_packet_size
        protocol = self.protocol
        has_properties = protocol is MQTT_5
        publish_flags = _PUBLISH_FLAGS if protocol is not None else _NO_FLAGS
        known_topic = self._topics.get
        known_properties = self._property_blocks.get
        publish_type = self._publish_type
        append = packets.append
        run: PublishRun[Publish] = _NO_RUN
        take = run.append
        run_first = -1  # the first byte of the PUBLISHes in a row, if that is what came last
        qos, retain, dup = QoS.AT_MOST_ONCE, False, False
        packet_id = 0
        # Of the PUBLISH before: what stands in front of the Packet Identifier, or at QoS 0 of the
        # payload, and the properties, if there are any.
        topic, head, head_size = "", b"", _UNKNOWN
        properties, block, block_size = NO_PROPERTIES, b"", _UNKNOWN
        block_properties = NO_PROPERTIES
        changes = _MOST_CHANGES
        numbers = iter(range(limit))
        for _ in numbers:
            if position > last:
                self._needed = 2
                break
            first = data[position]
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
            if end > size:
                self._check_first_byte(first)
                self._needed = end - position
                break
            if first != run_first:
                if first in publish_flags:
                    run = PublishRun()
                    append(run)
                    take = run.append
                    run_first = first
                    head_size = _UNKNOWN
                    qos, retain, dup = publish_flags[first]
                    packet_id = 0
                else:
                    run_first = -1
            if run_first >= 0:
                stop = body + head_size
                if stop > end or data[body:stop] != head:
                    head_size = _UNKNOWN
                    start = body + 2
                    stop = start + (data[body] << 8 | data[body + 1]) if length > 1 else end + 1
                    if stop > end:
                        message = "the packet ends inside the Topic Name"
                        raise MalformedPacket(message, statement="2.1.4")
                    known = known_topic(data[start:stop])
                    topic = self._new_topic(data[start:stop]) if known is None else known
                    if qos and changes:
                        changes -= 1
                        head = data[body:stop]
                        head_size = stop - body
                if qos:
                    start = stop
                    stop += 2
                    packet_id = data[start] << 8 | data[start + 1] if stop <= end else 0
                    if not packet_id:
                        read_packet_id(data, start, end)  # says what is wrong with it
                if qos or head_size == _UNKNOWN:
                    properties = NO_PROPERTIES
                    if has_properties:
                        if stop < end and not data[stop]:
                            stop += 1
                        else:
                            start = stop
                            stop += block_size
                            if stop <= end and data[start:stop] == block:
                                properties = block_properties
                            else:
                                stop = start + 1 + data[start] if start < end else end + 1
                                found = known_properties(data[start:stop]) if stop <= end else None
                                if found is None:
                                    found, stop = self._new_properties(data, start, end)
                                properties = found
                                if changes:
                                    changes -= 1
                                    block, block_size = data[start:stop], stop - start
                                    block_properties = properties
                            if properties.topic_alias is not None:
                                run.has_alias = True
                        if not topic and properties.topic_alias is None:
                            message = "PUBLISH has neither a Topic Name nor a Topic Alias"
                            raise RemoteProtocolError(message, statement="3.3.2.1")
                    if not qos and changes:
                        changes -= 1
                        head = data[body:stop]
                        head_size = stop - body
                take(publish_type(topic, data[stop:end], qos, retain, dup, packet_id, properties))
            elif first in ACKNOWLEDGEMENTS and length < 4 and protocol is not None:  # noqa: PLR2004
                # No properties: most of what is acknowledged.
                packet_id = data[body] << 8 | data[body + 1] if length == 2 else 0  # noqa: PLR2004
                if data[end : end + 2] == data[position:body]:
                    run_of_them = self._acknowledgements(first, data, position, end, numbers)
                    end = position + (end - position) * len(run_of_them)
                    append(run_of_them)
                elif packet_id:
                    append(ACKNOWLEDGEMENTS[first](packet_id))
                else:
                    append(self._other(first, data, body, end))
            else:
                append(self._other(first, data, body, end))
                if protocol is None:
                    protocol = self.protocol
                    has_properties = protocol is MQTT_5
                    publish_flags = _PUBLISH_FLAGS
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

    def _acknowledgements(
        self, first: int, data: bytes, position: int, end: int, numbers: Iterator[int]
    ) -> AcknowledgementRun:
        """Acknowledgements in a row that are like the first; counts them, but for one."""
        packet = self._other(first, data, position + 2, end)  # which says what is wrong with it
        most = 1 + length_hint(numbers)
        packet_ids = read_acknowledgements(data, position, end - position, most)
        next(islice(numbers, len(packet_ids) - 1, len(packet_ids) - 1), None)
        return AcknowledgementRun(cast("Acknowledgement", packet), packet_ids)

    def _new_topic(self, raw: bytes) -> str:
        topic = _wire.decode_string(raw, "the Topic Name")
        if topic or self.protocol is not MQTT_5:
            check_topic_name(topic)
        if len(raw) <= _LONGEST_REMEMBERED:
            most = _SHORT_REMEMBERED if len(raw) <= _SHORT_TOPIC else _REMEMBERED
            if len(self._topics) >= most:
                self._topics.clear()
            self._topics[raw] = topic
        return topic

    def _new_properties(self, data: bytes, position: int, end: int) -> tuple[Properties, int]:
        """Read the properties of a PUBLISH and remember what their bytes mean.

        They are not among those remembered, unless their length takes more than a byte.
        """
        length, start = _wire.read_varint(data, position, end, "the property length")
        stop = start + length
        if stop > end:
            message = f"the properties take {length} bytes, {end - start} are left"
            raise MalformedPacket(message, statement="2.2.2.1")
        remembered = self._property_blocks
        block = data[position:stop]
        properties = remembered.get(block)
        if properties is None:
            properties = read_property_block(data, start, stop, _PUBLISH)
            if len(block) <= _LONGEST_REMEMBERED:
                most = _SHORT_REMEMBERED if len(block) <= _SHORT_BLOCK else _REMEMBERED
                if len(remembered) >= most:
                    remembered.clear()
                remembered[block] = properties
        return properties, stop


_NO_RUN: Final[PublishRun[Publish]] = PublishRun()
"""What stands for the run before there is one; nothing is put in."""


_PUBLISH_FLAGS: Final = {
    _PUBLISH << 4 | dup << 3 | qos << 1 | retain: (qos, retain, dup)
    for qos in QoS
    for retain in (False, True)
    for dup in ((False, True) if qos else (False,))
}
"""The first byte of each PUBLISH that there may be, and QoS, RETAIN and DUP in it."""
_NO_FLAGS: Final[dict[int, tuple[QoS, bool, bool]]] = {}
"""The same before CONNECT, the first packet."""
_DECODERS: Final = {
    packet_type << 4 | _tables.fixed_flags(packet_type): decoder
    for packet_type, decoder in DECODERS.items()
    if packet_type is not PacketType.CONNECT
}
"""The decoder of each packet with nothing to look at before, by its first byte."""
