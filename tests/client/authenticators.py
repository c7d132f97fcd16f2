"""An Authentication Method for tests: the server asks riddles, as often as it likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt import AuthenticationFailed, ReasonCode
from trio_mqtt.abc import AuthData, Authenticator, AuthExchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt.packets import Connect
    from trio_mqtt.testing import AuthenticationStep

METHOD = "riddles"


async def nothing(_exchange: Exchange) -> None:
    """Wait for nothing."""


class Exchange(AuthExchange):
    """Knows all answers, and wants to hear "well done" in the end.

    Attributes:
        heard: what the server said, in order.
    """

    def __init__(self, riddles: Riddles, number: int) -> None:
        self.number = number
        self.heard: list[AuthData] = []
        self._riddles = riddles

    async def start(self) -> AuthData | bytes | None:
        await self._riddles.before_start(self)
        return self._riddles.first or b"hello %d" % self.number

    async def answer(self, challenge: AuthData) -> AuthData | bytes | None:
        self.heard.append(challenge)
        await self._riddles.before_answer(self)
        return self._riddles.second or b"answer to " + (challenge.data or b"")

    async def finish(self, outcome: AuthData) -> None:
        self.heard.append(outcome)
        await self._riddles.before_finish(self)
        if outcome.data != b"well done":
            raise AuthenticationFailed("the server does not know what to say")


class Riddles(Authenticator):
    """Begins exchanges and keeps them.

    Attributes:
        exchanges: all so far.
        before_start: awaited in that step; so are the others.
        first: what to say first, if that matters.
        second: what to answer, if that matters.
    """

    method = METHOD

    def __init__(self, *, retry_refused: bool = False) -> None:
        self.retry_refused = retry_refused
        self.exchanges: list[Exchange] = []
        self.before_start: Callable[[Exchange], Awaitable[None]] = nothing
        self.before_answer: Callable[[Exchange], Awaitable[None]] = nothing
        self.before_finish: Callable[[Exchange], Awaitable[None]] = nothing
        self.first: AuthData | None = None
        self.second: AuthData | None = None

    def begin(self) -> AuthExchange:
        exchange = Exchange(self, len(self.exchanges) + 1)
        self.exchanges.append(exchange)
        return exchange


class Sphinx:
    """The server's side.

    Attributes:
        asked: what clients said first, in order.
        riddles: how many it asks of each.
        verdicts: the Reason Codes of the next exchanges; then all are accepted.
        last_words: what it says in the end.
    """

    def __init__(self, riddles: int = 1) -> None:
        self.asked: list[bytes | None] = []
        self.riddles = riddles
        self.verdicts: list[ReasonCode] = []
        self.last_words: bytes | None = b"well done"

    def begin(self, _connect: Connect) -> AuthenticationStep:
        """Begin with one client."""
        left = self.riddles
        number = 0

        def step(data: bytes | None) -> tuple[ReasonCode, bytes | None]:
            nonlocal number
            if not number:
                self.asked.append(data)
            elif data != b"answer to riddle %d" % number:
                return ReasonCode.NOT_AUTHORIZED, None
            number += 1
            if number <= left:
                return ReasonCode.CONTINUE_AUTHENTICATION, b"riddle %d" % number
            verdict = self.verdicts.pop(0) if self.verdicts else ReasonCode.SUCCESS
            return verdict, None if verdict.is_failure else self.last_words

        return step
