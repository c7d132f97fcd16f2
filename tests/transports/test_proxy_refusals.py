"""What goes wrong with a proxy, and how it is told."""

from __future__ import annotations

import socket
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.servers import free_port
from tests.transports.proxies import (
    PASSWORD,
    QUOTED,
    SERVER,
    USERNAME,
    Proxy,
    open_test_proxy,
    receive,
    until_closed,
)
from tests.transports.support import LONG, failure_of, listen
from tests.transports.test_stages import hang
from trio_mqtt._transports.proxies import HTTP_ADVICE, SOCKS_ADVICE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

each_kind = pytest.mark.parametrize("kind", ["socks5", "socks5h", "http"])

WANTS: Final = {"credentials": (USERNAME, PASSWORD)}
FORBIDS: Final = {"forbidden": frozenset({"127.0.0.1"})}
METHODS: Final = b"\x05\x00"
BOUND: Final = bytes(6)


def check(failure: trio_mqtt.ConnectFailed, server: str, proxy: str, words: str) -> None:
    """An error names both, says the stage, has its cause, and has no secrets."""
    text = str(failure)
    assert text.startswith(f"cannot connect to {server} through the proxy {proxy}: ")
    assert words in text
    assert "; " in text  # and what to do
    assert failure.stage == "connect"
    assert failure.__cause__ is not None
    for secret in (PASSWORD, QUOTED, "bad%2Fword", "bad/word"):
        assert secret not in "".join(traceback.format_exception(failure))


@pytest.mark.parametrize("drips", [False, True])
@pytest.mark.parametrize(
    ("kind", "has", "userinfo", "words"),
    [
        ("socks5", WANTS, "me:bad%2Fword", "password authentication failure); it wants a user na"),
        ("socks5h", WANTS, "me:bad%2Fword", "password authentication failure); it wants a user"),
        ("http", WANTS, "me:bad%2Fword", "HTTP status 407; it wants a user name and a password"),
        ("socks5", WANTS, "", "authentication methods were offered); it wants a user name and"),
        ("http", WANTS, "", "HTTP status 407; it wants a user name and a password"),
        ("socks5", FORBIDS, QUOTED, "reply 2 (Connection not allowed by ruleset); it does not all"),
        ("http", FORBIDS, QUOTED, "HTTP status 403; it does not allow that; have its rules"),
        ("socks5", {}, QUOTED, "reply 5 (Connection refused by destination host); the server ref"),
        ("http", {}, QUOTED, "HTTP status 502; it cannot reach the server; check"),
    ],
)
async def test_a_proxy_that_refuses_is_named(
    kind: str, has: dict[str, Any], userinfo: str, words: str, *, drips: bool
) -> None:
    proxy = Proxy("http" if kind == "http" else "socks5", drips=drips, **has)
    server = f"mqtts://127.0.0.1:{free_port()}"
    async with open_test_proxy(proxy):
        failure = await failure_of(server, proxy=proxy.url(scheme=kind, userinfo=userinfo))
    check(failure, server, proxy.url(scheme=kind), words)


