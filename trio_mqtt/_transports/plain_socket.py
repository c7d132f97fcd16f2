"""A socket without the detours that Trio's stream takes for each call.

Trio tries to read before it waits, which fails whenever one answer is awaited at a time, and passes
through its scheduler after whatever was sent. Without both an awaited publish takes a fifth less,
if client and Server share a processor.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

import trio

_AT_ONCE: Final = 64 * 1024
"""As much is read if nobody says how much; and more is not sent without a checkpoint."""
_CLOSED: Final = "this socket was already closed"


class PlainSocket:
    """Receives and sends as the `trio.SocketStream` does that it is made of.

    That stays whoever's it is, to be closed there.
    """

    __slots__ = ("_socket", "_stream")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait until something has come, and take it; b"" at the end.

        Cancelled, it has taken nothing.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: the stream is closed.
        """
        most = max_bytes or _AT_ONCE
        while True:
            try:
                await trio.lowlevel.wait_readable(self._number())
                return os.read(self._number(), most)
            except BlockingIOError:
                continue  # the system was wrong
            except OSError as error:
                raise _failed(error) from error

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all of it; others have their turn only if that has to wait, or it is long.

        Cancelled before, it has sent nothing; while it waits, it may have sent a part.

        Raises:
            trio.BrokenResourceError: the connection is broken.
            trio.ClosedResourceError: the stream is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        size = len(data)
        sent = self.send_at_once(data) if size <= _AT_ONCE else 0
        if sent < size:
            await self._stream.send_all(memoryview(data)[sent:])

    def send_at_once(self, data: bytes | memoryview) -> int:
        """Send as much of it as the system takes now; says how many bytes that were.

        Raises:
            trio.BrokenResourceError: the connection is broken; the system tells why but once.
            trio.ClosedResourceError: the stream is closed.
        """
        try:
            return os.write(self._number(), data)
        except BlockingIOError:
            return 0  # there is no room
        except OSError as error:
            raise _failed(error) from error

    def _number(self) -> int:
        """The file's; asked each time, since it may be another file's once this one is closed."""
        number = self._socket.fileno()
        if number < 0:  # Trio would wait for it
            raise trio.ClosedResourceError(_CLOSED)
        return number


def _failed(error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
    if error.errno == errno.EBADF:  # somebody closed the number
        return trio.ClosedResourceError(_CLOSED)
    return trio.BrokenResourceError(f"socket connection broken: {error}")


def without_detours(stream: trio.abc.Stream) -> trio.abc.Stream | PlainSocket:
    """The same, or a `PlainSocket` of it, if it is of a socket of the system that is a file."""
    if sys.platform == "win32" or not isinstance(stream, trio.SocketStream):
        return stream
    # A program can have classes of its own for Trio's sockets, see `trio.abc.SocketFactory`.
    is_of_trio = type(stream.socket).__module__.startswith("trio.")
    return PlainSocket(stream) if is_of_trio else stream
