"""TLS: whom it trusts, what goes wrong, and how it ends."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.transports.support import (
    CA,
    CERTIFICATE,
    CLIENT,
    LONG,
    OTHER_CA,
    TLSServer,
    client_context,
    demanding_context,
    failure_of,
    listen,
    open_tls_server,
    server_context,
)
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.tcp import open_tcp
from trio_mqtt._transports.tls import TLSStream, certified_name, open_tls
from trio_mqtt._transports.tls_failures import describe_failure
from trio_mqtt._transports.url import parse_url
from trio_mqtt.testing import (
    Faults,
    FaultyNetwork,
    MemoryStream,
    memory_stream_pair,
    open_proxy,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import trustme
    from trio.testing import MockClock

    from tests.servers import RealServer

SOON: Final = trio_mqtt.Reconnect(delay=0.001)


def days_from_now(days: int) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def expired() -> trustme.LeafCert:
    return CA.issue_cert("127.0.0.1", not_before=days_from_now(-9), not_after=days_from_now(-1))


def not_yet_valid() -> trustme.LeafCert:
    return CA.issue_cert("127.0.0.1", not_before=days_from_now(1), not_after=days_from_now(9))


def self_signed() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with (
        OTHER_CA.cert_pem.tempfile() as certificate,
        OTHER_CA.private_key_pem.tempfile() as key,
    ):
        context.load_cert_chain(certificate, key)
    return context


def at_least_tls_1_3() -> ssl.SSLContext:
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def at_most_tls_1_2(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


OTHER_CLIENT: Final = OTHER_CA.issue_cert("client.test")

REFUSED: Final[dict[str, tuple[ssl.SSLContext, ssl.SSLContext | None, str, list[str]]]] = {
    "expired": (
        server_context(expired()),
        client_context(),
        "127.0.0.1",
        ["the server's certificate has expired (it is valid from ", "(certificate has expired)"],
    ),
    "not yet valid": (
        server_context(not_yet_valid()),
        client_context(),
        "127.0.0.1",
        ["certificate is not valid yet (it is valid from ", "check the clocks"],
    ),
    "wrong host name": (
        server_context(CA.issue_cert("one.test", "*.two.test")),
        client_context(),
        "localhost",
        ["is for another host name (it is for one.test, *.two.test)", "use one of its names"],
    ),
    "wrong address": (
        server_context(CA.issue_cert("one.test", "127.0.0.2")),
        client_context(),
        "127.0.0.1",
        ["is for another address (it is for one.test, 127.0.0.2)"],
    ),
    "self-signed": (
        self_signed(),
        client_context(),
        "127.0.0.1",
        ["certificate is self-signed and not trusted here", "make_ssl_context(ca_file=...)"],
    ),
    "unknown authority": (
        server_context(OTHER_CA.issue_cert("127.0.0.1")),
        client_context(),
        "127.0.0.1",
        ["signed by an authority that is not trusted here", "make_ssl_context(ca_file=...)"],
    ),
    "the system's trust": (
        server_context(),
        None,
        "127.0.0.1",
        ["signed by an authority that is not trusted here"],
    ),
    "no client certificate": (
        demanding_context(),
        client_context(),
        "127.0.0.1",
        ["the server wants a client certificate", "make_ssl_context(certificate=..., key=...)"],
    ),
    "no client certificate in TLS 1.2": (
        at_most_tls_1_2(demanding_context()),
        client_context(),
        "127.0.0.1",
        ["wants a client certificate", "make_ssl_context(certificate=..., key=...)"],
    ),
    "a client certificate of an unknown authority": (
        demanding_context(),
        client_context(certificate=OTHER_CLIENT),
        "127.0.0.1",
        ["does not know the authority that signed the client certificate"],
    ),
    "too old": (
        at_most_tls_1_2(server_context()),
        at_least_tls_1_3(),
        "127.0.0.1",
        ["no version of TLS that both sides accept"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refused_handshake_says_why(case: str) -> None:
    of_server, of_client, host, words = REFUSED[case]
    async with open_tls_server(of_server) as tls:
        url = f"mqtts://me:secret@{host}:{tls.port}"
        failure = await failure_of(url, ssl_context=of_client)
    text = str(failure)
    assert f"cannot connect to mqtts://{host}:{tls.port}: " in text
    for each in words:
        assert each in text
    assert "secret" not in text
    assert failure.stage == "TLS"
    assert isinstance(failure.__cause__, ssl.SSLError)


@pytest.mark.parametrize("case", ["expired", "no client certificate"])
async def test_a_handshake_refused_beneath_websocket_says_why(case: str) -> None:
    of_server, of_client, host, words = REFUSED[case]
    async with open_tls_server(of_server) as tls:
        failure = await failure_of(f"wss://{host}:{tls.port}", ssl_context=of_client)
    assert words[0] in str(failure)
    assert failure.stage == "TLS"


async def test_a_server_that_takes_one_handshake_at_a_time_is_looked_at() -> None:
    busy = trio.Lock()
    context = server_context(CA.issue_cert("one.test"))

    async def serve(transport: trio.SocketStream) -> None:
        async with busy, transport:
            with suppress(trio.BrokenResourceError):
                await trio.SSLStream(transport, context, server_side=True).do_handshake()

    async with listen(serve) as port:
        failure = await failure_of(f"mqtts://localhost:{port}", ssl_context=client_context())
    assert "is for another host name (it is for one.test)" in str(failure)


async def test_a_server_that_lets_nobody_look_again_is_described_all_the_same() -> None:
    visits = 0
    context = server_context(CA.issue_cert("one.test"))

    async def serve(transport: trio.SocketStream) -> None:
        nonlocal visits
        visits += 1
        if visits == 1:
            stream = trio.SSLStream(transport, context, server_side=True)
            with pytest.raises(trio.BrokenResourceError):
                await stream.do_handshake()
        await trio.aclose_forcefully(transport)

    async with listen(serve) as port:
        with pytest.raises(trio_mqtt.ConnectFailed, match="another host name; use one"):
            async with open_once(f"mqtts://localhost:{port}", ssl_context=client_context()):
                raise AssertionError("not reached")
    assert visits == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS there; is it mqtt://"),
        (b"", "ended the connection during the TLS handshake; does it speak TLS on that port"),
        (b"\x15\x03\x03\x00\x02\x02\x70", "has no certificate for '127.0.0.1'"),
        (b"\x15\x03\x03\x00\x02\x02\x78", "speaks none of the ALPN protocols"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "the TLS handshake failed (TLSV1_ALERT_INTERNAL_ERROR)"),
    ],
)
async def test_a_server_that_answers_something_else(answer: bytes, words: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with listen(serve) as port:
        failure = await failure_of(f"mqtts://127.0.0.1:{port}")
    assert words in str(failure)
    assert failure.stage == "TLS"
    assert failure.__cause__ is not None


async def test_an_end_in_the_handshake_that_looks_orderly() -> None:
    context = ssl.create_default_context()
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF  # as some versions of Python have it

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()

    async with listen(serve) as port:
        failure = await failure_of(f"mqtts://127.0.0.1:{port}", ssl_context=context)
    assert "ended the connection during the TLS handshake" in str(failure)


async def test_a_reset_in_the_handshake() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        await trio.aclose_forcefully(stream)  # with bytes unread, which resets the connection

    async with listen(serve) as port:
        with pytest.raises(trio_mqtt.ConnectFailed, match="during the TLS handshake") as caught:
            async with open_once(f"mqtts://127.0.0.1:{port}"):
                raise AssertionError("not reached")
    assert caught.value.stage == "TLS"


async def test_an_mqtt_server_without_tls() -> None:
    async with open_server(port=0) as server:
        assert server.url is not None
        url = server.url.replace("mqtt://", "mqtts://")
        with pytest.raises(trio_mqtt.ConnectFailed, match="or is it mqtt://") as caught:
            async with open_once(url):
                raise AssertionError("not reached")
    assert caught.value.stage == "TLS"


async def test_mqtt_without_tls_to_a_server_that_wants_it() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"\x15\x03\x01\x00\x02\x02\x46")

    async with listen(serve) as port:
        with pytest.raises(trio_mqtt.RemoteProtocolError, match="has to begin with mqtts://"):
            async with open_once(f"mqtt://127.0.0.1:{port}"):
                raise AssertionError("not reached")


def test_what_openssl_says_that_is_in_no_table() -> None:
    error = ssl.SSLCertVerificationError("odd")
    error.verify_code, error.verify_message = 99, "odd"
    address = parse_url("wss://host")
    text = describe_failure(address, error, None)
    assert text == "the server's certificate was refused (odd)"
    assert "ws://" in describe_failure(address, ssl.SSLEOFError(), None)


async def test_messages_go_both_ways(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mqtt")
    async with open_tls_server() as tls:
        url = f"mqtts://me:secret@localhost:{tls.port}"
        async with (
            open_once(url, ssl_context=client_context()) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            await client.publish("a", bytes(1_000_000), qos=1)
            assert len((await messages.receive()).payload) == 1_000_000
        stream = tls.streams[0]
        assert stream.version() == "TLSv1.3"
    steps = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    name = f"mqtts://localhost:{tls.port}: "
    stages = [step.removeprefix(name).partition(":")[0] for step in steps]
    assert list(dict.fromkeys(stages)) == ["resolve", "connect", "TLS", "CONNECT"]
    assert "secret" not in caplog.text


async def test_the_end_is_told_in_tls() -> None:
    ended = trio.Event()
    context = server_context()

    async def serve(transport: trio.SocketStream) -> None:
        stream = trio.SSLStream(transport, context, server_side=True)
        async with stream:
            assert await stream.receive_some()
            await stream.send_all(b"\x20\x03\x00\x00\x00")
            while await stream.receive_some():  # without close_notify that breaks at the end
                pass
        ended.set()

    async with listen(serve) as port:
        async with open_once(f"mqtts://127.0.0.1:{port}", ssl_context=client_context()):
            pass
        with trio.fail_after(LONG):
            await ended.wait()


async def test_the_server_is_told_the_host_name() -> None:
    names: list[str | None] = []
    context = server_context()
    context.sni_callback = lambda _stream, name, _context: names.append(name)
    async with open_tls_server(context) as tls:
        url = f"mqtts://localhost:{tls.port}"
        async with open_once(url, ssl_context=client_context()):
            pass
    assert names == ["localhost"]


@pytest.mark.parametrize(
    ("url", "name"),
    [("mqtts://a.test.", "a.test"), ("mqtts://[fe80::1%25eth0]", "fe80::1"), ("wss://a", "a")],
)
def test_the_name_that_a_certificate_has_to_have(url: str, name: str) -> None:
    assert certified_name(parse_url(url)) == name


async def test_alpn(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(authority)
    context = server_context()
    context.set_alpn_protocols(["mqtt", "x-amzn-mqtt-ca"])
    client = trio_mqtt.make_ssl_context(ca_file=authority, alpn=["x-amzn-mqtt-ca"])
    async with open_tls_server(context) as tls, open_once(tls.url, ssl_context=client):
        assert tls.streams[0].selected_alpn_protocol() == "x-amzn-mqtt-ca"


async def test_a_client_certificate() -> None:
    async with open_tls_server(demanding_context()) as tls:
        context = client_context(certificate=CLIENT)
        async with open_once(tls.url, ssl_context=context) as client:
            await client.publish("a", "b", qos=1)
            assert tls.streams[0].getpeercert()["subjectAltName"] == (("DNS", "client.test"),)


class TestCallable:
    async def test_it_is_asked_at_each_attempt(self) -> None:
        asked = 0

        async def make() -> ssl.SSLContext:
            nonlocal asked
            asked += 1
            return client_context()

        async with (
            open_tls_server() as tls,
            open_cut(tls) as proxy,
            trio_mqtt.open_client(named(proxy), ssl_context=make, reconnect=SOON) as client,
        ):
            await come_again(client)
        assert asked == 2

    @pytest.mark.parametrize("error", [FileNotFoundError("gone"), ValueError("half written")])
    async def test_its_failure_is_a_failed_attempt(self, error: Exception) -> None:
        async def make() -> ssl.SSLContext:
            raise error

        with pytest.raises(trio_mqtt.ConnectFailed, match=str(error)) as caught:
            async with open_once("mqtts://127.0.0.1:1", ssl_context=make):
                raise AssertionError("not reached")
        assert caught.value.stage == "TLS"
        assert caught.value.__cause__ is error

    async def test_what_it_makes_has_to_be_a_context(self) -> None:
        async def make() -> Any:
            return "context"

        with pytest.raises(TypeError, match="made str, no"):
            async with open_once("mqtts://127.0.0.1:1", ssl_context=make):
                raise AssertionError("not reached")


@pytest.mark.parametrize(
    ("url", "arguments", "error", "words"),
    [
        ("mqtt://host", {"ssl_context": ssl.create_default_context()}, ValueError, "mqtts://"),
        ("mqtts://host", {"ssl_context": "context"}, TypeError, "not str"),
        ("mqtts://host", {"websocket_headers": [("a", "b")]}, ValueError, "wss://"),
        ("ws://host", {"websocket_headers": [("a:", "b")]}, ValueError, "not the name of an HTTP"),
    ],
)
async def test_an_option_that_nothing_needs_is_refused(
    url: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        async with open_once(url, **arguments):
            raise AssertionError("not reached")


def open_cut(tls: TLSServer) -> AbstractAsyncContextManager[FaultyNetwork]:
    """A proxy whose first connection breaks in the middle of what the server sends."""
    return open_proxy(tls.url, [Faults(cut_to_client=6000)])


def named(proxy: FaultyNetwork) -> str:
    assert proxy.url is not None
    return proxy.url


async def come_again(client: trio_mqtt.Client) -> None:
    """Have so much sent that the first connection is cut, and arrive with the second."""
    with trio.fail_after(LONG):
        async with client.subscribe("a", qos=1) as messages:
            await client.publish("a", bytes(8000), qos=1)
            assert len((await messages.receive()).payload) == 8000
    assert client.statistics().connections == 2


async def test_after_a_cut_it_connects_again() -> None:
    context = client_context()
    async with (
        open_tls_server() as tls,
        open_cut(tls) as proxy,
        trio_mqtt.open_client(named(proxy), ssl_context=context, reconnect=SOON) as client,
    ):
        await come_again(client)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_server_that_goes_without_close_notify_is_lost(*, reset: bool) -> None:
    context = client_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which some versions of Python set
    async with open_tls_server() as tls:
        words = "broke while reading" if reset else "without a close_notify of TLS"
        with pytest.raises(trio_mqtt.ConnectionLost, match=words):
            async with open_once(tls.url, ssl_context=context):
                transport = tls.streams[0].transport_stream
                if reset:
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                await trio.aclose_forcefully(transport)
                await trio.sleep_forever()


async def test_a_server_that_says_it_goes_is_lost_too() -> None:
    async with open_tls_server() as tls:
        with pytest.raises(trio_mqtt.ConnectionLost, match="closed the connection without a DISC"):
            async with open_once(tls.url, ssl_context=client_context()):
                await tls.streams[0].aclose()
                await trio.sleep_forever()


async def test_bytes_that_are_no_tls_break_the_connection() -> None:
    async with open_tls_server() as tls:
        with pytest.raises(trio_mqtt.ConnectionLost, match=r"TLS failed \(\w+\)"):
            async with open_once(tls.url, ssl_context=client_context()):
                await tls.streams[0].transport_stream.send_all(b"rubbish")
                await trio.sleep_forever()


async def test_a_handshake_that_hangs_ends_at_the_timeout(mock_clock: MockClock) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        assert await stream.receive_some()
        mock_clock.jump(3)
        await stream.receive_some()

    async with listen(serve) as port:
        with pytest.raises(trio_mqtt.ConnectFailed, match="TLS handshake was not comp") as caught:
            async with open_once(f"mqtts://127.0.0.1:{port}", connect_timeout=3):
                raise AssertionError("not reached")
    assert caught.value.stage == "TLS"


@asynccontextmanager
async def tls_in_memory() -> AsyncGenerator[tuple[TLSStream, trio.SSLStream[MemoryStream]]]:
    """A stream after its handshake, and the other end."""
    ours, theirs = memory_stream_pair(capacity=20_000)
    address = parse_url("mqtts://localhost")
    server = trio.SSLStream(theirs, server_context(CERTIFICATE), server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        async with open_tls(
            ours, address, client_context(), Progress("it"), reach=partial(open_tcp, address)
        ) as stream:
            yield stream, server


async def test_closing_does_not_wait_for_a_server_that_takes_nothing(
    autojump_clock: MockClock,
) -> None:
    async with tls_in_memory() as (stream, _server):
        with trio.move_on_after(10):
            await stream.send_all(bytes(100_000))
        start = trio.current_time()
        await stream.aclose()
        assert trio.current_time() - start <= 1


async def test_sending_on_a_broken_connection() -> None:
    async with tls_in_memory() as (stream, server):
        await server.send_all(b"a")
        assert await stream.receive_some() == b"a"
        await stream.wait_send_all_might_not_block()
        await trio.aclose_forcefully(server)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.send_all(b"a")
        assert isinstance(caught.value.__cause__, ConnectionError)


async def test_what_a_server_said_before_it_broke_the_connection_is_read() -> None:
    async with tls_in_memory() as (stream, server):
        await server.transport_stream.send_all(b"\x15\x03\x03\x00\x02\x02\x74")
        await trio.aclose_forcefully(server)
        await stream.send_all(b"a")  # which goes nowhere
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        assert stream.refusal is not None


@pytest.mark.parametrize(
    ("listener", "scheme"), [(0, "mqtts"), (1, "mqtts"), (2, "ws"), (3, "wss"), (4, "wss")]
)
async def test_mosquitto(
    listener: int, scheme: str, mosquitto_with_tls: tuple[Path, RealServer]
) -> None:
    directory, server = mosquitto_with_tls
    # Mosquitto 2.0 takes 4 KiB in 0.1 s over WebSocket, whatever the client does.
    payload = bytes(1_000_000 if scheme == "mqtts" else 1_000)
    context = None
    if scheme != "ws":
        context = trio_mqtt.make_ssl_context(
            ca_file=directory / "ca.pem", certificate=directory / "client.pem"
        )
    url = f"{scheme}://localhost:{server.more_ports[listener]}"
    with trio.fail_after(LONG):
        async with (
            trio_mqtt.open_client(url, ssl_context=context) as client,
            client.subscribe("a", qos=2) as messages,
        ):
            await client.publish("a", payload, qos=2)
            assert (await messages.receive()).payload == payload


@pytest.mark.parametrize(("listener", "scheme"), [(1, "mqtts"), (4, "wss")])
async def test_mosquitto_wants_a_client_certificate(
    listener: int, scheme: str, mosquitto_with_tls: tuple[Path, RealServer]
) -> None:
    directory, server = mosquitto_with_tls
    context = trio_mqtt.make_ssl_context(ca_file=directory / "ca.pem")
    url = f"{scheme}://localhost:{server.more_ports[listener]}"
    failure = await failure_of(url, ssl_context=context)
    assert "client certificate" in str(failure)
    assert failure.stage == "TLS"
