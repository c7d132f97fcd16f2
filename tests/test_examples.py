"""The programs in examples/ do what they say, each as a process of its own."""

from __future__ import annotations

import os
import re
import signal
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.examples.programs import (
    ENVIRONMENT,
    LONGEST_RUN,
    command,
    next_payload,
    output_of,
    running,
)
from trio_mqtt import ReasonCode
from trio_mqtt.testing import Server, ServerLimits, open_proxy, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from tests.servers import RealServer
    from trio_mqtt.packets import Publish

NOTHING_WRONG: Final = re.compile(
    r"readings, QoS 1:  (\d+) sent, \1 received, lost 0, doubled 0\n"
    r"  commands, QoS 2:  4 sent, 4 carried out once, round trip [\d.]+ to [\d.]+ ms\n"
    r"  will:             seen [\d.]+ ms after the connection was cut\n"
    r"Everything arrived, and nothing twice\.\n$"
)


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    """A server in this process, with a loopback port."""
    async with open_server(port=0) as server:
        yield server


@pytest.fixture(params=["in this process", "Mosquitto"])
async def url(request: pytest.FixtureRequest, server: Server, mosquitto: RealServer) -> str:
    """The address of a server that an example can reach."""
    address = mosquitto.url if request.param == "Mosquitto" else server.url
    assert address is not None
    return address


# -- the short ones ------------------------------------------------------------------------------


async def test_publisher(url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe("sensors/kitchen/temperature", qos=1) as messages,
    ):
        output = await output_of("publisher.py", url)
        assert [await next_payload(messages) for _ in range(2)] == ["21.5", "21.6"]
        async with client.subscribe("sensors/kitchen/unit", qos=1) as retained:
            assert await next_payload(retained) == "°C"
    assert output.startswith("connected with MQTT 5.0\nthe server answered ")


async def test_publisher_takes_the_url_from_the_environment(server: Server) -> None:
    assert server.url is not None
    await output_of("publisher.py", MQTT_URL=server.url)
    assert server.retained == {"sensors/kitchen/unit": "°C".encode()}


async def test_subscriber(url: str) -> None:
    async with (
        running("subscriber.py", url, "sensors/+/temperature", "alarms") as program,
        trio_mqtt.open_client(url) as client,
    ):
        await program.prints("subscribed to sensors/+/temperature at QoS 1")
        await program.prints("subscribed to alarms at QoS 1")
        await client.publish("sensors/kitchen/temperature", "21.5", qos=1)
        await program.prints("sensors/kitchen/temperature: 21.5")
        await client.publish("alarms", b"\xff", qos=1)
        await program.prints(r"alarms: \xff")
        assert await program.ends(signal.SIGINT) == 0


async def test_pipelined_publisher(url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe("examples/pipelined", qos=1) as messages,
    ):
        output = await output_of("pipelined_publisher.py", url, "500")
        received = [await next_payload(messages) for _ in range(500)]
    assert received == [f"message {number}" for number in range(500)]
    assert re.fullmatch(
        r"500 sent, \d+ of them not acknowledged yet\n"
        r"all acknowledged after \d+\.\d\d s, [\d,]+ a second\n",
        output,
    )


STATUS: Final = "devices/thermometer/status"


async def test_device_that_ends_well(url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe(STATUS, "devices/thermometer/readings", qos=1) as messages,
    ):
        await client.publish(STATUS, retain=True)  # what an earlier run has left
        assert await output_of("device_with_will.py", url, "0.2") == "online\noffline\n"
        while await next_payload(messages) != "online":
            pass
        assert [await next_payload(messages) for _ in range(2)] == ["20.0", "offline"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_device_that_is_told_to_stop(server: Server, number: signal.Signals) -> None:
    assert server.url is not None
    async with running("device_with_will.py", server.url) as program:
        await program.prints("online")
        assert await program.ends(number) == 0
    assert server.retained == {STATUS: b"offline"}


async def test_device_that_dies(url: str) -> None:
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe(STATUS, qos=1) as messages,
        running("device_with_will.py", url) as program,
    ):
        await program.prints("online")
        assert await program.ends(signal.SIGKILL) == -signal.SIGKILL
        while await next_payload(messages) != "dead":
            pass


