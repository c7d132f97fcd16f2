"""The test server against a client of another make, over a loopback port."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
import trio
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from trio_mqtt.testing import ServerLimits, open_server

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

SECONDS = 10
each_version = pytest.mark.parametrize(
    "version",
    [MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5],
    ids=lambda version: version.name,
)


def talk(port: int, version: MQTTProtocolVersion) -> list[tuple[str, bytes, int]]:
    """Subscribe, publish at each QoS to ourselves, and return what came back."""
    arrived: queue.Queue[tuple[str, bytes, int]] = queue.Queue()
    subscribed: queue.Queue[int] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="paho", protocol=version)

    def on_connect(
        client: paho.Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason_code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        assert reason_code == 0
        client.subscribe("t/#", qos=2)

    def on_subscribe(
        _client: paho.Client,
        _userdata: object,
        _mid: int,
        reason_codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        subscribed.put(reason_codes[0].value)

    def on_message(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        arrived.put((message.topic, bytes(message.payload), message.qos))

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert subscribed.get(timeout=SECONDS) == 2
        for qos in (0, 1, 2):
            published = client.publish(f"t/{qos}", bytes(qos * 1000), qos)
            published.wait_for_publish(timeout=SECONDS)
            assert published.is_published()
        return [arrived.get(timeout=SECONDS) for _ in range(3)]
    finally:
        client.disconnect()
        client.loop_stop()


@each_version
async def test_talks_with_paho(version: MQTTProtocolVersion) -> None:
    async with open_server(port=0, limits=ServerLimits(receive_maximum=1)) as server:
        assert server.url is not None
        port = int(server.url.rpartition(":")[2])
        with trio.fail_after(2 * SECONDS):
            messages = await trio.to_thread.run_sync(talk, port, version, abandon_on_cancel=True)
        assert sorted(messages) == [(f"t/{qos}", bytes(qos * 1000), qos) for qos in range(3)]
        with trio.fail_after(SECONDS):
            await server.wait_until(lambda: not server.sessions)
