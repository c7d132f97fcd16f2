"""Packet Identifiers of the packets that we send (2.2.1)."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

T = TypeVar("T")

MOST_IDENTIFIERS: Final = 65_535


class PacketIdentifiers(Generic[T]):
    """The identifiers in use and who holds each.

    PUBLISH, SUBSCRIBE and UNSUBSCRIBE share one set (MQTT-2.2.1-3). They are given out ascending
    from 1 and round, so that one just released is not used again before the numbers come to it: a
    late answer of the Server then meets nothing.

    Attributes:
        in_use: who holds each identifier that is in use, in the order in which they were taken.
        last: the one that was given out last.
    """

    def __init__(self) -> None:
        self.in_use: dict[int, T] = {}
        self.last: int = 0

    def __len__(self) -> int:
        """How many are in use."""
        return len(self.in_use)

    @property
    def exhausted(self) -> bool:
        """Whether all 65,535 are in use."""
        return len(self.in_use) >= MOST_IDENTIFIERS

    def take(self, holder: T) -> int:
        """Give the next free identifier to `holder`; the caller has looked at `exhausted`."""
        holders = self.in_use
        packet_id = self.last
        while True:
            packet_id = packet_id + 1 if packet_id < MOST_IDENTIFIERS else 1
            if packet_id not in holders:
                break
        self.last = packet_id
        holders[packet_id] = holder
        return packet_id

    def restore(self, packet_id: int, holder: T) -> None:
        """Note that an identifier is in use, as a storage remembers it."""
        self.in_use[packet_id] = holder
        self.last = packet_id

    def replace(self, packet_id: int, holder: T) -> None:
        """Let another one hold an identifier that is in use."""
        self.in_use[packet_id] = holder

    def renewed(self) -> PacketIdentifiers[T]:
        """None in use, and none given out again before the numbers come to it."""
        renewed: PacketIdentifiers[T] = PacketIdentifiers()
        renewed.last = self.last
        return renewed

    def holders(self) -> list[T]:
        """All holders, in the order in which they took their identifiers."""
        return list(self.in_use.values())

    def holder(self, packet_id: int) -> T | None:
        """Who holds this identifier, or None."""
        return self.in_use.get(packet_id)

    def release(self, packet_id: int) -> None:
        """Free an identifier that is in use."""
        del self.in_use[packet_id]
