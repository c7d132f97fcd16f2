"""Any program around one client, over any network: messages, windows and buffers stay in order.

Each example is a list of things that a program or its server does, see `World`; after each of
them everything is compared with what the server's log tells.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.budget import examples
from tests.client.model import (
    NUMBERS,
    REFUSED_FILTER,
    REFUSED_TOPIC,
    UNCLAIMED_TIMEOUT,
    Setting,
    World,
)
from tests.client.support import open_once
from trio_mqtt import MQTT_3_1_1, MQTT_5, ReasonCode
from trio_mqtt.testing import ServerLimits, open_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mqtt.abc import Connector
    from trio_mqtt.packets import Publish, SubscriptionRequest
    from trio_mqtt.testing import Server

PATIENCE: Final = 1_000_000
"""In seconds of Trio's clock, which only goes on while every task waits."""

STEPS: Final = 30

windows = st.sampled_from([1, 2, 3, 10, 65_535])
settings = st.builds(
    Setting,
    protocol=st.sampled_from([MQTT_5, MQTT_5, MQTT_3_1_1]),
    receive_maximum=windows,
    server_window=windows,
    network=st.sampled_from(["large", "plain", "narrow", "random", "bytes"]),
    wait_for_release=st.booleans(),
    seed=st.integers(0, 255),
)
limits = st.builds(
    ServerLimits,
    overlapping=st.sampled_from(["merge", "copies"]),
    subscription_identifier_available=st.booleans(),
    outbound_topic_aliases=st.booleans(),
)


def allow_publish(_client_id: str, packet: Publish) -> ReasonCode:
    refused = packet.topic == REFUSED_TOPIC
    return ReasonCode.QUOTA_EXCEEDED if refused else ReasonCode.SUCCESS


def allow_subscribe(_client_id: str, request: SubscriptionRequest) -> ReasonCode:
    refused = request.topic_filter == REFUSED_FILTER
    return ReasonCode.NOT_AUTHORIZED if refused else ReasonCode.SUCCESS


def connector(server: Server, setting: Setting) -> Connector:
    """How bytes travel: in which pieces, and how many are under way."""
    random = Random(setting.seed)  # noqa: S311 - it keeps no secret
    match setting.network:
        case "bytes":
            return partial(server.connect, chunk=1)
        case "random":
            return partial(server.connect, chunk=lambda: random.randrange(1, 30))
        case "narrow":
            return partial(server.connect, capacity=40)
        case _:
            return server.connect


async def run(setting: Setting, limits: ServerLimits, steps: Sequence[int]) -> None:
    with trio.fail_after(PATIENCE):
        async with open_server(limits=limits) as server:
            server.authorize_publish = allow_publish
            server.authorize_subscribe = allow_subscribe
            async with (
                open_once(
                    connector=connector(server, setting),
                    client_id="me",
                    protocol=setting.protocol,
                    receive_maximum=setting.receive_maximum,
                    topic_alias_maximum=2,
                    unclaimed_timeout=UNCLAIMED_TIMEOUT,
                ) as client,
                client.events() as events,
                trio.open_nursery() as nursery,
            ):
                world = World(server, client, setting, nursery)
                trio.lowlevel.add_instrument(world.alarm)
                nursery.start_soon(world.watch, events)
                for step in steps:
                    await world.act(step)
                await world.finish()
                trio.lowlevel.remove_instrument(world.alarm)
                nursery.cancel_scope.cancel()
            world.check_end()


@examples(1000)
@given(settings, limits, st.lists(st.integers(0, NUMBERS - 1), max_size=STEPS))
def test_any_program(setting: Setting, limits: ServerLimits, steps: list[int]) -> None:
    limits = attrs.evolve(limits, receive_maximum=setting.server_window)
    clock = MockClock(autojump_threshold=0)
    trio.run(run, setting, limits, steps, clock=clock)
