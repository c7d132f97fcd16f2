"""Where an outage meets something else: a pause, waiting publishers, requests, the end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.outages import CONNECTED, GOODBYE, nth_connection
from trio_mqtt import MQTT_5, MessageDropped, MQTTError, QoS, ReasonCode, Reconnect, Session
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)
from trio_mqtt.testing import (
    Expect,
    Reset,
    ScriptedPeer,
    Send,
    SendBytes,
    ServerLimits,
    open_network,
    open_server,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import Server

PATIENCE = 100.0


async def test_a_loss_while_reading_is_paused_loses_nothing_that_had_come(
    autojump_clock: MockClock,
) -> None:
    messages = [Publish("kept", b"%d" % number, 1, packet_id=number) for number in (1, 2, 3)]
    loose = [Publish("loose", b"x")] * 3
    packets = [*loose, *messages]
    together = b"".join(encode(packet, MQTT_5) for packet in packets) + encode(PubAck(3), MQTT_5)
    again = [attrs.evolve(message, dup=True) for message in messages]
    peer = ScriptedPeer(
        [
            *CONNECTED,
            *(step for number in (1, 2) for step in (Expect(Subscribe), Send(granted(number)))),
            Expect(Publish, packet_id=3),
            SendBytes(together),
            Expect(Publish),  # so all that has come
            Reset(),
        ],
        [
            Expect(Connect),
            Send(ConnAck(session_present=True)),
            *(Send(message) for message in again),
            *(Expect(PubAck(number)) for number in (1, 2, 3)),
            *GOODBYE,
        ],
    )
    with trio.move_on_after(PATIENCE):
        async with (
            trio_mqtt.open_client(connector=peer.connect) as client,
            client.subscribe("loose", buffer=1, keep=True),
            client.subscribe("kept", qos=1, keep=True) as kept,
        ):
            delivery = await client.enqueue("mine", qos=1)
            await wait_all_tasks_blocked()
            await client.publish("mine")
            await wait_all_tasks_blocked()
            await client.publish("mine")  # the writer notices first: the reader waits for room
            await nth_connection(client, 2)
            await delivery.wait()
            for number in (1, 2, 3):
                message = await kept.receive()
                assert message.text() == str(number)
                message.ack()
            await wait_all_tasks_blocked()
    peer.assert_done()


def granted(packet_id: int) -> SubAck:
    return SubAck(packet_id, (ReasonCode.GRANTED_QOS_1,))


async def try_to_publish(
    client: trio_mqtt.Client, failures: list[MQTTError], **message: Any
) -> None:
    try:
        await client.publish("a", **message)
    except MQTTError as error:
        failures.append(error)


@pytest.mark.parametrize("qos", [0, 1])
async def test_who_waited_for_room_is_checked_against_the_new_server(
    qos: int, autojump_clock: MockClock
) -> None:
    failures: list[MQTTError] = []
    session = Session("c", expiry=60, queue=1)
    async with open_server() as server, open_network(server.connect) as network:
        async with (
            trio_mqtt.open_client(connector=network.connect, session=session) as client,
            trio.open_nursery() as nursery,
        ):
            with network.outage():
                await wait_all_tasks_blocked()
                await client.enqueue("a", "first", qos=1)
                publish = partial(try_to_publish, client, failures, qos=qos, payload=bytes(100))
                nursery.start_soon(publish)
                await wait_all_tasks_blocked()
                server.limits = ServerLimits(maximum_packet_size=50)
        assert [type(error) for error in failures] == [trio_mqtt.PacketTooLarge]
        sent = [entry.packet for entry in server.log if isinstance(entry.packet, Publish)]
        assert [packet.payload for packet in sent] == [b"first"]


async def test_who_expired_while_waiting_lets_the_next_one_go(
    server: Server, autojump_clock: MockClock
) -> None:
    failures: list[MQTTError] = []
    async with (
        open_network(server.connect) as network,
        trio_mqtt.open_client(connector=network.connect, keep_alive=0) as client,
    ):
        async with trio.open_nursery() as nursery:
            with network.outage():
                await wait_all_tasks_blocked()
                nursery.start_soon(partial(try_to_publish, client, failures, message_expiry=1))
                await wait_all_tasks_blocked()
                nursery.start_soon(partial(try_to_publish, client, failures))
                await trio.sleep(5)
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        assert not nursery.cancel_scope.cancelled_caught
    assert [type(error) for error in failures] == [MessageDropped]


async def test_what_is_subscribed_after_an_unsubscribe_stays(autojump_clock: MockClock) -> None:
    success = (ReasonCode.SUCCESS,)
    peer = ScriptedPeer(
        [
            *CONNECTED,
            Expect(Subscribe, packet_id=1),
            Send(SubAck(1, success)),
            Expect(Unsubscribe, packet_id=2),
            Expect(Subscribe, packet_id=3),
            Send(UnsubAck(2, success)),
            Send(SubAck(3, (ReasonCode.GRANTED_QOS_1,))),
            Send(Publish("a", b"x", 1, packet_id=1)),
            Expect(PubAck, packet_id=1),
            Expect(Unsubscribe, packet_id=4),
            Send(UnsubAck(4, success)),
            *GOODBYE,
        ]
    )
    async with (
        trio_mqtt.open_client(connector=peer.connect) as client,
        client.subscribe("a"),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.unsubscribe, "a")
        await wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE):
            async with client.subscribe("a", qos=1) as messages:
                assert messages.granted == {"a": QoS.AT_LEAST_ONCE}
                (await messages.receive()).ack()
    peer.assert_done()


async def test_a_session_that_is_lost_while_closing_is_restored_and_messages_go(
    server: Server, autojump_clock: MockClock
) -> None:
    session = Session("c", expiry=3600)
    reconnect = Reconnect(max_delay=1)
    async with open_network(server.connect) as network, trio.open_nursery() as nursery:

        async def repair() -> None:
            await trio.sleep(1)
            network.up()

        async with trio_mqtt.open_client(
            connector=network.connect, session=session, reconnect=reconnect, close_timeout=60
        ) as client:
            async with client.subscribe("a", qos=1):
                pass
            network.down()
            await wait_all_tasks_blocked()
            server.forget_session("c")
            await client.enqueue("b", "late", qos=1)
            start = trio.current_time()
            nursery.start_soon(repair)
    assert trio.current_time() < start + 10
    assert [e.packet.payload for e in server.log if isinstance(e.packet, Publish)] == [b"late"]


async def test_a_block_left_offline_waits_for_nobody(
    server: Server, autojump_clock: MockClock
) -> None:
    async with (
        open_network(server.connect) as network,
        trio_mqtt.open_client(connector=network.connect, client_id="c") as client,
    ):
        async with client.subscribe("a", qos=1):
            network.down()
            await wait_all_tasks_blocked()
            start = trio.current_time()
        assert trio.current_time() == start
        network.up()
        with trio.fail_after(PATIENCE):
            await server.wait_until(lambda: not server.sessions["c"].subscriptions)


async def test_a_reference_that_cannot_be_used_is_not_followed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def redirect(_reference: str) -> str:
        raise ValueError("no URL")

    refusal = ConnAck(
        reason_code=ReasonCode.USE_ANOTHER_SERVER,
        properties=Properties(server_reference="one two"),
    )
    peer = ScriptedPeer([Expect(Connect), Send(refusal)], [*CONNECTED, *GOODBYE])
    reconnect = Reconnect(initial="retry", redirect=redirect)
    async with trio_mqtt.open_client(connector=peer.connect, reconnect=reconnect):
        pass
    assert "cannot be used: no URL" in caplog.text
