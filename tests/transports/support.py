"""What the tests of transports share: certificates of every kind, and servers that show them."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio
import trustme
from cryptography.hazmat.primitives import serialization

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt.testing import Server, open_server
from trio_mqtt.testing._background import open_background

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio_mqtt._transports.plain_socket import PlainSocket

LONG: Final = 20.0
"""Longer than anything here takes, in seconds."""

CA: Final = trustme.CA()
OTHER_CA: Final = trustme.CA()
CERTIFICATE: Final = CA.issue_cert("localhost", "127.0.0.1", "::1")
CLIENT: Final = CA.issue_cert("client.test")


async def read_exactly(stream: trio.abc.ReceiveStream | PlainSocket, size: int) -> bytes:
    """So many bytes, which come."""
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        assert more
        data += more
    return data


# trustme's own methods for these two take contexts of pyOpenSSL, too, whose types are not there.


def trust(context: ssl.SSLContext, ca: trustme.CA) -> None:
    """Let it trust this authority."""
    context.load_verify_locations(cadata=ca.cert_pem.bytes().decode())


def show(context: ssl.SSLContext, certificate: trustme.LeafCert) -> None:
    """Let it show this certificate."""
    with certificate.private_key_and_cert_chain_pem.tempfile() as path:
        context.load_cert_chain(path)


def encrypted_key(certificate: trustme.LeafCert, password: bytes) -> bytes:
    """The private key of a certificate, in PEM, encrypted."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


def server_context(certificate: trustme.LeafCert = CERTIFICATE) -> ssl.SSLContext:
    """The context of a server with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    show(context, certificate)
    return context


def demanding_context(ca: trustme.CA = CA) -> ssl.SSLContext:
    """The context of a server that wants a client certificate of this authority."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    trust(context, ca)
    return context


def client_context(
    ca: trustme.CA = CA, certificate: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    """The context of a client that trusts this authority."""
    context = ssl.create_default_context()
    trust(context, ca)
    if certificate is not None:
        show(context, certificate)
    return context


async def failure_of(url: str, **options: Any) -> trio_mqtt.ConnectFailed:
    """Connect in vain, and return the error."""
    with pytest.raises(trio_mqtt.ConnectFailed) as caught, trio.fail_after(LONG):
        async with open_once(url, **options):
            raise AssertionError("not reached")
    return caught.value


@asynccontextmanager
async def listen(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncGenerator[int]:
    """Have a function serve connections to a port of 127.0.0.1, and give that."""
    async with open_background("errors of a listener") as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listeners[0].socket.getsockname()[1]
        nursery.start_soon(partial(trio.serve_listeners, serve, listeners, handler_nursery=nursery))
        yield port


async def say_why(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """Send the alert, which Trio keeps to itself, and wait until it was seen."""
    async with stream.transport_stream as transport:
        with suppress(trio.BrokenResourceError):
            await transport.send_all(stream._outgoing.read())
            await transport.send_eof()
            while await transport.receive_some():
                pass


def _no_streams() -> list[trio.SSLStream[trio.SocketStream]]:
    return []


@attrs.define
class TLSServer:
    """The test server behind TLS.

    Attributes:
        server: the server.
        port: where it listens, on 127.0.0.1.
        context: shown to connections from now on.
        streams: of the connections so far.
    """

    server: Server
    port: int
    context: ssl.SSLContext
    streams: list[trio.SSLStream[trio.SocketStream]] = attrs.field(init=False, factory=_no_streams)

    @property
    def url(self) -> str:
        return f"mqtts://127.0.0.1:{self.port}"

    async def serve(self, transport: trio.SocketStream) -> None:
        stream = trio.SSLStream(transport, self.context, server_side=True)
        self.streams.append(stream)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:  # the client does not like us, or we do not like it
            await say_why(stream)
        else:
            await self.server.serve(stream)


@asynccontextmanager
async def open_tls_server(context: ssl.SSLContext | None = None) -> AsyncGenerator[TLSServer]:
    """Run the test server behind TLS."""
    async with open_server() as server:
        tls_server = TLSServer(server, 0, context or server_context())
        async with listen(tls_server.serve) as tls_server.port:
            yield tls_server
