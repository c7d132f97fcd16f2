"""What a program writes of its own, in the transaction that settles a message.

An effect is a step of a transaction that it did not begin and must not end: beside it stand
records of the Session and effects of other tasks. So while it runs SQLite refuses it whatever would
end the transaction, touch our tables, or change how the database is kept. Each runs under a
savepoint; one that fails is undone, and the others are not.

SQLite itself may end a transaction, with a full disk or at the program's wish (``INSERT OR
ROLLBACK``, ``RAISE(ROLLBACK)``). Our savepoint is gone then, and all is done again without that
effect. Rows that it still tries to write are refused: as the connection has an isolation level,
Python would begin a transaction for them.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs

from trio_mqtt._errors import StorageError
from trio_mqtt._storage.schema import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.abc import Changes

    _Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

_T_co = TypeVar("_T_co", covariant=True)

_SAVEPOINT: Final = "trio_mqtt_effect /* made by trio_mqtt */"
"""With a comment, as a statement that an effect writes alike would not be compiled and checked."""
_NO_END: Final = (
    "It is part of a transaction that is committed after it. So it cannot use BEGIN, COMMIT,"
    " ROLLBACK, executescript() or 'with connection', which end one; ATTACH, DETACH; PRAGMAs that"
    f" change something; nor write to tables that begin with {PREFIX!r}. Savepoints are allowed."
)

_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_ANALYZE,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_SELECT,
    }
)
_NEVER: Final = frozenset(
    {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_TRANSACTION}
)
_WRITES_ROWS: Final = frozenset(
    {sqlite3.SQLITE_DELETE, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE}
)
_PRAGMAS: Final = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
"""Those that only tell something, whatever their argument."""


@attrs.define(eq=False)
class Effect(Generic[_T_co]):
    """A step of a transaction that the program brought along.

    Attributes:
        run: makes the program's own changes with the connection that it gets. It has to leave
            everything else alone: where the transaction must be repeated, it is called again.
        changes: records to write if `run` succeeds.
        result: what `run` returned, once that is committed.
        error: what `run` raised, once all else is committed.
    """

    run: Callable[[sqlite3.Connection], _T_co]
    changes: Changes
    result: _T_co | None = None
    error: BaseException | None = None


class TransactionEnded(Exception):
    """The effect ended the transaction, with all that came before; `error` is what to tell it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class GuardedConnection(sqlite3.Connection):
    """A connection that refuses what an effect must not do, while one runs."""

    guarded = False

    def guard(self) -> None:
        """Begin to decide about each statement that is compiled."""
        # It stays for good: to set it makes SQLite compile all statements anew.
        super().set_authorizer(self._authorize)

    def close(self) -> None:
        """Close it."""
        if self.guarded:
            raise sqlite3.ProgrammingError("an effect cannot call close() on the connection")
        super().set_authorizer(None)  # it refers to the connection
        super().close()

    def set_authorizer(self, authorizer_callback: _Authorizer | None) -> None:  # noqa: ARG002
        """Refuse: there is one already."""
        raise sqlite3.ProgrammingError("an effect cannot call set_authorizer() on the connection")

    def _authorize(
        self,
        action: int,
        first: str | None,
        second: str | None,
        _database: str | None,
        _trigger: str | None,
    ) -> int:
        if not self.guarded or action in _HARMLESS or _allows(action, first, second):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


def _allows(action: int, first: str | None, second: str | None) -> bool:
    """What the two names mean depends on the action: see "Authorizer Action Codes" of SQLite."""
    if action in _NEVER:
        return False
    if action == sqlite3.SQLITE_PRAGMA:
        return first in _PRAGMAS
    if action == sqlite3.SQLITE_SAVEPOINT:
        return not _is_ours(second)
    if action in _WRITES_ROWS:  # the second is a column
        return not _is_ours(first)
    return not _is_ours(first) and not _is_ours(second)


def _is_ours(name: str | None) -> bool:
    return name is not None and name.lower().startswith(PREFIX)


def run_effect(
    connection: GuardedConnection, run: Callable[[sqlite3.Connection], _T_co]
) -> tuple[_T_co | None, BaseException | None]:
    """Run it under a savepoint; what it returned, and what it raised.

    Raises:
        TransactionEnded: so it did.
    """
    result: _T_co | None = None
    error: BaseException | None = None
    connection.execute(f"SAVEPOINT {_SAVEPOINT}")
    connection.guarded = True
    try:
        result = run(connection)
    except BaseException as caught:  # noqa: BLE001 - whoever brought the effect is told
        error = caught
        if getattr(caught, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
            caught.add_note(_NO_END)
    finally:
        connection.guarded = False
    # What it set for itself is not for the next one.
    connection.row_factory = None
    connection.text_factory = str
    try:
        if error is not None:
            connection.execute(f"ROLLBACK TO {_SAVEPOINT}")
        connection.execute(f"RELEASE {_SAVEPOINT}")
    except sqlite3.Error as lost:
        if error is None:
            error = StorageError(
                "the effect ended the transaction that it is part of, and was left out: do not"
                " let it use ON CONFLICT ROLLBACK or RAISE(ROLLBACK)"
            )
            error.__cause__ = lost
        raise TransactionEnded(error) from lost
    return result, error
