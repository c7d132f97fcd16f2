"""Many steps in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt._storage.effects import Effect, TransactionEnded, run_effect
from trio_mqtt._storage.statements import write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio_mqtt._storage.effects import GuardedConnection
    from trio_mqtt.abc import Changes, RecordKey

_Outcome = tuple[Effect[object], object, BaseException | None]
"""An effect, its result and its error."""


def commit_steps(connection: GuardedConnection, steps: Sequence[Changes | Effect[object]]) -> None:
    """Make all changes and have all effects, or none; then tell the effects what came of them.

    Raises:
        sqlite3.Error: nothing was done.
    """
    outcomes: list[_Outcome] | None = None
    spoilers: dict[int, BaseException] = {}
    while outcomes is None:
        try:
            outcomes = _try_steps(connection, steps, spoilers)
        except _SpoiledError as spoiled:
            # What came before is undone, so it is done again, without the effect that undid it.
            spoilers[spoiled.position] = spoiled.error
    for effect, result, error in outcomes:
        effect.result, effect.error = result, error


class _SpoiledError(Exception):
    """The effect at this position ended the transaction."""

    def __init__(self, position: int, error: BaseException) -> None:
        super().__init__()
        self.position = position
        self.error = error


def _try_steps(
    connection: GuardedConnection,
    steps: Sequence[Changes | Effect[object]],
    spoilers: Mapping[int, BaseException],
) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    # Effects cannot change records, so these can wait until the last and be written together.
    changes: dict[RecordKey, bytes | None] = {}
    connection.execute("BEGIN IMMEDIATE")
    try:
        for position, step in enumerate(steps):
            if not isinstance(step, Effect):
                changes.update(step)
            elif position in spoilers:
                outcomes.append((step, None, spoilers[position]))
            else:
                try:
                    result, error = run_effect(connection, step.run)
                except TransactionEnded as ended:
                    raise _SpoiledError(position, ended.error) from None
                outcomes.append((step, result, error))
                if error is None:
                    changes.update(step.changes)
        write(connection, changes)
        connection.commit()  # not execute(): from its cache an effect would get it unchecked
    finally:
        # It is over after COMMIT, and SQLite may have ended it by itself: then this does nothing.
        connection.rollback()
    return outcomes
