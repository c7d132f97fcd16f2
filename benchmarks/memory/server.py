"""``python -m benchmarks.memory.server TRANSPORT SIZE``: a Server for one huge message each way.

It prints its port and, for TLS, the file with the certificate to trust. Over WebSocket a message
comes in frames of 1 MiB.
"""

from __future__ import annotations

import ssl
import sys
import tempfile
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
import trustme
from trio_websocket import WebSocketRequest, serve_websocket

from trio_mqtt import MQTT_5, QoS, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PacketReader,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FRAME: Final = 1024 * 1024
TOPIC: Final = "benchmarks/memory"


def answer(packet: Packet, size: int) -> bytes:
    """What is said to a packet; to SUBSCRIBE with the huge message behind it."""
    match packet:
        case Connect():
            return encode(ConnAck(), MQTT_5)
        case Subscribe():
            granted = encode(SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_1,)), MQTT_5)
            message = Publish(TOPIC, bytes(size), QoS.AT_LEAST_ONCE, packet_id=1)
            return granted + encode(message, MQTT_5)
        case Publish():
            return encode(PubAck(packet.packet_id), MQTT_5)
        case Unsubscribe():
            return encode(UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,)), MQTT_5)
        case _:
            return b""


async def converse(
    receive: Callable[[], Awaitable[bytes | bytearray]],
    send: Callable[[memoryview], Awaitable[None]],
    size: int,
) -> None:
    """Serve one client."""
    reader = PacketReader(MQTT_5)
    while data := await receive():
        reader.feed(data)
        for packet in reader.read_packets():
            view = memoryview(answer(packet, size))
            for start in range(0, len(view), _FRAME):
                await send(view[start : start + _FRAME])


async def serve_stream(size: int, stream: trio.abc.Stream) -> None:
    """Serve a client of TCP or TLS."""
    with suppress(trio.BrokenResourceError):  # it ends without closing TLS
        await converse(stream.receive_some, stream.send_all, size)


async def serve_request(size: int, request: WebSocketRequest) -> None:
    """Serve a client of WebSocket."""
    socket = await request.accept(subprotocol="mqtt")

    async def receive() -> bytes:
        message = await socket.get_message()
        return message if isinstance(message, bytes) else b""

    async def send(data: memoryview) -> None:
        await socket.send_message(bytes(data))

    await converse(receive, send, size)


def make_context() -> tuple[ssl.SSLContext, str]:
    """A certificate for 127.0.0.1, and the file with who has signed it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - of pyOpenSSL
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
        file.write(authority.cert_pem.bytes())
    return context, file.name


async def main(transport: str, size: int) -> None:
    """Listen, and say where."""
    host = "127.0.0.1"
    file = "-"
    async with trio.open_nursery() as nursery:
        if transport == "ws":
            serve = partial(serve_websocket, max_message_size=_FRAME)
            server = await nursery.start(
                partial(serve, partial(serve_request, size), host, 0, ssl_context=None)
            )
            port = server.port
        else:
            handler = partial(serve_stream, size)
            if transport == "tls":
                context, file = make_context()
                serve_tls = partial(trio.serve_ssl_over_tcp, ssl_context=context, host=host)
                listeners = await nursery.start(partial(serve_tls, handler, 0))
                port = listeners[0].transport_listener.socket.getsockname()[1]
            else:
                listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host=host))
                port = listeners[0].socket.getsockname()[1]
        print(port, file, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
