"""Settling a message in the transaction that does its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._errors import FeatureNotSupported, LocalProtocolError, StorageError
from trio_mqtt._protocol.journal import Work
from trio_mqtt._storage.effects import Effect
from trio_mqtt._storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from trio_mqtt._client._committing import Committer
    from trio_mqtt._client._deliveries import Deliveries
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._session import Session

T = TypeVar("T")


@enable_ki_protection
async def settle_with(
    session: Session,
    deliveries: Deliveries,
    committer: Committer,
    message: Message,
    effect: Callable[[sqlite3.Connection], T],
) -> T:
    """Commit an effect and the receipt of a message together; see `Session.settle`."""
    journal = committer.journal
    if journal is None or not isinstance(session._storage, SQLiteStorage):
        text = (
            "settling a message with an effect needs a Session with an SQLiteStorage; "
            f"this one has {session._storage!r}"
        )
        raise FeatureNotSupported(text)
    settling = deliveries.unclaimed.settling
    if message.settled is not None or message in settling or not deliveries.has(message):
        text = "only a message that a subscription of this client has, unsettled, can be settled"
        raise LocalProtocolError(text)
    receipt = deliveries.receipt(message)
    job = Effect(effect, receipt)
    guarded, message._guarded = message._guarded, True  # no loop settles it meanwhile
    settling[message] = None
    number = journal.add(Work(receipt, job))
    session._state.begin_settling(receipt)
    try:
        with trio.CancelScope(shield=True):
            # A batch that failed may have been the one before.
            while journal.committed < number and job.error is None and not committer.has_ended:
                await committer.wait_for(number)
        if journal.committed < number and job.error is None:
            job.error = StorageError("the client was closed before the effect was committed")
        if job.error is not None:
            session._state.cancel_settling(receipt)
            raise job.error
        message.ack()
    finally:
        settling.pop(message, None)
        message._guarded = guarded
    return cast("T", job.result)
