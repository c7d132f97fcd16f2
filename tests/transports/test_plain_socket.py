"""A socket without the detours of Trio's stream: the same bytes, the same errors."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing

from tests.transports.support import read_exactly
from trio_mqtt._transports.plain_socket import PlainSocket, without_detours
from trio_mqtt.testing._memory import reset_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SHORT: Final = 64 * 1024
LONG: Final = 8 * 1024 * 1024


@contextlib.asynccontextmanager
async def open_pair() -> AsyncGenerator[tuple[PlainSocket, trio.SocketStream, trio.SocketStream]]:
    """A plain socket, the stream that it is made of, and the other end; over TCP."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        other = await listener.accept()
    async with stream, other:
        yield PlainSocket(stream), stream, other


def fill(stream: trio.SocketStream) -> int:
    """Send until the system takes no more; says how many bytes that were."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += os.write(stream.socket.fileno(), b"x" * 1000)
    return sent


async def test_what_has_come_is_received_and_then_the_end() -> None:
    async with open_pair() as (plain, _, other):
        await other.send_all(b"abcdef")
        with trio.testing.assert_checkpoints():
            assert await plain.receive_some(4) == b"abcd"
        assert await plain.receive_some() == b"ef"
        await other.aclose()
        assert await plain.receive_some() == b""


async def test_it_waits_and_cancelled_it_has_taken_nothing() -> None:
    async with open_pair() as (plain, _, other), trio.open_nursery() as nursery:
        async with trio.open_nursery() as waiting:
            waiting.start_soon(plain.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        await other.send_all(b"abc")
        with trio.CancelScope() as scope:
            scope.cancel()
            await plain.receive_some()
        assert scope.cancelled_caught
        got: list[bytes] = []

        async def receive() -> None:
            while len(got) < 2:
                got.append(await plain.receive_some())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [b"abc"]
        await other.send_all(b"def")
    assert got == [b"abc", b"def"]


async def test_what_is_short_is_sent_at_once() -> None:
    async with open_pair() as (plain, _, other):
        others = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_it, others)
            await plain.send_all(b"a" * SHORT)
            await plain.send_all(memoryview(b"bc"))
            assert not others.is_set()  # they have not had their turn
        assert await read_exactly(other, SHORT + 2) == b"a" * SHORT + b"bc"


async def set_it(event: trio.Event) -> None:
    event.set()


async def test_cancelled_before_it_has_sent_nothing() -> None:
    async with open_pair() as (plain, _, other):
        with trio.CancelScope() as scope:
            scope.cancel()
            await plain.send_all(b"a")
        assert scope.cancelled_caught
        await plain.send_all(b"b")
        assert await other.receive_some() == b"b"


async def test_what_is_long_passes_a_checkpoint() -> None:
    async with open_pair() as (plain, _, other), trio.open_nursery() as nursery:
        nursery.start_soon(read_exactly, other, SHORT + 1)
        with trio.testing.assert_checkpoints():
            await plain.send_all(b"a" * (SHORT + 1))


@pytest.mark.parametrize("size", [1, SHORT, LONG])
async def test_what_finds_no_room_is_sent_in_order(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    async with open_pair() as (plain, stream, other):
        before = fill(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plain.send_all, data)
            await trio.testing.wait_all_tasks_blocked()
            assert await read_exactly(other, before) == b"x" * before
            assert await read_exactly(other, size) == data


async def test_a_part_is_taken_and_the_rest_follows() -> None:
    data = bytes(number % 251 for number in range(SHORT))
    async with open_pair() as (plain, stream, other), trio.open_nursery() as nursery:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        nursery.start_soon(plain.send_all, data)
        await trio.testing.wait_all_tasks_blocked()
        assert await read_exactly(other, SHORT) == data
        with trio.move_on_after(0):
            assert not await other.receive_some()


async def test_at_once_what_there_is_room_for_is_taken() -> None:
    data = bytes(number % 251 for number in range(SHORT))
    async with open_pair() as (plain, stream, other):
        assert plain.send_at_once(b"abc") == 3
        assert await read_exactly(other, 3) == b"abc"
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = plain.send_at_once(data)
        assert 0 < sent < SHORT
        before = fill(stream)
        assert plain.send_at_once(data) == 0
        assert await read_exactly(other, sent + before) == data[:sent] + b"x" * before


async def test_at_once_it_is_told_that_the_socket_is_broken_or_closed() -> None:
    async with open_pair() as (plain, stream, other):
        await reset_stream(other)
        await trio.lowlevel.wait_readable(stream.socket)  # it has heard of that
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            plain.send_at_once(b"a")
        with pytest.raises(trio.BrokenResourceError, match="pipe"):
            plain.send_at_once(b"a")
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            plain.send_at_once(b"a")


async def test_a_reset_is_a_broken_resource() -> None:
    async with open_pair() as (plain, _, other):
        await reset_stream(other)
        with pytest.raises(trio.BrokenResourceError, match="reset") as caught:
            await plain.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        with pytest.raises(trio.BrokenResourceError, match="socket connection broken") as caught:
            await plain.send_all(b"a")
        assert isinstance(caught.value.__cause__, BrokenPipeError)


@pytest.mark.parametrize("data", [b"a", b"a" * (SHORT + 1)])
async def test_closed_it_says_so(data: bytes) -> None:
    async with open_pair() as (plain, stream, _):
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await plain.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await plain.send_all(data)


async def test_a_number_that_is_closed_is_a_closed_socket() -> None:
    async with open_pair() as (plain, stream, _):
        copy = os.dup(stream.socket.fileno())
        os.close(stream.socket.fileno())
        with pytest.raises(trio.ClosedResourceError):
            await plain.send_all(b"a")
        os.dup2(copy, stream.socket.fileno())  # for those who close it
        os.close(copy)


async def test_what_the_system_says_of_waiting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_readable(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    async with open_pair() as (plain, _, _):
        with pytest.raises(trio.BrokenResourceError, match="No space left"):
            await plain.receive_some()


async def test_closed_while_it_waits_it_says_so() -> None:
    async with open_pair() as (plain, stream, _), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await plain.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()


async def test_closed_as_it_is_woken_it_reads_no_other_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wait = trio.lowlevel.wait_readable
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    async def wait_readable(number: int) -> None:
        await wait(number)
        await stream.aclose()
        os.dup2(other_file.fileno(), number)

    async with open_pair() as (plain, stream, other):
        monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
        await other.send_all(b"abc")
        number = stream.socket.fileno()
        with secret.open("rb") as other_file, pytest.raises(trio.ClosedResourceError):
            await plain.receive_some()
        assert os.read(number, 10) == b"secret"  # which has the number now
        os.close(number)


async def test_a_wakeup_for_nothing_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = 0
    wait = trio.lowlevel.wait_readable

    async def wait_readable(number: int) -> None:
        nonlocal waits
        waits += 1
        if waits > 1:
            await wait(number)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    async with open_pair() as (plain, _, other), trio.open_nursery() as nursery:

        async def send() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await other.send_all(b"abc")

        nursery.start_soon(send)
        assert await plain.receive_some() == b"abc"
    assert waits == 2


def do_nothing(*_arguments: object) -> None:
    """Be not of Trio."""


async def test_a_class_of_sockets_of_the_programs_own_is_asked() -> None:
    async with open_pair() as (_, stream, _):
        assert isinstance(without_detours(stream), PlainSocket)
        members: dict[str, object] = {
            "__init__": do_nothing,
            "type": socket.SOCK_STREAM,
            "setsockopt": do_nothing,
        }
        own_class = type("Counting", (trio.socket.SocketType,), members)
        own = trio.SocketStream(own_class())
        assert without_detours(own) is own


async def test_only_what_is_a_socket_and_a_file_is_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = trio.testing.memory_stream_pair()
    assert without_detours(one) is one
    assert without_detours(other) is other
    async with open_pair() as (_, stream, _):
        assert isinstance(without_detours(stream), PlainSocket)
        monkeypatch.setattr(sys, "platform", "win32")
        assert without_detours(stream) is stream
