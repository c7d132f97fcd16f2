"""Which messages come to a subscription."""

from __future__ import annotations

import pytest
import trio

from tests.interop.checks import Target, check, take
from trio_mqtt import MQTT_5, Client, RetainHandling, Subscription


@check("Wildcards match as the standard says")
async def test_wildcards(target: Target) -> None:
    filters = {"a/+": ["a/b", "a/"], "a/#": ["a", "a/b", "a/", "a/b/c"], "+/b": ["a/b"]}
    topics = ["a", "a/b", "a/", "a/b/c", "b", "last"]
    for topic_filter, wanted in filters.items():
        async with (
            target.open() as client,
            client.subscribe(target.topic(topic_filter), qos=1) as messages,
            client.subscribe(target.topic("last"), qos=1) as last,
        ):
            for topic in topics:
                await client.publish(target.topic(topic), topic, qos=1)
            # In this order, as some servers send no message before the last is acknowledged.
            assert sorted(await take(messages, len(wanted))) == sorted(wanted)
            await take(last, 1)
            with pytest.raises(trio.WouldBlock):
                messages.receive_nowait()


@check("Twenty filters in one SUBSCRIBE, each granted")
async def test_many_filters(target: Target) -> None:
    filters = [target.topic(f"{number}/+") for number in range(20)]
    async with target.open() as client, client.subscribe(*filters, qos=1) as messages:
        assert messages.granted == dict.fromkeys(filters, 1)
        for number in range(20):
            await client.publish(target.topic(f"{number}/x"), str(number), qos=1)
        # The standard wants an order only among messages of one topic (MQTT-4.6.0-5).
        assert sorted(map(int, await take(messages, 20))) == list(range(20))


@check("After UNSUBSCRIBE nothing comes any more")
async def test_unsubscribe(target: Target) -> None:
    topic = target.topic("a")
    async with target.open() as client:
        async with client.subscribe(topic, qos=1) as messages:
            await client.publish(topic, "before", qos=1)
            assert await take(messages, 1) == ["before"]
        async with client.subscribe(target.topic("last"), qos=1) as last:
            await client.publish(topic, "between", qos=1)
            await client.publish(target.topic("last"), "last", qos=1)
            assert await take(last, 1) == ["last"]
        async with client.subscribe(topic, qos=1) as messages:
            await client.publish(topic, "after", qos=1)
            assert await take(messages, 1) == ["after"]


@check("UNSUBSCRIBE of what was never subscribed is answered", limit=5)
async def test_unsubscribe_unknown(target: Target) -> None:
    async with target.open(close_timeout=1) as client:
        await client.unsubscribe(target.topic("never"))


@check("Overlapping filters: each subscription gets a message once", protocols=(MQTT_5,))
async def test_overlapping(target: Target) -> None:
    async with (
        target.open() as client,
        client.subscribe(target.topic("a/#"), qos=1) as wide,
        client.subscribe(target.topic("a/+"), qos=1) as narrow,
    ):
        for number in range(3):
            await client.publish(target.topic("a/b"), str(number), qos=1)
        await client.publish(target.topic("a/last"), "last", qos=1)
        received: dict[Subscription, list[str]] = {}

        async def take_all(messages: Subscription) -> None:
            received[messages] = await take(messages, 4)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_all, wide)
            nursery.start_soon(take_all, narrow)
        assert received[wide] == received[narrow] == ["0", "1", "2", "last"]


@check("A shared subscription: each message comes to one of its members", protocols=(MQTT_5,))
async def test_shared(target: Target) -> None:
    topic = target.topic("work")
    shared = f"$share/{target.prefix}/{topic}"
    received: list[int] = []
    done = trio.Event()

    async with target.open() as one, target.open() as two, target.open() as other:

        async def work(client: Client, task_status: trio.TaskStatus[None]) -> None:
            async with client.subscribe(shared, qos=1) as messages:
                task_status.started()
                async for message in messages:
                    received.append(int(message.payload))
                    if len(received) >= 40:
                        done.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(work, one)
            await nursery.start(work, two)
            async with other.open_publisher(qos=1) as publisher:
                for number in range(40):
                    await publisher.send(topic, str(number))
            await done.wait()
            nursery.cancel_scope.cancel()
    assert sorted(received) == list(range(40))