async def test_device_that_loses_its_connection_is_no_longer_dead(server: Server) -> None:
    assert server.url is not None
    async with open_proxy(server.url) as network:
        assert network.url is not None
        async with running("device_with_will.py", network.url) as program:
            await program.prints("online")
            network.cut()
            await server.wait_published(STATUS, "dead", will=True, within=LONGEST_RUN)
            await server.wait_published(STATUS, "online", count=2, within=LONGEST_RUN)
            assert server.retained == {STATUS: b"online"}
            assert await program.ends(signal.SIGTERM) == 0


# -- enhanced authentication ---------------------------------------------------------------------


async def test_scram_login() -> None:
    output = await output_of("scram_login.py")
    assert output.startswith("logged in as alice\nauthenticated again\n")
    assert "refused the connection with 0x87 (not authorized)" in output


# -- a redirection -------------------------------------------------------------------------------


async def test_redirected() -> None:
    output = await output_of("redirected.py")
    lines = [line for line in output.splitlines() if not line.startswith("mqtt://")]
    assert lines == ["received 1", "received 2", "on the new server", "received 3", "received 4"]


# -- requests ------------------------------------------------------------------------------------


async def test_requester_and_responder(url: str) -> None:
    async with running("responder.py", url) as responder:
        await responder.prints("answering requests to convert/fahrenheit")
        async with running("responder.py", url) as other:
            await other.prints("answering requests to convert/fahrenheit")
            output = await output_of("requester.py", url)
            assert sorted(output.splitlines()) == [
                "-40 °C are -40.0 °F",
                "0 °C are 32.0 °F",
                "100 °C are 212.0 °F",
                "21.5 °C are 70.7 °F",
                "hot: no number: could not convert string to float: 'hot'",
            ]
            assert await output_of("requester.py", url, "37") == "37 °C are 98.6 °F\n"
        assert await responder.ends(signal.SIGINT) == 0


async def test_a_request_that_cannot_be_answered_ends_no_responder(server: Server) -> None:
    assert server.url is not None
    server.authorize_publish = lambda _client_id, publish: (
        ReasonCode.NOT_AUTHORIZED if publish.topic == "secret" else ReasonCode.SUCCESS
    )
    async with (
        running("responder.py", server.url) as responder,
        trio_mqtt.open_client(server.url) as client,
    ):
        await responder.prints("answering requests to convert/fahrenheit")
        for response_topic in (None, "secret"):
            await client.publish("convert/fahrenheit", "hot", qos=1, response_topic=response_topic)
        with trio.fail_after(LONGEST_RUN):
            reply = await client.request("convert/fahrenheit", "37")
        assert reply.text() == "98.6"
        assert await responder.ends(signal.SIGINT) == 0


@pytest.mark.parametrize("alone", [True, False], ids=["by itself", "with a server"])
async def test_request_over_outage(url: str, alone: bool) -> None:
    output = await output_of("request_over_outage.py", *([] if alone else [url]))
    assert "requester: the slow one is done, on connection 2\n" in output
    assert output.endswith("requester: the quick one is done, on connection 3\n")


# -- traces --------------------------------------------------------------------------------------


async def test_tracing(url: str) -> None:
    output = await output_of("tracing.py", url)
    assert re.sub(r"\([\d.]+ ms\)", "(ms)", output) == (
        "the telephone rings: too cold\n"
        "measure  (ms)\n"
        "  publish plant/temperature  (ms)\n"
        "    process plant/temperature  (ms)\n"
        "      publish plant/alarm  (ms)\n"
        "        process plant/alarm  (ms)\n"
    )


# -- the worker pool -----------------------------------------------------------------------------


