"""The dashboard serves its page, and feeds it with what is published."""

from __future__ import annotations

import json
import re
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypedDict, cast

import pytest
import trio
import trio_websocket

import trio_mqtt
from tests.examples.programs import LONGEST_RUN, Running, output_of, running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt.testing import FaultyNetwork, Server

MANY: Final = 2000


class Row(TypedDict):
    """What a page is told of a topic."""

    text: str
    count: int
    curve: list[float]


class News(TypedDict):
    """What a page is told."""

    state: str
    messages: int
    rows: dict[str, Row]


class Viewer:
    """What a page would know."""

    def __init__(self, feed: trio_websocket.WebSocketConnection) -> None:
        self.rows: dict[str, Row] = {}
        self.state = ""
        self.updates = 0
        self._feed = feed

    async def sees(self, topic: str, text: str) -> Row:
        """Read on until the topic has this value."""
        with trio.fail_after(LONGEST_RUN):
            while topic not in self.rows or self.rows[topic]["text"] != text:
                await self._update()
        return self.rows[topic]

    async def sees_state(self, pattern: str) -> None:
        """Read on until the state is such."""
        with trio.fail_after(LONGEST_RUN):
            while not re.search(pattern, self.state):
                await self._update()

    async def _update(self) -> None:
        news = cast("News", json.loads(await self._feed.get_message()))
        self.rows |= news["rows"]
        self.state = news["state"]
        self.updates += 1


@asynccontextmanager
async def open_viewer(port: int) -> AsyncGenerator[Viewer]:
    async with trio_websocket.open_websocket(
        "127.0.0.1", port, "/feed", use_ssl=False, message_queue_size=0
    ) as feed:
        yield Viewer(feed)


async def started(dashboard: Running) -> int:
    """Wait until it serves its page; returns the port."""
    return int((await dashboard.says(r"open http://127\.0\.0\.1:(\d+)"))[1])


async def subscribed(server: Server) -> None:
    """Wait until the dashboard has subscribed."""
    await server.wait_until(lambda: any(each.subscriptions for each in server.sessions.values()))


async def answer_to(port: int, request: str) -> str:
    """What the dashboard answers to a request of HTTP, whole."""
    with trio.fail_after(LONGEST_RUN):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            answer = b""
            with suppress(trio.BrokenResourceError):  # it need not read what it does not want
                await stream.send_all(request.replace("\n", "\r\n").encode())
                async for data in stream:
                    answer += data
    return answer.decode()


async def test_what_is_too_large_to_look_at_is_left_out(server: Server, url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        running("dashboard.py", url, "--port", "0") as dashboard,
    ):
        port = await started(dashboard)
        await subscribed(server)
        async with open_viewer(port) as viewer:
            await client.publish("plant/picture", bytes(300_000), qos=1)
            await client.publish("plant/temperature", "20.5", qos=1)
            await viewer.sees("plant/temperature", "20.5")
            assert "plant/picture" not in viewer.rows
            assert viewer.state == f"connected to {url}"


async def test_viewers_see_what_is_published(server: Server, url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        running("dashboard.py", url, "--port", "0") as dashboard,
    ):
        port = await started(dashboard)
        await server.wait_until(
            lambda: any(each.subscriptions for each in server.sessions.values())
        )
        page = await answer_to(port, f"GET / HTTP/1.1\nHost: 127.0.0.1:{port}\n\n")
        assert page.startswith("HTTP/1.1 200 OK\r\n")
        assert "<title>Dashboard</title>" in page
        assert "/feed" in page
        assert not re.search(r"(src|href)=.?https?:|@import", page)  # nothing from elsewhere

        async with open_viewer(port) as first:
            await first.sees_state(f"^connected to {url}$")
            for value in ("20.5", "21"):
                await client.publish("plant/temperature", value)
                await first.sees("plant/temperature", value)
            await client.publish("plant/temperature", "cold")
            row = await first.sees("plant/temperature", "cold")
            assert row["curve"] == [20.5, 21.0]
            assert row["count"] == 3
            await client.publish("plant/humidity", '{"value": 48.5, "unit": "%"}')
            assert (await first.sees("plant/humidity", "48.5 %"))["curve"] == [48.5]
            for odd in (b"\xff", b"NaN", b"9" * 400, b'{"value": [1]}', b"[" * 100_000, b""):
                await client.publish("plant/odd", odd)
            await client.publish("plant/odd", "the end")
            assert (await first.sees("plant/odd", "the end"))["curve"] == []

            async with open_viewer(port) as second:
                row = await second.sees("plant/temperature", "cold")
                assert (row["curve"], second.updates) == ([20.5, 21.0], 1)
        assert await dashboard.ends(signal.SIGINT) == 0


