"""What the server keeps, and what survives lost connections and restarts."""

from __future__ import annotations

import pytest
import trio

import trio_mqtt
from tests.interop.checks import Target, check, take
from trio_mqtt import MQTT_5, ConnectionLost, Reconnect, Will
from trio_mqtt.testing import open_proxy

SOON = Reconnect(delay=0.02, max_delay=0.2, stable_after=0)


class BodyError(Exception):
    """What fails in the caller's own code."""


@check("A body that fails lets the will be published")
async def test_will_on_error(target: Target) -> None:
    topic = target.topic("will")
    async with target.open() as watcher, watcher.subscribe(topic, qos=1) as messages:
        with pytest.raises(BodyError):
            async with target.open(will=Will(topic=topic, payload="gone", qos=1)):
                raise BodyError
        assert await take(messages, 1) == ["gone"]


@check("A lost connection lets the will be published")
async def test_will_on_loss(target: Target) -> None:
    topic = target.topic("will")
    will = Will(topic=topic, payload="gone", qos=1)
    async with (
        target.open() as watcher,
        watcher.subscribe(topic, qos=1) as messages,
        open_proxy(target.url) as proxy,
    ):
        assert proxy.port is not None
        with pytest.raises(ConnectionLost):
            async with trio_mqtt.open_client(
                target.url_at(proxy.port), **target.options(), will=will, reconnect=None
            ):
                proxy.cut()
                await trio.sleep_forever()
        assert await take(messages, 1) == ["gone"]


@check("A normal end publishes no will")
async def test_no_will(target: Target) -> None:
    topic = target.topic("will")
    async with target.open() as watcher, watcher.subscribe(topic, qos=1) as messages:
        async with target.open(will=Will(topic=topic, payload="gone", qos=1)):
            pass
        await watcher.publish(topic, "nobody died", qos=1)
        assert await take(messages, 1) == ["nobody died"]


@check("A Session goes on: what came in the meantime is delivered")
@pytest.mark.parametrize("qos", [1, 2])
async def test_session_resumes(target: Target, qos: int) -> None:
    topic = target.topic("a")
    session = target.session()
    async with target.open() as other:
        async with (
            target.open(session=session) as client,
            client.subscribe(topic, qos=qos) as messages,
        ):
            await other.publish(topic, "first", qos=qos)
            assert await take(messages, 1) == ["first"]
        for number in range(10):
            await other.publish(topic, str(number), qos=qos)
        async with target.open(session=session) as client:
            assert client.server.session_present
            async with client.subscribe(topic, qos=qos) as messages:
                assert await take(messages, 10) == [str(number) for number in range(10)]
            session.discard()


@check("A discarded Session is gone")
async def test_session_discarded(target: Target) -> None:
    name = target.client_id("s")
    async with (
        target.open(session=trio_mqtt.Session(name, expiry=600)) as client,
        client.subscribe(target.topic("a"), qos=1),
    ):
        pass
    session = trio_mqtt.Session(name, expiry=600)
    async with target.open(session=session) as client:
        assert client.server.session_present
        session.discard()
    # Only MQTT 5.0 has a way to tell the server at once.
    again = trio_mqtt.Session(name, expiry=600) if target.protocol is MQTT_5 else session
    async with target.open(session=again) as client:
        assert not client.server.session_present


@check("What was in hand when the connection was lost comes again")
async def test_unsettled_comes_again(target: Target) -> None:
    topic = target.topic("a")
    session = target.session()
    async with target.open() as other:
        async with (
            target.open(session=session) as client,
            client.subscribe(topic, qos=1, ack="manual") as messages,
        ):
            await other.publish(topic, "precious", qos=1)
            assert (await messages.receive()).text() == "precious"
        async with (
            target.open(session=trio_mqtt.Session(session.client_id, expiry=600)) as client,
            client.subscribe(topic, qos=1) as messages,
        ):
            message = await messages.receive()
            assert message.text() == "precious"
            message.ack()


@check("Connections cut under load: nothing is lost, at QoS 2 nothing doubled", limit=40)
@pytest.mark.parametrize("qos", [1, 2])
async def test_cuts(target: Target, qos: int) -> None:
    topic = target.topic("a")
    wanted = [str(number) for number in range(300)]
    received: list[str] = []
    session = target.session()
    async with open_proxy(target.url) as proxy:
        assert proxy.port is not None
        async with (
            trio_mqtt.open_client(
                target.url_at(proxy.port), **target.options(), session=session, reconnect=SOON
            ) as client,
            client.subscribe(topic, qos=qos) as messages,
            trio.open_nursery() as nursery,
        ):

            async def send() -> None:
                async with client.open_publisher(qos=qos) as publisher:
                    for number, text in enumerate(wanted):
                        if number % 60 == 59:
                            proxy.cut()
                        await publisher.send(topic, text)

            nursery.start_soon(send)
            while len(set(received)) < len(wanted):
                received += await take(messages, 1)
            assert client.statistics().connections > 1
        session.discard()
    assert sorted(set(received), key=int) == wanted
    if qos == 2:
        assert len(received) == len(wanted)


@check(
    "A client comes back by itself when the server is restarted",
    transports=("tcp", "ws", "wss"),
    limit=90,
)
async def test_restart_reconnects(target: Target) -> None:
    topic = target.topic("a")
    options = target.options()
    async with (
        trio_mqtt.open_client(target.url, **options, reconnect=SOON) as client,
        client.subscribe(topic, qos=1) as messages,
    ):
        await client.publish(topic, "before", qos=1)
        assert await take(messages, 1) == ["before"]
        await trio.to_thread.run_sync(target.running.restart)
        await client.publish(topic, "after", qos=1)
        texts = await take(messages, 1)
        assert texts == ["after"]
        assert client.statistics().connections > 1


# A restart takes some servers seconds, and what they keep does not depend on the transport.
@check(
    "What was queued and retained survives a restart of the server",
    transports=("tcp",),
    limit=90,
)
async def test_restart_keeps(target: Target) -> None:
    topic = target.topic("a")
    session = target.session()
    async with target.open() as other:
        async with target.open(session=session) as client, client.subscribe(topic, qos=1):
            pass
        await other.publish(topic, "queued", qos=1)
        await other.publish(target.topic("kept"), "retained", qos=1, retain=True)
    await trio.to_thread.run_sync(target.running.restart)
    async with target.open(session=session) as client:
        assert client.server.session_present
        async with client.subscribe(topic, qos=1) as messages:
            assert await take(messages, 1) == ["queued"]
        async with client.subscribe(target.topic("kept"), qos=1) as messages:
            assert await take(messages, 1) == ["retained"]
        await client.publish(target.topic("kept"), "", qos=1, retain=True)
        session.discard()
