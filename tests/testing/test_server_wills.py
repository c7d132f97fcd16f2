from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from tests.testing.support import connected, expiring, kept
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets import (
    Connect,
    Disconnect,
    Properties,
    Publish,
    SubscriptionRequest,
    WillMessage,
)
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

WILL = WillMessage("will", b"gone", 1)


def delayed(seconds: int) -> WillMessage:
    return attrs.evolve(WILL, properties=Properties(will_delay_interval=seconds))


@pytest.mark.parametrize(
    ("protocol", "goodbye", "fires"),
    [
        (MQTT_5, None, True),
        (MQTT_5, Disconnect(), False),
        (MQTT_5, Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE), True),
        (MQTT_3_1_1, None, True),
        (MQTT_3_1_1, Disconnect(), False),
    ],
)
async def test_a_will_follows_a_connection_that_breaks(
    protocol: Protocol, goodbye: Disconnect | None, *, fires: bool, autojump_clock: MockClock
) -> None:
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe("will", qos=1)
        connect = Connect("c", keep_alive=0, will=WILL)
        async with connected(server, connect, protocol) as client:
            if goodbye is not None:
                await client.send(goodbye)
        if fires:
            assert await watcher.receive() == Publish("will", b"gone", 1, packet_id=1)
        assert await watcher.silent()


async def test_a_will_carries_what_it_was_given(autojump_clock: MockClock) -> None:
    properties = Properties(
        will_delay_interval=1, content_type="x", user_properties=(("b", "1"), ("a", "2"))
    )
    will = WillMessage("will", b"gone", 0, retain=True, properties=properties)
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe(SubscriptionRequest("will", retain_as_published=True))
        async with connected(server, attrs.evolve(kept(), will=will)):
            pass
        forwarded = attrs.evolve(properties, will_delay_interval=None)
        expected = Publish("will", b"gone", retain=True, properties=forwarded)
        assert await watcher.receive() == expected
        assert server.retained == {"will": b"gone"}


@pytest.mark.parametrize(
    ("delay", "expiry", "after"), [(10, 100, 10), (10, 5, 5), (10, 0, 0), (10, 0xFFFF_FFFF, 10)]
)
async def test_a_will_waits_for_its_delay_or_the_session_s_end(
    delay: int, expiry: int, after: int, autojump_clock: MockClock
) -> None:
    connect = Connect("c", keep_alive=0, will=delayed(delay), properties=expiring(expiry))
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe("will")
        async with connected(server, connect):
            server.drop("c")
        started = trio.current_time()
        assert await watcher.receive() == Publish("will", b"gone")
        assert trio.current_time() - started == pytest.approx(after)
        assert ("c" in server.sessions) == (expiry > delay)
        assert await watcher.silent(1000)


async def test_coming_back_in_time_keeps_the_will(autojump_clock: MockClock) -> None:
    connect = attrs.evolve(kept(), will=delayed(10))
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe("will")
        async with connected(server, connect):
            pass
        await trio.sleep(9)
        async with connected(server, kept()):
            assert await watcher.silent(100)


async def test_a_clean_start_ends_the_session_and_sends_the_will(
    autojump_clock: MockClock,
) -> None:
    connect = attrs.evolve(kept(), will=delayed(10))
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe("will")
        async with connected(server, connect), connected(server, "c"):
            assert await watcher.receive() == Publish("will", b"gone")


async def test_taking_over_sends_a_will_without_delay(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe("will")
        connect = attrs.evolve(kept(), will=WILL)
        async with connected(server, connect), connected(server, kept()):
            assert await watcher.receive() == Publish("will", b"gone")
            assert await watcher.silent()


async def test_a_lost_keep_alive_sends_the_will(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "watcher") as watcher:
        await watcher.subscribe("will")
        async with connected(server, Connect("c", keep_alive=10, will=WILL)):
            assert await watcher.receive() == Publish("will", b"gone")
            assert trio.current_time() == pytest.approx(15)


async def test_a_hook_may_refuse_a_will(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "watcher") as watcher:
        server.authorize_publish = lambda _client_id, _packet: ReasonCode.NOT_AUTHORIZED
        await watcher.subscribe("will")
        async with connected(server, Connect("c", keep_alive=0, will=WILL)):
            pass
        assert await watcher.silent()
