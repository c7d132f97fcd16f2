"""The servers that the tests of the command line talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.support import read_line, running

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.servers import RealServer


@pytest.fixture(scope="session")
def broker() -> Generator[str]:
    """The URL of ``trio-mqtt broker`` in a process of its own."""
    with running("broker", "-p", "0") as process:
        yield read_line(process).decode().strip()


@pytest.fixture(params=["mosquitto", "broker"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of each server."""
    if request.param == "broker":
        broker: str = request.getfixturevalue("broker")
        return broker
    mosquitto: RealServer = request.getfixturevalue("mosquitto")
    return mosquitto.url
