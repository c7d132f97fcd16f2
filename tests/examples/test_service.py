"""The service answers calls, and tells callers what they got wrong."""

from __future__ import annotations

import argparse
import json
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import service
import trio

import trio_mqtt
from tests.examples.programs import LONGEST_RUN, Running, output_of, running
from trio_mqtt.testing import Server, ServerLimits

if TYPE_CHECKING:
    from service import Arguments

READY = "instance {} serves factorize, wait"


async def start(stack: AsyncExitStack, url: str, *names: str) -> list[Running]:
    """Start instances."""
    instances: list[Running] = []
    for name in names:
        instance = await stack.enter_async_context(running("service.py", url, "--name", name))
        await instance.prints(READY.format(name))
        instances.append(instance)
    return instances


async def call(client: trio_mqtt.Client, method: str, **arguments: object) -> Arguments:
    with trio.fail_after(LONGEST_RUN):
        return await service.call(client, method, arguments, patience=3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_call_from_the_command_line(
    server: Server, url: str, number: signal.Signals
) -> None:
    async with running("service.py", url, "--name", "a") as instance:
        await instance.prints(READY.format("a"))
        output = await output_of("service.py", url, "--call", "factorize", '{"number": 111111}')
        assert json.loads(output) == {"instance": "a", "result": [3, 7, 11, 13, 37]}
        assert await instance.ends(number) == 0
    assert not server.sessions["numbers-a"].subscriptions  # nothing is given to it any more


async def test_instances_share_the_calls(url: str) -> None:
    async with AsyncExitStack() as stack:
        await start(stack, url, "a", "b")
        client = await stack.enter_async_context(trio_mqtt.open_client(url))
        replies = [await call(client, "factorize", number=2**number) for number in range(1, 11)]
    assert [reply["result"] for reply in replies] == [[2] * number for number in range(1, 11)]
    assert {reply["instance"] for reply in replies} == {"a", "b"}


async def test_errors_are_answered_and_end_nothing(url: str) -> None:
    async with AsyncExitStack() as stack:
        await start(stack, url, "a")
        output = await output_of("service.py", url, "--call", "factorize", "[1]", status=1)
        assert output == "bad-arguments: they have to be a JSON object\n"
        client = await stack.enter_async_context(trio_mqtt.open_client(url))
        for method, arguments, words in (
            ("factorize", {"number": "many"}, "bad-arguments: number has to be an integer"),
            ("guess", {}, "no-such-method: 'guess' is none of factorize, wait"),
            ("wait", {"seconds": -1}, "internal-error: see the log"),
        ):
            with pytest.raises(service.CallFailed, match=words):
                await call(client, method, **arguments)
        assert (await call(client, "factorize", number=6))["result"] == [2, 3]


async def test_a_result_that_has_no_json_is_an_error_of_that_call(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ages(_arguments: Arguments) -> object:
        return {7, 8}

    monkeypatch.setitem(service.METHODS, "ages", ages)
    options = argparse.Namespace(url=url, name="a")
    async with trio_mqtt.open_client(url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(service.serve, options)
        with pytest.raises(service.CallFailed, match="internal-error: see the log"):
            await call(client, "ages")
        assert (await call(client, "factorize", number=6))["result"] == [2, 3]
        nursery.cancel_scope.cancel()


async def test_what_is_no_json_and_wants_no_reply_ends_nothing(url: str) -> None:
    async with AsyncExitStack() as stack:
        await start(stack, url, "a")
        client = await stack.enter_async_context(trio_mqtt.open_client(url))
        await client.publish("services/numbers/factorize", '{"number": 6}', qos=1)
        with trio.fail_after(LONGEST_RUN):
            reply = await client.request("services/numbers/factorize", b"\xff")
        assert b"bad-arguments" in reply.payload
        assert (await call(client, "factorize", number=6))["result"] == [2, 3]


async def test_a_call_in_the_hands_of_an_instance_that_dies_is_made_again(
    server: Server, url: str
) -> None:
    async with AsyncExitStack() as stack:
        a, b = await start(stack, url, "a", "b")
        client = await stack.enter_async_context(trio_mqtt.open_client(url))
        replies: list[Arguments] = []

        async def wait_a_second() -> None:
            replies.append(await call(client, "wait", seconds=1))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(wait_a_second)
            await server.wait_until(
                lambda: all(server.sessions[f"numbers-{name}"].inflight for name in "ab")
            )
            assert await a.ends(signal.SIGKILL) == -signal.SIGKILL
        assert [reply["result"] for reply in replies] == [1, 1]
        assert {reply["instance"] for reply in replies} == {"b"}
        assert await b.ends(signal.SIGTERM) == 0


async def test_a_call_that_nobody_answers(url: str) -> None:
    output = await output_of("service.py", url, "--call", "wait", "{}", "--patience", "1", status=1)
    assert output == "no-reply: none within 1 s, 3 times\n"


async def test_a_server_without_shared_subscriptions(server: Server, url: str) -> None:
    server.limits = ServerLimits(shared_subscription_available=False)
    output = await output_of("service.py", url, status=1)
    assert "cannot serve: " in output
    assert "Traceback" not in output
