"""Unix sockets."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.unix import open_unix
from trio_mqtt._transports.url import parse_url
from trio_mqtt.testing import open_proxy, open_server
from trio_mqtt.testing._background import open_background

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio_mqtt.packets import Connect
    from trio_mqtt.testing import Server


def bound(path: Path) -> socket.socket:
    """A socket in this file, to which nobody listens yet."""
    unbound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unbound.bind(str(path))
    return unbound


@asynccontextmanager
async def open_unix_server(path: Path) -> AsyncGenerator[Server]:
    """The test server, listening on this socket."""
    listening = bound(path)
    listening.listen()
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    async with open_server() as server, open_background("errors of a listener") as nursery:
        nursery.start_soon(partial(trio.serve_listeners, server.serve, [listener]))
        yield server


async def test_messages_go_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "a socket"
    seen: list[tuple[str | None, bytes | None]] = []
    async with open_unix_server(path) as server:

        def authenticate(connect: Connect) -> trio_mqtt.ReasonCode:
            seen.append((connect.username, connect.password))
            return trio_mqtt.ReasonCode.SUCCESS

        server.authenticate = authenticate
        url = f"mqtt+unix://me:secret@{tmp_path}/a%20socket"
        async with (
            open_once(url) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            assert repr(str(path))[1:-1] in repr(client)
            assert "secret" not in repr(client)
            await client.publish("a", bytes(1_000_000), qos=1)
            assert len((await messages.receive()).payload) == 1_000_000
    assert seen == [("me", b"secret")]


async def fails(path: Path) -> str:
    """What is said of a socket that cannot be used."""
    with pytest.raises(trio_mqtt.ConnectFailed, match="mqtt\\+unix://") as caught:
        async with open_once(f"mqtt+unix://me:secret@{path}"):
            raise AssertionError("not reached")
    assert caught.value.stage == "connect"
    assert caught.value.__cause__ is not None
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def test_there_is_no_such_file(tmp_path: Path) -> None:
    assert "there is no such file" in await fails(tmp_path / "socket")


async def test_a_part_of_the_path_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is no directory" in await fails(tmp_path / "file" / "socket")


async def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "nobody listens there" in await fails(tmp_path / "file")


async def test_nobody_listens(tmp_path: Path) -> None:
    with bound(tmp_path / "socket"):
        pass  # closed, and the file stays
    assert "nobody listens there" in await fails(tmp_path / "socket")


async def test_a_socket_that_may_not_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid():
        async with open_unix_server(tmp_path / "socket"):
            (tmp_path / "socket").chmod(stat.S_IRUSR)
            assert "write permission" in await fails(tmp_path / "socket")
    else:  # root may use every socket

        async def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(trio, "open_unix_socket", refuse)
        assert "write permission" in await fails(tmp_path / "socket")


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    assert "check the path" in await fails(tmp_path / ("a" * 200))


async def test_a_system_without_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_path: str) -> None:
        raise RuntimeError("Unix sockets are not supported on this platform")

    monkeypatch.setattr(trio, "open_unix_socket", refuse)
    address = parse_url("mqtt+unix:///run/socket")
    with pytest.raises(trio_mqtt.ConnectFailed, match="not supported on this platform"):
        async with open_unix(address, Progress(address.name)):
            raise AssertionError("not reached")


async def test_a_proxy_needs_a_host(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not of a Unix socket"):
        async with open_proxy(f"mqtt+unix://{tmp_path}/socket"):
            raise AssertionError("not reached")
