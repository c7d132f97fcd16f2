"""One task rings all alarms, in time, and is gone with the last one."""

from __future__ import annotations

import math
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

from trio_mqtt._client._alarms import Alarm, Ring, _current

if TYPE_CHECKING:
    from trio.testing import MockClock


def noting(rung: list[tuple[str, float]], name: str, *, every: float = math.inf) -> Ring:
    def ring(now: float) -> float:
        rung.append((name, now))
        return now + every

    return ring


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_alarms_ring_when_due_and_again(autojump_clock: MockClock) -> None:
    rung: list[tuple[str, float]] = []
    with Alarm(noting(rung, "a", every=4), 5), Alarm(noting(rung, "b", every=6), 1):
        await trio.sleep(13.5)
    assert rung == [("b", 1), ("a", 5), ("b", 7), ("a", 9), ("b", 13), ("a", 13)]
    await trio.sleep(100)
    assert len(rung) == 6


async def test_an_earlier_one_set_later_is_in_time(autojump_clock: MockClock) -> None:
    rung: list[tuple[str, float]] = []
    with Alarm(noting(rung, "late"), 50):
        await trio.sleep(1)
        with Alarm(noting(rung, "early"), 3):
            await trio.sleep(59)
    assert rung == [("early", 3), ("late", 50)]


async def test_thousands_have_one_task_that_ends_with_the_last() -> None:
    before = tasks()
    with Alarm(noting([], "a"), math.inf):
        await wait_all_tasks_blocked()
        assert tasks() == before + 1
        with Alarm(noting([], "b"), math.inf):
            await wait_all_tasks_blocked()
            assert tasks() == before + 1
        await wait_all_tasks_blocked()
        assert tasks() == before + 1
    await wait_all_tasks_blocked()
    assert tasks() == before


async def test_one_set_before_the_task_has_ended_rings(autojump_clock: MockClock) -> None:
    rung: list[tuple[str, float]] = []
    with Alarm(noting(rung, "first"), 1):
        pass
    with Alarm(noting(rung, "second"), 2):
        await trio.sleep(0.5)
    with Alarm(noting(rung, "third"), 3), Alarm(noting(rung, "fourth"), 1):
        await trio.sleep(10)
    assert rung == [("fourth", 1), ("third", 3)]


async def test_what_is_off_is_never_called(autojump_clock: MockClock) -> None:
    rung: list[tuple[str, float]] = []
    with Alarm(noting(rung, "stays"), 9):
        with Alarm(noting(rung, "goes"), 5):
            await trio.sleep(1)
        await trio.sleep(20)
    assert rung == [("stays", 9)]


async def test_those_that_were_put_off_are_not_kept_until_they_would_have_rung(
    autojump_clock: MockClock,
) -> None:
    rung: list[tuple[str, float]] = []
    with Alarm(noting(rung, "stays"), 1), Alarm(noting(rung, "never"), math.inf):
        bell = _current.get()
        assert bell is not None
        for _number in range(1000):
            with Alarm(noting(rung, "goes"), 50_000):
                pass
        assert len(bell._due) < 100
        await trio.sleep(2)
    assert rung == [("stays", 1)]


async def test_other_tasks_get_their_turn_while_many_ring(autojump_clock: MockClock) -> None:
    rung: list[tuple[str, float]] = []
    with ExitStack() as alarms:
        for number in range(100):
            alarms.enter_context(Alarm(noting(rung, str(number)), 1))
        await trio.sleep(1)
        seen = [0]
        while len(rung) < 100:
            seen.append(len(rung))
            await trio.lowlevel.checkpoint()
        seen.append(100)
    assert [time for _, time in rung] == [1] * 100
    assert max(after - before for before, after in pairwise(seen)) <= 16


async def test_the_task_ends_though_the_last_is_put_off_while_others_ring(
    autojump_clock: MockClock,
) -> None:
    before = tasks()
    rung: list[tuple[str, float]] = []
    with ExitStack() as alarms:
        for number in range(100):
            alarms.enter_context(Alarm(noting(rung, str(number)), 1))
        await trio.sleep(1)
        while not rung:
            await trio.lowlevel.checkpoint()
    await wait_all_tasks_blocked()
    assert 0 < len(rung) < 100
    assert tasks() == before


async def test_those_that_are_late_ring_all_at_once(mock_clock: MockClock) -> None:
    rung: list[tuple[str, float]] = []
    with ExitStack() as alarms:
        for number in range(100):
            alarms.enter_context(Alarm(noting(rung, str(number)), 1))
        await wait_all_tasks_blocked()
        mock_clock.jump(1.3)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
    assert len(rung) == 100
