"""Interfaces that a caller may implement, as in `trio.abc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import trio


class Connector(Protocol):
    """Makes the byte stream of a Network Connection; asked anew at each attempt.

    A function without arguments that returns an async context manager yielding a
    `trio.abc.Stream` is one. Leaving the context manager closes the stream, or leaves that to
    whoever made it.
    """

    def __call__(self) -> AbstractAsyncContextManager[trio.abc.Stream]:
        """Connect when entered; on failure raise `OSError` or `ConnectFailed`."""
        ...
