"""Faults that begin on a connection that is open, and those for the next ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.testing.streams import Peers, read_all
from trio_mqtt import MQTT_5, open_client
from trio_mqtt.packets import Publish, PubRec, PubRel, encode
from trio_mqtt.testing import After, Before, Faults, open_network, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import MemoryStream
    from trio_mqtt.testing._faults import Place

PUBLISH = encode(Publish("a", b"0123456789"), MQTT_5)


async def heard(stream: MemoryStream) -> tuple[bytes, str]:
    with trio.fail_after(10):
        return await read_all(stream)


async def test_an_open_connection_is_cut_between_pubrec_and_pubrel(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_server() as server,
        open_network(server.connect) as network,
        open_client(connector=network.connect) as client,
    ):
        await client.publish("valves/3", "shut", qos=2)
        network.inject(Faults(cut_to_server=Before(PubRel)))
        await client.publish("valves/3", "open", qos=2)
        assert [connection.outcome for connection in network.connections] == ["cut", None]
        server.assert_published("valves/3", "open", count=1)


@pytest.mark.parametrize(
    ("place", "passed"),
    [
        (0, b""),
        (5, PUBLISH[:5]),
        (Before(Publish), b""),
        (Before(Publish, 2), PUBLISH),
        (After(Publish), PUBLISH),
        (After(PubRec), PUBLISH * 3),
    ],
)
async def test_places_count_from_now_on(
    place: Place, passed: bytes, autojump_clock: MockClock
) -> None:
    peers = Peers()
    async with open_network(peers.connect) as network, network.connect() as client:
        await client.send_all(PUBLISH * 2)
        await trio.testing.wait_all_tasks_blocked()
        network.inject(Faults(cut_to_server=place))
        await client.send_all(PUBLISH * 3)
        await client.send_eof()
        assert await heard(peers.ends[0]) == (
            PUBLISH * 2 + passed,
            "close" if place == After(PubRec) else "reset",
        )


@pytest.mark.parametrize("begun", range(1, len(PUBLISH)))
async def test_a_packet_that_has_begun_does_not_count(
    begun: int, autojump_clock: MockClock
) -> None:
    peers = Peers()
    async with open_network(peers.connect) as network, network.connect() as client:
        await client.send_all(PUBLISH + PUBLISH[:begun])
        await trio.testing.wait_all_tasks_blocked()
        network.connections[0].inject(Faults(cut_to_server=Before(Publish)))
        await client.send_all(PUBLISH[begun:] + PUBLISH)
        assert await heard(peers.ends[0]) == (PUBLISH * 2, "reset")


async def test_the_other_direction_and_the_ending(autojump_clock: MockClock) -> None:
    peers = Peers()
    async with open_network(peers.connect) as network, network.connect() as client:
        network.inject(Faults(cut_to_client=After(Publish), ending="close"))
        await peers.ends[0].send_all(PUBLISH * 2)
        assert await heard(client) == (PUBLISH, "close")


async def test_faults_replace_those_before(autojump_clock: MockClock) -> None:
    peers = Peers()
    async with (
        open_network(peers.connect, [Faults(cut_to_server=3)]) as network,
        network.connect() as client,
    ):
        await trio.testing.wait_all_tasks_blocked()
        network.inject(Faults())
        await client.send_all(PUBLISH)
        await client.send_eof()
        assert await heard(peers.ends[0]) == (PUBLISH, "close")


@pytest.mark.parametrize("faults", [Faults(refuse=True), Faults(delay=1), Faults(chunk=1)])
async def test_what_cannot_begin_midway(faults: Faults) -> None:
    peers = Peers()
    async with open_network(peers.connect) as network, network.connect():
        with pytest.raises(ValueError, match="give them to add_faults"):
            network.inject(faults)


async def test_nothing_to_inject_faults_into(autojump_clock: MockClock) -> None:
    peers = Peers()
    async with open_network(peers.connect) as network:
        with pytest.raises(ValueError, match="no connection is open"):
            network.inject(Faults(cut_to_server=0))


async def test_added_faults_come_first(autojump_clock: MockClock) -> None:
    peers = Peers()
    given, *added = Faults(cut_to_server=1), Faults(refuse=True), Faults(cut_to_server=2)
    async with open_network(peers.connect, [given]) as network:
        network.add_faults(*added)
        with pytest.raises(ConnectionRefusedError):
            await network.connect().__aenter__()
        for _ in range(3):
            async with network.connect() as client:
                await client.send_all(PUBLISH)
        assert [connection.faults for connection in network.connections] == [
            *added,
            given,
            Faults(),
        ]
