"""Answering requests (4.10): each in a task of its own, so many at once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from trio_mqtt._client._outgoing import Payload
from trio_mqtt._errors import (
    FeatureNotSupported,
    MessageDropped,
    MQTTError,
    PacketTooLarge,
    PublishRejected,
    QueueFull,
    SessionLost,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trio_mqtt._client._message import Message
    from trio_mqtt._client._subscription import Subscription

Handler = Callable[["Message"], Awaitable[Payload | None]]
"""Deals with a request; what it returns is the reply, None for none."""

_NOT_SENT: Final = (
    PublishRejected,
    PacketTooLarge,
    FeatureNotSupported,
    MessageDropped,
    QueueFull,
    SessionLost,
)
"""Why one reply may fail, which must not end the replies to others."""
_ENDS: Final = (MQTTError, trio.ClosedResourceError)
"""What a client that has failed or is closed raises."""
_logger = logging.getLogger("trio_mqtt")


async def serve(
    subscribing: AbstractAsyncContextManager[Subscription],
    handler: Handler,
    *,
    limit: int,
    task_status: trio.TaskStatus[Subscription],
) -> NoReturn:
    """Answer requests until cancelled; see `Client.serve`."""
    async with subscribing as subscription, trio.open_nursery() as nursery:
        task_status.started(subscription)
        failure = await _hand_out(subscription, handler, limit, nursery)
        nursery.cancel_scope.cancel()
    raise failure  # outside the nursery, which would make a group of it


async def _hand_out(
    subscription: Subscription, handler: Handler, limit: int, nursery: trio.Nursery
) -> Exception:
    """Start a task for each request; say why there are no more."""
    slots = trio.Semaphore(limit)
    try:
        while True:
            await slots.acquire()  # before a request is taken: it waits where that is bounded
            message = await subscription.receive()
            nursery.start_soon(_handle, subscription, handler, message, slots)
    except _ENDS as error:
        return error


async def _handle(
    subscription: Subscription, handler: Handler, message: Message, slots: trio.Semaphore
) -> None:
    try:
        with message:
            payload = await handler(message)
            if payload is not None:
                await _reply(message, payload)
    except _ENDS:
        if _is_open(subscription):
            raise
        # Else it is the client that has failed, which `_hand_out` says once for all.
    finally:
        slots.release()


def _is_open(subscription: Subscription) -> bool:
    """Whether the client of a subscription has neither failed nor been closed."""
    try:
        subscription._deliveries.check_open()
    except _ENDS:
        return False
    return True


async def _reply(message: Message, payload: Payload) -> None:
    """Reply, if that is possible: what the sender of a request says must not end the service."""
    if message.response_topic is None:
        _logger.debug("a request to %r has no Response Topic and gets no reply", message.topic)
        return
    try:
        await message.reply(payload)
    except _NOT_SENT as error:
        _logger.warning("a request to %r gets no reply: %s", message.topic, error)
