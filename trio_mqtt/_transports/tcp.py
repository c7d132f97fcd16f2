"""TCP (4.2)."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from trio_mqtt._errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt._transports.url import ServerAddress


@asynccontextmanager
async def open_tcp(address: ServerAddress) -> AsyncGenerator[trio.abc.Stream]:
    """Connect to a host and port; several addresses of a name are tried as by RFC 8305.

    Raises:
        ConnectFailed: the name is not known or is none (stage ``resolve``), or no address answers
            (stage ``connect``).
    """
    async with await _connect(address) as stream:
        yield stream


async def _connect(address: ServerAddress) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(address.host, address.port)
    except socket.gaierror as error:
        message = (
            f"cannot connect to {address.name}: the host name {address.host!r} is not known "
            f"({error.strerror}); check its spelling and the name service"
        )
        raise ConnectFailed(message, stage="resolve") from error
    except UnicodeError as error:  # of what cannot be encoded for the name service
        message = (
            f"cannot connect to {address.name}: {address.host!r} is not a host name ({error}); "
            "check its spelling"
        )
        raise ConnectFailed(message, stage="resolve") from error
    except OSError as error:
        message = (
            f"cannot connect to {address.name}: {error}; "
            "check the address, the port and that the server runs"
        )
        raise ConnectFailed(message, stage="connect") from error
