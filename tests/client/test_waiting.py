"""The small ways to wait: a wake-up, admission by turns, an affordable checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_mqtt._client._waiting import _AWAKE, Gate, Outcome, Pacer, Wakeup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


class Room:
    """A place of limited size with a gate in front."""

    def __init__(self) -> None:
        self.places = 0
        self.closed = False
        self.inside: list[str] = []
        self.gate = Gate(lambda: self.places > 0, self.check)

    def check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError

    async def go_in(self, who: str) -> None:
        await self.gate.wait()
        self.places -= 1
        self.inside.append(who)
        self.gate.update()

    def make_room(self, places: int) -> None:
        self.places += places
        self.gate.update()


async def test_whoever_is_in_line_goes_first_also_before_a_newcomer_that_finds_room() -> None:
    room = Room()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.go_in, "first")
        await wait_all_tasks_blocked()
        nursery.start_soon(room.go_in, "second")
        await wait_all_tasks_blocked()
        room.make_room(1)  # the first is told, and has not run yet
        assert not room.gate.is_open
        nursery.start_soon(room.go_in, "newcomer")
        await wait_all_tasks_blocked()
        assert room.inside == ["first"]
        room.make_room(2)
    assert room.inside == ["first", "second", "newcomer"]


async def test_a_newcomer_between_the_word_and_the_step_stands_in_line() -> None:
    room = Room()

    async def come_at_once() -> None:
        room.make_room(1)
        await room.go_in("newcomer")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.go_in, "first")
        await wait_all_tasks_blocked()
        nursery.start_soon(come_at_once)
        await wait_all_tasks_blocked()
        assert room.inside == ["first"]
        assert room.gate.waiting == 1
        room.make_room(1)
    assert room.inside == ["first", "newcomer"]


async def test_room_that_is_gone_again_is_waited_for() -> None:
    room = Room()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.go_in, "first")
        await wait_all_tasks_blocked()
        room.make_room(1)
        room.places = 0
        await wait_all_tasks_blocked()
        assert room.inside == []
        room.make_room(1)
    assert room.inside == ["first"]


async def test_leaving_the_line_gives_the_turn_to_the_next() -> None:
    room = Room()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def give_up() -> None:
            with scope:
                await room.go_in("impatient")

        nursery.start_soon(give_up)
        await wait_all_tasks_blocked()
        nursery.start_soon(room.go_in, "patient")
        await wait_all_tasks_blocked()
        scope.cancel()
        room.make_room(1)
    assert room.inside == ["patient"]


async def test_a_closed_gate_sends_everybody_away() -> None:
    room = Room()
    async with trio.open_nursery() as nursery:

        async def try_it() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await room.go_in("nobody")

        nursery.start_soon(try_it)
        nursery.start_soon(try_it)
        await wait_all_tasks_blocked()
        room.closed = True
        room.gate.close()
    assert room.inside == []


async def test_a_wakeup_wakes_its_sleeper_and_is_not_remembered() -> None:
    wakeup = Wakeup()
    wakeup()
    woken = trio.Event()

    async def sleep() -> None:
        await wakeup.sleep()
        woken.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep)
        await wait_all_tasks_blocked()
        assert not woken.is_set()
        wakeup()
        wakeup()
        await woken.wait()
        with trio.CancelScope() as scope:
            scope.cancel()
            await wakeup.sleep()
        assert scope.cancelled_caught
        wakeup()


async def test_an_outcome_is_waited_for() -> None:
    outcome = Outcome()
    order: list[str] = []

    async def wait() -> None:
        await outcome.wait()
        order.append("woken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        order.append("over")
        outcome(None)
    assert order == ["over", "woken"]


async def test_an_outcome_that_is_there_is_a_checkpoint_all_the_same() -> None:
    outcome = Outcome()
    outcome(None)
    with trio.fail_after(1), assert_checkpoints():
        await outcome.wait()
    with trio.CancelScope() as scope:
        scope.cancel()
        await outcome.wait()
    assert scope.cancelled_caught


async def test_who_no_longer_waits_for_an_outcome_is_not_woken_by_it() -> None:
    outcome = Outcome()
    with trio.CancelScope() as scope:
        scope.cancel()
        await outcome.wait()
    assert scope.cancelled_caught
    outcome(None)
    await trio.lowlevel.checkpoint()  # who was woken twice would crash here


async def test_a_pacer_lets_others_run_and_can_always_be_cancelled() -> None:
    pacer = Pacer()
    turns = 0

    async def pace() -> None:
        if pacer.is_due():
            await pacer.pause()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(1000):
            await pace()
        assert turns >= 1000 // 64 - 2  # whose turn is first is up to Trio
        nursery.cancel_scope.cancel()
    with trio.CancelScope() as scope:
        scope.cancel()
        await pace()
    assert scope.cancelled_caught


async def test_who_is_woken_gets_none_however_it_asks() -> None:
    """The same object serves everybody, so that it may be asked again and again."""

    def sent() -> Generator[str, None, None]:
        while True:
            got: object = yield "next"
            assert got is None

    async def sent_too() -> AsyncGenerator[str, None]:
        while True:
            got: object = yield "next"
            assert got is None

    generator, asynchronous = sent(), sent_too()
    for _ in range(3):
        _AWAKE.unwrap()
        assert _AWAKE.send(generator) == "next"
        assert await _AWAKE.asend(asynchronous) == "next"
    await asynchronous.aclose()


def test_what_they_get_is_made_of_no_subscripted_class() -> None:
    """Outcome was none that can be subscripted before release 1.3, which Trio takes, too."""
    assert "__orig_bases__" not in vars(type(_AWAKE))
