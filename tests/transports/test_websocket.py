"""MQTT over WebSocket (6): a stream as any other, whatever the other side does."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import trio_mqtt
from tests.transports.websockets import (
    ADDRESS,
    BINARY,
    CLOSE,
    CONTINUED,
    NOT_FINAL,
    PING,
    PONG,
    TEXT,
    answer,
    close_frame,
    frame,
    open_both,
    open_raw,
    read_all,
    read_frame,
    read_request,
    response_to,
    send_each,
)
from trio_mqtt._transports.frames import Wire
from trio_mqtt._transports.url import parse_url
from trio_mqtt._transports.websocket import check_headers, open_websocket
from trio_mqtt._transports.websocket_stream import CLOSE_TIMEOUT, FRAME_SIZE
from trio_mqtt.testing import MemoryStream, memory_stream_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

DATA: Final = bytes(range(256)) * 4


@pytest.mark.parametrize("turned", [False, True])
async def test_it_is_a_stream_as_trio_wants_it(turned: bool, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def make() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            client, server = await open_both(nursery)
            return (server, client) if turned else (client, server)

        await trio.testing.check_two_way_stream(make, None)
        nursery.cancel_scope.cancel()


# -- the handshake --------------------------------------------------------------------------------


async def ask(url: str, headers: list[tuple[str, str]]) -> list[str]:
    """The lines of the request."""
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        requests: list[bytes] = []

        async def accept() -> None:
            requests.append(await read_request(server))
            await server.send_all(response_to(requests[0]) + close_frame(1000))

        nursery.start_soon(accept)
        async with open_websocket(client, parse_url(url), headers=headers) as stream:
            assert await stream.receive_some() == b""
    return requests[0].decode("latin-1").split("\r\n")


@pytest.mark.statement("MQTT-6.0.0-3", "311:MQTT-6.0.0-3")
@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("ws://server.test/a/b", "/a/b", "server.test"),
        ("ws://server.test:80", "/mqtt", "server.test"),
        ("ws://server.test:443/", "/", "server.test:443"),
        ("wss://server.test:443/", "/", "server.test"),
        ("wss://server.test:8443/x?y=%2F&z", "/x?y=%2F&z", "server.test:8443"),
        ("ws://[::1]:8080/mqtt", "/mqtt", "[::1]:8080"),
        ("ws://[fe80::1%25eth0]/mqtt", "/mqtt", "[fe80::1]"),
        ("ws://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test/", "/", "xn--bcher-kva.test"),
        ("ws://a/caf\N{LATIN SMALL LETTER E WITH ACUTE}?a=[1]'\"", "/caf%C3%A9?a=[1]'\"", "a"),
    ],
)
async def test_the_request_says_what_the_url_says(
    url: str, target: str, host: str, autojump_clock: MockClock
) -> None:
    lines = await ask(url, [])
    assert lines[0] == f"GET {target} HTTP/1.1"
    assert f"Host: {host}" in lines
    assert "Sec-WebSocket-Protocol: mqtt" in lines  # MQTT-6.0.0-3


async def test_headers_are_sent_as_they_were_given(autojump_clock: MockClock) -> None:
    lines = await ask("ws://a/", [("Authorization", "Bearer a b"), ("X-Empty", ""), ("X", "\xe9")])
    assert lines[-5:] == ["Authorization: Bearer a b", "X-Empty: ", "X: \xe9", "", ""]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("", "a", "'' is not the name"),
        ("a b", "a", "'a b' is not the name"),
        ("a:", "a", "is not the name"),
        ("host", "a", "header host is set by"),
        ("Connection", "a", "header Connection is set by"),
        ("Sec-WebSocket-Key", "a", "is set by"),
        ("A", "secret\r\nB: c", "value of the header A"),
        ("A", "secret\x00", "value of the header A"),
        ("A", " secret", "value of the header A"),
        ("A", "secret\N{EURO SIGN}", "value of the header A"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_headers([(name, value)])
    assert "secret" not in str(caught.value)
    with pytest.raises(trio_mqtt.ConnectFailed, match=said) as failed:
        open_websocket(memory_stream_pair()[0], ADDRESS, headers=[(name, value)])
    assert failed.value.stage == "WebSocket"


def test_a_host_that_is_none_is_refused() -> None:
    address = parse_url("ws://a..b/")
    with pytest.raises(trio_mqtt.ConnectFailed, match="cannot connect to ws://a"):
        open_websocket(memory_stream_pair()[0], address)


async def fail(data: bytes, *, reset: bool = False) -> str:
    """Why a handshake failed that was answered so."""
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(answer, server, data, reset=reset))
        with pytest.raises(trio_mqtt.ConnectFailed) as caught:
            async with open_websocket(client, ADDRESS):
                raise AssertionError
    assert caught.value.stage == "WebSocket"
    message = str(caught.value)
    assert message.startswith("cannot connect to ws://server.test:8080/mqtt: ")
    assert "secret" not in message
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")
    return message


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "status 200; check the port and the path"),
        (400, "status 400; check the path of the URL"),
        (401, "status 401; it wants credentials"),
        (403, "status 403; check the credentials"),
        (404, "status 404; check the path of the URL"),
        (426, "status 426; check the URL"),
        (429, "status 429; the server is busy"),
        (500, "status 500; check the port and the path"),
        (502, "status 502; the server behind the proxy"),
        (503, "status 503; the server is busy"),
    ],
)
async def test_a_refusal_says_what_to_do(status: int, said: str, autojump_clock: MockClock) -> None:
    body = b"the body is not waited for"
    head = f"HTTP/1.1 {status} Some Words\r\nContent-Length: 1000\r\n\r\n".encode()
    assert said in await fail(head + body)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (b"Location: wss://me:secret@b.test:1/c?token=secret\r\n", ": wss://b.test:1/c"),
        (b"Location: /other?secret\r\n", "redirects to: /other"),
        (b"Location: http://[secret\r\n", "redirects to"),
        (b"Location: \xff\r\n", "redirects to"),
        (b"", "redirects to"),
    ],
)
async def test_a_redirection_is_told_and_not_followed(
    location: bytes, said: str, autojump_clock: MockClock
) -> None:
    message = await fail(b"HTTP/1.1 307 Elsewhere\r\n" + location + b"\r\n")
    assert message.endswith(said)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x20\x02\x00\x00\r\n\r\n",  # CONNACK
        b"HTTP/1.1 101 \r\n\r\n",
        b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: \xff\r\n\r\n",
        b"HTTP/1.1 101 \r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 " + 100_000 * b"x",  # a head without an end
        b"\x16\x03\x01" + 300 * b"\r",
    ],
)
async def test_garbage_is_no_handshake(garbage: bytes, autojump_clock: MockClock) -> None:
    assert "is no WebSocket handshake" in await fail(garbage)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "without its answer"), (b"HTTP/1.1 101 Switch", "in the middle of its answer")],
)
async def test_a_connection_that_ends_in_the_handshake(
    data: bytes, said: str, reset: bool, autojump_clock: MockClock
) -> None:
    message = await fail(data, reset=reset)
    assert f"{'broke' if reset else 'closed'} the connection" in message
    assert said in message


async def test_a_connection_that_has_ended_before_the_handshake(autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    server.reset()
    with pytest.raises(trio_mqtt.ConnectFailed, match="broke the connection"):
        async with open_websocket(client, ADDRESS):
            raise AssertionError


@pytest.mark.statement("MQTT-6.0.0-4", "311:MQTT-6.0.0-4")
@pytest.mark.parametrize(
    ("subprotocol", "said"),
    [
        (None, "does not confirm the WebSocket subprotocol 'mqtt'"),
        ("mqttv3.1", "is no WebSocket handshake"),  # not asked for
    ],
)
async def test_a_server_that_does_not_confirm_the_subprotocol(
    subprotocol: str | None, said: str, autojump_clock: MockClock
) -> None:
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            request = await read_request(server)
            await server.send_all(response_to(request, subprotocol=subprotocol))

        nursery.start_soon(accept)
        with pytest.raises(trio_mqtt.ConnectFailed, match=said):
            async with open_websocket(client, ADDRESS):
                raise AssertionError


async def test_a_handshake_can_be_cancelled(autojump_clock: MockClock) -> None:
    client, _server = memory_stream_pair()
    with trio.move_on_after(30) as scope:
        async with open_websocket(client, ADDRESS):
            raise AssertionError
    assert scope.cancelled_caught
    assert trio.current_time() == scope.deadline


# -- what comes in --------------------------------------------------------------------------------


@pytest.mark.statement("MQTT-6.0.0-2", "311:MQTT-6.0.0-2")
@pytest.mark.parametrize("chunk", [None, 1, 7])
@pytest.mark.parametrize(
    "frames",
    [
        frame(BINARY, DATA),
        b"".join(frame(BINARY, DATA[n : n + 1]) for n in range(len(DATA))),
        frame(BINARY) + frame(BINARY, DATA[:5]) + frame(PONG) + frame(BINARY, DATA[5:]),
        frame(BINARY & NOT_FINAL)  # a message that does not end
        + frame(CONTINUED & NOT_FINAL, DATA[:500])
        + frame(PING)
        + frame(CONTINUED & NOT_FINAL, DATA[500:]),
    ],
    ids=["one", "of one byte", "empty ones too", "one message"],
)
async def test_frames_are_bytes_wherever_they_begin(
    frames: bytes, chunk: int | None, autojump_clock: MockClock
) -> None:
    async with open_raw(chunk=chunk) as (websocket, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, frames)
        received = b""
        while len(received) < len(DATA):
            received += await websocket.receive_some(1000)
        assert received == DATA


async def test_what_comes_with_the_handshake_is_not_lost(autojump_clock: MockClock) -> None:
    async with open_raw(frame(BINARY, b"abc") + close_frame(1000)) as (websocket, _):
        assert await websocket.receive_some(2) == b"ab"
        assert await websocket.receive_some(2) == b"c"
        assert await websocket.receive_some() == b""
        assert await websocket.receive_some() == b""


async def test_a_large_message_is_neither_refused_nor_gathered(autojump_clock: MockClock) -> None:
    size = 5_000_000
    async with open_raw() as (websocket, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, frame(BINARY, bytes(size)))
        while size:
            data = await websocket.receive_some()
            assert 0 < len(data) <= 2**17
            size -= len(data)


async def test_who_does_not_receive_holds_the_sender_back(autojump_clock: MockClock) -> None:
    async with open_raw() as (_websocket, server), trio.open_nursery() as nursery:
        nursery.start_soon(send_each, server, [frame(BINARY, bytes(1000))] * 10_000)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1  # it has not sent the 10 MB
        nursery.cancel_scope.cancel()


async def test_a_cancelled_receive_has_taken_nothing(autojump_clock: MockClock) -> None:
    received = b""

    async with open_raw() as (websocket, server), trio.open_nursery() as nursery:

        async def send() -> None:
            for number in range(200):
                await trio.sleep(0.1)
                await server.send_all(frame(BINARY, bytes([number])))

        nursery.start_soon(send)
        while len(received) < 200:
            with trio.move_on_after(0.1):  # at the very moment when it comes
                received += await websocket.receive_some(1)
    assert received == bytes(range(200))


async def test_a_cancelled_receive_leaves_the_rest_of_a_frame(autojump_clock: MockClock) -> None:
    async with open_raw(frame(BINARY, b"abc")) as (websocket, _):
        assert await websocket.receive_some(1) == b"a"
        with trio.CancelScope() as scope:
            scope.cancel()
            await websocket.receive_some()
        assert scope.cancelled_caught
        assert await websocket.receive_some() == b"bc"


@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_a_server_that_closes_well_ends_the_stream(
    code: int | None, autojump_clock: MockClock
) -> None:
    end = frame(CLOSE) if code is None else close_frame(code, "bye")
    async with open_raw(frame(BINARY, b"a") + end) as (websocket, server):
        assert await read_all(websocket) == b"a"
        assert (await read_frame(server))[0] == CLOSE  # the answer
        with pytest.raises(trio.BrokenResourceError, match="server closed the WebSocket with 100"):
            await websocket.send_all(b"x")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (close_frame(1008, "not you"), "with 1008 (policy violation): not you"),
        (close_frame(1009), "with 1009 (message too big)"),
        (close_frame(4123, "x"), "with 4123 (private reserved): x"),
        (frame(BINARY, b"b")[:-1], "without closing the WebSocket"),
        (b"", "without closing the WebSocket"),
    ],
)
async def test_a_server_that_closes_otherwise_breaks_the_stream(
    data: bytes, said: str, autojump_clock: MockClock
) -> None:
    async with open_raw(frame(BINARY, b"a") + data) as (websocket, server):
        await trio.testing.wait_all_tasks_blocked()
        await server.aclose()
        assert await websocket.receive_some() == b"a"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await websocket.receive_some()
            assert said in str(caught.value)


async def test_a_connection_that_breaks_tells_why(autojump_clock: MockClock) -> None:
    async with open_raw() as (websocket, server):
        await trio.testing.wait_all_tasks_blocked()
        server.cut(reset=True)
        with pytest.raises(trio.BrokenResourceError, match="broke: the connection was reset"):
            await websocket.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="broke: the connection was reset"):
            await websocket.send_all(b"x")


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        pytest.param(
            frame(TEXT, b"secret"),
            1003,
            "a text frame, where MQTT is binary (1003)",
            marks=pytest.mark.statement("MQTT-6.0.0-1", "311:MQTT-6.0.0-1"),
        ),
        (frame(TEXT & NOT_FINAL) + frame(BINARY, b"x"), 1003, "a text frame"),
        (frame(TEXT, b"\xff"), 1007, "(1007)"),
        (frame(0x83, b"x"), 1002, "Invalid opcode 0x3 (1002)"),
        (frame(0xC2, b"x"), 1002, "(1002)"),
        (b"\x82\x81\0\0\0\0x", 1002, "masked frame (1002)"),
        (frame(CONTINUED, b"x"), 1002, "(1002)"),
        (frame(CLOSE, b"x"), 1002, "(1002)"),
        (close_frame(999), 1002, "(1002)"),
        (frame(PING, 126 * b"x"), 1002, "(1002)"),
    ],
)
async def test_what_is_not_allowed_breaks_the_stream(
    data: bytes, code: int, said: str, autojump_clock: MockClock
) -> None:
    bad = frame(BINARY, b"a") + data + frame(BINARY, b"b")
    async with trio.open_nursery() as nursery, open_raw(bad) as (websocket, server):
        assert await websocket.receive_some() == b"a"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await websocket.receive_some()
            assert said in str(caught.value)
            assert "secret" not in str(caught.value)
        with trio.fail_after(CLOSE_TIMEOUT + 1):
            nursery.start_soon(server.send_all, 100 * frame(BINARY, b"c"))
            await websocket.aclose()
        first, payload = await read_frame(server)
        assert first == CLOSE
        assert int.from_bytes(payload[:2], "big") == code


# -- what goes out --------------------------------------------------------------------------------


@pytest.mark.statement("MQTT-6.0.0-1", "311:MQTT-6.0.0-1")
async def test_what_is_sent_goes_in_binary_frames_of_a_bounded_size(
    autojump_clock: MockClock,
) -> None:
    size = 2 * FRAME_SIZE + 10
    async with open_raw() as (websocket, server), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send_all, bytes(size))
        while size:
            first, payload = await read_frame(server)
            assert first == BINARY  # MQTT-6.0.0-1
            assert 0 < len(payload) <= FRAME_SIZE
            size -= len(payload)


async def test_pings_are_answered(autojump_clock: MockClock) -> None:
    async with open_raw(frame(PING, b"one")) as (_websocket, server):
        assert await read_frame(server) == (PONG, b"one")
        await server.send_all(frame(PING, b"two"))
        assert await read_frame(server) == (PONG, b"two")


async def test_a_ping_does_not_make_the_reader_wait_for_the_writer(
    autojump_clock: MockClock,
) -> None:
    """Else both sides could wait for each other."""
    async with open_raw() as (websocket, server), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send_all, bytes(500_000))  # which the server does not read
        await trio.testing.wait_all_tasks_blocked()
        for number in range(10):
            await server.send_all(frame(PING, bytes([number])) + frame(BINARY, b"abc"))
            assert await websocket.receive_some() == b"abc"
        while (await read_frame(server))[0] != PONG:
            pass
        nursery.cancel_scope.cancel()


async def test_a_ping_as_it_closes_is_not_answered(autojump_clock: MockClock) -> None:
    data = frame(PING, b"x") + frame(BINARY, b"a") + close_frame(1000)
    async with open_raw(data) as (websocket, server):
        assert await read_all(websocket) == b"a"
        await trio.testing.wait_all_tasks_blocked()
        assert (await read_frame(server))[0] == CLOSE


async def test_one_task_at_a_time(autojump_clock: MockClock) -> None:
    async with open_raw() as (websocket, _), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send_all, bytes(500_000))
        nursery.start_soon(websocket.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await websocket.send_all(b"x")
        with pytest.raises(trio.BusyResourceError):
            await websocket.receive_some()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("limit", "kind"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)]
)
async def test_a_limit_that_is_none(
    limit: int, kind: type[Exception], autojump_clock: MockClock
) -> None:
    async with open_raw(frame(BINARY, b"abc")) as (websocket, _):
        with pytest.raises(kind, match="max_bytes must be"):
            await websocket.receive_some(limit)


# -- closing --------------------------------------------------------------------------------------


async def test_closing_waits_for_the_other_side(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        client, server = await open_both(nursery)
        nursery.start_soon(client.send_all, b"last")
        assert await server.receive_some() == b"last"
        await client.aclose()
        assert await server.receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_closing_does_not_wait_for_good(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    async with open_raw() as (websocket, server):
        await websocket.aclose()
        assert trio.current_time() - start == CLOSE_TIMEOUT
        assert (await read_frame(server))[0] == CLOSE
        assert await read_all(server) == b""
        for use in (
            lambda: websocket.send_all(b"x"),
            lambda: websocket.send_all(b""),
            websocket.wait_send_all_might_not_block,
            websocket.receive_some,
        ):
            with pytest.raises(trio.ClosedResourceError):
                await use()
        await websocket.aclose()


async def test_closing_does_not_wait_for_a_server_that_reads_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_raw(capacity=64) as (websocket, _server), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await websocket.send_all(bytes(1000))

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await websocket.receive_some()

        nursery.start_soon(send)
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(CLOSE_TIMEOUT + 1):
            await websocket.aclose()


async def test_a_frame_cut_short_is_not_followed_by_a_close_frame(
    autojump_clock: MockClock,
) -> None:
    """It would be taken for the rest of it."""
    async with open_raw(capacity=64) as (websocket, server):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(websocket.send_all, bytes(1000))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(websocket.aclose)
            assert len(await read_all(server)) == 64


async def test_a_cancelled_close_closes_at_once(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    async with open_raw() as (websocket, server):
        with trio.CancelScope() as scope:
            scope.cancel()
            await websocket.aclose()
        assert await read_all(server) == b""
    assert trio.current_time() == start


class Stop(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        KeyboardInterrupt(),
        Stop(),
        StopAsyncIteration(),
        ExceptionGroup("of the block", [ValueError()]),
    ],
    ids=repr,
)
async def test_what_the_block_raises_leaves_it_as_it_is(
    error: BaseException, autojump_clock: MockClock
) -> None:
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: accept_and_read(server))
        with pytest.raises(type(error)) as caught:
            async with open_websocket(client, ADDRESS):
                raise error
        assert caught.value is error


async def accept_and_read(wire: MemoryStream) -> None:
    await wire.send_all(response_to(await read_request(wire)))
    await read_all(wire)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_block_closes_at_once(fails: bool, autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    start = trio.current_time()
    seen: list[BaseException] = []
    error = ValueError()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_read, server)
        with trio.CancelScope() as scope:
            try:
                async with open_websocket(client, ADDRESS):
                    scope.cancel()
                    if fails:
                        raise error  # noqa: TRY301 - the block's, not this one's
                    await trio.sleep_forever()
            except BaseException as leaving:
                seen.append(leaving)
                if not fails:
                    raise
    if fails:
        assert seen == [error]
    else:
        assert [type(leaving) for leaving in seen] == [trio.Cancelled]
        assert scope.cancelled_caught
    assert trio.current_time() == start


async def test_a_block_cancelled_as_it_closes(autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_keep, server)
        with trio.move_on_after(CLOSE_TIMEOUT / 2) as scope:
            async with open_websocket(client, ADDRESS):
                pass
        assert scope.cancelled_caught
        assert trio.current_time() == scope.deadline
        nursery.cancel_scope.cancel()


async def accept_and_keep(wire: MemoryStream) -> None:
    await wire.send_all(response_to(await read_request(wire)))
    await trio.sleep_forever()


class Hooked(trio.abc.Stream):
    """A byte stream that fails in its own way when it is told to."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if self.error is not None:
            raise self.error
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("grouped", [False, True])
async def test_an_interrupt_in_the_reader_leaves_the_block_alone(
    kind: type[BaseException], grouped: bool, autojump_clock: MockClock
) -> None:
    client, server = memory_stream_pair()
    hooked = Hooked(client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_read, server)
        with pytest.raises(kind):
            async with open_websocket(hooked, ADDRESS):
                hooked.error = BaseExceptionGroup("", [kind()]) if grouped else kind()
                await server.send_all(frame(PING))
                await trio.sleep_forever()


