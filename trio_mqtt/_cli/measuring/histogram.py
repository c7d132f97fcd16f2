"""Latencies in buckets whose width grows with the value: little memory, however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BITS: Final = 6
"""Each power of two has 2**6 buckets, so a value is known to 1.6 %."""
_BUCKETS: Final = 1 << _BITS
_LARGEST: Final = (1 << 50) - 1
"""Thirteen days in nanoseconds; what is larger counts as that."""


def _index(value: int) -> int:
    shift = max(0, value.bit_length() - _BITS - 1)
    return (shift << _BITS) + (value >> shift)


def _bounds(index: int) -> tuple[int, int]:
    """The values from here to below there are in this bucket."""
    shift = max(0, (index >> _BITS) - 1)
    start = (index - (shift << _BITS)) << shift
    return start, start + (1 << shift)


class Histogram:
    """How often values came, which are whole numbers from 0 on.

    Attributes:
        count: how many values there were.
        maximum: the largest, exactly.
        minimum: the smallest, exactly.
    """

    def __init__(self) -> None:
        self.count = 0
        self.maximum = 0
        self.minimum = 0
        self._sum = 0
        self._counts = [0] * (_index(_LARGEST) + 1)

    def add(self, value: int) -> None:
        """Count a value."""
        value = min(max(value, 0), _LARGEST)
        self._counts[_index(value)] += 1
        self.minimum = min(value, self.minimum) if self.count else value
        self.maximum = max(value, self.maximum)
        self.count += 1
        self._sum += value

    @property
    def mean(self) -> float:
        """The mean of the values, exactly; 0 if there are none."""
        return self._sum / self.count if self.count else 0.0

    def percentile(self, part: float) -> int:
        """The value that so many percent of the values do not exceed, to 1.6 %.

        Args:
            part: in percent, above 0 and up to 100.
        """
        rank = max(1, -int(-self.count * part // 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                start, end = _bounds(index)
                middle = (start + end - 1) // 2
                return min(max(middle, self.minimum), self.maximum)
        return 0

    def rows(self, most: int) -> Iterator[tuple[int, int, int]]:
        """Groups of neighbouring buckets from the smallest value to the largest.

        Args:
            most: how many groups there may be.

        Yields:
            From which value on, below which, and how many values there were.
        """
        if not self.count:
            return
        first, last = _index(self.minimum), _index(self.maximum)
        width = -(-(last - first + 1) // most)
        for left in range(first, last + 1, width):
            right = min(left + width, last + 1)
            counted = sum(self._counts[left:right])
            yield _bounds(left)[0], _bounds(right - 1)[1], counted
