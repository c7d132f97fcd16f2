"""TCP (4.2)."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

import attrs
import trio

from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt._transports.url import ServerAddress


@attrs.frozen(kw_only=True)
class Peer:
    """Who is at the other end of a TCP connection.

    Attributes:
        host: a name or an IP address.
        port: the port.
        purpose: what the connection is for, as messages have it behind "cannot connect to".
        kind: what it is: ``server`` or ``proxy``.
        missing: what has not happened, if time runs out; None for the usual words.
    """

    host: str
    port: int
    purpose: str
    kind: str = "server"
    missing: str | None = None


@asynccontextmanager
async def open_tcp(
    address: ServerAddress, progress: Progress | None = None
) -> AsyncGenerator[trio.SocketStream]:
    """Connect to a Server; several addresses of a name are tried as by RFC 8305.

    Args:
        address: where to.
        progress: is told each stage, or None.

    Raises:
        ConnectFailed: the name is not known or is none (stage ``resolve``), or no address answers
            (stage ``connect``).
    """
    peer = Peer(host=address.host, port=address.port, purpose=address.name)
    if progress is None:
        progress = Progress(address.name, is_silent=True)
    async with await connect_tcp(peer, progress) as stream:
        yield stream


async def connect_tcp(peer: Peer, progress: Progress) -> trio.SocketStream:
    """Connect to a host and port; see `open_tcp`."""
    if not (progress.is_silent or is_ip_address(peer.host)):
        # Asked beforehand, so that it is known who is waited for: `trio.open_tcp_stream` asks
        # again, and races the addresses.
        await look_up(peer, progress)
    which = "port" if peer.kind == "server" else f"the {peer.kind} {peer.host!r}, port"
    progress.enter("connect", f"connecting to {which} {peer.port}", missing=peer.missing)
    try:
        stream = await trio.open_tcp_stream(peer.host, peer.port)
    except (socket.gaierror, UnicodeError) as error:
        raise _unresolved(peer, error) from error
    except OSError as error:
        message = (
            f"cannot connect to {peer.purpose}: {_why(error)}; "
            f"check the address, the port and that the {peer.kind} runs"
        )
        raise ConnectFailed(message, stage="connect") from error
    progress.note(f"connected to {stream.socket.getpeername()[0]}")
    return stream


async def look_up(peer: Peer, progress: Progress) -> list[str]:
    """Ask the name service for the IP addresses of a host, the best first.

    Raises:
        ConnectFailed: the name is not known or is none (stage ``resolve``).
    """
    progress.enter("resolve", f"looking up {peer.host!r}")
    try:
        entries = await trio.socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _unresolved(peer, error) from error
    found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    progress.note("found " + ", ".join(found))
    return found


def _why(error: OSError) -> str:
    """What the system says of the addresses of a host, each thing once."""
    tried: tuple[BaseException, ...] = (error.__cause__ or error,)
    if isinstance(tried[0], ExceptionGroup):
        tried = cast("ExceptionGroup[Exception]", tried[0]).exceptions
    return ", ".join(dict.fromkeys(map(_said, tried)))


def _said(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return str(error) if number is None else os.strerror(number).lower()


def _unresolved(peer: Peer, error: OSError | UnicodeError) -> ConnectFailed:
    if isinstance(error, UnicodeError):  # of what cannot be encoded for the name service
        what = f"{peer.host!r} is not a host name ({error}); check its spelling"
    else:
        what = (
            f"the host name {peer.host!r} is not known ({error.strerror}); "
            "check its spelling and the name service"
        )
    return ConnectFailed(f"cannot connect to {peer.purpose}: {what}", stage="resolve")


def is_ip_address(host: str) -> bool:
    """Whether it is an IP address, perhaps with a zone."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
