"""Small ways to wait, each for one purpose."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

import outcome  # which Trio has, and takes
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    _AnyOutcome = outcome.Outcome[None]
else:
    _AnyOutcome = outcome.Outcome  # which older releases cannot subscript

T = TypeVar("T")

MOST_CALLS: Final = 64
_MOST_SECONDS: Final = 0.001


class _Nothing(_AnyOutcome):
    """What a task gets that is woken: None, as often as there is one to wake.

    Trio makes an `outcome.Value` for each, which can be asked once, and that takes a tenth of what
    publishing a message costs.
    """

    __slots__ = ()

    def unwrap(self) -> None:
        """What Trio asks for in the task."""

    def send(self, gen: Generator[T, None, object]) -> T:
        """Go on in a generator."""
        return gen.send(None)

    async def asend(self, agen: AsyncGenerator[T, None]) -> T:
        """Go on in an asynchronous one."""
        return await agen.asend(None)


_AWAKE: Final = _Nothing()


class Wakeup:
    """Lets one task sleep until it is called.

    A call while nobody sleeps is not remembered: look at the condition, then sleep, with no
    checkpoint between.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def __call__(self) -> None:
        """Wake the sleeper, if there is one."""
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task, _AWAKE)

    async def sleep(self) -> None:
        """Sleep until the next call; cancellable, and nothing is lost by that."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Outcome:
    """Lets one task wait for the end of an exchange, of which it is the listener."""

    __slots__ = ("_is_there", "_task")

    def __init__(self) -> None:
        self._is_there = False
        self._task: trio.lowlevel.Task | None = None

    def __call__(self, _exchange: object) -> None:
        """The exchange is over."""
        self._is_there = True
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task, _AWAKE)

    async def wait(self) -> None:
        """Wait for that; a checkpoint in any case."""
        if self._is_there:
            await trio.lowlevel.checkpoint()
            return
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Pacer:
    """A checkpoint that can be afforded for each of 100,000 messages a second.

    Always a cancellation point; a scheduling point at least every 64 calls and every millisecond,
    so that other tasks and deadlines get their turn::

        if pacer.is_due():
            await pacer.pause()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
    """

    __slots__ = ("calls", "deadline")

    def __init__(self) -> None:
        self.calls: int = 0
        self.deadline: float = 0.0

    def is_due(self) -> bool:
        """Whether others should get their turn now."""
        self.calls += 1
        return self.calls >= MOST_CALLS or perf_counter() >= self.deadline

    async def checkpoint(self) -> None:
        """Do as said above, where a call more does not matter."""
        if self.is_due():
            await self.pause()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def pause(self) -> None:
        """Let others have their turn."""
        await trio.lowlevel.checkpoint()
        self.calls = 0
        self.deadline = perf_counter() + _MOST_SECONDS


class Gate:
    """Admission to something bounded, first come, first served.

    One waiter at a time is told that there is room; it goes in and calls `update`, which tells the
    next. Newcomers stand in line behind those who were told or wait.

    Args:
        has_room: whether one more may go in.
        check: raises if nobody may go in any more.

    Attributes:
        waiting: how many wait for their turn.
    """

    def __init__(self, has_room: Callable[[], bool], check: Callable[[], None]) -> None:
        self.waiting = 0
        self._has_room = has_room
        self._check = check
        self._line: trio.lowlevel.ParkingLot | None = None  # made when it is needed
        self._told = False

    @property
    def is_open(self) -> bool:
        """Whether one may go in without waiting."""
        return not self.waiting and self._has_room()

    async def wait(self) -> None:
        """Wait for one's turn and for room; then go in, without a checkpoint between.

        Cancelled here, one leaves the line and nothing has happened.
        """
        if self.is_open:
            return
        self.waiting += 1
        line = self._line
        if line is None:
            line = self._line = trio.lowlevel.ParkingLot()
        try:
            while True:
                await line.park()
                self._told = False
                self._check()
                if self._has_room():
                    return
        finally:
            self.waiting -= 1

    def update(self) -> None:
        """Look whether there is room, and tell the first in line."""
        if self.waiting and not self._told and self._line and self._has_room():
            self._told = True
            self._line.unpark()

    def close(self) -> None:
        """Send everybody away; `check` raises from now on."""
        if self._line is not None:
            self._line.unpark_all()
