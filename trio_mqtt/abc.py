"""Interfaces that a caller may implement, as in `trio.abc`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    import trio

RecordKey = tuple[str, int | str]
"""The key of a record; it has a kind, such as ``outgoing``, and a number or text."""

Changes = Mapping[RecordKey, bytes | None]
"""Records to write, and with None those to delete, whether or not they exist."""


class Connector(Protocol):
    """Makes the byte stream of a Network Connection; asked anew at each attempt.

    A function without arguments that returns an async context manager yielding a
    `trio.abc.Stream` is one. Leaving the context manager closes the stream, or leaves that to
    whoever made it.
    """

    def __call__(self) -> AbstractAsyncContextManager[trio.abc.Stream]:
        """Connect when entered; on failure raise `OSError` or `ConnectFailed`."""
        ...


class Storage(ABC):
    """Keeps what a `Session` must not forget: small records, by key.

    Its methods may block: they are called in worker threads, one at a time. What the bytes of a
    record mean is the Session's business.
    """

    @abstractmethod
    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        """Take possession of the record of a Session, and make it if there is none.

        Args:
            client_id: whose Session it is.

        Returns:
            All records, each kind in the order of its keys.

        Raises:
            StorageBusy: somebody else has it open.
            StorageError: it cannot be read, or is not ours; it is left as it is.
        """

    @abstractmethod
    def commit(self, changes: Changes) -> None:
        """Make all changes, or none; on return they have to survive a crash and a loss of power.

        Raises:
            StorageError: nothing was changed; it may be tried again.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the record back. Closing what is not open does nothing."""
