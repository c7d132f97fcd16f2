"""A client that only sends and receives packets, for tests that play both sides by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    Packet,
    PacketReader,
    Properties,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio_mqtt.testing import Server


class RawClient:
    """Sends and receives packets over a stream; knows nothing of MQTT beyond their form."""

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol = MQTT_5) -> None:
        self.stream = stream
        self.protocol = protocol
        self.connack = ConnAck()
        self._reader = PacketReader(protocol)
        self._packets: list[Packet] = []

    async def send(self, *packets: Packet) -> None:
        await self.stream.send_all(b"".join(encode(packet, self.protocol) for packet in packets))

    async def receive(self) -> Packet | None:
        """The next packet, or None at the end of the stream."""
        while not self._packets:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._reader.feed(data)
            while packets := self._reader.read_packets():
                self._packets += packets
        return self._packets.pop(0)

    async def receive_many(self, count: int) -> list[Packet | None]:
        return [await self.receive() for _ in range(count)]

    async def silent(self, seconds: float = 1) -> bool:
        """Whether nothing comes for some time."""
        with trio.move_on_after(seconds):
            self._packets.insert(0, await self.receive() or ConnAck())
            return False
        return True

    async def subscribe(
        self, *requests: str | SubscriptionRequest, qos: int = 0, identifier: int | None = None
    ) -> SubAck:
        made = tuple(
            SubscriptionRequest(request, qos) if isinstance(request, str) else request
            for request in requests
        )
        properties = NO_PROPERTIES
        if identifier is not None:
            properties = Properties(subscription_identifiers=(identifier,))
        await self.send(Subscribe(65_000, made, properties))
        suback = await self.receive()
        assert isinstance(suback, SubAck)
        return suback


@asynccontextmanager
async def connected(
    server: Server,
    connect: Connect | str = "c",
    protocol: Protocol = MQTT_5,
    *,
    capacity: int = 64 * 1024,
    chunk: int | Callable[[], int] | None = None,
) -> AsyncGenerator[RawClient]:
    """A client whose CONNECT was answered; its CONNACK is in `connack`."""
    if isinstance(connect, str):
        connect = Connect(connect, keep_alive=0)
    async with server.connect(capacity=capacity, chunk=chunk) as stream:
        client = RawClient(stream, protocol)
        await client.send(connect)
        connack = await client.receive()
        assert isinstance(connack, ConnAck)
        client.connack = connack
        yield client


def kept(client_id: str = "c", properties: Properties = NO_PROPERTIES) -> Connect:
    """A CONNECT that takes up a Session and keeps it for an hour."""
    properties = attrs.evolve(properties, session_expiry_interval=3600)
    return Connect(client_id, clean_start=False, keep_alive=0, properties=properties)


def expiring(seconds: int) -> Properties:
    """The properties of a CONNECT or DISCONNECT that keeps the Session so long."""
    return Properties(session_expiry_interval=seconds)
