"""The ingest stores each reading once, although it is killed again and again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import pytest

import trio_mqtt
from tests.examples.programs import output_of, running
from tests.storage.support import query

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RealServer
    from trio_mqtt.testing import FaultyNetwork, Server

COUNT: Final = 120
KILLS: Final = (20, 50)


@pytest.fixture(params=["in this process", "Mosquitto"])
async def url(request: pytest.FixtureRequest, server: Server, mosquitto: RealServer) -> str:
    """The address of a server that an example can reach."""
    address = mosquitto.url if request.param == "Mosquitto" else server.url
    assert address is not None
    return address


def stored(file: Path, sensor: str) -> list[float]:
    """The readings of a sensor."""
    rows = query(file, "SELECT sensor, value FROM readings ORDER BY number")
    return [float(str(value)) for name, value in rows if name == sensor]


def sums(file: Path, sensor: str) -> list[tuple[object, ...]]:
    """What is said of a sensor."""
    rows = query(file, "SELECT sensor, count, total FROM sensors")
    return [tuple(row[1:]) for row in rows if row[0] == sensor]


async def test_each_reading_once_although_it_is_killed(url: str, tmp_path: Path) -> None:
    file = tmp_path / "readings.db"
    sensor = tmp_path.name
    values = list(range(COUNT))
    async with trio_mqtt.open_client(url) as client:
        async with (
            running("exactly_once.py", url, str(file)) as program,
            client.open_publisher(qos=2) as publisher,
        ):
            await program.prints(f"storing readings in {file}")
            for value in values[:80]:
                await publisher.send(f"sensors/{sensor}", str(value))
            await program.says(f"reading .*: {sensor} {KILLS[0]}")
            assert await program.ends(signal.SIGKILL) == -signal.SIGKILL
        assert stored(file, sensor) == values[: len(stored(file, sensor))]
        assert len(stored(file, sensor)) > KILLS[0]
        async with running("exactly_once.py", url, str(file)) as program:
            await program.says(f"reading .*: {sensor} {KILLS[1]}")
            assert await program.ends(signal.SIGKILL) == -signal.SIGKILL
        for value in values[80:]:
            await client.publish(f"sensors/{sensor}", str(value), qos=2)
        async with running("exactly_once.py", url, str(file)) as program:
            await program.says(f"reading .*: {sensor} {values[-1]}")
            assert await program.ends(signal.SIGTERM) == 0
    assert stored(file, sensor) == values
    assert sums(file, sensor) == [(COUNT, sum(values))]


async def test_what_was_stored_in_an_outage_is_not_stored_again(
    url: str, far_url: str, network: FaultyNetwork, tmp_path: Path
) -> None:
    file = tmp_path / "readings.db"
    sensor = tmp_path.name
    values = list(range(COUNT))
    async with trio_mqtt.open_client(url) as client:
        async with running("exactly_once.py", far_url, str(file)) as program:
            await program.prints(f"storing readings in {file}")
            async with client.open_publisher(qos=2) as publisher:
                for value in values:
                    await publisher.send(f"sensors/{sensor}", str(value))
            await program.says(f"reading .*: {sensor} {KILLS[0]}")
            network.down()
            already = len(stored(file, sensor))
            # What had arrived is stored, and the server cannot learn of it before the kill.
            await program.says(f"reading .*: {sensor} {min(already + 5, COUNT - 1)}")
            assert await program.ends(signal.SIGKILL) == -signal.SIGKILL
        network.up()
        await client.publish(f"sensors/{sensor}", str(COUNT), qos=2)
        async with running("exactly_once.py", far_url, str(file)) as program:
            await program.says(f"reading .*: {sensor} {COUNT}")
            assert await program.ends(signal.SIGTERM) == 0
    assert stored(file, sensor) == [*values, COUNT]
    assert sums(file, sensor) == [(COUNT + 1, sum(values) + COUNT)]


async def test_a_retained_reading_is_not_stored_again_at_each_start(
    url: str, tmp_path: Path
) -> None:
    file = tmp_path / "readings.db"
    topic = f"sensors/{tmp_path.name}"
    async with trio_mqtt.open_client(url) as client:
        for number in (1, 2, 3):
            async with running("exactly_once.py", url, str(file)) as program:
                await program.prints(f"storing readings in {file}")
                await client.publish(topic, str(number), qos=2, retain=True)
                await program.says(f"reading .*: {tmp_path.name} {number}")
                assert await program.ends(signal.SIGTERM) == 0
        await client.publish(topic, b"", retain=True)
    assert stored(file, tmp_path.name) == [1, 2, 3]


async def test_it_says_that_it_may_not_subscribe(server: Server, tmp_path: Path) -> None:
    server.authorize_subscribe = lambda _client_id, _request: trio_mqtt.ReasonCode.NOT_AUTHORIZED
    file = tmp_path / "readings.db"
    output = await output_of("exactly_once.py", str(server.url), str(file), status=1)
    assert "the ingest has failed: " in output
    assert "Traceback" not in output


async def test_what_is_no_reading_ends_nothing(url: str, tmp_path: Path) -> None:
    file = tmp_path / "readings.db"
    sensor = tmp_path.name
    async with (
        trio_mqtt.open_client(url) as client,
        running("exactly_once.py", url, str(file)) as program,
    ):
        await program.prints(f"storing readings in {file}")
        for qos in (0, 1, 2):
            for payload in ("hot", b"\xff", "nan", "inf", ""):
                await client.publish(f"sensors/{sensor}", payload, qos=qos)
            await client.publish(f"sensors/{sensor}", str(qos), qos=qos)
            await program.says(f"reading .*: {sensor} {qos}")
        assert program.text.count(f"not stored: {sensor}: ") == 15
        assert await program.ends(signal.SIGINT) == 0
    assert sums(file, sensor) == [(3, 3.0)]
