"""Bytes on their way to the peer."""

from __future__ import annotations


class Output:
    """What is to be sent, in order, until somebody takes it.

    Attributes:
        size: how many bytes wait.
        closed: whether the last packet is in; what is added later is dropped (MQTT-3.14.4-1).
    """

    def __init__(self) -> None:
        self.size = 0
        self.closed = False
        self._chunks: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Add the bytes of one packet, or a part of it."""
        if not self.closed:
            self._chunks.append(data)
            self.size += len(data)

    def take(self) -> list[bytes]:
        """Everything that waits; it is the caller's to send from here on."""
        chunks = self._chunks
        self._chunks = []
        self.size = 0
        return chunks
