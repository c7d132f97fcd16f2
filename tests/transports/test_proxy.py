"""Through a proxy: each transport by each kind, names, and connections made again."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.transports.proxies import (
    PASSWORD,
    QUOTED,
    SERVER,
    USERNAME,
    Proxy,
    clear_environment,
    open_test_proxy,
    until_closed,
)
from tests.transports.support import (
    CA,
    LONG,
    client_context,
    failure_of,
    listen,
    open_tls_server,
    server_context,
)
from tests.transports.test_stages import Resolver
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RealServer

SOON: Final = trio_mqtt.Reconnect(delay=0.001)
SCHEMES: Final = ("socks5", "socks5h", "http")

each_kind = pytest.mark.parametrize("kind", ["socks5", "http"])
each_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def proxy_for(scheme: str, **more: Any) -> Proxy:
    return Proxy("http" if scheme == "http" else "socks5", **more)


@pytest.mark.parametrize("credentials", [None, (USERNAME, PASSWORD)])
@pytest.mark.parametrize("drips", [False, True])
@pytest.mark.parametrize(
    ("transport", "listener"), [("mqtt", None), ("mqtts", 1), ("ws", 2), ("wss", 3)]
)
@each_scheme
async def test_mosquitto_by_each_way(
    scheme: str,
    transport: str,
    listener: int | None,
    drips: bool,
    credentials: tuple[str, str] | None,
    mosquitto_with_tls: tuple[Path, RealServer],
) -> None:
    directory, server = mosquitto_with_tls
    port = server.port if listener is None else server.more_ports[listener]
    context = None
    if transport in {"mqtts", "wss"}:
        context = trio_mqtt.make_ssl_context(
            ca_file=directory / "ca.pem", certificate=directory / "client.pem"
        )
    payload = bytes(1_000 if transport in {"ws", "wss"} else 1_000_000)
    topic = f"{scheme}/{transport}"
    proxy = proxy_for(scheme, credentials=credentials, drips=drips)
    with trio.fail_after(LONG):
        async with open_test_proxy(proxy):
            url = proxy.url(scheme=scheme, userinfo=QUOTED if credentials else "")
            async with (
                open_once(
                    f"{transport}://127.0.0.1:{port}", proxy=url, ssl_context=context
                ) as client,
                client.subscribe(topic, qos=2) as messages,
            ):
                await client.publish(topic, payload, qos=2)
                assert (await messages.receive()).payload == payload
    assert proxy.asked == [("127.0.0.1", port)]


@each_kind
async def test_credentials_are_of_utf_8_and_ascii_characters(kind: str) -> None:
    username, password = ("m\u00e9", "p@ss:\u20ac") if kind == "http" else ("m e", "p@ss:w%")
    quoted = "m%C3%A9:p%40ss%3A%E2%82%AC" if kind == "http" else "m%20e:p%40ss%3Aw%25"
    proxy = Proxy(kind, credentials=(username, password))
    with trio.fail_after(LONG):
        async with open_server(port=0) as server, open_test_proxy(proxy):
            assert server.url is not None
            async with open_once(server.url, proxy=proxy.url(userinfo=quoted)):
                pass


@each_scheme
async def test_an_ipv6_address(scheme: str) -> None:
    proxy = proxy_for(scheme)
    async with open_server() as server, open_test_proxy(proxy), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="::1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        with trio.fail_after(LONG):
            async with open_once(f"mqtt://[::1]:{port}", proxy=proxy.url(scheme=scheme)):
                pass
        nursery.cancel_scope.cancel()
    assert proxy.asked == [("::1", port)]


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
async def test_the_proxy_looks_the_name_up(scheme: str) -> None:
    proxy = proxy_for(scheme)
    async with open_tls_server(server_context(CA.issue_cert(SERVER))) as tls:
        url = f"mqtts://{SERVER}:{tls.port}"
        with trio.fail_after(LONG):
            async with (
                open_test_proxy(proxy),
                open_once(url, proxy=proxy.url(scheme=scheme), ssl_context=client_context()),
            ):
                pass
        assert proxy.asked == [(SERVER, tls.port)]


async def test_this_machine_looks_the_name_up_and_tries_each_address() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    proxy = Proxy("socks5")
    async with open_server(port=0) as server, open_test_proxy(proxy):
        assert server.url is not None
        port = int(server.url.rpartition(":")[2])
        with trio.fail_after(LONG):
            async with open_once(f"mqtt://{SERVER}:{port}", proxy=proxy.url()):
                pass
    assert proxy.asked == [("127.0.0.2", port), ("127.0.0.1", port)]


async def test_what_the_rules_forbid_is_not_tried_by_another_address() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    proxy = Proxy("socks5", forbidden=frozenset({"127.0.0.2"}))
    async with open_test_proxy(proxy):
        failure = await failure_of(f"mqtt://{SERVER}:1", proxy=proxy.url())
    assert "rules" in str(failure)
    assert proxy.asked == [("127.0.0.2", 1)]


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
async def test_a_name_beyond_ascii_is_asked_for_in_ascii(scheme: str) -> None:
    proxy = proxy_for(scheme, forbidden=frozenset({"xn--bro-hoa.test"}))
    async with open_test_proxy(proxy):
        await failure_of("mqtt://b\u00fcro.test:1", proxy=proxy.url(scheme=scheme))
    assert proxy.asked == [("xn--bro-hoa.test", 1)]


@each_scheme
async def test_a_zone_stays_here(scheme: str) -> None:
    proxy = proxy_for(scheme, forbidden=frozenset({"fe80::1"}))
    async with open_test_proxy(proxy):
        await failure_of("mqtt://[fe80::1%25lo]:1", proxy=proxy.url(scheme=scheme))
    assert proxy.asked == [("fe80::1", 1)]


async def test_a_refused_certificate_is_looked_at_through_the_proxy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "trio_mqtt")
    proxy = Proxy("http")
    async with (
        open_tls_server(server_context(CA.issue_cert("one.test"))) as tls,
        open_test_proxy(proxy),
    ):
        failure = await failure_of(
            f"mqtts://{SERVER}:{tls.port}", proxy=proxy.url(), ssl_context=client_context()
        )
    assert "is for another host name (it is for one.test)" in str(failure)
    assert failure.stage == "TLS"
    assert proxy.asked == [(SERVER, tls.port)] * 2
    assert caplog.text.count("asking the proxy") == 1  # the look is no stage


@each_kind
async def test_a_lost_connection_is_made_again_through_the_proxy(kind: str) -> None:
    proxy = Proxy(kind, cuts=[6000])
    async with open_server(port=0) as server, open_test_proxy(proxy):
        assert server.url is not None
        with trio.fail_after(LONG):
            async with (
                trio_mqtt.open_client(server.url, proxy=proxy.url(), reconnect=SOON) as client,
                client.subscribe("a", qos=1) as messages,
            ):
                await client.publish("a", bytes(8000), qos=1)
                assert len((await messages.receive()).payload) == 8000
                assert client.statistics().connections == 2
        assert len(proxy.asked) == 2


@each_kind
async def test_what_comes_right_behind_the_answer_is_not_lost(kind: str) -> None:
    answers = {
        "http": [b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"],
        "socks5": [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6)],
    }

    async def serve(stream: trio.SocketStream) -> None:
        *first, last = answers[kind]
        async with stream:
            for answer in first:
                await stream.receive_some()
                await stream.send_all(answer)
            await stream.receive_some()
            await stream.send_all(last + b"\x20\x03\x00\x00\x00")  # CONNACK, in one piece with it
            await until_closed(stream)

    async with listen(serve) as port:
        with trio.fail_after(LONG):
            async with open_once("mqtt://127.0.0.1:1", proxy=f"{kind}://127.0.0.1:{port}"):
                pass


async def test_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy("socks5")
    async with open_server(port=0) as server, open_test_proxy(proxy):
        assert server.url is not None
        clear_environment(monkeypatch)
        monkeypatch.setenv("all_proxy", proxy.url())
        with trio.fail_after(LONG):
            async with open_once(server.url):
                pass
            assert proxy.asked == []
            async with open_once(server.url, proxy="environment"):
                pass
            assert len(proxy.asked) == 1
            monkeypatch.setenv("no_proxy", "127.0.0.0/8")
            async with open_once(server.url, proxy="environment"):
                pass
            assert len(proxy.asked) == 1


async def test_each_stage_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mqtt")
    trio.socket.set_custom_hostname_resolver(Resolver())
    proxy = Proxy("socks5", credentials=(USERNAME, PASSWORD))
    async with open_server(port=0) as server, open_test_proxy(proxy):
        assert server.url is not None
        port = server.url.rpartition(":")[2]
        url = f"mqtt://{SERVER}:{port}"
        with trio.fail_after(LONG):
            async with open_once(url, proxy=proxy.url(userinfo=QUOTED)) as client:
                assert "secret" not in repr(client)
    steps = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    ask = [
        f"{url}: connect: connecting to the proxy '127.0.0.1', port {proxy.port}",
        f"{url}: connect: connected to 127.0.0.1",
    ]
    assert steps == [
        f"{url}: resolve: looking up '{SERVER}'",
        f"{url}: resolve: found 127.0.0.2, 127.0.0.1",
        *ask,
        f"{url}: connect: asking the proxy for 127.0.0.2:{port}",
        f"{url}: connect: 127.0.0.2 is not to be reached through the proxy; trying another address",
        *ask,
        f"{url}: connect: asking the proxy for 127.0.0.1:{port}",
        f"{url}: connect: the proxy has connected",
        f"{url}: CONNECT: saying MQTT 5.0",
    ]
    assert "secret" not in caplog.text


async def a_url() -> str:
    return "mqtt://127.0.0.1:1"


def not_asked() -> NoReturn:
    raise AssertionError


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"url": "mqtt+unix:///p", "proxy": "http://p:1"}, ValueError, "needs a URL with TCP"),
        ({"url": "mqtt+unix:///p", "proxy": "environment"}, ValueError, "needs a URL with TCP"),
        ({"connector": not_asked, "proxy": "http://p:1"}, ValueError, "neither a connector nor"),
        ({"url": a_url, "proxy": "http://me:secret@p:x"}, ValueError, "proxy URL has a port"),
        ({"url": "mqtt://host", "proxy": "p:1"}, ValueError, "proxy URL has no scheme"),
        ({"url": "mqtt://host", "proxy": 1}, TypeError, "not int"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_refused_at_once(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        async with trio_mqtt.open_client(**arguments):
            raise AssertionError("not reached")
    assert "secret" not in str(caught.value)


async def test_a_variable_that_is_wrong_is_refused_at_once_for_each_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clear_environment(monkeypatch)
    monkeypatch.setenv("https_proxy", "rubbish://secret")
    async with open_server(port=0) as server:
        assert server.url is not None
        urls = [server.url, "wss://127.0.0.1:1"]
        with pytest.raises(ValueError, match="variable https_proxy has") as caught:
            async with trio_mqtt.open_client(urls, proxy="environment"):
                raise AssertionError("not reached")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["http://host:1", "environment"])
async def test_what_is_not_installed_is_told_at_once(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    monkeypatch.delitem(sys.modules, "trio_mqtt._transports.proxies", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'trio-mqtt\[proxy\]'"):
        async with trio_mqtt.open_client(a_url, proxy=proxy):
            raise AssertionError("not reached")
    async with open_server(port=0) as server:
        assert server.url is not None
        async with open_once(server.url):  # which needs none
            pass
