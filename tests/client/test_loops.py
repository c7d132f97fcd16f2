"""Loops over a subscription, one after the other and at its end."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_mqtt._client import _subscription

if TYPE_CHECKING:
    import trio_mqtt
    from trio_mqtt.testing import Server

MANY = 300


async def test_others_get_their_turn_no_more_often_for_a_new_loop_each_time(
    server: Server, client: trio_mqtt.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_subscription, "perf_counter", lambda: 0.0)  # no time passes
    turns = 0

    async def other(task_status: trio.TaskStatus[None]) -> None:
        nonlocal turns
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with client.subscribe("a", buffer=2 * MANY) as messages:
        for _ in range(MANY):
            server.publish("a", b"")
        while messages.statistics().buffered < MANY:
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            await nursery.start(other)
            for _ in range(MANY):
                async for _message in messages:
                    break
            assert MANY // 64 <= turns <= MANY // 64 + 2
            nursery.cancel_scope.cancel()


async def test_a_subscription_that_was_left_needs_no_garbage_collector(
    server: Server, client: trio_mqtt.Client
) -> None:
    left: list[weakref.ref[object]] = []
    gc.disable()
    try:
        for receives in (False, True):
            async with client.subscribe("a") as messages:
                server.publish("a", b"1")
                server.publish("a", b"2")
                if receives:
                    await messages.receive()
                async for _message in messages:
                    break
            left.append(weakref.ref(messages))
            del messages, _message
        assert [each() for each in left] == [None, None]
    finally:
        gc.enable()


async def test_a_loop_goes_on_where_it_was_taken_up_again(
    server: Server, client: trio_mqtt.Client
) -> None:
    """As with any iterator; `async for` on it begins no other, and settles what it has in hand."""
    async with client.subscribe("a", qos=1) as messages:
        for payload in (b"1", b"2", b"3"):
            server.publish("a", payload, qos=1)
        loop = aiter(messages)
        found = [(await anext(loop)).payload]
        async for message in loop:
            found.append(message.payload)
            if len(found) == 3:
                break
        assert found == [b"1", b"2", b"3"]
    assert client.statistics().unclaimed == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_last_message_is_not_kept_while_none_comes(
    server: Server, client: trio_mqtt.Client, qos: int
) -> None:
    async def take() -> None:
        async for message in messages:
            taken.append(weakref.ref(message))
            del message

    taken: list[weakref.ref[trio_mqtt.Message]] = []
    async with client.subscribe("a", qos=qos) as messages, trio.open_nursery() as nursery:
        nursery.start_soon(take)
        server.publish("a", b"payload", qos)
        await trio.testing.wait_all_tasks_blocked()
        assert [each() for each in taken] == [None]
        nursery.cancel_scope.cancel()
