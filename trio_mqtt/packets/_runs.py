"""Packets in a row: what servers send much of comes as many of a kind, and costs less as one.

Acknowledgements that say the same differ in their Packet Identifiers alone, so that a row of them
is read and written without a look at each.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeVar

from trio_mqtt._enums import PacketType
from trio_mqtt.packets import _tables
from trio_mqtt.packets._classes import PubAck, PubComp, Publish, PubRec, PubRel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Acknowledgement = PubAck | PubRec | PubRel | PubComp
P = TypeVar("P", bound=Publish)

ACKNOWLEDGEMENTS: Final[dict[int, type[Acknowledgement]]] = {
    packet_type << 4 | _tables.fixed_flags(packet_type): packet_class
    for packet_type, packet_class in (
        (PacketType.PUBACK, PubAck),
        (PacketType.PUBREC, PubRec),
        (PacketType.PUBREL, PubRel),
        (PacketType.PUBCOMP, PubComp),
    )
}
"""The first byte of each acknowledgement that may be a Packet Identifier alone (3.4.2.1)."""
_FIRST_BYTES: Final = {
    packet_class: bytes((first, 2, 0, 0)) for first, packet_class in ACKNOWLEDGEMENTS.items()
}


class PublishRun(list[P]):
    """PUBLISHes in a row with the same QoS, RETAIN and DUP.

    Attributes:
        has_alias: whether one of them has a Topic Alias.
    """

    __slots__ = ("has_alias",)

    def __init__(self, publishes: Iterable[P] = (), *, has_alias: bool = False) -> None:
        super().__init__(publishes)
        self.has_alias: bool = has_alias


class AcknowledgementRun(list[int]):
    """The Packet Identifiers of acknowledgements in a row that say the same, without properties.

    Attributes:
        first: the first of them.
    """

    __slots__ = ("first",)

    def __init__(self, first: Acknowledgement, packet_ids: Iterable[int]) -> None:
        super().__init__(packet_ids)
        self.first: Acknowledgement = first

    def packets(self, start: int = 0) -> Iterator[Acknowledgement]:
        """The packets, from this position on."""
        packet_class, reason_code = self.first.__class__, self.first.reason_code
        return (packet_class(packet_id, reason_code) for packet_id in self[start:])


def read_acknowledgements(data: bytes, position: int, size: int, most: int) -> list[int]:
    """The Packet Identifiers of packets in a row that are like the first but for these.

    Args:
        data: the bytes.
        position: where the first begins, which is known to be right.
        size: what it takes, in bytes; in one byte of which is the Remaining Length.
        most: how many to read at most.
    """
    count = min(most, (len(data) - position) // size)
    end = position + count * size
    for offset in (0, 1, *range(4, size)):  # all but the Packet Identifier
        at = position + offset
        column = data[at:end:size]
        count = min(count, len(column) - len(column.lstrip(data[at : at + 1])))
    end = position + count * size
    numbers = bytearray(2 * count)
    numbers[0::2] = data[position + 2 : end : size]
    numbers[1::2] = data[position + 3 : end : size]
    packet_ids = list(struct.unpack(f">{count}H", numbers))
    return packet_ids[: packet_ids.index(0)] if 0 in packet_ids else packet_ids


def encode_acknowledgements(
    packet_class: type[Acknowledgement], packet_ids: Sequence[int]
) -> bytes:
    """Acknowledgements without Reason Codes, one behind the other."""
    count = len(packet_ids)
    numbers = struct.pack(f">{count}H", *packet_ids)
    packets = bytearray(_FIRST_BYTES[packet_class] * count)
    packets[2::4] = numbers[0::2]
    packets[3::4] = numbers[1::2]
    return bytes(packets)
