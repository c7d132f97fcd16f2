"""A web page with what is published right now: values, curves and rates.

    python dashboard.py [URL] [--filter FILTER ...] [--port PORT]

Open http://127.0.0.1:8000 in any number of browsers; gateway.py and devices.py make something to
look at. This program subscribes, and feeds each page through a WebSocket.

For each topic it keeps the latest value and a short curve, and for each viewer the number of the
last change that was sent. So a viewer that is slow, or asleep, takes no memory and holds nobody up:
it gets the latest values as soon as it takes more, and what was in between is left out.

It listens on 127.0.0.1 only, and other web sites that the browser has open cannot read along. The
URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final, cast

import h11
import trio
import trio_websocket

import trio_mqtt
from trio_mqtt.events import Connected, Disconnected

PAGE: Final = Path(__file__).with_suffix(".html")
MOST_TOPICS: Final = 200
MOST_VIEWERS: Final = 50
CURVE: Final = 60  # values
LONGEST_TEXT: Final = 120  # characters
LARGEST_PACKET: Final = 256 * 1024  # bytes; a server of MQTT 5.0 leaves out what has more
LARGEST: Final = 1e300  # more is no measurement, and NaN and infinity are no JSON
PAUSE: Final = 0.2  # seconds between two messages to a viewer
PATIENCE: Final = 30  # seconds for a viewer to take one
GONE: Final = (  # what says that a browser is no more, or is none
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    trio_websocket.ConnectionClosed,
    h11.RemoteProtocolError,
    UnicodeError,  # in what it asks of WebSocket
)


# -- what there is to see ------------------------------------------------------------------------


@dataclass
class Row:
    """What is known of a topic.

    Attributes:
        change: the number of the last change to it.
        text: the latest payload.
        time: when it came, in seconds since 1970.
        count: how many there were.
        curve: the latest numbers.
    """

    change: int = 0
    text: str = ""
    time: float = 0.0
    count: int = 0
    curve: deque[float] = field(default_factory=lambda: deque[float](maxlen=CURVE))


class Board:
    """The latest of everything.

    Attributes:
        change: the number of the latest change.
        state: how it goes with the server.
        messages: how many have come.
    """

    def __init__(self) -> None:
        self.change = 0
        self.state = "connecting"
        self.messages = 0
        self._rows: dict[str, Row] = {}
        self._changed = trio.Event()

    def note(self, topic: str, payload: bytes) -> None:
        """A message has come."""
        self.messages += 1
        if topic not in self._rows and len(self._rows) >= MOST_TOPICS:
            return  # counted, and that is all: the page would be too long
        row = self._rows.setdefault(topic, Row())
        row.text, number = read(payload)
        row.time = time.time()
        row.count += 1
        if number is not None:
            row.curve.append(number)
        self._step()
        row.change = self.change

    def note_state(self, state: str) -> None:
        """The connection was made or lost."""
        self.state = state
        self._step()

    def _step(self) -> None:
        self.change += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_beyond(self, change: int) -> None:
        """Wait until there is a later change than that one."""
        while self.change <= change:
            await self._changed.wait()

    def news_since(self, change: int) -> str:
        """What has changed since then, as JSON."""
        rows = {
            topic: vars(row) | {"curve": list(row.curve)}
            for topic, row in self._rows.items()
            if row.change > change
        }
        return json.dumps({"state": self.state, "messages": self.messages, "rows": rows})


def read(payload: bytes) -> tuple[str, float | None]:
    """What to show of a payload: as text, and as a number if it is one or has a "value"."""
    text = payload.decode(errors="backslashreplace")
    value: object = None
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
    if isinstance(value, dict) and "value" in value:
        reading = cast("dict[str, object]", value)
        value = reading["value"]
        text = f"{value} {reading.get('unit', '')}"
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return text[:LONGEST_TEXT], float(value)
    return text[:LONGEST_TEXT], None


async def fill(board: Board, client: trio_mqtt.Client, filters: list[str]) -> None:
    """Note all that comes."""
    async with client.subscribe(*filters, overflow="drop_oldest") as messages:
        async for message in messages:
            board.note(message.topic, message.payload)


async def watch(board: Board, client: trio_mqtt.Client) -> None:
    """Note how it goes with the server."""
    async with client.events() as events:
        async for event in events:
            if isinstance(event, Connected):
                board.note_state(f"connected to {event.server}")
            elif isinstance(event, Disconnected):
                board.note_state(str(event.error))


# -- who looks at it -----------------------------------------------------------------------------


class Replay(trio.abc.ReceiveStream):
    """A stream of which some bytes were read before, and come again."""

    def __init__(self, stream: trio.SocketStream, data: bytes) -> None:
        self._stream = stream
        self._data = data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """First those bytes, then what is new."""
        if not self._data:
            return await self._stream.receive_some(max_bytes)
        data, self._data = self._data, b""
        return data

    async def aclose(self) -> None:
        """As the stream does."""
        await self._stream.aclose()


class Site:
    """The page and its feed.

    Args:
        board: what the page shows.
        port: where it is.
    """

    def __init__(self, board: Board, port: int) -> None:
        self._board = board
        self._viewers = 0
        # What a browser says where it is told to go. Any other name is one that somebody has made
        # lead here, so that pages of theirs may ask for ours.
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def handle(self, stream: trio.SocketStream) -> None:
        """Answer one request. Whatever goes wrong with a browser ends its connection alone."""
        async with stream:
            try:
                with trio.fail_after(PATIENCE):
                    request, data = await next_request(stream)
                    status = self._status(request)
                    if status is not HTTPStatus.SWITCHING_PROTOCOLS:
                        await stream.send_all(response(status))
                        return
                await self._feed(trio.StapledStream(stream, Replay(stream, data)))
            except* GONE:
                pass

    def _status(self, request: h11.Request) -> HTTPStatus:
        """What to answer with."""
        headers = dict(request.headers)
        host = headers.get(b"host", b"")
        origin = headers.get(b"origin", b"http://" + host)
        if host not in self._hosts or origin != b"http://" + host:
            return HTTPStatus.FORBIDDEN
        if request.target == b"/feed" and headers.get(b"upgrade", b"").lower() == b"websocket":
            is_full = self._viewers >= MOST_VIEWERS
            return HTTPStatus.SERVICE_UNAVAILABLE if is_full else HTTPStatus.SWITCHING_PROTOCOLS
        return HTTPStatus.OK if request.target == b"/" else HTTPStatus.NOT_FOUND

    async def _feed(self, stream: trio.abc.Stream) -> None:
        """Tell one viewer what is new until it leaves."""
        self._viewers += 1
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(PATIENCE):
                    request = await trio_websocket.wrap_server_stream(nursery, stream)
                    viewer = await request.accept()
                nursery.start_soon(discard_messages, viewer)  # sees it leave
                change = -1
                while True:
                    await self._board.wait_beyond(change)
                    change, news = self._board.change, self._board.news_since(change)
                    with trio.fail_after(PATIENCE):
                        await viewer.send_message(news)  # waits as long as the viewer is slow
                    await trio.sleep(PAUSE)
        finally:
            self._viewers -= 1


async def next_request(stream: trio.SocketStream) -> tuple[h11.Request, bytes]:
    """Read a request; h11 bounds how long it may be."""
    connection = h11.Connection(h11.SERVER)
    data = b""
    while True:
        received = await stream.receive_some()
        data += received
        connection.receive_data(received)
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event, data
        if event is not h11.NEED_DATA:
            raise trio.BrokenResourceError("the browser has closed the connection")


def response(status: HTTPStatus) -> bytes:
    """A response, after which the connection ends: the page, or that there is none."""
    body = PAGE.read_bytes() if status is HTTPStatus.OK else status.phrase.encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: text/{'html' if status is HTTPStatus.OK else 'plain'}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Content-Security-Policy: default-src 'self' 'unsafe-inline'",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def discard_messages(viewer: trio_websocket.WebSocketConnection) -> None:
    """Read what the page sends, which is nothing; raises ConnectionClosed when it is closed."""
    while True:
        await viewer.get_message()


# -- running it ----------------------------------------------------------------------------------


async def main(options: argparse.Namespace) -> None:
    """Show what comes, until a signal."""
    board = Board()
    reconnect = trio_mqtt.Reconnect(initial="background", max_delay=15)
    listeners = await trio.open_tcp_listeners(options.port, host="127.0.0.1")
    port: int = listeners[0].socket.getsockname()[1]
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            trio_mqtt.open_client(
                options.url, reconnect=reconnect, maximum_packet_size=LARGEST_PACKET
            ) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(watch, board, client)
            nursery.start_soon(fill, board, client, options.filter)
            nursery.start_soon(trio.serve_listeners, Site(board, port).handle, listeners)
            print(f"open http://127.0.0.1:{port}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    url = os.environ.get("MQTT_URL", "mqtt://localhost:1883")
    parser.add_argument("url", nargs="?", default=url, help="the server")
    parser.add_argument("--filter", nargs="+", default=["#"], help="what to show")
    parser.add_argument("--port", type=int, default=8000, help="where the page is; 0 for any")
    return parser.parse_args()


if __name__ == "__main__":
    status: int | str = 0
    try:
        trio.run(main, parse())
    except* KeyboardInterrupt:
        status = 130  # the first Ctrl-C ends it well; this one came behind it
    except* (trio_mqtt.MQTTError, OSError) as failures:  # alone, or in a group of the nursery
        status = f"the dashboard has failed: {failures.exceptions[0]}"
    sys.exit(status)
