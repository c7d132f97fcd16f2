"""How rates went over time, in memory that has a bound."""

from __future__ import annotations

from typing import Final

MOST_SAMPLES: Final = 600
"""When there are so many, each two become one, and those to come last twice as long."""


class Rates:
    """What was counted, sample by sample, each as long as the others.

    Attributes:
        interval: how long a sample lasts, in seconds.
        sent: messages sent, for each sample.
        received: messages received, for each sample.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.sent: list[int] = []
        self.received: list[int] = []
        self._last = (0, 0)

    def sample(self, sent: int, received: int) -> None:
        """An interval is over.

        Args:
            sent: messages sent so far.
            received: messages received so far.
        """
        self.sent.append(sent - self._last[0])
        self.received.append(received - self._last[1])
        self._last = sent, received
        if len(self.sent) == MOST_SAMPLES:
            self.sent, self.received = _pairs(self.sent), _pairs(self.received)
            self.interval *= 2


def _pairs(numbers: list[int]) -> list[int]:
    return [first + second for first, second in zip(numbers[::2], numbers[1::2], strict=True)]
