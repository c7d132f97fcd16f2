from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_mqtt.testing import MemoryStream, memory_stream_pair

if TYPE_CHECKING:
    from trio.testing import MockClock

CAPACITY = 64 * 1024


async def clogged_pair() -> tuple[MemoryStream, MemoryStream]:
    one, other = memory_stream_pair()
    await one.send_all(bytes(CAPACITY))
    await other.send_all(bytes(CAPACITY))
    return one, other


async def pair() -> tuple[MemoryStream, MemoryStream]:
    return memory_stream_pair()


async def test_is_a_stream_as_trio_wants_it(autojump_clock: MockClock) -> None:
    await trio.testing.check_two_way_stream(pair, clogged_pair)


async def test_ends_each_direction_by_itself_as_trio_wants_it(autojump_clock: MockClock) -> None:
    await trio.testing.check_half_closeable_stream(pair, clogged_pair)


async def test_sending_waits_while_the_buffer_is_full(autojump_clock: MockClock) -> None:
    one, other = memory_stream_pair(capacity=10)
    with trio.move_on_after(1) as scope:
        await one.send_all(b"x" * 11)
    assert scope.cancelled_caught
    assert await other.receive_some() == b"x" * 10


async def test_chunks_are_as_small_as_asked_for(autojump_clock: MockClock) -> None:
    sizes = random.Random(1)  # noqa: S311 - sizes of chunks
    one, other = memory_stream_pair(chunk=lambda: sizes.randint(1, 3))
    await one.send_all(b"0123456789")
    await one.send_eof()
    chunks = [chunk async for chunk in other]
    assert b"".join(chunks) == b"0123456789"
    assert {len(chunk) for chunk in chunks} == {1, 2, 3}
    one, other = memory_stream_pair(chunk=1)
    await one.send_all(b"ab")
    assert await other.receive_some(100) == b"a"


async def test_closing_leaves_what_was_sent(autojump_clock: MockClock) -> None:
    one, other = memory_stream_pair()
    await one.send_all(b"last words")
    await one.aclose()
    assert await other.receive_some() == b"last words"
    assert await other.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"too late")


async def test_a_reset_breaks_both_directions_at_once(autojump_clock: MockClock) -> None:
    one, other = memory_stream_pair()
    await one.send_all(b"lost")
    one.reset()
    with pytest.raises(trio.BrokenResourceError):
        await other.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await one.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"x")


async def test_a_reset_wakes_who_waits(autojump_clock: MockClock) -> None:
    one, other = memory_stream_pair()

    async def receive() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await other.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        one.reset()


async def test_a_closed_end_cannot_end_its_direction(autojump_clock: MockClock) -> None:
    one, _ = memory_stream_pair()
    await one.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await one.send_eof()
