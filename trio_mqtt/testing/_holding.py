"""Answers that a test holds back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from trio_mqtt.packets import (
    Auth,
    ConnAck,
    PingResp,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
)

if TYPE_CHECKING:
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing._outbox import Outbox

Answer: TypeAlias = (
    ConnAck | Auth | PubAck | PubRec | PubRel | PubComp | SubAck | UnsubAck | PingResp
)


class Held:
    """The answers that ``with server.holding(...)`` keeps back, in the order of their making.

    Args:
        packet_types: which answers.
        client_id: of which client; None for all.
    """

    def __init__(self, packet_types: tuple[type[Answer], ...], client_id: str | None) -> None:
        self._packet_types = packet_types
        self._client_id = client_id
        self._held: list[tuple[Outbox, Packet]] = []

    @property
    def packets(self) -> tuple[Packet, ...]:
        """What is held back now."""
        return tuple(packet for _, packet in self._held)

    def release(self, count: int | None = None) -> None:
        """Send the oldest `count` of them, or all; those of closed connections go nowhere."""
        released = self._held[:count]
        del self._held[:count]
        for outbox, packet in released:
            outbox.answer_now(packet)

    def takes(self, client_id: str, packet: Packet) -> bool:
        """Whether such a packet is held back."""
        return isinstance(packet, self._packet_types) and self._client_id in (None, client_id)

    def keep(self, outbox: Outbox, packet: Packet) -> None:
        """Hold a packet back."""
        self._held.append((outbox, packet))