async def test_any_other_failure_of_the_reader_is_a_lost_connection(
    autojump_clock: MockClock,
) -> None:
    client, server = memory_stream_pair()
    hooked = Hooked(client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_read, server)
        async with open_websocket(hooked, ADDRESS) as websocket:
            hooked.error = RuntimeError("a bug")
            await server.send_all(frame(PING))
            with pytest.raises(trio.BrokenResourceError, match="broke: a bug") as caught:
                await websocket.receive_some()
            assert caught.value.__cause__ is hooked.error


# -- whatever comes -------------------------------------------------------------------------------

PIECES: Final = st.sampled_from(
    [
        frame(BINARY, b"abc"),
        frame(BINARY & NOT_FINAL, b"abc"),
        frame(CONTINUED, b"abc"),
        frame(TEXT, b"abc"),
        frame(PING, b"abc"),
        frame(PONG),
        frame(CLOSE),
        close_frame(1000),
        close_frame(1011, "x"),
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=12), max_size=6).map(b"".join), st.booleans())
def test_no_frames_raise_anything_else(data: bytes, reset: bool) -> None:
    async def receive() -> None:
        async with open_raw(data) as (websocket, server):
            await trio.testing.wait_all_tasks_blocked()
            if reset:
                server.cut(reset=True)
            else:
                await server.aclose()
            with suppress(trio.BrokenResourceError):
                await read_all(websocket)

    run_bounded(receive)


