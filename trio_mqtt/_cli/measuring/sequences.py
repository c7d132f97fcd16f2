"""Whether numbered messages all come, and once each, in memory that has a bound."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

MOST_GAPS: Final = 10_000
"""So many gaps are remembered; the oldest is taken for lost when there are more."""


class Sequence:
    """The messages from one publisher at one subscriber, numbered from 0.

    Attributes:
        received: how many came, each counted once.
        doubled: how many came again. Beyond `MOST_GAPS` gaps at once, a message that comes very
            late may be counted here.
        late: how many came after one with a higher number.
    """

    def __init__(self) -> None:
        self.received = 0
        self.doubled = 0
        self.late = 0
        self._next = 0
        # Numbers that have not come, from a start to below an end, in order.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, number: int) -> bool:
        """Note a message; whether it is the first with this number."""
        if number == self._next:
            self._next += 1
        elif number > self._next:
            self._starts.append(self._next)
            self._ends.append(number)
            self._next = number + 1
            if len(self._starts) > MOST_GAPS:
                del self._starts[0], self._ends[0]
        elif self._fill(number):
            self.late += 1
        else:
            self.doubled += 1
            return False
        self.received += 1
        return True

    def _fill(self, number: int) -> bool:
        """Take a number out of the gap that it is in; False if it is in none."""
        place = bisect_right(self._starts, number) - 1
        if place < 0 or number >= self._ends[place]:
            return False
        start, end = self._starts[place], self._ends[place]
        parts = [part for part in ((start, number), (number + 1, end)) if part[0] < part[1]]
        self._starts[place : place + 1] = [part[0] for part in parts]
        self._ends[place : place + 1] = [part[1] for part in parts]
        return True
