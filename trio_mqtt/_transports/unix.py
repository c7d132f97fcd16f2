"""Unix sockets, for a Server on the same machine."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from trio_mqtt._errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt._transports.progress import Progress
    from trio_mqtt._transports.url import ServerAddress

_HINTS: Final[dict[type[Exception], str]] = {
    FileNotFoundError: "there is no such file; check the path and that the server runs",
    NotADirectoryError: "a part of the path is no directory; check the path",
    PermissionError: "it may not be used; this user needs write permission for the socket and "
    "execute permission for the directories above it",
    ConnectionRefusedError: "nobody listens there; check that the server runs, and that the file "
    "is a socket that an earlier run did not leave behind",
}


@asynccontextmanager
async def open_unix(address: ServerAddress, progress: Progress) -> AsyncGenerator[trio.abc.Stream]:
    """Connect to the socket in a file.

    Raises:
        ConnectFailed: that did not work (stage ``connect``).
    """
    progress.enter("connect", "connecting to the socket")
    try:
        stream = await trio.open_unix_socket(address.path)
    except (OSError, RuntimeError) as error:  # the latter where the system has none
        hint = _HINTS.get(type(error), "check the path and that it is the server's socket")
        message = f"cannot connect to {address.name}: {hint} ({error})"
        raise ConnectFailed(message, stage="connect") from error
    async with stream:
        yield stream