@given(
    st.lists(
        st.sampled_from(
            [
                b"HTTP/1.1 ",
                b"101 ",
                b"200 OK",
                b"\r\n",
                b"Upgrade: websocket\r\n",
                b"Connection: Upgrade\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Content-Length: 3\r\n",
                b"Sec-WebSocket-Accept: x\r\n",
                b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
                b"Sec-WebSocket-Protocol: \xff\r\n",
            ]
        )
        | st.binary(max_size=12),
        max_size=8,
    ).map(b"".join)
)
def test_no_handshake_raises_anything_else(data: bytes) -> None:
    run_bounded(partial(fail, data))


def run_bounded(work: Callable[[], Awaitable[object]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(60):
            await work()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_what_is_behind_a_loss_is_told(autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    hooked = Hooked(client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_read, server)
        async with open_websocket(hooked, ADDRESS) as websocket:
            hooked.error = trio.BrokenResourceError()
            hooked.error.__cause__ = OSError("the cable is cut")
            await server.send_all(frame(PING))
            with pytest.raises(trio.BrokenResourceError, match="broke: the cable is cut"):
                await websocket.receive_some()


async def test_the_wire_waits_as_the_stream_below(autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair(capacity=1)
    wire = Wire(client)
    await wire.send_all(b"x")
    with trio.move_on_after(1) as scope:
        await wire.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    assert await server.receive_some() == b"x"
    await wire.wait_send_all_might_not_block()
