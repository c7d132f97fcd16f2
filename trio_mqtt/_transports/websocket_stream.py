"""The binary frames of a WebSocket as a byte stream (MQTT-6.0.0-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
from trio_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

if TYPE_CHECKING:
    from trio_mqtt._transports.frames import Connection

FRAME_SIZE: Final = 65_536
"""More than this is sent as several frames, so that masking it never takes long."""

CLOSE_TIMEOUT: Final = 2.0
"""How long the peer may take for its close frame, in seconds."""

_NORMAL: Final = {1000, 1001, 1005}
"""Close codes of a peer that is done, or goes away, or gives none: the end of the stream."""

_ABNORMAL: Final = 1006


class WebSocketStream(trio.abc.Stream):
    """The bytes of the binary frames of a WebSocket, wherever one frame ends and another begins."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False
        self._ended = False  # what is received is over
        self._sending = False
        self._receiving = False
        self._torn = False  # a frame was begun, and perhaps not sent in full
        self._rest = memoryview(b"")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; cancelled, it may have sent a part, and only closing is left to do.

        Raises:
            trio.BrokenResourceError: the peer has closed, or the connection is broken.
            trio.ClosedResourceError: this stream is closed.
            trio.BusyResourceError: another task is sending.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending to this WebSocket")
        if self._closed or not data:
            await self.wait_send_all_might_not_block()
            return
        self._sending = self._torn = True
        try:
            with memoryview(data) as view:
                for start in range(0, len(view), FRAME_SIZE):
                    frame = bytes(view[start : start + FRAME_SIZE])
                    await self._connection.send_message(frame)
        except (ConnectionClosed, LocalProtocolError):  # the latter as it closes
            await trio.lowlevel.checkpoint()
            raise self._broken() from self._connection.wire.loss
        finally:
            self._sending = False
        self._torn = False

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once, as an implementation may that knows nothing better."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket is closed")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte; no bytes at all mean that the peer has closed.

        Cancelled, it has taken nothing.

        Raises:
            trio.BrokenResourceError: the connection is broken; or the peer closed with a code
                that tells of an error, or sent what is not allowed.
            trio.ClosedResourceError: this stream is closed.
            trio.BusyResourceError: another task is receiving.
        """
        if max_bytes is not None:
            if type(max_bytes) is not int:
                message = f"max_bytes must be an int, not {type(max_bytes).__name__}"
                raise TypeError(message)
            if max_bytes < 1:
                message = f"max_bytes must be at least 1, not {max_bytes}"
                raise ValueError(message)
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this WebSocket")
        self._receiving = True
        try:
            return await self._take(max_bytes)
        finally:
            self._receiving = False

    async def _take(self, max_bytes: int | None) -> bytes:
        if self._rest or self._ended or self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await self._get_piece()
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket is closed")
        if not self._rest:
            return self._end()
        taken = self._rest[:max_bytes]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)

    async def _get_piece(self) -> None:
        try:
            piece = await self._connection.get_message()
        except ConnectionClosed:
            self._ended = True
            await trio.lowlevel.checkpoint()
            return
        if isinstance(piece, str):
            self._ended = True
        else:
            self._rest = memoryview(piece)

    def _end(self) -> bytes:
        """What is received where nothing more is."""
        wire = self._connection.wire
        reason = self._connection.closed
        if self._connection.protocol.violation is None and reason and reason.code in _NORMAL:
            return b""
        raise self._broken() from wire.loss

    def _broken(self) -> Exception:
        """Why there is nothing more to receive, or to send to."""
        if self._closed:
            return trio.ClosedResourceError("this WebSocket was closed meanwhile")
        loss = self._connection.wire.loss
        violation = self._connection.protocol.violation
        reason = self._connection.closed
        if violation is not None:
            text = f"the server broke the WebSocket protocol: {violation[1]} ({violation[0]})"
        elif reason is not None and reason.code != _ABNORMAL:
            words = f": {reason.reason}" if reason.reason else ""
            name = reason.name.lower().replace("_", " ")
            text = f"the server closed the WebSocket with {reason.code} ({name}){words}"
        elif loss is not None:
            text = f"the connection under the WebSocket broke: {root_cause(loss)}"
        else:
            text = "the server ended the connection without closing the WebSocket"
        return trio.BrokenResourceError(text)

    async def aclose(self) -> None:
        """Close the WebSocket and what is below it, within `CLOSE_TIMEOUT`; cancelled, at once.

        A frame that another task is sending, or was cancelled in, is not followed by a close frame:
        the peer would take that for the rest of it.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        code, text = self._connection.protocol.violation or (1000, None)
        wire = self._connection.wire
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                if not self._torn:
                    await self._connection.aclose(code, text)
                await wire.aclose()
        finally:
            await trio.aclose_forcefully(wire)


def root_cause(error: BaseException) -> BaseException:
    """What is behind it: Trio's own errors say little."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
