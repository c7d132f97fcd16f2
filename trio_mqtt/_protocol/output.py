"""Bytes on their way to the peer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from trio_mqtt.packets._encoder import encode_pubacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._protocol.exchanges import IncomingMessage


_PUBACK_SIZE: Final = 4


def _nobody() -> None:
    """Nobody waits for something to send."""


class Output:
    """What is to be sent, in order, until somebody takes it.

    A packet that reveals what is not yet on disk waits here, and all that come after it, until
    that has been committed.

    Attributes:
        on_ready: called when there is something to send and there was nothing before.
        size: how many bytes wait.
        closed: whether the last packet is in; what is added later is dropped (MQTT-3.14.4-1).
        committed: the last batch of the Session's journal that is on disk.
    """

    def __init__(self) -> None:
        self.on_ready: Callable[[], object] = _nobody
        self.size: int = 0
        self.closed: bool = False
        self.committed: int = 0
        self._chunks: list[bytes] = []
        # Made when it is needed: an empty deque takes 760 bytes.
        self._held: deque[tuple[bytes, int, IncomingMessage | None]] | None = None
        self._held_size = 0
        self._unwritten: list[IncomingMessage] = []
        self._pubacks: list[IncomingMessage] = []  # to be written behind the chunks

    @property
    def ready(self) -> int:
        """How many of the bytes may be sent now."""
        return self.size - self._held_size

    def append(self, data: bytes, after: int = 0, settles: IncomingMessage | None = None) -> None:
        """Add the bytes of one packet, or a part of it.

        Args:
            data: the bytes.
            after: the batch of the journal that has to be committed before they are sent.
            settles: the message that they acknowledge, if the Session does not remember it.
        """
        if self.closed:
            return
        if self._pubacks:
            self._write_pubacks()
        self.size += len(data)
        if self._held or after > self.committed:
            if self._held is None:
                self._held = deque()
            self._held.append((data, after, settles))
            self._held_size += len(data)
            return
        chunks = self._chunks
        if not chunks:
            self.on_ready()
        chunks.append(data)
        if settles is not None:
            self._unwritten.append(settles)

    def append_puback(self, message: IncomingMessage) -> None:
        """Add the PUBACK that accepts a message; those that come in a row are made at once."""
        if self.closed:
            return
        if self._held or message.stored_in > self.committed:
            self.append(encode_pubacks((message.packet_id,)), message.stored_in, message)
            return
        if not self._pubacks and not self._chunks:
            self.on_ready()
        self._pubacks.append(message)
        self.size += _PUBACK_SIZE

    def _write_pubacks(self) -> None:
        messages = self._pubacks
        self._pubacks = []
        self._unwritten += messages
        self._chunks.append(encode_pubacks([message.packet_id for message in messages]))

    def append_ahead(self, data: bytes) -> None:
        """Add the bytes of a packet that may overtake those that wait for a commit."""
        if not self.closed:
            if not self._chunks:
                self.on_ready()
            self.size += len(data)
            self._chunks.append(data)

    def commit(self, number: int) -> None:
        """Let out what waited for this batch, or an earlier one, to be committed."""
        self.committed = number
        held = self._held
        while held and held[0][1] <= number:
            data, _, settles = held.popleft()
            if not self._chunks:
                self.on_ready()
            self._held_size -= len(data)
            self._chunks.append(data)
            if settles is not None:
                self._unwritten.append(settles)

    def take(self) -> list[bytes]:
        """Everything that may be sent; it is the caller's to send from here on."""
        if self._pubacks:
            self._write_pubacks()
        chunks = self._chunks
        self._chunks = []
        self._unwritten.clear()
        self.size = self._held_size
        return chunks

    def take_unwritten(self) -> list[IncomingMessage]:
        """The messages whose acknowledgements nobody took; there is no way to send them now."""
        unwritten = self._unwritten + self._pubacks
        if self._held is not None:
            unwritten += [each for _, _, each in self._held if each is not None]
        self._unwritten = []
        self._pubacks = []
        self._held = None
        self._chunks = []
        self.size = self._held_size = 0
        self.closed = True
        return unwritten