async def failure_with_answers(
    kind: str, answers: Sequence[bytes], *, ending: str = "close"
) -> tuple[str, trio_mqtt.ConnectFailed]:
    """Connect through a proxy that answers each piece that comes with the next of these."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            for answer in answers:
                await receive(stream, 1)
                await stream.send_all(answer)
            if ending == "close":
                with trio.fail_after(LONG):
                    with suppress(trio.BrokenResourceError):
                        await stream.send_eof()
                    await until_closed(stream)
            else:
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with listen(serve) as port:
        url = f"{kind}://127.0.0.1:{port}"
        failure = await failure_of("mqtt://127.0.0.1:1", proxy=url.replace("//", f"//{QUOTED}@"))
    return url, failure


@pytest.mark.parametrize("status", [*HTTP_ADVICE, 201, 301, 418, 999])
async def test_what_each_http_status_means(status: int) -> None:
    answer = f"HTTP/1.1 {status} \x1b[31m\u2028\r\nLocation: http://secret/word\r\n\r\n".encode()
    url, failure = await failure_with_answers("http", [answer])
    check(failure, "mqtt://127.0.0.1:1", url, f"HTTP status {status}; ")
    assert HTTP_ADVICE.get(status, "its log") in str(failure)
    assert str(failure).isascii()
    assert str(failure).isprintable()


@pytest.mark.parametrize("reply", SOCKS_ADVICE)
async def test_what_each_reply_of_socks_means(reply: int) -> None:
    answers = [METHODS, bytes([5, reply, 0, 1]) + BOUND]
    url, failure = await failure_with_answers("socks5", answers)
    check(failure, "mqtt://127.0.0.1:1", url, f"the proxy refused with reply {reply} (")
    assert SOCKS_ADVICE[reply] in str(failure)


ODD: Final[list[tuple[str, list[bytes], str]]] = [
    ("http", [b""], "closed the connection without an answer; check its kind and its port"),
    ("http", [b"HTTP/1.1 200 OK\r\n"], "closed the connection in the middle of an answer; check"),
    ("http", [b"HTTP/1.1 200 OK\r\nA: b\r\n"], "in the middle of an answer"),
    ("http", [b"HTTP/1.1\r\n\r\n"], "is not HTTP (Invalid status line"),
    ("http", [b"HTTP/1.1 yes\r\n\r\n"], "is not HTTP (Invalid status code"),
    ("http", [b"HTTP/1.1 " + b"A" * 5000 + b"\r\n\r\n"], "is not HTTP (Invalid status code: AAA"),
    ("http", [b"HTTP/1.1 \xff\x00\x1b\r\n\r\n"], "is not HTTP (Invalid status code: \\"),
    ("http", [b"SSH-2.0-OpenSSH\r\n"], "is not HTTP (it begins with S); check its kind and"),
    ("http", [b"\x05\xff"], "is not HTTP (it begins with \\x05)"),
    ("http", [b"HTTPS/1.1 200 OK\r\n\r\n"], "is not HTTP (it begins with HTTPS)"),
    ("http", [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 3000], "it has more than 16384 bytes"),
    ("http", [b"HTTP/1.1 200 " + b"A" * 17_000], "it has more than 16384 bytes"),
    ("socks5", [b""], "closed the connection without an answer; check its kind and its port"),
    ("socks5", [b"\x05"], "closed the connection in the middle of an answer; check"),
    ("socks5", [METHODS, b"\x05\x00\x00"], "in the middle of an answer"),
    ("socks5", [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "is not SOCKS5 (Unexpected SOCKS version"),
    ("socks5", [b"\x05\x01"], "the proxy refused (Unexpected SOCKS authentication method"),
    ("socks5", [b"\x05\x77"], "the proxy refused (Invalid authentication method"),
    ("socks5", [b"\x05\x02", b"\x05\x00"], "the proxy refused (Invalid authentication response"),
    ("socks5", [METHODS, b"\x04\x00\x00\x01" + BOUND], "is not SOCKS5 (Unexpected SOCKS version"),
    ("socks5", [METHODS, b"\x05\x77\x00\x01" + BOUND], "is not SOCKS5 (Invalid reply code"),
    ("socks5", [METHODS, b"\x05\x00\x09\x01" + BOUND], "is not SOCKS5 (The reserved byte"),
    ("socks5", [METHODS, b"\x05\x00\x00\x09" + BOUND], "is not SOCKS5 (Invalid address type"),
    ("socks5", [METHODS, b"\x05\x00\x00\x03\x01\xff\x00\x00"], "is not SOCKS5 ('utf-8' codec"),
]


@pytest.mark.parametrize(("kind", "answers", "words"), ODD)
async def test_an_odd_answer(kind: str, answers: list[bytes], words: str) -> None:
    url, failure = await failure_with_answers(kind, answers)
    check(failure, "mqtt://127.0.0.1:1", url, words)
    assert len(str(failure)) < 400
    assert str(failure).isascii()
    assert str(failure).isprintable()


@each_kind
async def test_a_proxy_that_breaks_the_connection(kind: str) -> None:
    url, failure = await failure_with_answers(kind, [b""], ending="reset")
    check(failure, "mqtt://127.0.0.1:1", url, "the connection to the proxy broke (")


@each_kind
async def test_a_proxy_that_is_not_there(kind: str) -> None:
    place = f"127.0.0.1:{free_port()}"
    failure = await failure_of("wss://127.0.0.1", proxy=f"{kind}://{QUOTED}@{place}")
    check(failure, "wss://127.0.0.1:443/mqtt", f"{kind}://{place}", "connection refused")
    assert "that the proxy runs" in str(failure)


class NoNames(trio.abc.HostnameResolver):
    """A name service that knows nobody."""

    async def getaddrinfo(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "nobody knows")

    async def getnameinfo(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError


@each_kind
async def test_a_proxy_whose_name_is_not_known(kind: str) -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    failure = await failure_of("mqtt://127.0.0.1:1", proxy=f"{kind}://{QUOTED}@proxy.test:1")
    assert str(failure).startswith(
        f"cannot connect to mqtt://127.0.0.1:1 through the proxy {kind}://proxy.test:1: "
        "the host name 'proxy.test' is not known (nobody knows); "
    )
    assert failure.stage == "resolve"
    assert isinstance(failure.__cause__, socket.gaierror)


async def test_a_server_whose_name_is_not_known_here() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    failure = await failure_of(f"mqtt://{SERVER}:1", proxy="socks5://127.0.0.1:1")
    assert f"the host name '{SERVER}' is not known" in str(failure)
    assert "through the proxy socks5://127.0.0.1:1" in str(failure)
    assert failure.stage == "resolve"


@each_kind
@pytest.mark.parametrize("host", ["a..b", "a" * 64, ".".join(["a" * 60] * 5)])
async def test_a_server_whose_name_is_none(kind: str, host: str) -> None:
    proxy = Proxy("http" if kind == "http" else "socks5")
    async with open_test_proxy(proxy):
        failure = await failure_of(f"mqtt://{host}:1", proxy=proxy.url(scheme=kind))
    assert proxy.asked == []
    assert f"'{host}'" in str(failure)
    assert failure.stage == "resolve"


@pytest.mark.parametrize("answers", [[], [METHODS]])
@each_kind
async def test_a_proxy_that_hangs_is_named(
    kind: str, answers: list[bytes], mock_clock: MockClock
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            for answer in answers if kind != "http" else [b"HTTP/1.1 200 OK\r\n"] * len(answers):
                await receive(stream, 1)
                await stream.send_all(answer)
            await receive(stream, 1)
            mock_clock.jump(3)
            await until_closed(stream)

    async with listen(serve) as port:
        proxy = f"{kind}://127.0.0.1:{port}"
        with pytest.raises(trio_mqtt.ConnectFailed) as caught:
            async with open_once("wss://127.0.0.1", proxy=proxy, connect_timeout=3):
                raise AssertionError("not reached")
    assert f"wss://127.0.0.1:443/mqtt: the proxy {proxy} did not answer within 3 s" in str(
        caught.value
    )
    assert caught.value.stage == "connect"


@each_kind
async def test_a_proxy_that_cannot_be_reached_is_named(
    kind: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio, "open_tcp_stream", hang)
    proxy = f"{kind}://127.0.0.1:1"
    with pytest.raises(trio_mqtt.ConnectFailed, match=f"the proxy {proxy} was not reached within"):
        async with open_once("mqtt://127.0.0.1", proxy=proxy):
            raise AssertionError("not reached")


async def test_what_hangs_behind_the_proxy_is_not_the_proxy(mock_clock: MockClock) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await receive(stream, 1)
            mock_clock.jump(3)
            await until_closed(stream)

    proxy = Proxy("http")
    async with listen(serve) as port, open_test_proxy(proxy):
        url = f"mqtt://127.0.0.1:{port}"
        with pytest.raises(trio_mqtt.ConnectFailed, match="the server did not answer") as caught:
            async with open_once(url, proxy=proxy.url(), connect_timeout=3):
                raise AssertionError("not reached")
    assert caught.value.stage == "CONNECT"


@each_kind
async def test_cancelled_the_connection_is_closed(kind: str) -> None:
    cancel_scope = trio.CancelScope()
    closed = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await receive(stream, 3)
            cancel_scope.cancel()
            await until_closed(stream)
        closed.set()

    async with listen(serve) as port:
        with trio.fail_after(LONG):
            with cancel_scope:
                async with open_once("mqtt://127.0.0.1:1", proxy=f"{kind}://127.0.0.1:{port}"):
                    raise AssertionError("not reached")
            assert cancel_scope.cancelled_caught
            await closed.wait()


async def test_refused_the_connection_is_closed() -> None:
    closed = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await receive(stream, 3)
            await stream.send_all(b"HTTP/1.1 403 No\r\n\r\n")
            await until_closed(stream)
        closed.set()

    async with listen(serve) as port:
        await failure_of("mqtt://127.0.0.1:1", proxy=f"http://127.0.0.1:{port}")
        with trio.fail_after(LONG):
            await closed.wait()
