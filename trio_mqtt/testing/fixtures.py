"""pytest fixtures: a server, a faulty network before it, and a client connected through that.

A test module, or the ``conftest.py`` at the root of the project, names this module::

    pytest_plugins = ["trio_mqtt.testing.fixtures"]

Nothing loads by itself. The fixtures are asynchronous, so that a plugin has to run them:
pytest-trio, in its Trio mode or for tests marked ``trio``, or that of AnyIO with its Trio backend.
Virtual time is the test's business: one that takes pytest-trio's ``autojump_clock`` as an argument
of its own has it, fixtures included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_mqtt import Client, open_client
from trio_mqtt.testing import FaultyNetwork, Server, open_network, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["faulty_network", "mqtt_client", "mqtt_server"]


@pytest.fixture
async def mqtt_server() -> AsyncGenerator[Server]:
    """A `Server` of this test, in memory, from `open_server`."""
    async with open_server() as server:
        yield server


@pytest.fixture
async def faulty_network(mqtt_server: Server) -> AsyncGenerator[FaultyNetwork]:
    """A `FaultyNetwork` before `mqtt_server`; nothing goes wrong in it until the test says so.

    Whatever is to connect through it takes ``connector=faulty_network.connect``.
    """
    async with open_network(mqtt_server.connect) as network:
        yield network


@pytest.fixture
async def mqtt_client(faulty_network: FaultyNetwork) -> AsyncGenerator[Client]:
    """A `trio_mqtt.Client` connected to `mqtt_server` through `faulty_network`.

    Its Client Identifier is ``mqtt_client``, and its connection the first of the network.
    """
    async with open_client(connector=faulty_network.connect, client_id="mqtt_client") as client:
        yield client
