"""Naming whoever holds a message for long.

Acknowledgements leave in the order of arrival (MQTT-4.6.0-2, MQTT-4.6.0-3), so one message that
is not settled holds back those of all later ones of its QoS, on the whole connection. That is
hard to find from outside.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trio_mqtt._client._subscription import Subscription
    from trio_mqtt._protocol.receiver import Receiver

LONG: Final = 30.0
"""How long is long, in seconds."""
_logger = logging.getLogger("trio_mqtt")


class HeldWatch:
    """Looks from time to time whether the oldest unsettled message is still the same.

    Args:
        start: starts a background task.
        subscriptions: who may hold a message.

    Attributes:
        receiver: where acknowledgements wait.
        running: whether it is on the watch.
    """

    def __init__(
        self,
        start: Callable[[Callable[[], Awaitable[None]]], None],
        subscriptions: Iterable[Subscription],
    ) -> None:
        self.receiver: Receiver | None = None
        self._subscriptions = subscriptions
        self._start = start
        self.running = False

    def begin(self) -> None:
        """Watch until nothing is unsettled any more."""
        if not self.running:
            self.running = True
            self._start(self._run)

    @enable_ki_protection
    async def _run(self) -> None:
        # They may be large, and are settled sooner or later while this sleeps.
        seen: WeakSet[Message] = WeakSet()
        told: WeakSet[Message] = WeakSet()
        goes_on = self._look(seen, told)
        while goes_on:
            await trio.sleep(LONG)
            goes_on = self._look(seen, told)
        self.running = False

    def _look(self, seen: WeakSet[Message], told: WeakSet[Message]) -> bool:
        """Tell of those that were seen the last time; whether there is something to watch."""
        oldest = self._oldest()
        for message in oldest:
            if message in seen and message not in told:
                told.add(message)
                self._tell(message)
        told.intersection_update(oldest)
        seen.clear()
        seen.update(oldest)
        return bool(oldest)

    def _oldest(self) -> list[Message]:
        if self.receiver is None:
            return []
        return [message for message in self.receiver.oldest() if isinstance(message, Message)]

    def _tell(self, message: Message) -> None:
        # Subscriptions that share a PUBLISH, and whoever claims one, hold copies of it. They are
        # looked for only here, so that no message has to carry a list of its copies.
        names = {each._name for each in self._subscriptions if each._holds(message)}
        _logger.warning(
            "a QoS %d message to %r has been unsettled for %g s, held by %s; until it is settled, "
            "no later message of this QoS can be acknowledged",
            message.qos,
            message.topic,
            LONG,
            ", ".join(sorted(names)) or "nobody",
        )
