"""The way of a durable Session to its disk.

One task commits what has collected, batch by batch, in a worker thread. Meanwhile the next batch
collects, so that one commit serves however many messages have come. What reveals a change waits
in the output, and a message in the queue, until its batch is on disk.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._client._waiting import Wakeup
from trio_mqtt._errors import StorageError
from trio_mqtt._protocol.journal import Work
from trio_mqtt._storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mqtt._client._session import Session
    from trio_mqtt._protocol.exchanges import OutgoingMessage
    from trio_mqtt._protocol.journal import Batch, Journal
    from trio_mqtt._storage.effects import Effect
    from trio_mqtt.abc import Changes, RecordKey

_RETRY: Final = 0.1
"""How long to wait after a failure, in seconds."""
_NOT_STORED: Final = StorageError("the client was closed before the message was stored")
_NOBODY: Final = trio.lowlevel.ParkingLot()
"""The line of those who wait where nothing is stored, so that nobody does."""
_logger = logging.getLogger("trio_mqtt")


class Committer:
    """Commits the changes of one Session while a client has it open.

    Args:
        session: the Session.
        committed: called when a batch is on disk, or messages were refused.
        refused: is given each message that could not be stored, with the reason.

    Attributes:
        failure: why the last commit failed, or None.
    """

    def __init__(
        self,
        session: Session,
        *,
        committed: Callable[[], None],
        refused: Callable[[OutgoingMessage, StorageError], None],
    ) -> None:
        self._wake = Wakeup()
        self.failure: StorageError | None = None
        self._session = session
        self._committed = committed
        self._refused = refused
        self._attempts = 0
        self._closing = False
        self._ended = session._state.journal is None  # there is nothing to do, and no task
        self._line = _NOBODY if self._ended else trio.lowlevel.ParkingLot()

    @property
    def journal(self) -> Journal | None:
        """The Session's journal; None if it has none, and there is nothing to do."""
        return self._session._state.journal

    @property
    def has_ended(self) -> bool:
        """Whether nothing is committed any more."""
        return self._ended

    def start(self, nursery: trio.Nursery) -> None:
        """Start the task, if there can be anything to do."""
        if not self._ended:
            nursery.start_soon(self.run)

    @enable_ki_protection
    async def run(self) -> None:
        """Commit until `close`."""
        journal = self.journal
        try:
            if journal is not None:
                journal.on_change = self._wake
                with trio.CancelScope(shield=True):
                    await self._commit_all(journal)
        finally:
            self._ended = True
            self._line.unpark_all()

    async def _commit_all(self, journal: Journal) -> None:
        while True:
            if not journal.is_empty:
                await self._commit(journal)
                if self.failure is None or not self._closing:
                    continue
            if self._closing:
                if self.failure is not None:
                    text = "the session was closed before its last changes could be stored: %s"
                    _logger.warning(text, self.failure)
                return
            await self._wake.sleep()

    async def _commit(self, journal: Journal) -> None:
        session = self._session
        batch = journal.take(session._time_shift())
        try:
            # In no line with other threads: there is one commit at a time.
            limiter = trio.CapacityLimiter(1)
            await trio.to_thread.run_sync(_write, session, batch, limiter=limiter)
        except StorageError as error:
            self._attempts += 1
            self._failed(journal, batch, error)
            if not self._closing:
                await trio.sleep(_RETRY)
            return
        self._attempts += 1
        if self.failure is not None:
            self.failure = None
            _logger.warning("the storage of the session takes changes again")
        journal.commit(batch)
        self._line.unpark_all()
        self._committed()

    def _failed(self, journal: Journal, batch: Batch, error: StorageError) -> None:
        """Nothing that was accepted is lost; what is not on disk is no longer accepted."""
        if self.failure is None:
            _logger.warning("the storage of the session failed: %s", error)
        self.failure = error
        journal.restore(batch)
        for step in batch.steps:
            if isinstance(step, Work):
                step.job.error = error
        refused = self._session._state.withdraw_unstored()
        for message in refused:
            self._refused(message, error)
        self._line.unpark_all()
        if refused:
            self._committed()  # there is room in the queue

    async def wait_for(self, number: int) -> bool:
        """Wait until a batch is on disk, or a commit has failed; says whether it is on disk.

        Cancelled, only the waiting ends.
        """
        journal = self.journal
        attempts = self._attempts
        while journal is not None and journal.committed < number and not self.has_ended:
            if self._attempts != attempts and self.failure is not None:
                return False
            self._wake()
            await self._line.park()
        return journal is None or journal.committed >= number

    async def wait_for_storing(self, message: OutgoingMessage) -> None:
        """Wait until an accepted message is on disk.

        Cancelled, only the waiting ends.

        Raises:
            StorageError: it could not be stored; the Session does not have it.
        """
        is_stored = await self.wait_for(message.accepted_in)
        if isinstance(message.failure, StorageError):
            raise own_instance(message.failure)
        if not is_stored:  # and the Session was closed meanwhile
            raise own_instance(self.failure or _NOT_STORED)

    async def flush(self) -> None:
        """Wait until all changes so far are on disk, however often that fails, or until the end."""
        journal = self.journal
        if journal is not None:
            number = journal.last_change
            while not await self.wait_for(number) and not self.has_ended:
                pass

    async def close(self) -> None:
        """Commit what is left and end; not cancellable, since it is one commit."""
        if self._ended:
            return
        with trio.CancelScope(shield=True):
            self._closing = True
            self._wake()
            while not self._ended:
                await self._line.park()


def _step(step: Mapping[RecordKey, bytes | None] | Work) -> Changes | Effect[object]:
    if not isinstance(step, Work):
        return step
    return cast("Effect[object]", step.job)


def _write(session: Session, batch: Batch) -> None:
    """Commit a batch; in a worker thread."""
    storage = session._storage
    if isinstance(storage, SQLiteStorage):
        storage.commit_steps([_step(step) for step in batch.steps])
        return
    changes: dict[tuple[str, int | str], bytes | None] = {}
    for step in batch.steps:
        if isinstance(step, dict):
            changes.update(step)
    storage.commit(changes)
