"""What must be on disk before a packet reveals it.

Changes collect in batches, and each batch has a number. Whoever notes a change gets the number of
the batch that it is in: a packet that reveals the change waits until that batch is committed. A
record that changes again before its batch is taken is written once, as it is then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.records import encode_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RecordKey = tuple[str, int | str]
Value = OutgoingMessage | bytes | None
"""What a record is to be; a message is written as it is when its batch is taken."""


def _nobody() -> None:
    """Nobody commits changes."""


class Job(Protocol):
    """Work that a storage understands."""

    error: BaseException | None


@attrs.define(eq=False)
class Work:
    """Work of the caller's that is committed together with changes, or not at all.

    Attributes:
        changes: what is written if it succeeds.
        job: the work itself, which the storage understands.
    """

    changes: Mapping[RecordKey, bytes | None]
    job: Job


@attrs.define(eq=False)
class Batch:
    """Changes that are committed together.

    Attributes:
        number: of the batch.
        steps: what is to be done, in order.
    """

    number: int
    steps: list[dict[RecordKey, bytes | None] | Work]


class Journal:
    """Collects the changes of a durable Session.

    Attributes:
        open_batch: the number of the batch that collects changes now.
        committed: the number of the last batch that is on disk.
        on_change: called when there is something to commit and there was nothing before.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[], object] = _nobody
        self.open_batch: int = 1
        self.committed: int = 0
        self._open: dict[RecordKey, Value] = {}
        self._closed: list[dict[RecordKey, Value] | Work] = []
        self._taken: Batch | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self._open and not self._closed

    @property
    def last_change(self) -> int:
        """The number of the batch with the last change, so that all changes are on disk with it."""
        if not self.is_empty:
            return self.open_batch
        return self.committed if self._taken is None else self._taken.number

    def put(self, key: RecordKey, value: OutgoingMessage | bytes) -> int:
        """Note that a record is to be written; returns the batch that it is in."""
        return self._note(key, value)

    def delete(self, key: RecordKey) -> int:
        """Note that a record is to be deleted; returns the batch that it is in."""
        return self._note(key, None)

    def _note(self, key: RecordKey, value: Value) -> int:
        is_first = self.is_empty
        self._open[key] = value
        if is_first:
            self.on_change()
        return self.open_batch

    def add(self, work: Work) -> int:
        """Note work of the caller's, after all changes so far; returns the batch that it is in."""
        is_first = self.is_empty
        if self._open:
            self._closed.append(self._open)
            self._open = {}
        self._closed.append(work)
        if is_first:
            self.on_change()
        return self.open_batch

    def forget(self, key: RecordKey) -> None:
        """Take back a change that was not committed."""
        for step in (self._open, *self._closed):
            if isinstance(step, dict):
                step.pop(key, None)

    def after(self, key: RecordKey) -> int:
        """The batch that must be committed before this record is on disk; 0 if it is."""
        if any(key in (step.changes if isinstance(step, Work) else step) for step in self._closed):
            return self.open_batch
        if key in self._open:
            return self.open_batch
        taken = self._taken
        if taken is not None and any(
            key in (step.changes if isinstance(step, Work) else step) for step in taken.steps
        ):
            return taken.number
        return 0

    def take(self, time_shift: float = 0.0) -> Batch:
        """Close the open batch, as it is now, for being committed; one at a time."""
        steps = [*self._closed, self._open] if self._open else self._closed
        batch = Batch(
            self.open_batch,
            [
                step
                if isinstance(step, Work)
                else {key: _record(value, time_shift) for key, value in step.items()}
                for step in steps
            ],
        )
        self._open = {}
        self._closed = []
        self.open_batch += 1
        self._taken = batch
        return batch

    def commit(self, batch: Batch) -> None:
        """Note that a batch is on disk."""
        self.committed = batch.number
        self._taken = None

    def restore(self, batch: Batch) -> None:
        """Put back what could not be committed, before all that was noted since.

        Work of the caller's is not put back: it has failed.
        """
        self._taken = None
        merged: dict[RecordKey, Value] = {}
        for step in batch.steps:
            if isinstance(step, dict):
                merged.update(step)
        if self._closed:
            self._closed.insert(0, merged)
        else:
            self._open = merged | self._open


def _record(value: Value, time_shift: float) -> bytes | None:
    if isinstance(value, OutgoingMessage):
        return encode_message(value, time_shift)
    return value
