"""MQTT over WebSocket (6), on a byte stream that is connected already.

A handshake that fails in any way is one error of ours; trio-websocket would wait for good when the
Server closes, and pass on what wsproto says of garbage.
"""

from __future__ import annotations

import logging
import re
from contextlib import asynccontextmanager
from string import punctuation
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote, urlsplit

import trio
from wsproto import ConnectionType

from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.frames import SUBPROTOCOL, Connection, Wire
from trio_mqtt._transports.url import DEFAULT_PORTS
from trio_mqtt._transports.websocket_stream import CLOSE_TIMEOUT, WebSocketStream, root_cause

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from contextlib import AbstractAsyncContextManager

    from wsproto.events import RejectConnection

    from trio_mqtt._transports.url import ServerAddress

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"([!-~\xa0-\xff]+([ \t]+[!-~\xa0-\xff]+)*)?")
_OURS: Final = frozenset({"host", "upgrade", "connection", "content-length", "transfer-encoding"})

_MOVED: Final = range(300, 400)

_ADVICE: Final = {
    400: "check the path of the URL, which many servers want to be /mqtt",
    401: "it wants credentials in the HTTP request: give them as WebSocket headers",
    403: "check the credentials in the URL or the WebSocket headers, and the header Origin",
    404: "check the path of the URL, which many servers want to be /mqtt",
    426: "check the URL: the server wants another protocol there, perhaps wss://",
    429: "the server is busy; try again later",
    502: "the server behind the proxy does not answer; see whether it runs",
    503: "the server is busy, or the one behind a proxy is down; try again later",
    504: "the server behind the proxy does not answer; see whether it runs",
}
_OTHER_ADVICE: Final = "check the port and the path of the URL"

_logger: Final = logging.getLogger("trio_mqtt")


def open_websocket(
    stream: trio.abc.Stream, address: ServerAddress, *, headers: Iterable[tuple[str, str]] = ()
) -> AbstractAsyncContextManager[trio.abc.Stream]:
    """Make a WebSocket of a connected byte stream for the time of a block.

    On leaving the block the WebSocket is closed, and `stream` with it, within `CLOSE_TIMEOUT`; or
    at once, where the block is cancelled.

    Args:
        stream: connected to the Server, by TCP or TLS.
        address: where that is.
        headers: names and values of HTTP headers for the request.

    Raises:
        ConnectFailed: on entering (stage ``WebSocket``); the Server refused, or is none for
            WebSocket, or does not confirm the subprotocol; or a header cannot be sent.
    """
    try:
        extra = check_headers(headers)
        host = _host(address)
    except ValueError as error:
        message = f"cannot connect to {address.name}: {error}"
        raise ConnectFailed(message, stage="WebSocket") from error
    target = quote(address.target, safe=punctuation)  # what is not ASCII, as browsers do
    connection = Connection(Wire(stream), ConnectionType.CLIENT, host, target, extra)
    return _open(connection, address)


def check_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Encode HTTP headers.

    Raises:
        TypeError: one is no pair of str.
        ValueError: one cannot be sent, or is the library's to set. The text does not quote the
            value, which may be a secret.
    """
    encoded: list[tuple[bytes, bytes]] = []
    for name, value in map(_as_pair, headers):
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not the name of an HTTP header"
            raise ValueError(message)
        if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            message = f"the header {name} is set by the WebSocket handshake; leave it out"
            raise ValueError(message)
        if not _VALUE.fullmatch(value):
            message = (
                f"the value of the header {name} cannot be sent: it has a control character, "
                "a character beyond Latin-1, or a blank at an end"
            )
            raise ValueError(message)
        encoded.append((name.encode("ascii"), value.encode("latin-1")))
    return encoded


def _as_pair(header: object) -> tuple[str, str]:
    match header:
        case (str(name), str(value)):
            return name, value
        case _:  # not quoted: it may be a secret
            kind = type(header).__name__
            message = f"a header is a pair of str, not {kind}; a dict has them in its items()"
            raise TypeError(message)


def _host(address: ServerAddress) -> str:
    """What the header Host says."""
    host = address.host
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"  # a zone means something on this machine only
    if address.port != DEFAULT_PORTS[address.scheme]:
        host = f"{host}:{address.port}"
    host.encode("idna")  # as wsproto does: this is a ValueError for what is no host name
    return host


@asynccontextmanager
async def _open(connection: Connection, address: ServerAddress) -> AsyncGenerator[trio.abc.Stream]:
    # The exception of the block is kept from the nursery, which would make a group of it.
    failure: BaseException | None = None
    resource: trio.abc.AsyncResource = connection.wire
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            nursery.start_soon(connection.answer_pings)
            try:
                await connection.protocol.answered.wait()
                _check_answer(connection, address)
                resource = websocket = WebSocketStream(connection)
                _logger.debug("%s has accepted the WebSocket", address.name)
                yield websocket
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure = error
            try:
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await resource.aclose()
            except trio.Cancelled as cancelled:
                failure = cancelled if failure is None else failure
            nursery.cancel_scope.cancel()
    except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt hits where it happens to hit
        leaving = _unwrapped(error)
        if failure is None or not isinstance(leaving, trio.Cancelled):
            failure = leaving
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # which refers to this frame


def _unwrapped(error: BaseException) -> BaseException:
    """The first exception in a group, but a `trio.Cancelled` only where there is nothing else."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    rest = group.split(trio.Cancelled)[1]
    return _unwrapped((group if rest is None else rest).exceptions[0])


# -- the handshake --------------------------------------------------------------------------------


def _check_answer(connection: Connection, address: ServerAddress) -> None:
    """Raise `ConnectFailed` unless the Server has agreed."""
    protocol = connection.protocol
    cause: BaseException | None = None
    if protocol.refused is not None:
        what = _refusal(protocol.refused)
    elif protocol.failure is not None:
        cause = protocol.failure
        what = (
            f"what it answered is no WebSocket handshake ({cause}); "
            "check that its port is one for WebSocket"
        )
    elif protocol.accepted is None:
        cause = connection.wire.loss
        how = (
            "closed the connection"
            if cause is None
            else f"broke the connection ({root_cause(cause)})"
        )
        when = "in the middle of" if connection.wire.received else "without"
        what = (
            f"the server {how} {when} its answer to the WebSocket handshake; "
            "check that its port is one for WebSocket, and whether it wants ws:// or wss://"
        )
    elif protocol.accepted.subprotocol != SUBPROTOCOL:
        what = (
            f"it does not confirm the WebSocket subprotocol {SUBPROTOCOL!r} (MQTT-6.0.0-4), so "
            "what is there does not speak MQTT; check the port and the path of the URL"
        )
    else:
        return
    message = f"cannot connect to {address.name}: {what}"
    raise ConnectFailed(message, stage="WebSocket") from cause


def _refusal(response: RejectConnection) -> str:
    status = response.status_code
    what = f"the server answered the WebSocket handshake with HTTP status {status}"
    if status in _MOVED:
        return f"{what}; give the URL that it redirects to{_redirection(response)}"
    return f"{what}; {_ADVICE.get(status, _OTHER_ADVICE)}"


def _redirection(response: RejectConnection) -> str:
    """Where to, without credentials and signatures."""
    locations = [value for name, value in response.headers if name.lower() == b"location"]
    try:
        parts = urlsplit(locations[0].decode("ascii"))
    except (IndexError, ValueError):
        return ""
    host = parts.netloc.rpartition("@")[2]
    scheme = f"{parts.scheme}://" if parts.scheme and host else ""
    return f": {scheme}{host}{parts.path}"
