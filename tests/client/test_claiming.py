"""What is unclaimed has one holder at a time, and is not lost on the way from one to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from trio_mqtt import ReasonCode
from trio_mqtt.packets import PubAck, SubAck

if TYPE_CHECKING:
    from trio_mqtt.packets import SubscriptionRequest
    from trio_mqtt.testing import Server


async def acknowledged(server: Server) -> int:
    await wait_all_tasks_blocked()
    entries = [entry for entry in server.log if entry.direction == "received"]
    return sum(isinstance(entry.packet, PubAck) for entry in entries)


async def test_a_loop_that_goes_on_does_not_settle_what_another_has_taken_over(
    server: Server, client: trio_mqtt.Client
) -> None:
    go_on = trio.Event()

    async def consume(messages: trio_mqtt.Subscription) -> None:
        with pytest.raises(trio.ClosedResourceError):
            async for _ in messages:
                await go_on.wait()

    async with trio.open_nursery() as nursery:
        async with client.subscribe("a", qos=1) as first:
            server.publish("a", qos=1)
            nursery.start_soon(consume, first)
            await wait_all_tasks_blocked()
        async with client.subscribe("a", qos=1) as second:
            message = await second.receive()
            go_on.set()
            assert await acknowledged(server) == 0
            message.ack()
            assert await acknowledged(server) == 1


async def leave_one(server: Server, client: trio_mqtt.Client) -> None:
    async with client.subscribe("a", qos=1) as messages:
        server.publish("a", qos=1)
        await messages.receive()


async def test_an_entry_that_is_cancelled_gives_back_what_it_has_claimed(
    server: Server, client: trio_mqtt.Client
) -> None:
    await leave_one(server, client)
    with server.holding(SubAck), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.subscribe("a", qos=1).__aenter__)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert await acknowledged(server) == 0
    assert client.statistics().unclaimed == 1
    async with client.subscribe("a", qos=1) as messages:
        message = await messages.receive()
        assert message.attempt == 2
        message.ack()
    assert await acknowledged(server) == 1


async def test_an_entry_that_is_refused_gives_back_what_it_has_claimed(
    server: Server, client: trio_mqtt.Client
) -> None:
    def refuse(_client_id: str, _request: SubscriptionRequest) -> ReasonCode:
        return ReasonCode.NOT_AUTHORIZED

    await leave_one(server, client)
    server.authorize_subscribe = refuse
    with pytest.raises(trio_mqtt.SubscribeRejected):
        async with client.subscribe("a", qos=1):
            raise AssertionError("it was refused")
    assert await acknowledged(server) == 0
    assert client.statistics().unclaimed == 1


async def test_what_several_have_left_is_claimed_once(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", qos=1) as first, client.subscribe("a", qos=1) as second:
        server.publish("a", qos=1)
        await first.receive()
        await second.receive()
    assert client.statistics().unclaimed == 2
    async with client.subscribe("a", qos=1) as messages:
        message = await messages.receive()
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
        assert await acknowledged(server) == 0
        message.ack()
        assert await acknowledged(server) == 1
    assert client.statistics().unclaimed == 0
