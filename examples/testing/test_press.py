"""The tests of press.py: in one process, in virtual time, with nothing but the test kit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from press import DONE, JOBS, STATUS, run_press

from trio_mqtt import ReasonCode
from trio_mqtt.packets import PubRel
from trio_mqtt.testing import Before, Faults

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt import Client
    from trio_mqtt.testing import FaultyNetwork, Server

pytest_plugins = ["trio_mqtt.testing.fixtures"]
pytestmark = pytest.mark.trio


@pytest.fixture
async def pressed(faulty_network: FaultyNetwork) -> AsyncGenerator[list[str]]:
    """The application runs; these are the jobs that it has done, two seconds each."""
    done: list[str] = []

    async def press(job: str) -> None:
        await trio.sleep(2)
        done.append(job)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_press, press, connector=faulty_network.connect))
        yield done
        nursery.cancel_scope.cancel()


async def test_a_job_is_done_and_reported(
    autojump_clock: MockClock, mqtt_server: Server, pressed: list[str]
) -> None:
    await mqtt_server.wait_subscribed(JOBS, qos=1)
    mqtt_server.publish(JOBS, "lid", qos=1)
    await mqtt_server.wait_published(DONE, "lid", qos=2)
    await mqtt_server.wait_acknowledged(JOBS, "lid")
    assert pressed == ["lid"]
    assert mqtt_server.retained[STATUS] == b"ready"


async def test_what_is_no_text_is_no_job(
    autojump_clock: MockClock, mqtt_server: Server, pressed: list[str]
) -> None:
    await mqtt_server.wait_subscribed(JOBS)
    mqtt_server.publish(JOBS, b"\xff", qos=1)
    mqtt_server.publish(JOBS, "lid", qos=1)
    await mqtt_server.wait_acknowledged(JOBS, count=2)
    assert pressed == ["lid"]


async def test_the_connection_is_lost_while_a_job_is_done(
    autojump_clock: MockClock,
    mqtt_server: Server,
    faulty_network: FaultyNetwork,
    pressed: list[str],
) -> None:
    await mqtt_server.wait_subscribed(JOBS)
    mqtt_server.publish(JOBS, "lid", qos=1)
    await trio.sleep(1)
    with faulty_network.outage():
        mqtt_server.publish(JOBS, "box", qos=1)
        await trio.sleep(60)
        assert pressed == ["lid"]
    await mqtt_server.wait_published(DONE, "box", within=120)
    await mqtt_server.wait_acknowledged(JOBS, count=2)
    mqtt_server.assert_published(DONE, count=2)
    assert pressed == ["lid", "box"]


async def test_a_slow_press_loses_nothing(
    autojump_clock: MockClock, mqtt_server: Server, pressed: list[str]
) -> None:
    await mqtt_server.wait_subscribed(JOBS)
    for number in range(100):
        mqtt_server.publish(JOBS, str(number), qos=1)
    await mqtt_server.wait_acknowledged(JOBS, count=10, within=30)
    assert len(pressed) in {10, 11}  # acknowledged once it is done, not before
    waiting = mqtt_server.sessions["press"]
    assert waiting.inflight <= 10
    assert waiting.queued >= 70
    await mqtt_server.wait_published(DONE, count=100, within=200)
    assert pressed == [str(number) for number in range(100)]


async def test_the_subscription_is_refused(
    autojump_clock: MockClock, mqtt_server: Server, faulty_network: FaultyNetwork
) -> None:
    mqtt_server.authorize_subscribe = lambda _client_id, _request: ReasonCode.NOT_AUTHORIZED
    await run_press(pytest.fail, connector=faulty_network.connect)
    mqtt_server.assert_subscribed(JOBS, reason_code=ReasonCode.NOT_AUTHORIZED)
    assert mqtt_server.retained[STATUS] == b"may not take jobs"


@pytest.mark.parametrize("keep_state", [True, False])
async def test_the_server_restarts(
    autojump_clock: MockClock, mqtt_server: Server, pressed: list[str], *, keep_state: bool
) -> None:
    await mqtt_server.wait_subscribed(JOBS)
    await mqtt_server.restart(seconds=30, keep_state=keep_state)
    _, again = await mqtt_server.wait_connected("press", count=2, within=60)
    assert again.session_present is keep_state
    await mqtt_server.wait_published(STATUS, "ready", count=1 if keep_state else 2)
    await mqtt_server.wait_subscribed(JOBS, count=1 if keep_state else 2)
    mqtt_server.publish(JOBS, "lid", qos=1)
    await mqtt_server.wait_published(DONE, "lid")
    assert pressed == ["lid"]


async def test_the_link_drops_between_pubrec_and_pubrel(
    autojump_clock: MockClock,
    mqtt_server: Server,
    faulty_network: FaultyNetwork,
    pressed: list[str],
) -> None:
    await mqtt_server.wait_subscribed(JOBS)
    faulty_network.inject(Faults(cut_to_server=Before(PubRel)))
    mqtt_server.publish(JOBS, "lid", qos=1)
    await mqtt_server.wait_connected("press", count=2)
    mqtt_server.assert_published(DONE, "lid", qos=2, count=1)
    assert faulty_network.connections[0].outcome == "cut"


async def test_somebody_else_reads_what_is_done(
    autojump_clock: MockClock, mqtt_server: Server, mqtt_client: Client, pressed: list[str]
) -> None:
    await mqtt_server.wait_subscribed(JOBS)
    async with mqtt_client.subscribe(DONE, qos=2) as done:
        await mqtt_client.publish(JOBS, "lid", qos=1)
        with trio.fail_after(10):
            assert (await done.receive()).text() == "lid"
    assert pressed == ["lid"]
