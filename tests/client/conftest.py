"""A test server in memory, and a client connected to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.support import open_once
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import trio_mqtt
    from trio_mqtt.testing import Server


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    """The test server, without a port."""
    async with open_server() as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncGenerator[trio_mqtt.Client]:
    """A client of it."""
    async with open_once(connector=server.connect) as client:
        yield client
