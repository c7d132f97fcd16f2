"""The client and Mosquitto over WebSocket, in MQTT 5.0 and 3.1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.servers import RealServer, run_mosquitto

if TYPE_CHECKING:
    from collections.abc import Generator

LONGEST: Final = 60.0
LARGEST_DELIVERY: Final = 20_000
"""Mosquitto 2.0.11 sends 40 kB a second to a WebSocket client, and hangs on more than 64 kB."""

each_protocol = pytest.mark.parametrize("protocol", [trio_mqtt.MQTT_5, trio_mqtt.MQTT_3_1_1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealServer]:
    with run_mosquitto(tmp_path_factory.mktemp("websocket"), ["protocol websockets"]) as server:
        yield server


@pytest.fixture
def url(server: RealServer) -> str:
    return f"ws://127.0.0.1:{server.more_ports[0]}"


@each_protocol
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_of_all_sizes_there_and_back(
    url: str, protocol: trio_mqtt.Protocol, qos: int
) -> None:
    topic = f"sizes/{protocol.name}/{qos}"
    with trio.fail_after(LONGEST):
        async with (
            open_once(url, protocol=protocol) as client,
            client.subscribe(topic, qos=qos) as messages,
        ):
            for size in (0, 1, 125, 126, 127, 4096, LARGEST_DELIVERY):
                payload = bytes(n % 251 for n in range(size))
                await client.publish(topic, payload, qos=qos)
                assert (await messages.receive()).payload == payload


@each_protocol
async def test_a_large_message_is_sent(
    server: RealServer, url: str, protocol: trio_mqtt.Protocol
) -> None:
    payload = bytes(n % 251 for n in range(3_000_000))
    topic = f"large/{protocol.name}"
    with trio.fail_after(LONGEST):
        async with (
            open_once(server.url) as other,
            other.subscribe(topic, qos=1) as messages,
            open_once(url, protocol=protocol) as client,
        ):
            await client.publish(topic, payload, qos=1)
            assert (await messages.receive()).payload == payload


async def test_many_messages_each_way(url: str) -> None:
    count = 2000
    with trio.fail_after(LONGEST):
        async with (
            open_once(url) as client,
            client.subscribe("many", qos=1) as messages,
            trio.open_nursery() as nursery,
        ):

            async def send() -> None:
                async with client.open_publisher(qos=1) as publisher:
                    for number in range(count):
                        await publisher.send("many", str(number))

            nursery.start_soon(send)
            for number in range(count):
                with await messages.receive() as message:
                    assert message.text() == str(number)


async def test_a_port_for_plain_mqtt_is_a_clear_error(server: RealServer) -> None:
    with trio.fail_after(LONGEST):
        with pytest.raises(trio_mqtt.ConnectFailed, match="port is one for WebSocket") as caught:
            async with open_once(f"ws://127.0.0.1:{server.port}"):
                raise AssertionError
        assert caught.value.stage == "WebSocket"
