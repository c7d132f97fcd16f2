"""What the tests of the client share."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing

import trio_mqtt
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt.testing import Server

open_once: Final = partial(trio_mqtt.open_client, reconnect=None)
"""A client that fails on the first loss, for tests of what is before that."""

PATIENCE: Final = 30
"""How long a test with a bounded server may take, in seconds."""


@asynccontextmanager
async def open_bounded_server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    """A test server for a fixture; a test that would wait for ever fails, wherever that is.

    Args:
        nursery: that of pytest-trio.
    """
    mocked = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
    patience = 100 * PATIENCE if mocked else PATIENCE

    async def watch() -> None:
        await trio.sleep(patience)
        pytest.fail(f"it took more than {patience} s")

    nursery.start_soon(watch)
    async with open_server() as server:
        yield server
