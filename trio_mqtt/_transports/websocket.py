"""MQTT over WebSocket (6), on a byte stream that is connected already.

trio-websocket does the work, with these differences:

- What comes in is passed on piece by piece, not message by message: a Server may pack Control
  Packets into frames and messages as it likes (MQTT-6.0.0-2), even all of them into one message
  that never ends. So no message is ever too large, none is gathered in memory, and what limits a
  packet is the client's own Maximum Packet Size. The frames of one read make one piece, since a
  Server may send one byte per frame.
- Pings are answered by a task of their own, and of several the last: the reader never waits for
  the writer, else both sides could wait for each other.
- A handshake that fails in any way is one error of ours; trio-websocket would wait for good when
  the Server closes, and pass on what wsproto says of garbage.
- Closing is bounded, and sends no close frame into the middle of a frame that was cut short.

Bounded: the pieces, of at most `RECEIVE_SIZE` bytes, are one that is being taken, one in the queue
and one that waits for its place there; then nothing more is read. wsproto limits the head of the
HTTP response, and its body is not kept.
"""

from __future__ import annotations

import logging
import re
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, ProtocolError

from trio_mqtt._errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable
    from contextlib import AbstractAsyncContextManager

SUBPROTOCOL: Final = "mqtt"
"""What client and Server have to agree on (MQTT-6.0.0-3, MQTT-6.0.0-4)."""

RECEIVE_SIZE: Final = 65_536
"""How many bytes are read at once."""

FRAME_SIZE: Final = 65_536
"""More than this is sent as several frames, so that masking it never takes long."""

CLOSE_TIMEOUT: Final = 2.0
"""How long the peer may take for its close frame, in seconds."""

_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"([!-~\xa0-\xff]+([ \t]+[!-~\xa0-\xff]+)*)?")
_TARGET: Final = re.compile(r"/[!-~]*")
_OURS: Final = frozenset({"host", "upgrade", "connection", "content-length", "transfer-encoding"})

_NORMAL: Final = {1000, 1001, 1005}
"""Close codes of a peer that is done, or goes away, or gives none: the end of the stream."""

_UNSUPPORTED_DATA: Final = 1003
_ABNORMAL: Final = 1006
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


