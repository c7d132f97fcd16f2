"""When the reader may pause (contract: backpressure without deadlock).

The reader never waits for user code, with one exception: it stops reading, so that TCP holds the
Server back, while a buffer that must not drop is full. But never while a task of the program
awaits an answer of the Server, for the answer would not be read and the task might be the very
one that would empty the buffer. Nor for longer than the stall timeout on behalf of a consumer
that takes nothing: its buffer then drops instead, until it takes again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_mqtt._client._waiting import Wakeup

if TYPE_CHECKING:
    from types import TracebackType

STALL_TIMEOUT: Final = 10.0
_LOG_AFTER: Final = 1.0
_logger = logging.getLogger("trio_mqtt")


class Blocker(Protocol):
    """What can keep the reader from reading on."""

    name: str

    @property
    def taken(self) -> int: ...

    def stall(self) -> None:
        """Nothing was taken for the stall timeout: drop instead of blocking from now on."""


class Valve:
    """Lets the reader through, or holds it.

    Attributes:
        blockers: what is full.
        awaited: how many tasks await an answer of the Server.
        paused_since: when the pause under way began (Trio's clock), or None.
        paused: how long all pauses that are over took, in seconds.
    """

    def __init__(self) -> None:
        self.blockers: dict[Blocker, None] = {}
        self.awaited: int = 0
        self.paused_since: float | None = None
        self.paused: float = 0.0
        self._wakeup = Wakeup()
        self._clock: trio.abc.Clock | None = None

    def begin(self) -> None:
        """A task begins to await an answer of the Server."""
        self.awaited += 1
        if self.paused_since is not None:
            self._wakeup()

    def __enter__(self) -> None:
        """As `begin`."""
        self.begin()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """It has the answer, or no longer waits."""
        self.awaited -= 1

    def paused_until_now(self) -> float:
        """How long the reader has been paused in all, in seconds; in any thread."""
        since, clock = self.paused_since, self._clock
        if since is None or clock is None:
            return self.paused
        return self.paused + clock.current_time() - since

    def block(self, blocker: Blocker) -> None:
        """Ask the reader to pause before it reads on."""
        self.blockers[blocker] = None

    def unblock(self, blocker: Blocker) -> None:
        """Withdraw that."""
        if self.blockers.pop(blocker, self) is None:
            self._wakeup()

    async def wait(self) -> None:
        """Pause while something is full and nobody awaits an answer."""
        self._clock = trio.lowlevel.current_clock()
        start = self.paused_since = trio.current_time()
        try:
            await self._pause(start)
        finally:
            paused = self.paused + trio.current_time() - start
            self.paused_since, self.paused = None, paused  # with no call between: for threads

    async def _pause(self, start: float) -> None:
        log_at = start + _LOG_AFTER
        watched: dict[Blocker, tuple[int, float]] = {}
        while self.blockers and not self.awaited:
            now = trio.current_time()
            if now >= log_at:
                names = ", ".join(blocker.name for blocker in self.blockers)
                _logger.warning("reading is paused: %s is full and takes no more", names)
                log_at = float("inf")
            for blocker in list(self.blockers):
                taken, since = watched.get(blocker, (-1, now))
                if taken != blocker.taken:
                    watched[blocker] = (blocker.taken, now)
                elif now >= since + STALL_TIMEOUT:
                    del self.blockers[blocker]
                    blocker.stall()
            deadlines = [watched[blocker][1] + STALL_TIMEOUT for blocker in self.blockers]
            if deadlines:
                with trio.move_on_at(min(log_at, *deadlines)):
                    await self._wakeup.sleep()
