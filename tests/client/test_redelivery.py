"""What the server sends again after a loss: delivered once, acknowledged where it came (10, 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE
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
from trio_mqtt import Session
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Unsubscribe,
)
from trio_mqtt.testing import (
    Expect,
    ExpectSilence,
    ScriptedPeer,
    Send,
    Server,
    Step,
    open_network,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

open_client = trio_mqtt.open_client
PUBLISH: Final = {qos: Publish("a", b"x", qos, packet_id=5) for qos in (1, 2)}
AGAIN: Final = {qos: Publish("a", b"x", qos, dup=True, packet_id=5) for qos in (1, 2)}
ANSWERED: Final[dict[int, list[Step]]] = {
    1: [Expect(PubAck(5))],
    2: [Expect(PubRec(5)), Send(PubRel(5)), Expect(PubComp(5))],
}
QUIET: Final = ExpectSilence(1)
both_qos = pytest.mark.parametrize("qos", [1, 2])


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


def script(qos: int, *steps: Step, before: tuple[Step, ...] = ()) -> ScriptedPeer:
    """A message that is never acknowledged on the first connection, and what comes after."""
    return ScriptedPeer(
        [*CONNECTED, *grant(qos), Send(PUBLISH[qos]), *before, *BROKEN],
        [*RESUMED, *steps, *GOODBYE],
        timeout=PATIENCE,
    )


@both_qos
async def test_in_hand_it_is_not_delivered_twice_and_acknowledged_where_it_came(
    autojump_clock: MockClock, qos: int
) -> None:
    peer = script(qos, Send(AGAIN[qos]), QUIET, *ANSWERED[qos])
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=qos, keep=True) as messages,
    ):
        message = await messages.receive()
        await nth_connection(client, 2)
        await trio.sleep(2)
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
        message.ack()
        await wait_all_tasks_blocked()
        assert client.statistics().held == 0
    peer.assert_done()


@both_qos
async def test_settled_while_offline_it_is_acknowledged_when_it_comes_again(
    autojump_clock: MockClock, qos: int
) -> None:
    peer = script(qos, QUIET, Send(AGAIN[qos]), *ANSWERED[qos])
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=qos, keep=True) as messages,
    ):
        message = await messages.receive()
        await until(lambda: not client.statistics().connected)
        message.ack()  # no acknowledgement of it on the new connection, until it has come there
        await nth_connection(client, 2)
        await trio.sleep(2)
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
    peer.assert_done()


@both_qos
async def test_in_the_buffer_it_is_not_delivered_twice(autojump_clock: MockClock, qos: int) -> None:
    peer = script(qos, Send(AGAIN[qos]), QUIET, *ANSWERED[qos])
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=qos, keep=True) as messages,
    ):
        await nth_connection(client, 2)
        await trio.sleep(2)
        assert messages.statistics().buffered == 1
        (await messages.receive()).ack()
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
        await wait_all_tasks_blocked()
    peer.assert_done()


@both_qos
async def test_unclaimed_it_is_not_delivered_twice(autojump_clock: MockClock, qos: int) -> None:
    peer = script(qos, Send(AGAIN[qos]), QUIET, *grant(qos), *ANSWERED[qos])
    async with open_client(connector=peer.connect) as client:
        async with client.subscribe("a", qos=qos, keep=True) as messages:
            await messages.receive()
        assert client.statistics().unclaimed == 1
        await nth_connection(client, 2)
        await trio.sleep(2)
        async with client.subscribe("a", qos=qos, keep=True) as messages:
            message = await messages.receive()
            assert message.attempt == 2
            message.ack()
            with pytest.raises(trio.WouldBlock):
                messages.receive_nowait()
        await wait_all_tasks_blocked()
    peer.assert_done()


@both_qos
@pytest.mark.parametrize(
    ("topic", "payload", "dup"),
    [("a", b"y", True), ("a/b", b"x", True), ("a", b"x", False)],
    ids=["payload", "topic", "not dup"],
)
async def test_another_message_with_the_same_identifier_is_delivered(
    autojump_clock: MockClock, qos: int, topic: str, payload: bytes, dup: bool
) -> None:
    packet = Publish(topic, payload, qos, dup=dup, packet_id=5)
    peer = script(qos, Send(packet), QUIET, *ANSWERED[qos])
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a/#", qos=qos, keep=True) as messages,
    ):
        first = await messages.receive()
        await nth_connection(client, 2)
        second = await messages.receive()
        await trio.sleep(2)
        first.ack()  # which sends nothing: its exchange is over
        await wait_all_tasks_blocked()
        second.ack()
        await wait_all_tasks_blocked()
        assert (second.topic, second.payload) == (packet.topic, packet.payload)
    peer.assert_done()


@both_qos
async def test_another_qos_with_the_same_identifier_is_another_message(
    autojump_clock: MockClock, qos: int
) -> None:
    other = 3 - qos
    peer = script(qos, Send(AGAIN[other]), QUIET, *ANSWERED[other])
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=qos, keep=True) as messages,
    ):
        await messages.receive()
        await nth_connection(client, 2)
        second = await messages.receive()
        assert second.qos == other
        await trio.sleep(2)
        second.ack()
        await wait_all_tasks_blocked()
    peer.assert_done()


@both_qos
async def test_with_the_session_lost_it_is_delivered_and_the_old_one_settles_nothing(
    autojump_clock: MockClock, qos: int
) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, *grant(qos), Send(PUBLISH[qos]), *BROKEN],
        [*CONNECTED, *grant(qos), Send(PUBLISH[qos]), QUIET, *ANSWERED[qos], *GOODBYE],
        timeout=PATIENCE,
    )
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=qos, keep=True) as messages,
    ):
        first = await messages.receive()
        second = await messages.receive()
        first.ack()
        await trio.sleep(2)
        second.ack()
        await wait_all_tasks_blocked()
    peer.assert_done()


async def test_a_qos_2_message_whose_pubrec_is_out_is_not_delivered_again(
    autojump_clock: MockClock,
) -> None:
    peer = script(2, Send(AGAIN[2]), *ANSWERED[2], before=(Expect(PubRec(5)),))
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=2, keep=True) as messages,
    ):
        (await messages.receive()).ack()
        await nth_connection(client, 2)
        await trio.sleep(2)
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
    peer.assert_done()


async def test_a_pubrel_of_a_message_received_before_is_answered(
    autojump_clock: MockClock,
) -> None:
    peer = script(2, Send(PubRel(5)), Expect(PubComp(5)), before=(Expect(PubRec(5)),))
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=2, keep=True) as messages,
    ):
        (await messages.receive()).ack()
        await nth_connection(client, 2)
        await wait_all_tasks_blocked()
    peer.assert_done()


@both_qos
async def test_acknowledgements_keep_the_order_of_the_new_connection(
    autojump_clock: MockClock, qos: int
) -> None:
    messages_of_old = [Publish("a", b"%d" % each, qos, packet_id=each) for each in (1, 2)]
    answer = PubAck if qos == 1 else PubRec
    again = [
        Publish("a", each.payload, qos, dup=True, packet_id=each.packet_id)
        for each in messages_of_old
    ]
    peer = ScriptedPeer(
        [*CONNECTED, *grant(qos), *(Send(each) for each in messages_of_old), *BROKEN],
        [
            *RESUMED,
            *(Send(each) for each in again),
            Send(Publish("a", b"3", qos, packet_id=3)),
            QUIET,
            *(Expect(answer(each)) for each in (1, 2, 3)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=qos, keep=True) as subscription,
    ):
        first, second = await subscription.receive(), await subscription.receive()
        third = await subscription.receive()
        second.ack()
        third.ack()
        await trio.sleep(2)
        first.ack()
        await wait_all_tasks_blocked()
    peer.assert_done()


class TestAdopted:
    @both_qos
    async def test_messages_before_the_program_has_subscribed_wait_for_it(
        self, server: Server, autojump_clock: MockClock, qos: int
    ) -> None:
        async with (
            open_client(connector=server.connect, session=Session("c", expiry=1000)) as client,
            client.subscribe("a", qos=qos),
        ):
            pass
        for number in range(3):
            server.publish("a", str(number), qos=qos)
        # The next run of the program, which knows nothing of the first.
        async with open_client(
            connector=server.connect, session=Session("c", expiry=1000)
        ) as client:
            await trio.sleep(5)
            assert client.statistics().unclaimed == 3
            async with client.subscribe("a", qos=qos) as messages:
                texts = [(await messages.receive()).text() for _ in range(3)]
                assert texts == ["0", "1", "2"]

    @pytest.mark.parametrize("left", ["old/#", "$share/g/old/#"])
    async def test_what_was_unsubscribed_stays_so_however_many_are_left_after_it(
        self, server: Server, autojump_clock: MockClock, left: str
    ) -> None:
        async with (
            open_client(connector=server.connect, session=Session("c", expiry=1000)) as run,
            run.subscribe(left, "old/a", qos=1),
        ):
            pass
        async with open_client(connector=server.connect, session=Session("c", expiry=1000)) as run:
            await run.unsubscribe(left)  # this run has never subscribed to it
            for _ in range(1001):
                async with run.subscribe("x", keep=False):
                    pass
            server.publish("old/a", qos=1)  # the other filter brings it all the same
            await trio.sleep(1)
            assert (run.statistics().strays, run.statistics().unclaimed) == (1, 0)

    async def test_adopt_false_starts_clean(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_client(connector=server.connect, session=Session("c", expiry=1000)) as client,
            client.subscribe("a", qos=1),
        ):
            pass
        server.publish("a", "old", qos=1)
        session = Session("c", expiry=1000, adopt=False)
        async with (
            open_client(connector=server.connect, session=session) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            server.publish("a", "new", qos=1)
            message = await messages.receive()
            assert message.text() == "new"
            message.ack()
        server.publish("a", "kept", qos=1)
        async with (
            open_client(connector=server.connect, session=session) as client,
            client.subscribe("a", qos=1) as messages,
        ):  # the second time it is its own
            assert (await messages.receive()).text() == "kept"


@both_qos
async def test_a_subscription_goes_on_through_many_losses(
    server: Server, autojump_clock: MockClock, qos: int
) -> None:
    count = 200
    async with (
        open_network(server.connect) as network,
        open_client(
            connector=network.connect, reconnect=trio_mqtt.Reconnect(max_delay=1)
        ) as client,
        client.subscribe("a", qos=qos) as messages,
        trio.open_nursery() as nursery,
    ):

        async def cut_and_cut_again() -> None:
            while True:
                await trio.sleep(0.7)
                network.cut()

        async def publish() -> None:
            for number in range(count):
                server.publish("a", str(number), qos=qos)
                await trio.sleep(0.1)

        nursery.start_soon(cut_and_cut_again)
        nursery.start_soon(publish)
        texts: list[str] = []
        async for message in messages:
            if message.text() not in texts or qos == 2:
                texts.append(message.text())
            await trio.sleep(0.03)
            if message.text() == str(count - 1):
                break
        nursery.cancel_scope.cancel()
    assert texts == [str(number) for number in range(count)]


async def test_unsubscribed_offline_it_is_neither_delivered_nor_held_for_ever(
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, *grant(1), Send(PUBLISH[1]), *BROKEN],
        [
            Expect(Connect),
            Send(ConnAck(session_present=True)),
            Expect(Unsubscribe),
            Send(AGAIN[1]),
            Expect(PubAck(5)),
        ],
        timeout=PATIENCE,
    )
    with trio.move_on_after(50):
        async with open_client(connector=peer.connect) as client:
            async with client.subscribe("a", qos=1):
                await until(lambda: not client.statistics().connected)
            await trio.sleep_forever()
