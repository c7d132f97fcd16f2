"""The server's side of a WebSocket, as much of it as a benchmark needs (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY: Final = 0x82
_CLOSE: Final = 8
_SHORT: Final = 126
_MIDDLE: Final = 1 << 16
_READ: Final = 64 * 1024


def frame(payload: bytes) -> bytes:
    """A message in one frame."""
    size = len(payload)
    if size < _SHORT:
        return bytes((_BINARY, size)) + payload
    if size < _MIDDLE:
        return struct.pack("!BBH", _BINARY, 126, size) + payload
    return struct.pack("!BBQ", _BINARY, 127, size) + payload


class WebSocketPeer:
    """A connection whose client speaks WebSocket; bytes in and out are those of MQTT."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        head, _, self._data = self._read_until(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: *([^\r]+)", head)
        if key is None:
            raise ConnectionError("it asked for no WebSocket")
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())  # noqa: S324 - as asked
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )

    def _read_until(self, mark: bytes) -> tuple[bytes, bytes, bytes]:
        data = b""
        while mark not in data:
            more = self._connection.recv(_READ)
            if not more:
                raise ConnectionError("closed before it had asked for a WebSocket")
            data += more
        return data.partition(mark)

    def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            more = self._connection.recv(_READ)
            if not more:
                return b""
            self._data += more
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def recv(self, _size: int) -> bytes:
        """The payload of the next frame; nothing if the other side is done."""
        head = self._take(2)
        if not head or head[0] & 15 == _CLOSE:
            return b""
        size = head[1] & 127
        if size >= _SHORT:
            size = int.from_bytes(self._take(2 if size == _SHORT else 8), "big")
        mask = self._take(4)
        payload = self._take(size)
        return bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))

    def sendall(self, data: bytes) -> None:
        """Send a message in one frame."""
        self.send_frames(frame(data))

    def send_frames(self, frames: bytes) -> None:
        """Send what is in frames already."""
        self._connection.sendall(frames)