@check("No Local: one's own messages do not come back", protocols=(MQTT_5,))
async def test_no_local(target: Target) -> None:
    topic = target.topic("a")
    async with (
        target.open() as client,
        target.open() as other,
        client.subscribe(topic, qos=1, no_local=True) as messages,
    ):
        await client.publish(topic, "mine", qos=1)
        await other.publish(topic, "theirs", qos=1)
        assert await take(messages, 1) == ["theirs"]


@check("A retained message comes to later subscribers, until it is cleared")
async def test_retained(target: Target) -> None:
    topic = target.topic("a")
    async with target.open() as client:
        await client.publish(topic, "old", qos=1, retain=True)
        await client.publish(topic, "kept", qos=1, retain=True)
        async with client.subscribe(topic, qos=1) as messages:
            message = await messages.receive()
            assert (message.text(), message.retain) == ("kept", True)
            message.ack()
        await client.publish(topic, "", qos=1, retain=True)
        async with client.subscribe(topic, qos=1) as messages:
            await client.publish(topic, "new", qos=1)
            assert await take(messages, 1) == ["new"]


@check("Retained messages come to filters with wildcards")
async def test_retained_wildcard(target: Target) -> None:
    async with target.open() as client:
        for name in ("a/1", "a/2"):
            await client.publish(target.topic(name), name, qos=1, retain=True)
        async with client.subscribe(target.topic("a/+"), qos=1) as messages:
            assert sorted(await take(messages, 2)) == ["a/1", "a/2"]
        for name in ("a/1", "a/2"):
            await client.publish(target.topic(name), "", qos=1, retain=True)


@check("A retained message comes to who is subscribed already without RETAIN")
async def test_retained_live(target: Target) -> None:
    topic = target.topic("a")
    async with target.open() as client, client.subscribe(topic, qos=1) as messages:
        await client.publish(topic, "live", qos=1, retain=True)
        message = await messages.receive()
        assert (message.text(), message.retain) == ("live", False)
        message.ack()
        await client.publish(topic, "", qos=1, retain=True)


@check("Retain As Published keeps the RETAIN flag", protocols=(MQTT_5,))
async def test_retain_as_published(target: Target) -> None:
    topic = target.topic("a")
    async with (
        target.open() as client,
        client.subscribe(topic, qos=1, retain_as_published=True) as messages,
    ):
        await client.publish(topic, "live", qos=1, retain=True)
        message = await messages.receive()
        assert (message.text(), message.retain) == ("live", True)
        message.ack()
        await client.publish(topic, "", qos=1, retain=True)


@check("Retain Handling 2 sends no retained message", protocols=(MQTT_5,))
async def test_retain_handling_none(target: Target) -> None:
    topic = target.topic("a")
    async with target.open() as client:
        await client.publish(topic, "kept", qos=1, retain=True)
        async with client.subscribe(
            topic, qos=1, retain_handling=RetainHandling.DO_NOT_SEND
        ) as messages:
            await client.publish(topic, "new", qos=1)
            assert await take(messages, 1) == ["new"]


@check("Retain Handling 1 sends retained messages to new subscriptions only", protocols=(MQTT_5,))
async def test_retain_handling_new(target: Target) -> None:
    topic = target.topic("a")
    session = target.session()
    async with target.open(session=session) as client:
        await client.publish(topic, "kept", qos=1, retain=True)
        for wanted in (["kept", "new"], ["new"]):
            async with client.subscribe(
                topic, qos=1, retain_handling=RetainHandling.SEND_IF_NEW
            ) as messages:
                await client.publish(topic, "new", qos=1)
                assert sorted(await take(messages, len(wanted))) == wanted
        session.discard()
