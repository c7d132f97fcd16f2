"""Session State: what outlives a Network Connection (4.1)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from trio_mqtt._protocol.handshakes import ReceiverState  # noqa: TC001 - documents the dict
from trio_mqtt._protocol.identifiers import PacketIdentifiers

if TYPE_CHECKING:
    from trio_mqtt._protocol.exchanges import OutgoingMessage, Request


class SessionState:
    """Messages and requests that are not over, in both directions.

    Attributes:
        identifiers: our Packet Identifiers in use, in the order of first transmission, with the
            message or request that each belongs to.
        requests: SUBSCRIBEs and UNSUBSCRIBEs accepted and not yet sent.
        queue: QoS 1 and 2 messages accepted and not yet sent.
        received: QoS 2 identifiers of the Server between PUBLISH and PUBREL. They are apart from
            ours: the same number can be in use both ways (2.2.1).
        outgoing_size: what all accepted and unfinished messages take in memory, in bytes.
    """

    def __init__(self) -> None:
        self.identifiers: PacketIdentifiers[OutgoingMessage | Request] = PacketIdentifiers()
        self.requests: deque[Request] = deque()
        self.queue: deque[OutgoingMessage] = deque()
        self.received: dict[int, ReceiverState] = {}
        self.outgoing_size = 0

    @property
    def unfinished(self) -> int:
        """How many messages and requests are accepted and not over."""
        return len(self.identifiers) + len(self.requests) + len(self.queue)

    def accept(self, message: OutgoingMessage) -> None:
        """Take over a QoS 1 or 2 message: from here on it is the Session's to complete."""
        self.queue.append(message)
        self.outgoing_size += message.size

    def finish(self, message: OutgoingMessage) -> None:
        """Free what a message held; its exchange is over."""
        self.identifiers.release(message.packet_id)
        self.outgoing_size -= message.size

    def abandon(self) -> list[OutgoingMessage | Request]:
        """Give up everything that is not over, in order, for the caller to report."""
        abandoned = [*self.identifiers.holders(), *self.requests, *self.queue]
        self.identifiers = PacketIdentifiers()
        self.requests.clear()
        self.queue.clear()
        self.outgoing_size = 0
        return abandoned
