"""A million messages of QoS 0, from a process that makes them as fast as the socket takes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

MESSAGES: Final = 1_000_000
MOST_MEMORY: Final = 50 * 1000 * 1000
BUFFER: Final = 1000
STALL_TIMEOUT: Final = 10
PATIENCE: Final = 120
ROOT: Final = Path(__file__).parents[2]


def flood(overflow: str, consumer: str) -> dict[str, Any]:
    """What came of it, as `flood_client` tells."""
    arguments = [sys.executable, "-m", "tests.client.flood_peer", str(MESSAGES)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as peer:
        try:
            assert peer.stdout is not None
            port = peer.stdout.readline().strip()
            client = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.client.flood_client"),
                    *(port, str(MESSAGES), overflow, consumer),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                timeout=PATIENCE,
                check=True,
            )
            peer.wait(PATIENCE)
        finally:
            peer.kill()
    assert peer.returncode == 0
    result: dict[str, Any] = json.loads(client.stdout)
    assert result["grown"] < MOST_MEMORY
    assert result["received"] == MESSAGES
    assert result["taken"] + result["dropped"] + result["buffered"] == MESSAGES
    return result


def test_a_consumer_that_pauses_loses_nothing_where_it_is_waited_for() -> None:
    result = flood("wait", "pauses")
    assert result["taken"] == MESSAGES
    assert (result["dropped"], result["gaps"]) == (0, 0)
    assert result["pauses"] == 25
    assert result["reading_paused"] > 0


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_every_drop_is_counted(overflow: str) -> None:
    result = flood(overflow, "pauses")
    assert result["taken"] > BUFFER
    assert result["pauses"] > 0
    assert result["dropped"] >= 10_000
    assert result["reading_paused"] == 0


def test_a_consumer_that_takes_nothing_costs_the_stall_timeout_once() -> None:
    result = flood("wait", "stalls")
    assert STALL_TIMEOUT <= result["reading_paused"] < 2 * STALL_TIMEOUT
    assert result["dropped"] > 0
    assert result["buffered"] > BUFFER


def test_while_an_answer_is_awaited_the_flood_is_dropped_and_fills_no_memory() -> None:
    result = flood("wait", "awaits")
    # It may pause until the task that awaits has come so far, not for the stall timeout.
    assert result["reading_paused"] < STALL_TIMEOUT
    assert result["dropped"] > 0
    assert result["buffered"] > BUFFER