class Board:
    """What the workers of a pool report.

    Args:
        client: publishes the jobs.
        outcomes: the subscription to results and failures.
        prefix: of their topics.
    """

    def __init__(
        self, client: trio_mqtt.Client, outcomes: trio_mqtt.Subscription, prefix: str
    ) -> None:
        self.done: list[tuple[int, str]] = []
        self.failed: list[str] = []
        self._client = client
        self._outcomes = outcomes
        self._prefix = prefix

    @property
    def numbers(self) -> list[int]:
        """The jobs that were done, in their order."""
        return sorted(number for number, _ in self.done)

    async def publish(self, *jobs: str) -> None:
        async with self._client.open_publisher(qos=1) as publisher:
            for job in jobs:
                await publisher.send(f"{self._prefix}/jobs", job)

    async def read(self, until: Callable[[], bool]) -> None:
        """Read on until something holds."""
        with trio.fail_after(LONGEST_RUN):
            while not until():
                with await self._outcomes.receive() as outcome:
                    if outcome.topic.endswith("/failed"):
                        self.failed.append(outcome.text())
                    elif outcome.text() != "end":
                        number, name = outcome.text().split()
                        self.done.append((int(number), name))
                    else:
                        return

    async def read_the_rest(self) -> None:
        """Read what has been published by now."""
        await self._client.publish(f"{self._prefix}/results", "end", qos=1)
        await self.read(lambda: False)


@asynccontextmanager
async def open_board(url: str, prefix: str) -> AsyncGenerator[Board]:
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe(f"{prefix}/results", f"{prefix}/failed", qos=1) as outcomes,
    ):
        yield Board(client, outcomes, prefix)


async def test_worker_pool_by_itself() -> None:
    output = await output_of("worker_pool.py")
    assert re.search(r"done: 30, of them [1-9]\d* by a and [1-9]\d* by b; put aside: 1\n$", output)


async def test_two_worker_processes_share_jobs(url: str, tmp_path: Path) -> None:
    prefix = tmp_path.name
    jobs = ["0 0.5", *(f"{number} 0.01" for number in range(1, 200)), "what?"]
    async with (
        open_board(url, prefix) as board,
        running("worker_pool.py", url, "a", prefix) as first,
        running("worker_pool.py", url, "b", prefix) as second,
    ):
        await first.prints("a: ready")
        await second.prints("b: ready")
        await board.publish(*jobs)
        await board.read(lambda: len(board.done) == 200 and len(board.failed) == 1)
        assert await first.ends(signal.SIGINT) == 0
        assert await second.ends(signal.SIGTERM) == 0
        await board.read_the_rest()
    assert board.numbers == list(range(200))  # nothing lost, nothing twice
    assert board.failed == ["what?"]
    assert {name for _, name in board.done} == {"a", "b"}


async def test_worker_that_is_killed_loses_no_job(url: str, tmp_path: Path) -> None:
    prefix = tmp_path.name
    async with open_board(url, prefix) as board:
        async with running("worker_pool.py", url, "a", prefix) as worker:
            await worker.prints("a: ready")
            await board.publish(*(f"{number} 0.02" for number in range(100)))
            await board.read(lambda: len(board.done) == 20)
            assert await worker.ends(signal.SIGKILL) == -signal.SIGKILL
        async with running("worker_pool.py", url, "a", prefix) as worker:
            await board.read(lambda: len(set(board.numbers)) == 100)
            assert await worker.ends(signal.SIGINT) == 0
        await board.read_the_rest()
    doubled = len(board.numbers) - len(set(board.numbers))
    assert set(board.numbers) == set(range(100))
    assert doubled <= 16  # what the server had given to it at once


