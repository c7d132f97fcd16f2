"""Bytes on their way to the peer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from trio_mqtt.packets import PubAck
from trio_mqtt.packets._runs import encode_acknowledgements

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._protocol.exchanges import IncomingMessage


def _nobody() -> None:
    """Nobody waits for something to send."""


class Output:
    """What is to be sent, in order, until somebody takes it.

    A packet that reveals what is not yet on disk waits here, and all that come after it, until
    that has been committed.

    Who has more to send, that is better made when it is to be sent, can have itself asked for it.

    Attributes:
        on_ready: called when there is something to send and there was nothing before.
        size: how many bytes wait; without those that are still to be asked for.
        closed: whether the last packet is in; what is added later is dropped (MQTT-3.14.4-1).
        committed: the last batch of the Session's journal that is on disk.
        flowing: where the bytes of a packet may be put at once, if `size` is told of them, which is
            cheaper than `append`; None if that has more to look at. It must not be kept.
    """

    def __init__(self) -> None:
        self.on_ready: Callable[[], object] = _nobody
        self.size: int = 0
        self.closed: bool = False
        self.committed: int = 0
        self.flowing: list[bytes] | None = None
        self._chunks: list[bytes] = []
        # Made when it is needed: an empty deque takes 760 bytes.
        self._held: deque[tuple[bytes, int, IncomingMessage | None]] | None = None
        self._held_size = 0
        self._unwritten: list[IncomingMessage] = []
        self._more: Callable[[], None] | None = None  # asked for what comes behind the chunks

    @property
    def ready(self) -> int:
        """How many bytes may be sent now."""
        if self._more is not None:
            self._ask()
        return self.size - self._held_size

    def ask_for_more(self, more: Callable[[], None]) -> None:
        """Have this called, once, before anything else is added, taken or counted as ready.

        It adds what it has. What it acknowledges is acknowledged as if it had done so at once.
        """
        if not self._chunks and self._more is None:
            self.on_ready()
        self._more = more
        self.flowing = None

    def _ask(self) -> None:
        more, self._more = self._more, None
        if more is not None:
            more()

    def close(self) -> None:
        """The last packet is in."""
        self._ask()
        self.closed = True
        self.flowing = None

    def append(self, data: bytes, after: int = 0, settles: IncomingMessage | None = None) -> None:
        """Add the bytes of one packet, or a part of it.

        Args:
            data: the bytes.
            after: the batch of the journal that has to be committed before they are sent.
            settles: the message that they acknowledge, if the Session does not remember it.
        """
        if self.closed:
            return
        if self._more is not None:
            self._ask()
        self.size += len(data)
        if self._held or after > self.committed:
            if self._held is None:
                self._held = deque()
            self._held.append((data, after, settles))
            self._held_size += len(data)
            self.flowing = None
            return
        chunks = self._chunks
        if not chunks:
            self.on_ready()
            self.flowing = chunks
        chunks.append(data)
        if settles is not None:
            self._unwritten.append(settles)

    def append_pubacks(self, messages: list[IncomingMessage]) -> None:
        """Add the PUBACKs that accept these messages, of which nothing has to be on disk before."""
        if self.closed or not messages:
            return
        packet_ids = [message.packet_id for message in messages]
        if self._held:
            for message in messages:
                self.append(encode_acknowledgements(PubAck, (message.packet_id,)), 0, message)
            return
        self.append(encode_acknowledgements(PubAck, packet_ids))
        self._unwritten += messages

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
        if self._more is not None:
            self._ask()
        chunks = self._chunks
        self._chunks = []
        self.flowing = None
        self._unwritten.clear()
        self.size = self._held_size
        return chunks

    def put_back(self, data: bytes) -> None:
        """Return the end of what was taken, which was not sent; it comes before all else."""
        if not self._chunks:
            self.on_ready()
        self._chunks.insert(0, data)
        self.size += len(data)

    def take_unwritten(self) -> list[IncomingMessage]:
        """The messages whose acknowledgements nobody took; there is no way to send them now."""
        self._ask()
        unwritten = self._unwritten
        if self._held is not None:
            unwritten += [each for _, _, each in self._held if each is not None]
        self._unwritten = []
        self._held = None
        self._chunks = []
        self.flowing = None
        self.size = self._held_size = 0
        self.closed = True
        return unwritten
