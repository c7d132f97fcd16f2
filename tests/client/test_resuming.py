"""Going on with a Session that the server still has: what we send again (contract 16)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE, assert_idle, received
from tests.client.outages import (
    BROKEN,
    CONNECTED,
    GOODBYE,
    RESUMED,
    grant,
    longest_delays,
    nth_connection,
    until,
)
from trio_mqtt import ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import (
    Before,
    Close,
    Expect,
    ExpectSilence,
    Faults,
    ScriptedPeer,
    Send,
    Server,
    Step,
    open_network,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

open_client = trio_mqtt.open_client
QUIET = ExpectSilence(1)
TOPIC = "a/long/topic"


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


def resumed(receive_maximum: int) -> list[Step]:
    """A connection that goes on, with another window than the first."""
    properties = Properties(receive_maximum=receive_maximum)
    return [
        Expect(Connect, clean_start=False),
        Send(ConnAck(session_present=True, properties=properties)),
    ]


def first(packet_id: int, qos: int = 1) -> Step:
    return Expect(Publish, packet_id=packet_id, qos=qos, dup=False, payload=b"%d" % packet_id)


def dup(packet_id: int, qos: int = 1) -> Step:
    return Expect(Publish, packet_id=packet_id, qos=qos, dup=True, payload=b"%d" % packet_id)


@pytest.mark.parametrize("qos", [1, 2])
async def test_publishes_come_again_in_order_before_anything_new(
    autojump_clock: MockClock, qos: int
) -> None:
    answers: dict[int, list[Step]] = {
        1: [Send(PubAck(each)) for each in (1, 2, 3)],
        2: [
            step
            for each in (1, 2, 3)
            for step in (
                Send(PubRec(each)),
                Expect(PubRel(each)),
                Send(PubComp(each)),
            )
        ],
    }
    peer = ScriptedPeer(
        [*CONNECTED, first(1, qos), first(2, qos), first(3, qos), *BROKEN],
        [
            *RESUMED,
            *(dup(each, qos) for each in (1, 2, 3)),
            first(4, qos),
            Expect(Publish, qos=0),
            *answers[qos],
            Send(PubAck(4) if qos == 1 else PubRec(4, ReasonCode.QUOTA_EXCEEDED)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client, trio.open_nursery() as nursery:
        deliveries = [client.publish_nowait("a", f"{each}", qos=qos) for each in (1, 2, 3)]
        await until(lambda: not client.statistics().connected)
        fourth = client.publish_nowait("a", "4", qos=qos)
        nursery.start_soon(client.publish, "a", "not before them")
        for delivery in deliveries:
            await delivery.wait()
        if qos == 1:
            await fourth.wait()
        else:
            with pytest.raises(trio_mqtt.PublishRejected):
                await fourth.wait()
        await assert_idle(client)
    peer.assert_done()


async def test_what_was_acknowledged_does_not_come_again(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, first(1), first(2), first(3), Send(PubAck(2)), *BROKEN],
        [*RESUMED, dup(1), dup(3), QUIET, Send(PubAck(1)), Send(PubAck(3)), *GOODBYE],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client, trio.open_nursery() as nursery:
        for each in (1, 2, 3):
            nursery.start_soon(partial(client.publish, "a", f"{each}", qos=1))
            await wait_all_tasks_blocked()
    peer.assert_done()


async def test_the_new_window_holds_and_the_rest_waits(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, first(1), first(2), first(3), first(4), *BROKEN],
        [
            *resumed(2),
            dup(1),
            dup(2),
            QUIET,
            Send(PubAck(2)),
            dup(3),
            QUIET,
            Send(PubAck(1)),
            dup(4),
            QUIET,
            Send(PubAck(3)),
            first(5),
            Send(PubAck(4)),
            Send(PubAck(5)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client:
        deliveries = [client.publish_nowait("a", f"{each}", qos=1) for each in range(1, 5)]
        await nth_connection(client, 2)
        deliveries.append(client.publish_nowait("a", "5", qos=1))
        for delivery in deliveries:
            await delivery.wait()
    peer.assert_done()


async def test_pubrels_come_again_in_the_order_of_the_pubrecs(autojump_clock: MockClock) -> None:
    order = (2, 3, 1)
    peer = ScriptedPeer(
        [
            *CONNECTED,
            *(first(each, 2) for each in (1, 2, 3, 4)),
            *(Send(PubRec(each)) for each in order),
            *(Expect(PubRel(each)) for each in order),
            *BROKEN,
        ],
        [
            *RESUMED,
            *(Expect(PubRel(each)) for each in order),
            dup(4, 2),
            *(Send(PubComp(each)) for each in order),
            Send(PubRec(4)),
            Expect(PubRel(4)),
            Send(PubComp(4)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client:
        deliveries = [client.publish_nowait("a", f"{each}", qos=2) for each in range(1, 5)]
        for delivery in deliveries:
            await delivery.wait()
    peer.assert_done()


async def test_a_pubrel_frees_no_place_that_it_did_not_have(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, first(1, 2), Send(PubRec(1)), Expect(PubRel(1)), *BROKEN],
        [
            *resumed(1),
            Expect(PubRel(1)),
            first(2, 2),  # a PUBREL of an earlier connection takes no place
            Send(PubComp(1)),
            QUIET,  # nor does it leave one behind
            Send(PubRec(2)),
            Expect(PubRel(2)),
            QUIET,
            Send(PubComp(2)),
            first(3, 2),
            Send(PubRec(3)),
            Expect(PubRel(3)),
            Send(PubComp(3)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client:
        client.publish_nowait("a", "1", qos=2)
        await nth_connection(client, 2)
        deliveries = [client.publish_nowait("a", f"{each}", qos=2) for each in (2, 3)]
        for delivery in deliveries:
            await delivery.wait()
        await wait_all_tasks_blocked()
        assert client.statistics().window == 1
    peer.assert_done()


async def test_pubcomp_not_found_after_a_pubrel_sent_again_is_success(
    autojump_clock: MockClock,
) -> None:
    not_found = PubComp(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    peer = ScriptedPeer(
        [*CONNECTED, first(1, 2), Send(PubRec(1)), Expect(PubRel(1)), *BROKEN],
        [*RESUMED, Expect(PubRel(1)), Send(not_found), *GOODBYE],
    )
    async with open_client(connector=peer.connect) as client:
        result = await client.publish("a", "1", qos=2)
        assert result.reason_code is ReasonCode.SUCCESS
    peer.assert_done()


async def test_subscribe_and_unsubscribe_are_made_anew(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Subscribe, packet_id=1), *BROKEN],
        [
            *RESUMED,
            Expect(Subscribe, packet_id=2),
            Send(SubAck(2, (ReasonCode.GRANTED_QOS_1,))),
            Expect(Unsubscribe, packet_id=3),
            *BROKEN,
        ],
        [
            *RESUMED,
            Expect(Unsubscribe, packet_id=4),
            Send(UnsubAck(4, (ReasonCode.SUCCESS,))),
            *GOODBYE,
        ],
    )
    async with open_client(connector=peer.connect) as client:
        async with client.subscribe("a", qos=1) as messages:
            assert messages.granted == {"a": 1}
        assert client.statistics().connections == 2  # leaving does not wait for the third
    peer.assert_done()


async def test_cut_anywhere_in_a_qos_2_exchange_it_comes_once(
    server: Server, autojump_clock: MockClock
) -> None:
    for cut in (Publish, PubRec, PubRel, PubComp):
        place = Before(cut)
        to_server = cut in (Publish, PubRel)
        faults = Faults(cut_to_server=place) if to_server else Faults(cut_to_client=place)
        async with (
            open_network(server.connect, [faults]) as network,
            open_client(connector=network.connect) as client,
            open_client(connector=server.connect) as watcher,
            watcher.subscribe("a", qos=2) as messages,
        ):
            with trio.fail_after(PATIENCE):
                await client.publish("a", cut.__name__, qos=2)
                assert client.statistics().connections == 2
                await client.publish("a", "end", qos=2)
                assert (await messages.receive()).text() == cut.__name__
                assert (await messages.receive()).text() == "end"


async def test_topic_names_are_sent_in_full_again(autojump_clock: MockClock) -> None:
    accepts_aliases = ConnAck(properties=Properties(topic_alias_maximum=10))
    again = attrs.evolve(accepts_aliases, session_present=True)
    full = Expect(Publish, topic=TOPIC, properties=Properties())
    alias = Properties(topic_alias=1)
    first = [full, *[Expect(Publish, topic=topic, properties=alias) for topic in (TOPIC, "")]]
    acknowledged = [Send(PubAck(packet_id)) for packet_id in (1, 2, 3)]
    peer = ScriptedPeer(
        [Expect(Connect), Send(accepts_aliases), *first, *BROKEN],
        [Expect(Connect), Send(again), full, full, full, *acknowledged, *GOODBYE],
    )
    async with open_client(connector=peer.connect) as client:
        deliveries = [client.publish_nowait(TOPIC, qos=1) for _ in range(3)]
        for delivery in deliveries:
            await delivery.wait()
    peer.assert_done()


async def test_no_session_present_from_a_server_of_mqtt_3_1(autojump_clock: MockClock) -> None:
    """It may have the Session or not: what is open is sent again, and subscribed again."""
    connect = Expect(Connect, protocol=trio_mqtt.MQTT_3_1, clean_start=False)
    accept: list[Step] = [connect, Send(ConnAck())]
    peer = ScriptedPeer(
        [*accept, *grant(1), Expect(Publish, packet_id=2, dup=False), *BROKEN],
        [
            *accept,
            Expect(Subscribe, packet_id=3),
            Send(SubAck(3, (ReasonCode.GRANTED_QOS_1,))),
            Expect(Publish, packet_id=2, dup=True),
            Send(PubAck(2)),
            Send(Publish("a", b"x", 1, packet_id=1)),
            Expect(PubAck(1)),
            *GOODBYE,
        ],
    )
    session = trio_mqtt.Session("c", expiry=1000)
    async with (
        open_client(connector=peer.connect, session=session, protocol=trio_mqtt.MQTT_3_1) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        await client.publish("b", "y", qos=1)
        (await messages.receive()).ack()
        await wait_all_tasks_blocked()
    peer.assert_done()


async def test_nothing_is_sent_again_that_was_never_sent(
    server: Server, autojump_clock: MockClock
) -> None:
    async with (
        open_network(server.connect) as network,
        open_client(connector=network.connect) as client,
    ):
        with network.outage():
            await wait_all_tasks_blocked()
            delivery = await client.enqueue("a", qos=1)
            await trio.sleep(10)
        await delivery.wait()
    assert [packet.dup for packet in received(server, Publish)] == [False]
    assert received(server, Disconnect) == [
        Disconnect(properties=Properties(session_expiry_interval=0))
    ]


class TestVersion:
    async def test_it_is_negotiated_once_and_never_again(self, autojump_clock: MockClock) -> None:
        refuse: list[Step] = [
            Expect(Connect, protocol=trio_mqtt.MQTT_5),
            Send(ConnAck(reason_code=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)),
        ]
        old: list[Step] = [Expect(Connect, protocol=trio_mqtt.MQTT_3_1_1), Send(ConnAck())]
        peer = ScriptedPeer(refuse, [*old, *BROKEN], [*old, *BROKEN], [*old, *GOODBYE])
        async with open_client(connector=peer.connect) as client:
            await nth_connection(client, 3)
        peer.assert_done()

    async def test_a_close_before_any_byte_is_no_longer_about_the_version(
        self, autojump_clock: MockClock
    ) -> None:
        new = Expect(Connect, protocol=trio_mqtt.MQTT_5)
        peer = ScriptedPeer(
            [new, Send(ConnAck()), *BROKEN],
            [new, Close()],
            [new, Close()],
            [new, Send(ConnAck(session_present=True)), *GOODBYE],
        )
        async with open_client(connector=peer.connect) as client:
            await nth_connection(client, 2)
        peer.assert_done()

    async def test_a_session_remembers_it(self, autojump_clock: MockClock) -> None:
        refuse: list[Step] = [Expect(Connect, protocol=trio_mqtt.MQTT_5), Close()]
        old: list[Step] = [Expect(Connect, protocol=trio_mqtt.MQTT_3_1_1), Send(ConnAck())]
        peer = ScriptedPeer(refuse, [*old, *GOODBYE], [*old, *GOODBYE])
        session = trio_mqtt.Session("c", expiry=1000)
        for _ in range(2):
            async with open_client(connector=peer.connect, session=session) as client:
                assert client.server.protocol is trio_mqtt.MQTT_3_1_1
        peer.assert_done()
