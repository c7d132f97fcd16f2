"""Through a proxy: SOCKS5 (RFC 1928, RFC 1929) and HTTP CONNECT (RFC 9110), by python-socks.

With these differences from what it does by itself:

- The connection to the proxy is made here, as all others are, and handed to python-socks as if
  another proxy had made it; so failures have their stage, and what comes out is a plain stream.
- The answer of an HTTP proxy may come in pieces. It is read to its end, so that no rest of it is
  taken for the Server's, and no further, so that nothing of the Server's is lost; and it has a
  bound.
- A name that this machine looks up has all its addresses tried.
- The time is bounded by who calls.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.tcp import Peer, connect_tcp, is_ip_address, look_up
from trio_mqtt._transports.url_parts import join_place

try:
    from python_socks import ProxyError, ProxyType
    from python_socks.async_.trio.v2 import Proxy
    from python_socks.async_.trio.v2._stream import TrioSocketStream
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "the argument proxy needs python-socks: pip install 'trio-mqtt[proxy]'", name=_missing.name
    ) from _missing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from trio_mqtt._transports.progress import Progress
    from trio_mqtt._transports.proxy_url import ProxyAddress
    from trio_mqtt._transports.url import ServerAddress

_BEGINNING: Final = b"HTTP/"
_END: Final = b"\r\n\r\n"
_LONGEST_ANSWER: Final = 16_384
"""How many bytes the answer of an HTTP proxy may have, with its headers."""
_MOST_QUOTED: Final = 100
"""How much of what a proxy answered is quoted, in characters."""
_MOST_NAME: Final = 255
"""How long a host name may be in SOCKS5, in bytes."""

_CREDENTIALS: Final = (
    "it wants a user name and a password, or others; check those in the URL of the proxy"
)
_FORBIDDEN: Final = "it does not allow that; have its rules allow this server and this port"
_UNREACHABLE: Final = (
    "it cannot reach the server; check the server's name and port as the proxy sees them, and "
    "that the server runs"
)
_NO_CONNECT: Final = "it does not do CONNECT for this; check that what is there is a proxy"

_OTHER_ADVICE: Final = "its log may say more"

HTTP_ADVICE: Final[Mapping[int, str]] = {
    400: _NO_CONNECT,
    401: _CREDENTIALS,
    403: _FORBIDDEN,
    404: _NO_CONNECT,
    405: _NO_CONNECT,
    407: _CREDENTIALS,
    429: "it is busy; try again later",
    500: _UNREACHABLE,
    501: _NO_CONNECT,
    502: _UNREACHABLE,
    503: _UNREACHABLE,
    504: _UNREACHABLE,
}
"""What to do, by HTTP status."""

SOCKS_ADVICE: Final[Mapping[int, str]] = {
    1: _OTHER_ADVICE,
    2: _FORBIDDEN,
    3: "it cannot reach the network of the server",
    4: "it cannot reach the host; check the server's name as the proxy sees it",
    5: "the server refused it; check the server's port and that the server runs",
    6: "the way to the server is too long, or it took too long",
    7: "it does not do CONNECT; check that it is a SOCKS5 proxy",
    8: "it does not take this kind of address; try the other of socks5:// and socks5h://",
}
"""What to do, by the reply field of RFC 1928, section 6."""

_OF_THE_ADDRESS: Final = frozenset((1, 3, 4, 5, 6, 8))
"""Replies of SOCKS5 after which another address of the Server may do."""


class _Wire(trio.abc.Stream):
    """The connection to the proxy, as long as python-socks has it.

    Args:
        stream: connected to the proxy.
        whole: whether to receive an answer of HTTP in one piece, with all its headers.
    """

    def __init__(self, stream: trio.SocketStream, *, whole: bool) -> None:
        self._stream = stream
        self._whole = whole
        self._heard = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._whole:
            return await self._receive(max_bytes)
        data = bytearray()
        while not data.endswith(_END):
            if len(data) == _LONGEST_ANSWER:
                message = f"it has more than {_LONGEST_ANSWER} bytes"
                raise ProxyError(message)
            data += await self._receive(1)
            if not data.startswith(_BEGINNING[: len(data)]):  # and so may never have an end
                message = f"it begins with {data.decode('latin-1')}"
                raise ProxyError(message)
        return bytes(data)

    async def _receive(self, max_bytes: int | None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if not data:
            when = "in the middle of" if self._heard else "without"
            message = f"the proxy closed the connection {when} an answer"
            raise trio.BrokenResourceError(message)
        self._heard = True
        return data

    async def aclose(self) -> None:
        """Leave that to who made the stream."""
        await trio.lowlevel.checkpoint()


class _Connected(Proxy):
    """What python-socks takes for the way to the proxy.

    Args:
        wire: connected to the proxy.
    """

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    async def connect(self, *_arguments: object, **_more: object) -> TrioSocketStream:
        await trio.lowlevel.checkpoint()
        return TrioSocketStream(cast("trio.SocketStream", self._wire))


@asynccontextmanager
async def open_through(
    proxy: ProxyAddress, address: ServerAddress, progress: Progress
) -> AsyncGenerator[trio.SocketStream]:
    """Connect to a Server through a proxy.

    Args:
        proxy: which one.
        address: where to.
        progress: is told each stage.

    Raises:
        ConnectFailed: a name is not known (stage ``resolve``); or the proxy is not there, refuses,
            or cannot reach the Server (stage ``connect``).
    """
    async with await _connect(proxy, address, progress) as stream:
        yield stream


async def _connect(
    proxy: ProxyAddress, address: ServerAddress, progress: Progress
) -> trio.SocketStream:
    *others, last = await _find_hosts(proxy, address, progress)
    for host in others:
        try:
            return await _connect_to(host, proxy, address, progress)
        except ConnectFailed as failed:
            if getattr(failed.__cause__, "error_code", None) not in _OF_THE_ADDRESS:
                raise
            progress.note(f"{host} is not to be reached through the proxy; trying another address")
    return await _connect_to(last, proxy, address, progress)


async def _find_hosts(proxy: ProxyAddress, address: ServerAddress, progress: Progress) -> list[str]:
    """What to ask the proxy for: the host, or its addresses."""
    host = address.host.partition("%")[0]  # a zone means something on this machine only
    if is_ip_address(host):
        return [host]
    if not proxy.resolves_names:
        peer = Peer(host=host, port=address.port, purpose=_purpose(proxy, address))
        return [found.partition("%")[0] for found in await look_up(peer, progress)]
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise _no_name(host, proxy, address, str(error)) from error
    if len(name) > _MOST_NAME:
        raise _no_name(host, proxy, address, f"it is longer than {_MOST_NAME}")
    return [name]


def _no_name(host: str, proxy: ProxyAddress, address: ServerAddress, why: str) -> ConnectFailed:
    message = (
        f"cannot connect to {_purpose(proxy, address)}: {host!r} is not a host name ({why}); "
        "check its spelling"
    )
    return ConnectFailed(message, stage="resolve")


async def _connect_to(
    host: str, proxy: ProxyAddress, address: ServerAddress, progress: Progress
) -> trio.SocketStream:
    peer = Peer(
        host=proxy.host,
        port=proxy.port,
        purpose=_purpose(proxy, address),
        kind="proxy",
        missing=f"the proxy {proxy.name} was not reached",
    )
    stream = await connect_tcp(peer, progress)
    try:
        place = join_place(host, address.port)
        progress.enter(
            "connect",
            f"asking the proxy for {place}",
            missing=f"the proxy {proxy.name} did not answer",
        )
        await _ask(stream, proxy, host, address.port)
    except Exception as error:
        stream.socket.close()
        message = f"cannot connect to {_purpose(proxy, address)}: {_describe(proxy, error)}"
        raise ConnectFailed(message, stage="connect") from error
    except BaseException:
        stream.socket.close()
        raise
    progress.note("the proxy has connected")
    return stream


async def _ask(stream: trio.SocketStream, proxy: ProxyAddress, host: str, port: int) -> None:
    """Have the proxy connect to a host and port."""
    username, password = proxy.username, proxy.password
    kind = ProxyType.SOCKS5
    if proxy.is_http:
        kind = ProxyType.HTTP
        if ":" in host:
            host = f"[{host}]"
        # It writes Latin-1, while nearly all have UTF-8 (RFC 7617, appendix B).
        username, password = (
            text and text.encode().decode("latin-1") for text in (username, password)
        )
    connected = _Connected(_Wire(stream, whole=proxy.is_http))
    way = Proxy(kind, proxy.host, proxy.port, username, password, rdns=True, forward=connected)
    await way.connect(host, port, timeout=math.inf)


def _purpose(proxy: ProxyAddress, address: ServerAddress) -> str:
    return f"{address.name} through the proxy {proxy.name}"


# -- what went wrong ------------------------------------------------------------------------------


def _describe(proxy: ProxyAddress, error: Exception) -> str:
    """What the proxy did, and what to do."""
    if isinstance(error, trio.BrokenResourceError):
        if error.__cause__ is None:  # it is of `_Wire`
            return f"{error}; check its kind and its port"
        return f"the connection to the proxy broke ({error.__cause__}); check its kind and its port"
    code = getattr(error, "error_code", None)
    text = ascii(str(error))[1:-1][:_MOST_QUOTED]  # what the proxy writes may be in it
    if code is not None and proxy.is_http:
        advice = HTTP_ADVICE.get(code, _OTHER_ADVICE)
        return f"the proxy refused with HTTP status {int(code)}; {advice}"
    if code is not None:
        advice = SOCKS_ADVICE.get(code, _OTHER_ADVICE)
        return f"the proxy refused with reply {int(code)} ({text}); {advice}"
    if "authentication" in text:
        return f"the proxy refused ({text}); {_CREDENTIALS}"
    kind = "HTTP" if proxy.is_http else "SOCKS5"
    return f"what the proxy answered is not {kind} ({text}); check its kind and its port"
