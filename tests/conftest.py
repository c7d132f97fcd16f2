"""Settings and fixtures that all tests share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.budget import load_profile
from tests.servers import RealServer, run_mosquitto

if TYPE_CHECKING:
    from collections.abc import Generator

load_profile()
# Where Ctrl-C is ignored, as it is in the background, the programs that tests start would inherit
# that, and some of them are to be stopped by it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealServer]:
    """A Mosquitto of this test run, with `url` and `port`."""
    with run_mosquitto(tmp_path_factory.mktemp("mosquitto")) as server:
        yield server
