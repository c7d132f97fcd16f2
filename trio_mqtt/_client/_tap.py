"""Control Packets on a byte stream, told apart without a look inside.

The reader and the writer know nothing of it: a client without instruments for packets has no tap,
and its stream is the plain one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mqtt._enums import PacketType, ReasonCode
from trio_mqtt.packets._tables import RETURN_CODES

if TYPE_CHECKING:
    from collections.abc import Callable

    Found = Callable[[PacketType, int, ReasonCode | None], None]

_MOST_LENGTH_BYTES: Final = 4
_CONTINUES: Final = 0x80
_RETURN_CODE_SIZE: Final = 2
_CODE_AT: Final = {
    PacketType.CONNACK: 1,
    PacketType.PUBACK: 2,
    PacketType.PUBREC: 2,
    PacketType.PUBREL: 2,
    PacketType.PUBCOMP: 2,
    PacketType.DISCONNECT: 0,
    PacketType.AUTH: 0,
}
"""Where the one Reason Code of a packet stands behind its fixed header."""
_NEEDED: Final = 2
"""The last of these positions."""


class PacketTap:
    """Finds the packets in the bytes that go one way.

    Args:
        found: is given the type, the size in bytes and the Reason Code of each, once it is whole.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self._start = b""  # of a packet of which too little is known yet
        self._missing = 0  # bytes of a packet that is known
        self._known: tuple[PacketType, int, ReasonCode | None] | None = None
        self._lost = False  # what came was no packet; nothing behind it can be told

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Look at the next bytes, in whatever pieces they come."""
        if self._lost:
            return
        if self._start:
            data = self._start + bytes(data)
            self._start = b""
        position, end = 0, len(data)
        while position < end:
            if self._known is None and not self._recognise(data, position):
                self._start = bytes(data[position:])
                return
            step = min(self._missing, end - position)
            position += step
            self._missing -= step
            if not self._missing and self._known is not None:
                known, self._known = self._known, None
                self._found(*known)

    def _recognise(self, data: bytes | bytearray | memoryview, position: int) -> bool:
        """Read the beginning of a packet; False if it takes more bytes, or is none (2.1.4)."""
        length = shift = 0
        body = position + 1
        while True:
            if body >= len(data):
                return False
            if body - position > _MOST_LENGTH_BYTES or not data[position] >> 4:
                self._lost = True
                return False
            byte = data[body]
            body += 1
            length |= (byte & ~_CONTINUES) << shift
            shift += 7
            if byte < _CONTINUES:
                break
        packet_type = PacketType(data[position] >> 4)
        code_at = _CODE_AT.get(packet_type)
        reason_code: ReasonCode | None = None
        if code_at is not None:
            if len(data) - body < min(length, _NEEDED + 1):
                return False
            code = data[body + code_at] if code_at < length else 0  # left out, it is 0x00
            reason_code = _reason_code(packet_type, length, code)
        self._missing = body - position + length
        self._known = packet_type, self._missing, reason_code
        return True


def _reason_code(packet_type: PacketType, length: int, code: int) -> ReasonCode | None:
    if packet_type is PacketType.CONNACK and length == _RETURN_CODE_SIZE:  # below MQTT 5.0
        return RETURN_CODES.get(code)
    try:
        return ReasonCode(code)
    except ValueError:
        return None  # the client refuses it, too


class TappedStream(trio.abc.Stream):
    """A byte stream that tells of the packets on it.

    Args:
        stream: what it stands before.
        sent: is given each packet that is sent, as the bytes of it are handed over.
        received: is given each packet that has come.
    """

    def __init__(self, stream: trio.abc.Stream, sent: Found, received: Found) -> None:
        self._stream = stream
        self._sent = PacketTap(sent)
        self._received = PacketTap(received)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Tell, then send: else the answer to a packet might be told of before it."""
        self._sent.feed(data)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As of the stream."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive, then tell."""
        data = await self._stream.receive_some(max_bytes)
        self._received.feed(data)
        return data

    async def aclose(self) -> None:
        """As of the stream."""
        await self._stream.aclose()
