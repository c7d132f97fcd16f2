"""A two-way stream in memory, bounded in each direction as a socket is."""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

DEFAULT_CAPACITY = 64 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)


class _Pipe:
    """One direction: the bytes on their way and who waits for them."""

    def __init__(self, capacity: int) -> None:
        self.data: bytearray = bytearray()
        self.capacity = capacity
        self.ended: bool = False  # the sender sends no more; what is here can still be read
        self.broken: bool = False  # the receiver is gone, or the connection was reset
        self.cut: bool = False  # nobody is at the other end; what is here can still be read
        self.fails: bool = False  # whether an error stands behind it, or the end
        self.changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()

    def end(self) -> None:
        self.ended = True
        self.changed.unpark_all()

    def cut_off(self, *, fails: bool) -> None:
        self.cut = True
        self.fails = fails and not self.ended
        self.end()

    def break_off(self) -> None:
        self.broken = True
        self.data.clear()
        self.changed.unpark_all()


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory; `memory_stream_pair` makes both.

    It behaves like a socket: `send_all` waits while the buffer of its direction is full, closing
    lets the peer read what is still on its way, and `reset` does not.
    """

    def __init__(
        self, outgoing: _Pipe, incoming: _Pipe, chunk: int | Callable[[], int] | None
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._chunk = chunk
        self._closed = False
        self._sending = False
        self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; cancelled, it may have sent a part of it.

        Raises:
            trio.BrokenResourceError: the peer is gone.
            trio.ClosedResourceError: this end is closed, or half closed.
            trio.BusyResourceError: another task is sending.
        """
        with self._the_only_sender():
            await trio.lowlevel.checkpoint()
            self._check_sending()
            pipe = self._outgoing
            rest = memoryview(data)
            while rest and not pipe.broken:  # what is sent into a broken connection is lost
                room = pipe.capacity - len(pipe.data)
                if room > 0:
                    pipe.data += rest[:room]
                    rest = rest[room:]
                    pipe.changed.unpark_all()
                else:
                    await pipe.changed.park()
                    self._check_sending()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room in the buffer, or the peer is gone."""
        with self._the_only_sender():
            await trio.lowlevel.checkpoint()
            self._check_sending()
            pipe = self._outgoing
            while len(pipe.data) >= pipe.capacity:
                await pipe.changed.park()
                self._check_sending()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte; no bytes at all mean that the peer has ended.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            trio.ClosedResourceError: this end is closed.
            trio.BusyResourceError: another task is receiving.
        """
        limit = self._limit(max_bytes)
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            pipe = self._incoming
            while True:
                if self._closed:
                    raise trio.ClosedResourceError("this stream is closed")
                if pipe.broken or (pipe.fails and not pipe.data):
                    raise trio.BrokenResourceError("the connection was reset by the peer")
                if pipe.data or pipe.ended:
                    break
                await pipe.changed.park()
            received = bytes(pipe.data[:limit])
            del pipe.data[:limit]
            pipe.changed.unpark_all()
            return received
        finally:
            self._receiving = False

    async def send_eof(self) -> None:
        """End our direction; receiving goes on."""
        with self._the_only_sender():
            await trio.lowlevel.checkpoint()
            if self._closed:
                raise trio.ClosedResourceError("this stream is closed")
            self._outgoing.end()

    async def aclose(self) -> None:
        """Close both directions; the peer can still read what was sent."""
        self._close()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Break the connection at once: what is on its way is lost, and the peer gets an error."""
        self._close()
        self._outgoing.break_off()

    def cut(self, *, reset: bool) -> None:
        """Break the connection behind what was sent, as a network does that fails.

        The peer can still read what is on its way to it, and only then finds out; until then what
        it sends is lost without an error.

        Args:
            reset: the peer gets an error behind what it reads, not the end of the stream.
        """
        self._outgoing.cut_off(fails=reset)
        self._close()

    async def wait_taken(self) -> None:
        """Wait until the peer has read all that was sent, or will read no more."""
        await trio.lowlevel.checkpoint()
        while self._outgoing.data:
            await self._outgoing.changed.park()

    def _close(self) -> None:
        self._closed = True
        self._outgoing.end()
        self._incoming.break_off()

    @contextmanager
    def _the_only_sender(self) -> Generator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending to this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    def _check_sending(self) -> None:
        if self._closed or (self._outgoing.ended and not self._outgoing.broken):
            raise trio.ClosedResourceError("this stream is closed")
        if self._outgoing.broken and not (self._incoming.cut and self._incoming.data):
            raise trio.BrokenResourceError("the peer has closed the connection")

    def _limit(self, max_bytes: int | None) -> int:
        if max_bytes is None:
            max_bytes = self._incoming.capacity
        elif type(max_bytes) is not int:
            message = f"max_bytes must be an int, not {type(max_bytes).__name__}"
            raise TypeError(message)
        elif max_bytes < 1:
            message = f"max_bytes must be at least 1, not {max_bytes}"
            raise ValueError(message)
        if self._chunk is None:
            return max_bytes
        return min(max_bytes, self._chunk if isinstance(self._chunk, int) else self._chunk())


def memory_stream_pair(
    *, capacity: int = DEFAULT_CAPACITY, chunk: int | Callable[[], int] | None = None
) -> tuple[MemoryStream, MemoryStream]:
    """Make the two ends of a connection in memory.

    Args:
        capacity: how many bytes each direction holds; `send_all` waits while they are full.
        chunk: the most bytes that one `receive_some` returns at either end, or what makes that
            number each time, such as ``lambda: random.randint(1, 7)``; None for no such limit.
    """
    there, back = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(there, back, chunk), MemoryStream(back, there, chunk)


async def reset_stream(stream: trio.abc.Stream) -> None:
    """Close a stream so that the peer gets an error, where its kind has such a thing."""
    if isinstance(stream, MemoryStream):
        stream.reset()
    elif isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    await trio.aclose_forcefully(stream)
