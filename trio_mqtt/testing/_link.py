"""One connection of the test server: a Trio stream on one side, a core `Connection` behind it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from trio_mqtt.testing._connection import Connection
from trio_mqtt.testing._memory import reset_stream

if TYPE_CHECKING:
    from trio_mqtt.testing._broker import Broker

_READ_SIZE = 64 * 1024
_MOST_BACKLOG = 64 * 1024
"""How many bytes of answers may wait before the server stops reading from that client."""
_CLOSE_GRACE = 5.0
"""How long a client may take to read the last bytes, in seconds."""


class Link:
    """Moves bytes between a stream and a core connection.

    Args:
        stream: the server's end.
        broker: what all connections share.

    Attributes:
        connection: the core.
        ended: set when the connection is over.
    """

    def __init__(self, stream: trio.abc.Stream, broker: Broker) -> None:
        self.connection = Connection(broker, self._wake, trio.current_time())
        self.ended = trio.Event()
        self._stream = stream
        self._scope = trio.CancelScope()
        self._changed = trio.lowlevel.ParkingLot()
        self._paused = False
        self._resets = False

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()

    async def aclose(self) -> None:
        """Close the stream, after `run`."""
        self._lost()
        self.ended.set()
        close = reset_stream if self._resets else trio.aclose_forcefully
        with trio.CancelScope(shield=True):  # closing by force waits for nothing
            await close(self._stream)

    def drop(self, *, reset: bool) -> None:
        """Close the connection without a word."""
        self._resets = reset
        self._lost()
        self._scope.cancel()

    def pause_reading(self) -> None:
        """Read nothing more until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read again; the client's Keep Alive begins anew."""
        self._paused = False
        self.connection.restart_keep_alive(trio.current_time())
        self._wake()

    def _wake(self) -> None:
        """There may be something to write, or the core has closed the connection."""
        if self.connection.closed:
            deadline = trio.current_time() + _CLOSE_GRACE
            self._scope.deadline = min(self._scope.deadline, deadline)
        self._changed.unpark_all()

    def _lost(self) -> None:
        self.connection.outbox.discard()
        self.connection.lost(trio.current_time())

    async def _read(self) -> None:
        connection = self.connection
        while True:
            while self._paused or connection.outbox.backlog > _MOST_BACKLOG:
                await self._changed.park()
                connection.restart_keep_alive(trio.current_time())
            data: bytes | bytearray | None = None
            with trio.move_on_at(connection.deadline):
                try:
                    data = await self._stream.receive_some(_READ_SIZE)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
            if data is None:
                connection.check_deadline(trio.current_time())
            elif not data:
                self._lost()
                self._scope.cancel()
                return
            else:
                connection.receive_data(bytes(data))
                while connection.handle_packets(trio.current_time()):
                    await trio.lowlevel.checkpoint()  # others get their turn in a long batch

    async def _write(self) -> None:
        connection = self.connection
        while True:
            data = connection.outbox.take(trio.current_time())
            if data:
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._lost()
                    break
                self._changed.unpark_all()
            elif connection.closed:
                break
            else:
                await self._changed.park()
        await self._finish()

    async def _finish(self) -> None:
        """Close so that the client can read what was sent last.

        A socket that is closed with bytes unread is reset, and the reset overtakes what was sent.
        So the client is given time to close first, while `_read` goes on.
        """
        if isinstance(self._stream, trio.SocketStream):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()
                return
        self._scope.cancel()
