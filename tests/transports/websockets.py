"""The other side of a WebSocket: one that keeps the rules, and one that says what a test wants."""

from __future__ import annotations

import base64
import hashlib
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio
from wsproto import ConnectionType

from tests.transports.support import read_exactly
from trio_mqtt._transports.frames import Connection, Wire
from trio_mqtt._transports.url import parse_url
from trio_mqtt._transports.websocket import open_websocket
from trio_mqtt._transports.websocket_stream import WebSocketStream
from trio_mqtt.testing import MemoryStream, memory_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

ADDRESS: Final = parse_url("ws://server.test:8080/mqtt?token=secret")
BINARY: Final = 0x82
CONTINUED: Final = 0x80
TEXT: Final = 0x81
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A
NOT_FINAL: Final = 0x7F  # to be combined with the first byte by &
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(first: int, payload: bytes = b"") -> bytes:
    """A frame from the server, which is not masked (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


def response_to(request: bytes, *, subprotocol: str | None = "mqtt") -> bytes:
    """What accepts a handshake."""
    key = next(
        line.split(b": ")[1]
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(key + _GUID).digest()),  # noqa: S324
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    return b"\r\n".join([*lines, b"", b""])


async def read_request(wire: MemoryStream) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        data = await wire.receive_some()
        assert data
        request += data
    return request


async def read_frame(wire: MemoryStream) -> tuple[int, bytes]:
    """The next frame of the client, unmasked."""
    first, size = await read_exactly(wire, 2)
    assert size & 0x80
    size &= 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await read_exactly(wire, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await read_exactly(wire, 8))
    mask = await read_exactly(wire, 4)
    payload = await read_exactly(wire, size)
    return first, bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


async def read_all(stream: trio.abc.Stream) -> bytes:
    data = b""
    while more := await stream.receive_some():
        data += more
    return data


@asynccontextmanager
async def open_raw(
    first: bytes = b"", *, capacity: int = 65_536, chunk: int | None = None
) -> AsyncGenerator[tuple[trio.abc.Stream, MemoryStream]]:
    """A WebSocket, and the bytes of its other side; `first` comes right behind the handshake."""
    client, server = memory_stream_pair(capacity=capacity, chunk=chunk)

    async def accept() -> None:
        await server.send_all(response_to(await read_request(server)) + first)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        try:
            async with open_websocket(client, ADDRESS) as websocket:
                yield websocket, server
        finally:
            await trio.aclose_forcefully(server)


async def answer(wire: MemoryStream, data: bytes, *, reset: bool = False) -> None:
    """Answer a handshake in a way of one's own, and close."""
    await read_request(wire)
    with suppress(trio.BrokenResourceError):  # the client may have heard enough
        await wire.send_all(data)
    if reset:
        wire.cut(reset=True)
    else:
        await wire.aclose()


@asynccontextmanager
async def accept_websocket(wire: trio.abc.Stream) -> AsyncGenerator[trio.abc.Stream]:
    """The stream of a server that accepts a WebSocket."""
    connection = Connection(Wire(wire), ConnectionType.SERVER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        nursery.start_soon(connection.answer_pings)
        request = await connection._get_request()
        await request.accept(subprotocol="mqtt")
        stream = WebSocketStream(connection)
        try:
            yield stream
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
                await stream.aclose()
            nursery.cancel_scope.cancel()


async def open_both(nursery: trio.Nursery) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Client and server of one WebSocket, both kept open by tasks of `nursery`."""
    client_wire, server_wire = memory_stream_pair()
    both: list[trio.abc.Stream] = []

    async def keep_client(task_status: trio.TaskStatus[trio.abc.Stream]) -> None:
        async with open_websocket(client_wire, ADDRESS) as stream:
            task_status.started(stream)
            await trio.sleep_forever()

    async def keep_server(wire: trio.abc.Stream) -> None:
        async with accept_websocket(wire) as stream:
            both.append(stream)
            await trio.sleep_forever()

    nursery.start_soon(keep_server, server_wire)
    client = await nursery.start(keep_client)
    return client, both[0]


async def send_each(wire: trio.abc.Stream, parts: Iterable[bytes]) -> None:
    for part in parts:
        await wire.send_all(part)