class Address(Protocol):
    """What has to be known of a Server, as `ServerAddress` does.

    Attributes:
        target: path and query, such as ``/mqtt``.
        name: the address for people, without credentials.
    """

    @property
    def scheme(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def target(self) -> str: ...

    @property
    def name(self) -> str: ...


def open_websocket(
    stream: trio.abc.Stream, address: Address, *, headers: Iterable[tuple[str, str]] = ()
) -> AbstractAsyncContextManager[trio.abc.Stream]:
    """Make a WebSocket of a connected byte stream for the time of a block.

    On leaving the block the WebSocket is closed, and `stream` with it, within `CLOSE_TIMEOUT`; or
    at once, where the block is cancelled.

    Args:
        stream: connected to the Server, by TCP or TLS.
        address: where that is.
        headers: names and values of HTTP headers for the request.

    Raises:
        ValueError: a header or the path cannot be sent, or the header is the library's to set.
        ConnectFailed: on entering; the Server refused, or is none for WebSocket, or does not
            confirm the subprotocol (stage ``WebSocket``).
    """
    extra = check_headers(headers)
    if not _TARGET.fullmatch(address.target):
        raise ValueError("the path of a WebSocket URL begins with / and is percent-encoded")
    connection = _Connection(
        _Wire(stream), ConnectionType.CLIENT, _host(address), address.target, extra
    )
    return _open(connection, address)


def check_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Encode HTTP headers.

    Raises:
        ValueError: one cannot be sent, or is the library's to set. The text does not quote the
            value, which may be a secret.
    """
    encoded: list[tuple[bytes, bytes]] = []
    for name, value in headers:
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


def _host(address: Address) -> str:
    """What the header Host says."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    if address.port != _DEFAULT_PORTS.get(address.scheme):
        host = f"{host}:{address.port}"
    try:
        host = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        message = f"the host name {address.host!r} of the WebSocket URL is none ({error})"
        raise ValueError(message) from None
    if not _VALUE.fullmatch(host):
        message = f"the host name {address.host!r} of the WebSocket URL is none"
        raise ValueError(message)
    return host


@asynccontextmanager
async def _open(connection: _Connection, address: Address) -> AsyncGenerator[trio.abc.Stream]:
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
                failure = failure or cancelled
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # KeyboardInterrupt, raised wherever it happened to hit
        failure = _unwrapped(group)
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # which refers to this frame


def _unwrapped(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        rest = error.split(trio.Cancelled)[1] or error
        error = rest.exceptions[0]
    return error


# -- the handshake --------------------------------------------------------------------------------


def _check_answer(connection: _Connection, address: Address) -> None:
    """Raise `ConnectFailed` unless the Server has agreed."""
    protocol = connection.protocol
    cause: BaseException | None = None
    if protocol.refused is not None:
        what = _refusal(protocol.refused, address)
    elif protocol.failure is not None:
        cause = protocol.failure
        what = (
            f"what it answered is no WebSocket handshake ({cause}); "
            "check that its port is one for WebSocket"
        )
    elif protocol.accepted is None:
        cause = connection.wire.loss
        how = "closed the connection" if cause is None else f"broke the connection ({_root(cause)})"
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


def _refusal(response: RejectConnection, address: Address) -> str:
    status = response.status_code
    path = address.target.partition("?")[0]  # a query may hold a signature
    what = f"the server answered the WebSocket handshake for {path} with HTTP status {status}"
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


def _root(error: BaseException) -> BaseException:
    """What is behind it: Trio's own errors say little."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


# -- between bytes and frames ---------------------------------------------------------------------


class _Wire(trio.abc.Stream):
    """The byte stream below, which remembers how it ended."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.loss: BaseException | None = None
        self.received = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._remembered():
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with self._remembered():
            data = await self._stream.receive_some(max_bytes)
        self.received = self.received or bool(data)
        return data

    async def aclose(self) -> None:
        with suppress(trio.BrokenResourceError):
            await self._stream.aclose()

    @contextmanager
    def _remembered(self) -> Generator[None]:
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.loss = self.loss or error
            raise


class _Protocol(WSConnection):
    """Frames to pieces; nothing that the peer sends raises an exception.

    Attributes:
        answered: set when the handshake is over: accepted, refused or failed.
        violation: the close code and the text of what the peer did wrong. At its place in the
            queue there is a text, which ends the stream.
        ping: what the last ping said.
        pinged: set when a ping has come.
    """

    def __init__(self, connection_type: ConnectionType) -> None:
        super().__init__(connection_type)
        self.answered = trio.Event()
        self.accepted: AcceptConnection | None = None
        self.refused: RejectConnection | None = None
        self.failure: Exception | None = None
        self.violation: tuple[int, str] | None = None
        self.ping = b""
        self.pinged = trio.Event()

    def receive_data(self, data: bytes | None) -> None:
        if self.refused or self.failure or self.violation:
            return
        try:
            super().receive_data(data)
        except (ProtocolError, UnicodeError) as error:
            self.failure = error
            self.answered.set()

    def events(self) -> Generator[Event]:
        data: list[bytes] = []
        for event in super().events():
            if self.violation is not None:
                continue
            if isinstance(event, BytesMessage):
                data.append(event.data)
                continue
            kept = self._look_at(event)
            if kept is not None:
                yield from _joined(data)
                data.clear()
                yield kept
        yield from _joined(data)

    def _look_at(self, event: Event) -> Event | None:
        match event:
            case AcceptConnection():
                self.accepted = event
                self.answered.set()
            case RejectConnection():
                self.refused = event
                self.answered.set()
                return None
            case RejectData():
                return None
            case Ping():
                self.ping = bytes(event.payload)
                self.pinged.set()
                return None
            case TextMessage():  # MQTT-6.0.0-1
                return self._violated(_UNSUPPORTED_DATA, "a text frame, where MQTT is binary")
            case CloseConnection() if self.state is ConnectionState.OPEN:  # it was not the peer's
                return self._violated(event.code, event.reason or "an invalid frame")
            case _:
                pass
        return event

    def _violated(self, code: int, text: str) -> Event:
        self.violation = code, text
        return TextMessage(data=text)


def _joined(data: list[bytes]) -> Generator[Event]:
    joined = b"".join(data)
    if joined:  # an empty piece would look like the end
        yield BytesMessage(data=joined)


class _Connection(WebSocketConnection):
    """A connection of trio-websocket whose tasks are started by us, and fail without a noise."""

    def __init__(
        self,
        wire: _Wire,
        connection_type: ConnectionType,
        host: str = "",
        target: str = "",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.wire = wire
        self.protocol = _Protocol(connection_type)
        super().__init__(
            wire,
            self.protocol,
            host=host,
            path=target,
            client_subprotocols=[SUBPROTOCOL],
            client_extra_headers=headers,
            message_queue_size=1,
            max_message_size=2 * RECEIVE_SIZE,  # no piece is so large
            receive_buffer_size=RECEIVE_SIZE,
        )

    async def run(self) -> None:
        """Read until there is nothing more to read; whatever fails has lost the connection."""
        try:
            await self._reader_task()
        except Exception as error:  # noqa: BLE001 - told by whoever receives or sends
            self.wire.loss = self.wire.loss or error
        finally:
            self.protocol.answered.set()

    async def answer_pings(self) -> None:
        """Answer the last ping that has come."""
        protocol = self.protocol
        while True:
            await protocol.pinged.wait()
            protocol.pinged = trio.Event()
            with suppress(ConnectionClosed, LocalProtocolError):  # as it closes
                await self.pong(protocol.ping)


# -- the stream -----------------------------------------------------------------------------------


class WebSocketStream(trio.abc.Stream):
    """The bytes of the binary frames of a WebSocket, wherever one frame ends and another begins."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._closed = False
        self._ended = False  # what is received is over
        self._sending = False
        self._receiving = False
        self._torn = False  # a frame was begun, and perhaps not sent in full
        self._rest = memoryview(b"")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; cancelled, it may have sent a part of it, and closing is all that
        is left to do.

        Raises:
            trio.BrokenResourceError: the peer has closed, or the connection is broken.
            trio.ClosedResourceError: this stream is closed.
            trio.BusyResourceError: another task is sending.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending to this WebSocket")
        if self._closed or not data:
            await self.wait_send_all_might_not_block()
            return
        self._sending = self._torn = True
        try:
            with memoryview(data) as view:
                for start in range(0, len(view), FRAME_SIZE):
                    frame = bytes(view[start : start + FRAME_SIZE])
                    await self._connection.send_message(frame)
        except (ConnectionClosed, LocalProtocolError):  # the latter as it closes
            await trio.lowlevel.checkpoint()
            raise self._broken() from self._connection.wire.loss
        finally:
            self._sending = False
        self._torn = False

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once, as an implementation may that knows nothing better."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket is closed")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte; no bytes at all mean that the peer has closed.

        Cancelled, it has taken nothing.

        Raises:
            trio.BrokenResourceError: the connection is broken; or the peer closed with a code
                that tells of an error, or sent what is not allowed.
            trio.ClosedResourceError: this stream is closed.
            trio.BusyResourceError: another task is receiving.
        """
        if max_bytes is not None:
            if type(max_bytes) is not int:
                message = f"max_bytes must be an int, not {type(max_bytes).__name__}"
                raise TypeError(message)
            if max_bytes < 1:
                message = f"max_bytes must be at least 1, not {max_bytes}"
                raise ValueError(message)
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this WebSocket")
        self._receiving = True
        try:
            return await self._take(max_bytes)
        finally:
            self._receiving = False

    async def _take(self, max_bytes: int | None) -> bytes:
        if self._rest or self._ended or self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await self._get_piece()
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket is closed")
        if not self._rest:
            return self._end()
        taken = self._rest[:max_bytes]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)

    async def _get_piece(self) -> None:
        try:
            piece = await self._connection.get_message()
        except ConnectionClosed:
            self._ended = True
            return
        if isinstance(piece, str):
            self._ended = True
        else:
            self._rest = memoryview(piece)

    def _end(self) -> bytes:
        """What is received where nothing more is."""
        wire = self._connection.wire
        reason = self._connection.closed
        if self._connection.protocol.violation is None and reason and reason.code in _NORMAL:
            return b""
        raise self._broken() from wire.loss

    def _broken(self) -> Exception:
        """Why there is nothing more to receive, or to send to."""
        if self._closed:
            return trio.ClosedResourceError("this WebSocket was closed meanwhile")
        loss = self._connection.wire.loss
        violation = self._connection.protocol.violation
        reason = self._connection.closed
        if violation is not None:
            text = f"the server broke the WebSocket protocol: {violation[1]} ({violation[0]})"
        elif reason is not None and reason.code != _ABNORMAL:
            words = f": {reason.reason}" if reason.reason else ""
            name = reason.name.lower().replace("_", " ")
            text = f"the server closed the WebSocket with {reason.code} ({name}){words}"
        elif loss is not None:
            text = f"the connection under the WebSocket broke: {_root(loss)}"
        else:
            text = "the server ended the connection without closing the WebSocket"
        return trio.BrokenResourceError(text)

    async def aclose(self) -> None:
        """Close the WebSocket and what is below it, within `CLOSE_TIMEOUT`; cancelled, at once.

        A frame that another task is sending, or was cancelled in, is not followed by a close frame:
        the peer would take that for the rest of it.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        code, text = self._connection.protocol.violation or (1000, None)
        wire = self._connection.wire
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                if not self._torn:
                    await self._connection.aclose(code, text)
                await wire.aclose()
        finally:
            await trio.aclose_forcefully(wire)
