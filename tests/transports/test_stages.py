"""How far an attempt has come: in the log, in errors and in timeouts; and how WebSocket joins."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.transports.support import (
    client_context,
    demanding_context,
    open_tls_server,
)
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt._transports.url import ServerAddress


class Resolver(trio.abc.HostnameResolver):
    """A name service that knows one name, or is silent."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent

    async def getaddrinfo(self, host: Any, port: Any, *_args: Any, **_kwargs: Any) -> Any:
        if self._silent:
            await trio.sleep_forever()
        assert host == b"server.test"
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.2", port)),
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)),
        ]

    async def getnameinfo(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError


async def hang(*_arguments: object) -> Any:
    await trio.sleep_forever()


async def test_a_name_with_several_addresses(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mqtt")
    trio.socket.set_custom_hostname_resolver(Resolver())
    async with open_server(port=0) as server:
        assert server.url is not None
        url = server.url.replace("127.0.0.1", "server.test")
        async with open_once(url.replace("//", "//me:secret@")):
            pass
    steps = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert steps == [
        f"{url}: resolve: looking up 'server.test'",
        f"{url}: resolve: found 127.0.0.2, 127.0.0.1",
        f"{url}: connect: connecting to port {url.rpartition(':')[2]}",
        f"{url}: connect: connected to 127.0.0.1",
        f"{url}: CONNECT: saying MQTT 5.0",
    ]


async def test_an_ipv6_address() -> None:
    async with open_server() as server:
        listeners = await trio.open_tcp_listeners(0, host="::1")
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, server.serve, listeners)
            async with open_once(f"mqtt://[::1]:{port}") as client:
                assert f"mqtt://[::1]:{port}" in repr(client)
            nursery.cancel_scope.cancel()


async def test_a_silent_name_service_is_named(autojump_clock: MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(silent=True))
    with pytest.raises(trio_mqtt.ConnectFailed, match="the name service did not answer") as caught:
        async with open_once("mqtt://server.test"):
            raise AssertionError("not reached")
    assert caught.value.stage == "resolve"


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "wss"])
async def test_a_silent_network_is_named(
    scheme: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio, "open_tcp_stream", hang)
    with pytest.raises(trio_mqtt.ConnectFailed, match="no connection was made") as caught:
        async with open_once(f"{scheme}://127.0.0.1"):
            raise AssertionError("not reached")
    assert caught.value.stage == "connect"


async def test_credentials_that_hang_are_of_the_first_stage(autojump_clock: MockClock) -> None:
    with pytest.raises(trio_mqtt.ConnectFailed, match="no connection was made") as caught:
        async with open_once("mqtt://127.0.0.1", credentials=hang):
            raise AssertionError("not reached")
    assert caught.value.stage == "connect"


@pytest.mark.parametrize(
    ("argument", "stage"), [("ssl_context", "TLS"), ("websocket_headers", "WebSocket")]
)
async def test_a_callable_that_hangs_is_named(
    argument: str, stage: str, autojump_clock: MockClock
) -> None:
    arguments: dict[str, Any] = {argument: hang}
    with pytest.raises(trio_mqtt.ConnectFailed, match=f"the {stage} handshake was not") as caught:
        async with open_once("wss://127.0.0.1", **arguments):
            raise AssertionError("not reached")
    assert caught.value.stage == stage


class FakeWebSocket:
    """In place of the real one: adds nothing to the stream.

    Attributes:
        asked: target and headers, of each connection.
        handshake: whether to expect the bytes of an answer first.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.handshake = False

    @asynccontextmanager
    async def open(
        self, stream: trio.abc.Stream, address: ServerAddress, *, headers: object
    ) -> AsyncGenerator[trio.abc.Stream]:
        self.asked.append((address.target, headers))
        if self.handshake:
            try:
                await stream.receive_some()
            except trio.BrokenResourceError as error:
                raise trio_mqtt.ConnectFailed("no answer", stage="WebSocket") from error
            raise trio_mqtt.ConnectFailed("no WebSocket", stage="WebSocket")
        yield stream


@pytest.fixture
def websocket(monkeypatch: pytest.MonkeyPatch) -> FakeWebSocket:
    """The one that is used."""
    fake = FakeWebSocket()
    module = ModuleType("websocket")
    vars(module).update(open_websocket=fake.open, check_headers=list)
    monkeypatch.setitem(sys.modules, "trio_mqtt._transports.websocket", module)
    return fake


HEADERS: Final = [("Authorization", "Bearer secret")]


async def make_headers() -> list[tuple[str, str]]:
    return HEADERS


@pytest.mark.parametrize("headers", [HEADERS, make_headers])
async def test_websocket_gets_target_and_headers(
    headers: Any, websocket: FakeWebSocket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_mqtt")
    async with open_server(port=0) as server:
        assert server.url is not None
        url = server.url.replace("mqtt://", "ws://") + "/path?signature=secret"
        async with open_once(url, websocket_headers=headers) as client:
            await client.publish("a", qos=1)
    assert websocket.asked == [("/path?signature=secret", HEADERS)]
    assert "WebSocket: asking for /path" in caplog.text
    assert "secret" not in caplog.text


async def test_websocket_over_tls(websocket: FakeWebSocket) -> None:
    async with open_tls_server() as tls:
        url = f"wss://127.0.0.1:{tls.port}"
        async with open_once(url, ssl_context=client_context()) as client:
            await client.publish("a", qos=1)
            assert repr(url + "/mqtt")[1:-1] in repr(client)
    assert websocket.asked == [("/mqtt", ())]


async def test_a_refusal_of_tls_is_told_before_what_websocket_makes_of_it(
    websocket: FakeWebSocket,
) -> None:
    websocket.handshake = True
    async with open_tls_server(demanding_context()) as tls:
        with pytest.raises(trio_mqtt.ConnectFailed, match="client certificate") as caught:
            async with open_once(f"wss://127.0.0.1:{tls.port}", ssl_context=client_context()):
                raise AssertionError("not reached")
    assert caught.value.stage == "TLS"


async def test_a_failure_of_websocket_over_tls(websocket: FakeWebSocket) -> None:
    websocket.handshake = True
    async with open_tls_server() as tls:
        tls.server.accepting = False
        with pytest.raises(trio_mqtt.ConnectFailed) as caught:
            async with open_once(f"wss://127.0.0.1:{tls.port}", ssl_context=client_context()):
                raise AssertionError("not reached")
    assert caught.value.stage == "WebSocket"


async def test_headers_that_cannot_be_made(websocket: FakeWebSocket) -> None:
    async def fail() -> list[tuple[str, str]]:
        raise OSError("no token")

    with pytest.raises(
        trio_mqtt.ConnectFailed, match="`websocket_headers` failed: no tok"
    ) as caught:
        async with open_once("ws://127.0.0.1", websocket_headers=fail):
            raise AssertionError("not reached")
    assert caught.value.stage == "WebSocket"
    assert websocket.asked == []