async def test_a_slow_viewer_holds_nobody_up(server: Server, url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        running("dashboard.py", url, "--port", "0") as dashboard,
    ):
        port = await started(dashboard)
        await server.wait_until(
            lambda: any(each.subscriptions for each in server.sessions.values())
        )
        async with open_viewer(port) as slow, open_viewer(port) as quick:
            await client.publish("plant/1", "first")
            await slow.sees("plant/1", "first")
            async with client.open_publisher(qos=1) as publisher:
                for number in range(MANY):
                    await publisher.send(f"plant/{number % 100}", f"{number} {1000 * 'x'}")
                await publisher.send("plant/last", "last")
            await quick.sees("plant/last", "last")
            before = slow.updates
            await slow.sees("plant/last", "last")
            assert slow.updates - before < 10
            assert slow.rows["plant/99"]["text"].startswith(f"{MANY - 1} ")
            assert slow.rows["plant/99"]["count"] == MANY // 100
        assert await dashboard.ends(signal.SIGTERM) == 0


async def test_it_shows_that_the_server_is_away(far_url: str, network: FaultyNetwork) -> None:
    network.down()
    async with running("dashboard.py", far_url, "--port", "0") as dashboard:
        async with open_viewer(await started(dashboard)) as viewer:
            await viewer.sees_state("^connecting$")
            network.up()
            await viewer.sees_state("^connected")
            network.down()
            await viewer.sees_state("broke")
        assert await dashboard.ends(signal.SIGINT) == 0


async def test_it_says_that_it_may_not_subscribe(server: Server, url: str) -> None:
    server.authorize_subscribe = lambda _client_id, _request: trio_mqtt.ReasonCode.NOT_AUTHORIZED
    output = await output_of("dashboard.py", url, "--port", "0", status=1)
    assert "the dashboard has failed: " in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        ("GET / HTTP/1.1", "localhost:{port}", 200),
        ("GET /secret HTTP/1.1", "127.0.0.1:{port}", 404),
        ("GET / HTTP/1.1", "attacker.example:{port}", 403),
        ("GET /feed HTTP/1.1", "127.0.0.1:{port}", 404),
        (
            "GET /feed HTTP/1.1\nUpgrade: websocket\nOrigin: http://attacker.example",
            "127.0.0.1:{port}",
            403,
        ),
    ],
)
async def test_what_is_asked_for(url: str, request_line: str, host: str, status: int) -> None:
    async with running("dashboard.py", url, "--port", "0") as dashboard:
        port = await started(dashboard)
        head = f"{request_line}\nHost: {host.format(port=port)}\n\n"
        assert (await answer_to(port, head)).startswith(f"HTTP/1.1 {status} ")


async def test_what_is_no_browser_ends_nothing(url: str) -> None:
    async with running("dashboard.py", url, "--port", "0") as dashboard:
        port = await started(dashboard)
        assert await answer_to(port, "\x16\x03\x01\n\n") == ""
        assert await answer_to(port, f"GET /{100_000 * 'x'}") == ""
        async with await trio.open_tcp_stream("127.0.0.1", port):
            pass
        odd = f"Host: 127.0.0.1:{port}\nUpgrade: websocket\nSec-WebSocket-Protocol: ü"
        assert await answer_to(port, f"GET /feed HTTP/1.1\n{odd}\n\n") == ""
        async with open_viewer(port) as viewer:
            await viewer.sees_state("^connected")
        assert await dashboard.ends(signal.SIGINT) == 0
