"""WebSocket frames to pieces of a byte stream, by trio-websocket (6).

With these differences from what it does by itself:

- What comes in is passed on piece by piece, not message by message: a Server may pack Control
  Packets into frames and messages as it likes (MQTT-6.0.0-2), even all of them into one message
  that never ends. So no message is ever too large, none is gathered in memory, and what limits a
  packet is the client's own Maximum Packet Size. The frames of one read make one piece, since a
  Server may send one byte per frame.
- Pings are answered by a task of their own, and of several the last: the reader never waits for
  the writer, else both sides could wait for each other.
- Whatever the peer sends, no exception of wsproto gets out; that is what trio-websocket stands on,
  and comes along with it.

Bounded: the pieces, of little more than `RECEIVE_SIZE` bytes, are one that is being taken, one in
the queue and one that waits for its place there; then nothing more is read. wsproto limits the head
of the HTTP response, and its body is not kept.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Generator

SUBPROTOCOL: Final = "mqtt"
"""What client and Server have to agree on (MQTT-6.0.0-3, MQTT-6.0.0-4)."""

RECEIVE_SIZE: Final = 65_536
"""How many bytes are read at once."""

_UNSUPPORTED_DATA: Final = 1003


class Wire(trio.abc.Stream):
    """The byte stream below, which remembers how it ended."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.loss: BaseException | None = None
        self.received = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._remembered():
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with self._remembered():
            data = await self._stream.receive_some(max_bytes)
        self.received = self.received or bool(data)
        return data

    async def aclose(self) -> None:
        with suppress(trio.BrokenResourceError):
            await self._stream.aclose()

    @contextmanager
    def _remembered(self) -> Generator[None]:
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.loss = self.loss or error
            raise


class FrameProtocol(WSConnection):
    """Frames to pieces; nothing that the peer sends raises an exception.

    Attributes:
        answered: set when the handshake is over: accepted, refused or failed.
        violation: the close code and the text of what the peer did wrong. At its place in the
            queue there is a text, which ends the stream.
        ping: what the last ping said.
        pinged: set when a ping has come.
    """

    def __init__(self, connection_type: ConnectionType) -> None:
        super().__init__(connection_type)
        self.answered = trio.Event()
        self.accepted: AcceptConnection | None = None
        self.refused: RejectConnection | None = None
        self.failure: Exception | None = None
        self.violation: tuple[int, str] | None = None
        self.ping = b""
        self.pinged = trio.Event()

    def receive_data(self, data: bytes | None) -> None:
        if self.refused or self.failure or self.violation:
            return
        try:
            super().receive_data(data)
        except (ProtocolError, UnicodeError) as error:
            self.failure = error
            self.answered.set()

    def events(self) -> Generator[Event]:
        data: list[bytes] = []
        for event in super().events():
            if self.violation is not None:
                continue
            if isinstance(event, BytesMessage):
                data.append(bytes(event.data))
                continue
            kept = self._look_at(event)
            if kept is not None:
                yield from _joined(data)
                data.clear()
                yield kept
        yield from _joined(data)

    def _look_at(self, event: Event) -> Event | None:
        match event:
            case AcceptConnection():
                self.accepted = event
                self.answered.set()
            case RejectConnection():
                self.refused = event
                self.answered.set()
                return None
            case RejectData():
                return None
            case Ping():
                self.ping = bytes(event.payload)
                self.pinged.set()
                return None
            case TextMessage():  # MQTT-6.0.0-1
                return self._violated(_UNSUPPORTED_DATA, "a text frame, where MQTT is binary")
            case CloseConnection() if self.state is ConnectionState.OPEN:  # it was not the peer's
                return self._violated(event.code, event.reason or "an invalid frame")
            case _:
                pass
        return event

    def _violated(self, code: int, text: str) -> Event:
        self.violation = code, text
        return TextMessage(data=text)


def _joined(data: list[bytes]) -> Generator[Event]:
    joined = b"".join(data)
    if joined:  # an empty piece would look like the end
        yield BytesMessage(data=joined)


class Connection(WebSocketConnection):
    """A connection of trio-websocket whose tasks are started by us, and fail without a noise."""

    def __init__(
        self,
        wire: Wire,
        connection_type: ConnectionType,
        host: str = "",
        target: str = "",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.wire = wire
        self.protocol = FrameProtocol(connection_type)
        super().__init__(
            wire,
            self.protocol,
            host=host,
            path=target,
            client_subprotocols=[SUBPROTOCOL],
            client_extra_headers=headers,
            message_queue_size=1,
            max_message_size=2 * RECEIVE_SIZE,  # no piece is so large
            receive_buffer_size=RECEIVE_SIZE,
        )

    async def run(self) -> None:
        """Read until there is nothing more to read; whatever fails has lost the connection."""
        try:
            await self._reader_task()
        except Exception as error:  # noqa: BLE001 - told by whoever receives or sends
            self.wire.loss = self.wire.loss or error
        finally:
            self.protocol.answered.set()

    async def answer_pings(self) -> None:
        """Answer the last ping that has come."""
        protocol = self.protocol
        while True:
            await protocol.pinged.wait()
            protocol.pinged = trio.Event()
            with suppress(ConnectionClosed, LocalProtocolError):  # as it closes
                await self.pong(protocol.ping)
