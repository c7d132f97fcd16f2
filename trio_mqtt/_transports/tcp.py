"""TCP (4.2)."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

import trio

from trio_mqtt._errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt._transports.progress import Progress
    from trio_mqtt._transports.url import ServerAddress


@asynccontextmanager
async def open_tcp(
    address: ServerAddress, progress: Progress | None = None
) -> AsyncGenerator[trio.SocketStream]:
    """Connect to a host and port; several addresses of a name are tried as by RFC 8305.

    Args:
        address: where to.
        progress: is told each stage, or None.

    Raises:
        ConnectFailed: the name is not known or is none (stage ``resolve``), or no address answers
            (stage ``connect``).
    """
    async with await _connect(address, progress) as stream:
        yield stream


async def _connect(address: ServerAddress, progress: Progress | None) -> trio.SocketStream:
    try:
        if progress is not None:
            if not _is_ip_address(address.host):
                await _look_up(address, progress)
            progress.enter("connect", f"connecting to port {address.port}")
        stream = await trio.open_tcp_stream(address.host, address.port)
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
    if progress is not None:
        progress.note(f"connected to {stream.socket.getpeername()[0]}")
    return stream


async def _look_up(address: ServerAddress, progress: Progress) -> None:
    """Ask the name service beforehand, so that it is known who is waited for.

    `trio.open_tcp_stream` asks again, and races the addresses.
    """
    progress.enter("resolve", f"looking up {address.host!r}")
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    progress.note("found " + ", ".join(dict.fromkeys(str(entry[4][0]) for entry in found)))


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
