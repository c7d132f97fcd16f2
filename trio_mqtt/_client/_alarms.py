"""Alarms for any number of connections, rung by one task.

A task that sleeps takes some kilobytes, and is cancelled each time that it is to wake. Where a
program has thousands of connections, that would be most of what keeping them alive costs. So all
connections of a program share one such task, which is there as long as there is one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from types import TracebackType

Ring = Callable[[float], float]
"""What is called when an alarm is due; takes the time and returns when it is due again."""

_SPARE: Final = 16
_AT_ONCE: Final = 8
"""So many are rung before other tasks get their turn.

Each wakes a task that makes some objects and soon drops them. Were hundreds of them awake at once,
there would be so many that the garbage collector looks through the whole program, again and again.
"""
_LATE: Final = 0.25
"""Those that should have rung so long ago, in seconds, wait no more, however many they are.

Otherwise a program whose tasks take long turns would fall behind for good.
"""


class _Bell:
    """Rings alarms until the last is off; then the next alarm gets another one."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Alarm]] = []
        self._number = 0
        self._alarms = 0
        self._sleep = trio.CancelScope()
        self._is_asleep = False
        trio.lowlevel.spawn_system_task(self._run)

    def set(self, alarm: Alarm, time: float) -> None:
        """Set an alarm."""
        self._alarms += 1
        self._put(alarm, time)
        if self._is_asleep and time < self._sleep.deadline:
            self._sleep.deadline = time

    def put_off(self, alarm: Alarm) -> bool:
        """Ring an alarm no more; says whether it was the last one."""
        alarm.ring = None
        self._alarms -= 1
        if self._alarms:
            return False
        if self._is_asleep:
            self._sleep.cancel()
        return True

    def _put(self, alarm: Alarm, time: float) -> None:
        due = self._due
        if len(due) > 2 * self._alarms + _SPARE:  # those that were put off have their time yet
            due[:] = [each for each in due if each[2].ring is not None]
            heapify(due)
        if time < inf:
            self._number += 1  # no two are equal, so that no alarms are compared
            heappush(due, (time, self._number, alarm))

    async def _run(self) -> None:
        due = self._due
        while self._alarms:
            now = trio.current_time()
            rung = 0
            while due and due[0][0] <= now and (rung < _AT_ONCE or due[0][0] < now - _LATE):
                rung += 1
                alarm = heappop(due)[2]
                if alarm.ring is not None:
                    self._put(alarm, alarm.ring(now))
            if due and due[0][0] <= now:
                await trio.lowlevel.checkpoint()
                continue
            with trio.CancelScope(deadline=due[0][0] if due else inf) as self._sleep:
                self._is_asleep = True
                await trio.sleep_forever()
            self._is_asleep = False


class Alarm:
    """Has something called at a time, and then whenever it says, for the length of a block.

    Args:
        ring: a plain function, called by another task, that raises nothing; it takes the time, by
            `trio.current_time`, and returns when it is to be called again, or infinity.
        time: when it is called first.

    Attributes:
        ring: what is called, or None if it is off.
    """

    __slots__ = ("_bell", "_time", "ring")

    def __init__(self, ring: Ring, time: float) -> None:
        self.ring: Ring | None = ring
        self._time = time

    def __enter__(self) -> None:
        """Set it."""
        bell = _current.get()
        if bell is None:
            bell = _Bell()
            _current.set(bell)
        self._bell = bell
        bell.set(self, self._time)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put it off."""
        if self._bell.put_off(self):
            _current.set(None)


_current: trio.lowlevel.RunVar[_Bell | None] = trio.lowlevel.RunVar("trio_mqtt alarms", None)
