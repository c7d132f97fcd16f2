"""What the tests of the larger examples share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_mqtt.testing import FaultyNetwork, Server, open_proxy, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    """A server in this process, with a loopback port."""
    async with open_server(port=0) as server:
        yield server


@pytest.fixture
async def url(server: Server) -> str:
    """Its address."""
    assert server.url is not None
    return server.url


@pytest.fixture
async def network(url: str) -> AsyncGenerator[FaultyNetwork]:
    """A network before it, which can be down."""
    async with open_proxy(url) as network:
        yield network


@pytest.fixture
async def far_url(network: FaultyNetwork) -> str:
    """The address of the server through that network."""
    assert network.url is not None
    return network.url
