"""What the log at INFO tells of a client's life: a line for each event, none for a message."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mqtt
from trio_mqtt import MQTT_3_1_1, ConnectFailed, ConnectionLost, QueueFull, Reconnect, Session
from trio_mqtt.testing import Server, ServerLimits, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

URL = "mqtt://me:secret@broker"


@pytest.fixture
def story(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, from INFO on."""
    caplog.set_level(logging.INFO, "trio_mqtt")
    return caplog


def lines(story: pytest.LogCaptureFixture) -> list[str]:
    """Level and text of each line; a delay, which is random, and what comes of it as ``N``."""
    told = [f"{each.levelname} {each.getMessage()}" for each in story.records]
    assert not any("secret" in line or "me:" in line for line in told)
    return [re.sub(r"\d+\.\d s", "N s", line) for line in told]


async def test_a_life(
    server: Server, story: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    with pytest.raises(ConnectionLost), trio.fail_after(1000):
        async with trio_mqtt.open_client(
            URL, connector=server.connect, client_id="gw", reconnect=Reconnect(delay=10)
        ) as client:
            async with client.subscribe("a/#", "b", qos=1) as messages:
                for _ in range(50):
                    await client.publish("a/b", "payload", qos=1)
                    (await messages.receive()).ack()
                await trio.sleep(100)
                server.accepting = False
                server.drop("gw")
                await trio.sleep(0.001)
                server.accepting = True
                await client.wait_connected()
                await trio.sleep(100)
                server.drop("gw")
                server.forget_session("gw")
                await trio.sleep(0.001)
                await client.wait_connected()
                await trio.sleep(100)
            await client.unsubscribe("c")
            async with trio_mqtt.open_client(connector=server.connect, client_id="gw"):
                await trio.sleep_forever()
    lost = (
        "WARNING mqtt://broker:1883 closed the connection without a DISCONNECT; "
        "the client tries to connect again"
    )
    taken_over = "0x8E (session taken over); another client has connected with the same client_id"
    assert lines(story) == [
        "INFO connected to mqtt://broker:1883 as 'gw' with MQTT 5.0 and a new session",
        "INFO subscribed to 'a/#' at QoS 1, 'b' at QoS 1",
        lost,
        "INFO the next attempt is in N s",
        (
            "INFO connected again to mqtt://broker:1883 after N s, at attempt 1, "
            "as 'gw' with MQTT 5.0 and the session it had"
        ),
        lost,
        "INFO the next attempt is in N s",
        (
            "INFO connected again to mqtt://broker:1883 after N s, at attempt 1, "
            "as 'gw' with MQTT 5.0 and a new session"
        ),
        (
            "WARNING mqtt://broker:1883 has lost the session; subscriptions are made again, "
            "0 messages are in doubt"
        ),
        "INFO subscribed again to 'a/#' at QoS 1",
        "INFO subscribed again to 'b' at QoS 1",
        "INFO unsubscribed from 'a/#'",
        "INFO unsubscribed from 'b'",
        "INFO unsubscribed from 'c'",
        "INFO connected to the server as 'gw' with MQTT 5.0 and a new session",
        (
            "INFO the client has failed: mqtt://broker:1883 ended the connection with "
            f"{taken_over}: give each one of its own"
        ),
        "INFO disconnected from the server",
    ]


async def test_what_a_server_withholds(
    story: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    limits = ServerLimits(
        maximum_qos=1,
        receive_maximum=5,
        maximum_packet_size=500,
        retain_available=False,
        wildcard_subscription_available=False,
        shared_subscription_available=False,
        server_keep_alive=30,
    )
    async with (
        open_server(limits=limits) as server,
        trio_mqtt.open_client(URL, connector=server.connect, client_id="gw") as client,
        client.subscribe("a", qos=2),
    ):
        pass
    assert lines(story) == [
        (
            "INFO connected to mqtt://broker:1883 as 'gw' with MQTT 5.0 and a new session; "
            "the server says: Maximum QoS 1, Receive Maximum 5, Maximum Packet Size 500, "
            "no retained messages, no wildcards, no shared subscriptions, Keep Alive 30 s"
        ),
        "INFO subscribed to 'a' at QoS 1 instead of 2",
        "INFO unsubscribed from 'a'",
        "INFO disconnected from mqtt://broker:1883",
    ]


async def test_a_server_that_is_not_there(
    server: Server, story: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    server.accepting = False
    reconnect = Reconnect(initial="retry", give_up_after=1000, delay=400, max_delay=400)
    with pytest.raises(ConnectFailed):
        async with trio_mqtt.open_client(URL, connector=server.connect, reconnect=reconnect):
            raise AssertionError("not reached")
    first, *more, last = lines(story)
    cause = "cannot connect to mqtt://broker:1883: the test server accepts no connections now"
    assert first == f"WARNING {cause}; the next attempt is in N s"
    assert more
    assert set(more) == {f"INFO {cause}; the next attempt is in N s"}
    given_up = "it was given up after 1000 s without a connection"
    assert last == f"INFO the client has failed: {cause}; {given_up}"


async def test_a_session_that_stays(
    server: Server, story: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    session = Session("gw", expiry=60, queue=1, overflow="error")
    for _ in range(2):
        async with trio_mqtt.open_client(
            URL, connector=server.connect, session=session, protocol=MQTT_3_1_1
        ):
            pass
    server.accepting = False
    async with trio_mqtt.open_client(
        URL, connector=server.connect, session=session, reconnect=Reconnect(initial="background")
    ) as client:
        await client.enqueue("a", qos=1)
        with pytest.raises(QueueFull):
            await client.enqueue("a", qos=1)
    assert [each for each in lines(story) if "next attempt" not in each] == [
        "INFO connected to mqtt://broker:1883 as 'gw' with MQTT 3.1.1 and a new session",
        "INFO disconnected from mqtt://broker:1883",
        "INFO connected to mqtt://broker:1883 as 'gw' with MQTT 3.1.1 and the session it had",
        "INFO disconnected from mqtt://broker:1883",
        "INFO the client of mqtt://broker:1883 is closed; it was offline",
        "INFO 1 messages stay in the session 'gw'; they were not acknowledged yet",
    ]
