"""A few packets of MQTT on a byte stream, one after the other, each told as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio

from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketReader,
    PingReq,
    PingResp,
    encode,
)

if TYPE_CHECKING:
    from trio_mqtt._enums import Protocol

_P = TypeVar("_P", bound=Packet)

_CONNACK_OF_3_1_1: Final = b"\x20\x02"
_MOST_KEPT: Final = 64


@attrs.define
class Ended(Exception):
    """The Server ended the connection.

    Attributes:
        cause: how it broke, or None if it was closed.
        disconnect: what the Server said before, or None.
    """

    cause: BaseException | None = None
    disconnect: Disconnect | None = None


class OutOfTurn(Exception):
    """The Server sent a packet that has no place there."""


class Conversation:
    """MQTT on a byte stream.

    Args:
        stream: connected to the Server.
        protocol: the version of MQTT.

    Attributes:
        protocol: the version of MQTT.
        first: the first bytes that came.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol) -> None:
        self.protocol = protocol
        self.first = b""
        self._stream = stream
        self._reader = PacketReader(protocol)
        self._packets: list[Packet] = []

    async def connect(self, connect: Connect) -> ConnAck:
        """Send CONNECT and wait for the answer.

        Raises:
            Ended: the Server closed instead.
            OutOfTurn: it sent another packet.
            RemoteProtocolError: it answered what is no packet.
        """
        await self._send(connect)
        connack = await self._wait_for(ConnAck)
        if self._reader.protocol is not self.protocol:  # which it does not speak
            connack.reason_code = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        return connack

    async def ping(self) -> None:
        """Send PINGREQ and wait for PINGRESP; raises as `connect` does."""
        await self._send(PingReq())
        await self._wait_for(PingResp, skips_others=True)

    async def disconnect(self, packet: Disconnect) -> None:
        """Send DISCONNECT; raises nothing."""
        try:
            await self._send(packet)
        except Ended:
            return

    async def _send(self, packet: Packet) -> None:
        try:
            await self._stream.send_all(encode(packet, self.protocol))
        except trio.BrokenResourceError as error:
            # What the Server has said before it closed may still be read.
            if isinstance(packet, Disconnect):
                raise Ended(error) from error

    async def _wait_for(self, wanted: type[_P], *, skips_others: bool = False) -> _P:
        while True:
            packet = await self._receive()
            if isinstance(packet, wanted):
                return packet
            if isinstance(packet, Disconnect):
                raise Ended(disconnect=packet)
            if not skips_others:
                name = type(packet).__name__.upper()
                message = f"the server sends {name} where {wanted.__name__.upper()} has to come"
                raise OutOfTurn(message)

    async def _receive(self) -> Packet:
        while not self._packets:
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError as error:
                raise Ended(error) from error
            if not data:
                raise Ended
            self.first = (self.first + data)[:_MOST_KEPT]
            if self.protocol is MQTT_5 and self.first.startswith(_CONNACK_OF_3_1_1):
                # One of MQTT 5.0 is longer; older Servers say so that they do not speak it.
                self._reader.protocol = MQTT_3_1_1
            self._reader.feed(data)
            self._packets = self._reader.read_packets()
        return self._packets.pop(0)
