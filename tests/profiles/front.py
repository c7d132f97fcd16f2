"""What stands in front of a played server: TLS and, if wanted, WebSocket, on a loopback port."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio
from wsproto import ConnectionType

from tests.transports.support import demanding_context, listen, server_context
from trio_mqtt._transports.frames import SUBPROTOCOL, Connection, Wire
from trio_mqtt._transports.websocket_stream import WebSocketStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Sequence

    from trio_mqtt.testing import ScriptedPeer

_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define
class Front:
    """A listener with TLS that hands what it gets on to a scripted peer.

    Attributes:
        peer: who plays.
        context: of the TLS server.
        accepts: is asked, if there is WebSocket, whether the path and query of a request are good;
            an answer of False is HTTP status 403.
        port: where it listens, on 127.0.0.1.
        protocols: what each connection has asked for by ALPN and got.
        names: the host name that each connection has sent (SNI).
        subjects: the common name of each client certificate, or None.
        targets: the path and query of each WebSocket request.
    """

    peer: ScriptedPeer
    context: ssl.SSLContext
    accepts: Callable[[str], bool] | None = None
    port: int = 0
    protocols: list[str | None] = attrs.field(init=False, factory=list[str | None])
    names: list[str | None] = attrs.field(init=False, factory=list[str | None])
    subjects: list[str | None] = attrs.field(init=False, factory=list[str | None])
    targets: list[str] = attrs.field(init=False, factory=list[str])

    async def serve(self, transport: trio.SocketStream) -> None:
        """One connection."""
        stream = trio.SSLStream(
            transport, self.context, server_side=True, https_compatible=self.accepts is not None
        )
        with suppress(*_BROKEN):
            await stream.do_handshake()
            self.protocols.append(stream.selected_alpn_protocol())
            self.subjects.append(_common_name(stream))
            if self.accepts is None:
                await self._relay(stream)
            else:
                await self._serve_websocket(stream, self.accepts)

    async def _serve_websocket(
        self, stream: trio.abc.Stream, accepts: Callable[[str], bool]
    ) -> None:
        connection = Connection(Wire(stream), ConnectionType.SERVER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            nursery.start_soon(connection.answer_pings)
            request = await connection._get_request()
            self.targets.append(request.path)
            if accepts(request.path):
                await request.accept(subprotocol=SUBPROTOCOL)
                await self._relay(WebSocketStream(connection))
            else:
                await request.reject(403)
            nursery.cancel_scope.cancel()

    async def _relay(self, outside: trio.abc.Stream) -> None:
        async with self.peer.connect() as inside, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, inside, outside)
            await _pump(outside, inside)
            nursery.cancel_scope.cancel()


async def _pump(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
    """Pass bytes on until one side is closed, then close the other."""
    with suppress(*_BROKEN):
        while data := await source.receive_some():
            await sink.send_all(data)
    with suppress(*_BROKEN):
        await sink.aclose()


def _common_name(stream: trio.SSLStream[trio.SocketStream]) -> str | None:
    certificate = stream.getpeercert()
    fields = certificate.get("subject", ()) if certificate else ()
    return next((value for field in fields for name, value in field if name == "commonName"), None)


@asynccontextmanager
async def open_front(
    peer: ScriptedPeer,
    *,
    alpn: Sequence[str] = (),
    client_certificates: bool = False,
    accepts: Callable[[str], bool] | None = None,
) -> AsyncGenerator[Front]:
    """Run one for the time of a block.

    Args:
        peer: who plays.
        alpn: the protocols that the server knows, the one that it likes best first.
        client_certificates: whether it wants one.
        accepts: see `Front`; None is for MQTT without WebSocket.
    """
    context = demanding_context() if client_certificates else server_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    front = Front(peer, context, accepts)

    def note_name(_connection: object, name: str | None, _context: ssl.SSLContext) -> None:
        front.names.append(name)

    context.sni_callback = note_name
    async with listen(front.serve) as front.port:
        yield front
