"""What a test asserts of the test server: who connected, subscribed, published, acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mqtt.testing._expectation import Expectation
from trio_mqtt.testing._history import Acknowledged, Connected, F, History, Published, Subscribed

if TYPE_CHECKING:
    from trio_mqtt._enums import ReasonCode

_WITHIN = 10.0


class Assertions:
    """The assertions of `Server`, each in a form that looks back and one that waits."""

    def __init__(self) -> None:
        self._changed = trio.lowlevel.ParkingLot()
        self._history = History(self._note_change)

    def _note_change(self) -> None:
        self._changed.unpark_all()

    def assert_connected(
        self,
        client_id: str | None = None,
        *,
        session_present: bool | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
    ) -> tuple[Connected, ...]:
        """A client has connected, or was refused.

        Args:
            client_id: the Client Identifier.
            session_present: whether the server had a Session of it.
            reason_code: what the server answered; None for SUCCESS.
            count: how many there have to be; None for at least one.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return self._assert(
            Connected,
            "connections",
            count,
            client_id=client_id,
            session_present=session_present,
            reason_code=reason_code,
        )

    async def wait_connected(
        self,
        client_id: str | None = None,
        *,
        session_present: bool | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
        within: float = _WITHIN,
    ) -> tuple[Connected, ...]:
        """Wait for what `assert_connected` asserts, at the most so long.

        Cancelled, nothing happened.

        Args:
            client_id: this and the others are as in `assert_connected`.
            session_present: as there.
            reason_code: as there.
            count: how many to wait for; with 0, that none comes in all that time.
            within: how long to wait, in seconds of Trio's clock.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return await self._wait(
            Connected,
            "connections",
            count,
            within,
            client_id=client_id,
            session_present=session_present,
            reason_code=reason_code,
        )

    def assert_subscribed(
        self,
        topic_filter: str | None = None,
        *,
        qos: int | None = None,
        client_id: str | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
    ) -> tuple[Subscribed, ...]:
        """A client has subscribed to a Topic Filter, or was refused.

        Args:
            topic_filter: the Topic Filter, just as it stood in SUBSCRIBE.
            qos: the Maximum QoS that was asked for.
            client_id: who asked for it.
            reason_code: what the server answered; None for any QoS granted.
            count: how many there have to be; None for at least one.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return self._assert(
            Subscribed,
            "subscriptions",
            count,
            topic_filter=topic_filter,
            qos=qos,
            client_id=client_id,
            reason_code=reason_code,
        )

    async def wait_subscribed(  # noqa: PLR0913 - what can be expected, each by name
        self,
        topic_filter: str | None = None,
        *,
        qos: int | None = None,
        client_id: str | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
        within: float = _WITHIN,
    ) -> tuple[Subscribed, ...]:
        """Wait for what `assert_subscribed` asserts, at the most so long.

        Cancelled, nothing happened.

        Args:
            topic_filter: this and the others are as in `assert_subscribed`.
            qos: as there.
            client_id: as there.
            reason_code: as there.
            count: how many to wait for; with 0, that none comes in all that time.
            within: how long to wait, in seconds of Trio's clock.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return await self._wait(
            Subscribed,
            "subscriptions",
            count,
            within,
            topic_filter=topic_filter,
            qos=qos,
            client_id=client_id,
            reason_code=reason_code,
        )

    def assert_published(  # noqa: PLR0913 - what can be expected, each by name
        self,
        topic: str | None = None,
        payload: bytes | str | None = None,
        *,
        qos: int | None = None,
        retain: bool | None = None,
        will: bool | None = None,
        client_id: str | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
    ) -> tuple[Published, ...]:
        """A client, or its Will, has given a message to the server.

        Args:
            topic: the Topic Name, or a Topic Filter that it matches.
            payload: the payload.
            qos: the QoS.
            retain: the RETAIN flag.
            will: whether it was the Will of the client.
            client_id: whose message it is.
            reason_code: what the server made of it; None for any success.
            count: how many there have to be; None for at least one.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return self._assert(
            Published,
            "published messages",
            count,
            topic=topic,
            payload=_bytes(payload),
            qos=qos,
            retain=retain,
            will=will,
            client_id=client_id,
            reason_code=reason_code,
        )

    async def wait_published(  # noqa: PLR0913 - what can be expected, each by name
        self,
        topic: str | None = None,
        payload: bytes | str | None = None,
        *,
        qos: int | None = None,
        retain: bool | None = None,
        will: bool | None = None,
        client_id: str | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
        within: float = _WITHIN,
    ) -> tuple[Published, ...]:
        """Wait for what `assert_published` asserts, at the most so long.

        Cancelled, nothing happened.

        Args:
            topic: this and the others are as in `assert_published`.
            payload: as there.
            qos: as there.
            retain: as there.
            will: as there.
            client_id: as there.
            reason_code: as there.
            count: how many to wait for; with 0, that none comes in all that time.
            within: how long to wait, in seconds of Trio's clock.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return await self._wait(
            Published,
            "published messages",
            count,
            within,
            topic=topic,
            payload=_bytes(payload),
            qos=qos,
            retain=retain,
            will=will,
            client_id=client_id,
            reason_code=reason_code,
        )

    def assert_acknowledged(  # noqa: PLR0913 - what can be expected, each by name
        self,
        topic: str | None = None,
        payload: bytes | str | None = None,
        *,
        qos: int | None = None,
        client_id: str | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
    ) -> tuple[Acknowledged, ...]:
        """A client has acknowledged a message from the server (PUBACK, PUBREC), or rejected it.

        Args:
            topic: the Topic Name, or a Topic Filter that it matches.
            payload: the payload.
            qos: the QoS it was delivered with, 1 or 2.
            client_id: who has acknowledged it.
            reason_code: that of the acknowledgement; None for any success.
            count: how many there have to be; None for at least one.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return self._assert(
            Acknowledged,
            "acknowledged messages",
            count,
            topic=topic,
            payload=_bytes(payload),
            qos=qos,
            client_id=client_id,
            reason_code=reason_code,
        )

    async def wait_acknowledged(  # noqa: PLR0913 - what can be expected, each by name
        self,
        topic: str | None = None,
        payload: bytes | str | None = None,
        *,
        qos: int | None = None,
        client_id: str | None = None,
        reason_code: ReasonCode | None = None,
        count: int | None = None,
        within: float = _WITHIN,
    ) -> tuple[Acknowledged, ...]:
        """Wait for what `assert_acknowledged` asserts, at the most so long.

        Cancelled, nothing happened.

        Args:
            topic: this and the others are as in `assert_acknowledged`.
            payload: as there.
            qos: as there.
            client_id: as there.
            reason_code: as there.
            count: how many to wait for; with 0, that none comes in all that time.
            within: how long to wait, in seconds of Trio's clock.

        Returns:
            Those that fit, oldest first.

        Raises:
            AssertionError: there are not so many; it lists what there is.
        """
        __tracebackhide__ = True
        return await self._wait(
            Acknowledged,
            "acknowledged messages",
            count,
            within,
            topic=topic,
            payload=_bytes(payload),
            qos=qos,
            client_id=client_id,
            reason_code=reason_code,
        )

    # Inside

    def _assert(
        self, kind: type[F], title: str, count: int | None, **fields: object
    ) -> tuple[F, ...]:
        __tracebackhide__ = True
        expectation = Expectation(kind=kind, title=title, fields=fields, count=count)
        found = expectation.find(self._history)
        knows_all = self._history.knows_since(kind)
        if not expectation.is_met_by(len(found), knows_all=knows_all):
            raise AssertionError(expectation.explain(self._history, None, knows_all=knows_all))
        return tuple(found)

    async def _wait(
        self, kind: type[F], title: str, count: int | None, within: float, **fields: object
    ) -> tuple[F, ...]:
        __tracebackhide__ = True
        expectation = Expectation(kind=kind, title=title, fields=fields, count=count)
        found: list[F] = []
        seen = 0
        knows_all = True
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(within):
            while True:
                knows_all = knows_all and self._history.knows_since(kind, seen)
                found += expectation.find(self._history, seen)
                seen = self._history.total(kind)
                if found and len(found) >= (count or 1):
                    break
                await self._changed.park()
        if not expectation.is_met_by(len(found), knows_all=knows_all):
            raise AssertionError(expectation.explain(self._history, within, knows_all=knows_all))
        return tuple(found)


def _bytes(payload: bytes | str | None) -> bytes | None:
    return payload.encode() if isinstance(payload, str) else payload
