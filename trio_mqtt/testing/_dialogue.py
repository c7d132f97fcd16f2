"""The scripted peer's side of one connection: whole packets and raw bytes off the same stream."""

from __future__ import annotations

import math
import reprlib
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import Packet, PacketReader, PingReq, PingResp, encode
from trio_mqtt.testing._memory import MemoryStream, reset_stream

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_SIZE = 64 * 1024
_MOST_LENGTH_BYTES = 4
_MOST_HEADER = 1 + _MOST_LENGTH_BYTES
_PINGREQ = b"\xc0\x00"
_CONTINUES = 0x80


_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = 160


def shorten(value: object) -> str:
    """The repr of what may be long, without its middle."""
    return _shortener.repr(value)


class Mismatch(AssertionError):
    """The client did something else than the script says."""


def packet_size(data: bytearray) -> int | None:
    """How many bytes the first packet takes; None if too few are here to say.

    A Remaining Length that is too long makes it what is here, so that the reader can object.
    """
    length = 0
    for index, byte in enumerate(data[1 : 1 + _MOST_LENGTH_BYTES]):
        length |= (byte & ~_CONTINUES) << 7 * index
        if byte < _CONTINUES:
            return 2 + index + length
    return len(data) if len(data) > _MOST_LENGTH_BYTES else None


class Dialogue:
    """Reads and writes for the steps of a script.

    What is read stays raw until a step says whether it wants packets or bytes.

    Args:
        stream: the peer's end.
        protocol: the version that CONNECT must name; None takes any.
        timeout: how long to wait for the client, in seconds.

    Attributes:
        received: the packets read so far.
        closed: whether the peer has ended the connection.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol | None, timeout: float) -> None:
        self.received: list[Packet] = []
        self.closed: bool = False
        self._stream = stream
        self._timeout = timeout
        self._reader = PacketReader(protocol)
        self._data = bytearray()
        self._ended = False

    @property
    def protocol(self) -> Protocol:
        """The version of MQTT spoken; 5.0 as long as nothing has said so."""
        return self._reader.protocol or MQTT_5

    async def read_packet(self, seconds: float | None = None) -> Packet | None:
        """The next packet; None at the end of the stream.

        Args:
            seconds: how long to wait, if not as long as in every step.
        """
        if not await self._fill(self._has_packet, seconds):
            if self._data:
                raise Mismatch(f"the client ended inside a packet: {shorten(bytes(self._data))}")
            return None
        size = packet_size(self._data)
        self._reader.feed(self._data[:size])
        del self._data[:size]
        try:
            (packet,) = self._reader.read_packets()
        except RemoteProtocolError as error:
            raise Mismatch(f"the client sent no valid packet: {error}") from error
        self.received.append(packet)
        return packet

    async def pause(self, seconds: float) -> None:
        """Wait so long, and answer each PINGREQ; other packets are left for the steps to come."""
        start = 0  # of the first packet that was not looked at
        with trio.move_on_after(seconds):
            while await self._fill(partial(self._has_packet, start), math.inf):
                end = self._end_of_packet(start)
                if self._data.startswith(_PINGREQ, start):
                    del self._data[start:end]
                    self.received.append(PingReq())
                    await self.send(PingResp())
                else:
                    start = end or start
            await trio.sleep_forever()

    async def read_bytes(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end of the stream."""
        await self._fill(lambda: len(self._data) >= size, None)
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    async def send(self, packet: Packet | bytes) -> None:
        """Send a packet, or bytes as they are."""
        data = packet if isinstance(packet, bytes) else encode(packet, self.protocol)
        with trio.move_on_after(self._timeout):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Mismatch("there is no connection left to send on") from None
            return
        raise Mismatch(f"the client read nothing for {self._timeout:g} s")

    async def close(self) -> None:
        """Close the connection in good order."""
        self.closed = True
        await self._stream.aclose()

    async def reset(self) -> None:
        """Break the connection."""
        self.closed = True
        await reset_stream(self._stream)

    def _has_packet(self, start: int = 0) -> bool:
        return self._end_of_packet(start) is not None

    def _end_of_packet(self, start: int) -> int | None:
        """Where the packet that begins there ends; None if it is not here yet."""
        size = packet_size(self._data[start : start + _MOST_HEADER])
        if size is None or len(self._data) < start + size:
            return None
        return start + size

    async def cut(self, *, reset: bool) -> None:
        """Break the connection as a network does: in memory, behind what was sent."""
        self.closed = True
        if isinstance(self._stream, MemoryStream):
            self._stream.cut(reset=reset)
        elif reset:
            await reset_stream(self._stream)
        else:
            await self._stream.aclose()

    async def _fill(self, is_enough: Callable[[], bool], seconds: float | None) -> bool:
        """Read until there is enough; False if the stream ends before."""
        seconds = self._timeout if seconds is None else seconds
        with trio.move_on_after(seconds):
            while not is_enough():
                if self._ended:
                    return False
                try:
                    data = await self._stream.receive_some(_READ_SIZE)
                except trio.BrokenResourceError:
                    data = b""
                except trio.ClosedResourceError:
                    raise Mismatch("the script has closed the connection before") from None
                self._data += data
                self._ended = not data
            return True
        raise Mismatch(f"nothing came for {seconds:g} s")