async def test_worker_that_is_stopped_finishes_what_it_has_in_hand(
    url: str, tmp_path: Path
) -> None:
    prefix = tmp_path.name
    async with open_board(url, prefix) as board:
        async with running("worker_pool.py", url, "a", prefix) as worker:
            await worker.prints("a: ready")
            await board.publish("0 0", *(f"{number} 0.5" for number in range(1, 12)))
            await board.read(lambda: board.done == [(0, "a")])
            assert await worker.ends(signal.SIGINT) == 0
            await worker.prints("a: stopped")
        await board.read_the_rest()
        in_hand = set(board.numbers)
        # Whether it had begun the next one as it was told to stop is a matter of luck.
        assert {1, 2} <= in_hand < set(range(12))
        async with running("worker_pool.py", url, "a", prefix) as worker:
            await board.read(lambda: set(board.numbers) == set(range(12)))
            assert await worker.ends(signal.SIGINT) == 0
        await board.read_the_rest()
    assert board.numbers == list(range(12))


async def test_worker_pool_without_shared_subscriptions(server: Server) -> None:
    server.limits = ServerLimits(shared_subscription_available=False)
    assert server.url is not None
    output = await output_of("worker_pool.py", server.url, "a", "pool", status=1)
    assert "the server has no shared subscriptions" in output
    assert "so that each worker would get every job" in output


# -- the demo ------------------------------------------------------------------------------------


async def test_demo_with_a_server_of_its_own_ends_in_time() -> None:
    output = await output_of("demo.py")
    assert output.startswith("trio_mqtt demo: MQTT 5.0 at 127.0.0.1 (a server inside this program)")
    assert NOTHING_WRONG.search(output)
    assert "the connection of the heater is cut" in output
    assert "the will of the heater arrived" in output


async def test_demo_on_a_terminal_with_mosquitto(mosquitto: RealServer) -> None:
    terminal, program_side = os.openpty()
    output = b""
    with trio.fail_after(LONGEST_RUN):
        async with trio.lowlevel.FdStream(terminal) as screen, trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    command("demo.py", "--seconds", "1"),
                    stdin=program_side,
                    stdout=program_side,
                    check=False,
                    env=ENVIRONMENT | {"MQTT_URL": mosquitto.url, "COLUMNS": "80"},
                )
            )
            os.close(program_side)
            try:
                while data := await screen.receive_some():
                    output += data
            except trio.BrokenResourceError:
                pass  # how Linux says that the other side of a terminal is closed
            assert await process.wait() == 0
    text = output.decode().replace("\r\n", "\n")
    assert "(from MQTT_URL)" in text
    assert re.search(r"vibration +[\d.]+ mm/s +(\d+) +\1 +0 +0 ", text)  # sent, received, ...
    assert NOTHING_WRONG.search(text)


async def test_demo_finds_that_the_will_is_missing(server: Server) -> None:
    def decide(_client_id: str, publish: Publish) -> ReasonCode:
        return ReasonCode.NOT_AUTHORIZED if publish.payload == b"dead" else ReasonCode.SUCCESS

    server.authorize_publish = decide
    assert server.url is not None
    output = await output_of("demo.py", "--seconds", "0.5", status=1, MQTT_URL=server.url)
    assert "  will:             not seen\n  FAULT: the will of the heater has not come" in output
    assert output.endswith("The demo has failed.\n")


async def test_demo_says_what_the_server_refused(server: Server) -> None:
    server.authorize_publish = lambda _client_id, _publish: ReasonCode.NOT_AUTHORIZED
    assert server.url is not None
    output = await output_of("demo.py", "--seconds", "0.5", status=1, MQTT_URL=server.url)
    assert "\nThe demo has failed: " in output
    assert "with 0x87 (not authorized)" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mqtt://127.0.0.1:1", "cannot connect to mqtt://127.0.0.1:1"),
        ("http://127.0.0.1", "the server URL has the scheme 'http'"),
    ],
)
async def test_demo_without_a_server(address: str, words: str) -> None:
    output = await output_of("demo.py", status=1, MQTT_URL=address)
    assert output.startswith(f"The demo has failed: {words}")
    assert "Traceback" not in output
