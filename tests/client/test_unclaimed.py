"""Keeping unclaimed messages costs little, however many the storage has."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

from trio_mqtt import Message, ReasonCode, Session
from trio_mqtt._client._event_stream import EventStreams
from trio_mqtt._client._unclaimed import UnclaimedMessages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest


async def time_to_release(count: int, *, stored: int) -> float:
    """How long it takes to release so many messages beside those in the storage, in seconds."""
    session = Session("c", expiry=1)
    session._unclaimed.messages.update(
        (number, (Message("a"), 1)) for number in range(1, stored + 1)
    )
    tasks: list[Callable[[], Awaitable[None]]] = []

    def release(message: Message) -> None:
        unclaimed.discard(message)

    def settle(_message: Message, _reason_code: ReasonCode) -> None:
        raise AssertionError("nobody settles them")

    unclaimed = UnclaimedMessages(
        session,
        0.0,
        settle=settle,
        release=release,
        check_rejection=lambda _message: None,
        explain=lambda _message, _code, _properties: None,
        publisher=lambda: None,
        events=EventStreams(lambda: None),
        start=tasks.append,
    )
    for _ in range(count):
        unclaimed.add(Message("a", b"", 1))
    (release_overdue,) = tasks
    begin = perf_counter()
    await release_overdue()
    duration = perf_counter() - begin
    assert len(unclaimed) == stored
    assert unclaimed.released == count
    return duration


async def test_what_is_stored_does_not_make_releasing_others_slower(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "trio_mqtt")
    few = min([await time_to_release(500, stored=10) for _ in range(3)])
    many = min([await time_to_release(500, stored=10_000) for _ in range(3)])
    assert many < 10 * few
