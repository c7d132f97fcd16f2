"""A proxy to test with: SOCKS5 and HTTP CONNECT, written from their standards.

It owes nothing to the library that the client asks it with, knows names that nobody else knows,
has rules, and can be so slow that each byte comes alone.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio
import trio.testing

from tests.transports.support import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

USERNAME: Final = "me"
PASSWORD: Final = "secret/word"
QUOTED: Final = "me:secret%2Fword"
"""Both, as they stand in a URL."""

SERVER: Final = "server.test"
"""A name that only the proxy knows."""

HTTP_REFUSALS: Final = {"credentials": 407, "rules": 403, "unreachable": 502}
SOCKS_REFUSALS: Final = {"rules": 2, "unreachable": 5}


class Refused(Exception):
    """The proxy says no, and why."""


def _nothing() -> list[tuple[str, int]]:
    return []


@attrs.define
class Proxy:
    """A proxy on 127.0.0.1.

    Attributes:
        kind: ``socks5`` or ``http``.
        credentials: user name and password that it wants, or None.
        forbidden: hosts that it does not connect to.
        drips: whether its answers come byte by byte.
        cuts: after how many bytes from the Server each connection breaks; then they last.
        port: where it listens.
        asked: host and port of each request that it could read.
    """

    kind: str
    credentials: tuple[str, str] | None = None
    forbidden: frozenset[str] = frozenset()
    drips: bool = False
    cuts: list[int] = attrs.field(factory=list[int])
    port: int = 0
    asked: list[tuple[str, int]] = attrs.field(factory=_nothing)

    def url(self, *, scheme: str | None = None, userinfo: str = "") -> str:
        at = f"{userinfo}@" if userinfo else ""
        return f"{scheme or self.kind}://{at}127.0.0.1:{self.port}"

    async def serve(self, client: trio.SocketStream) -> None:
        negotiate = self._negotiate_http if self.kind == "http" else self._negotiate_socks
        async with client:
            with suppress(Refused, trio.BrokenResourceError):
                async with await negotiate(client) as server:
                    await self._relay(client, server)

    async def _send(self, stream: trio.SocketStream, data: bytes) -> None:
        if not self.drips:
            await stream.send_all(data)
            return
        for number in data:
            await stream.send_all(bytes([number]))
            await trio.testing.wait_all_tasks_blocked()

    async def _reach(self, host: str, port: int) -> trio.SocketStream:
        """Connect, if that is allowed and possible."""
        self.asked.append((host, port))
        if host in self.forbidden:
            raise Refused("rules")
        try:
            return await trio.open_tcp_stream("127.0.0.1" if host == SERVER else host, port)
        except OSError:
            raise Refused("unreachable") from None

    # -- HTTP: RFC 9110, 9.3.6 ---------------------------------------------------------------------

    async def _negotiate_http(self, client: trio.SocketStream) -> trio.SocketStream:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += await receive(client, 1)
        first, *lines = request.decode("ascii").split("\r\n")
        method, target, version = first.split(" ")
        assert (method, version) == ("CONNECT", "HTTP/1.1")
        headers = dict(line.split(": ", 1) for line in lines if line)
        assert headers["Host"] == target
        host, _, port = target.rpartition(":")
        if ":" in host:
            assert host == f"[{ipaddress.IPv6Address(host[1:-1])}]"
        try:
            self._check(headers.get("Proxy-Authorization", ""))
            server = await self._reach(host.strip("[]"), int(port))
        except Refused as refusal:
            status = HTTP_REFUSALS[str(refusal)]
            answer = f"HTTP/1.1 {status} No\r\nContent-Length: 6\r\n\r\nSorry."
            await self._send(client, answer.encode())
            raise
        await self._send(client, b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        return server

    def _check(self, authorization: str) -> None:
        if self.credentials is not None:
            text = base64.b64encode(":".join(self.credentials).encode())
            if authorization != f"Basic {text.decode()}":
                raise Refused("credentials")

    # -- SOCKS5: RFC 1928 and RFC 1929 -------------------------------------------------------------

    async def _negotiate_socks(self, client: trio.SocketStream) -> trio.SocketStream:
        version, count = await receive(client, 2)
        methods = await receive(client, count)
        assert version == 5
        wanted = 0 if self.credentials is None else 2
        await self._send(client, bytes([5, wanted if wanted in methods else 0xFF]))
        if wanted not in methods:
            raise Refused
        if wanted == 2:
            await self._authenticate(client)
        version, command, _, kind = await receive(client, 4)
        assert (version, command) == (5, 1)
        host = await self._read_host(client, kind)
        port = int.from_bytes(await receive(client, 2))
        try:
            server = await self._reach(host, port)
        except Refused as refusal:
            await self._send(client, bytes([5, SOCKS_REFUSALS[str(refusal)], 0, 1]) + bytes(6))
            raise
        bound = ipaddress.ip_address(server.socket.getsockname()[0])
        kind = 1 if bound.version == 4 else 4
        await self._send(client, bytes([5, 0, 0, kind]) + bound.packed + b"\x12\x34")
        return server

    async def _authenticate(self, client: trio.SocketStream) -> None:
        assert await receive(client, 1) == b"\x01"
        username, password = [
            (await receive(client, (await receive(client, 1))[0])).decode() for _ in range(2)
        ]
        is_right = (username, password) == self.credentials
        await self._send(client, bytes([1, 0 if is_right else 1]))
        if not is_right:
            raise Refused

    async def _read_host(self, client: trio.SocketStream, kind: int) -> str:
        if kind == 3:
            size = (await receive(client, 1))[0]
            return (await receive(client, size)).decode("ascii")
        return str(ipaddress.ip_address(await receive(client, {1: 4, 4: 16}[kind])))

    # -- and then ----------------------------------------------------------------------------------

    async def _relay(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        limit = self.cuts.pop(0) if self.cuts else None

        async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            left = limit if source is server else None
            with suppress(trio.BrokenResourceError):
                async for data in source:
                    await sink.send_all(data[:left])
                    if left is not None:
                        left -= len(data)
                        if left <= 0:
                            break
                else:
                    await sink.send_eof()
                    return
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server)
            nursery.start_soon(pump, server, client)


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables that name proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    """Read so many bytes, or raise BrokenResourceError."""
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            raise trio.BrokenResourceError("the client has closed")
        data += more
    return data


async def until_closed(stream: trio.SocketStream) -> None:
    """Return when the client has closed, whether it has read everything or not."""
    with suppress(trio.BrokenResourceError):
        async for _ in stream:
            pass


@asynccontextmanager
async def open_test_proxy(proxy: Proxy) -> AsyncGenerator[Proxy]:
    """Run a proxy for the time of a block."""
    async with listen(proxy.serve) as proxy.port:
        yield proxy
