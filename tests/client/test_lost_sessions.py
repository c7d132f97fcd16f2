"""What becomes of a Session that the server has lost (contract 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE, assert_works, received
from tests.client.outages import (
    BROKEN,
    CONNECTED,
    GOODBYE,
    connects,
    grant,
    longest_delays,
    lose_session,
    nth_connection,
    until,
    warnings,
    watching,
)
from trio_mqtt import (
    MQTT_3_1_1,
    Client,
    ReasonCode,
    RemoteProtocolError,
    Session,
    SessionLost,
    SubscribeRejected,
)
from trio_mqtt.events import (
    Connected,
    Disconnected,
    PublishFailed,
    SessionReplaced,
    SubscriptionLost,
    SubscriptionRestored,
)
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
)
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    ExpectSilence,
    ScriptedPeer,
    Send,
    SendBytes,
    Server,
    Step,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

open_client = trio_mqtt.open_client
QUIET: Final = ExpectSilence(1)


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


class TestLost:
    async def test_subscriptions_come_before_messages_and_keep_their_identifiers(
        self, autojump_clock: MockClock
    ) -> None:
        first = Properties(subscription_identifiers=(1,))
        second = Properties(subscription_identifiers=(2,))
        peer = ScriptedPeer(
            [
                *CONNECTED,
                *grant(1),
                *grant(2),
                Expect(Publish, packet_id=3, dup=False),
                *BROKEN,
            ],
            [
                *CONNECTED,
                Expect(Subscribe, packet_id=4, properties=first),
                Expect(Subscribe, packet_id=5, properties=second),
                QUIET,
                Send(SubAck(4, (ReasonCode.GRANTED_QOS_1,))),
                QUIET,
                Send(SubAck(5, (ReasonCode.GRANTED_QOS_2,))),
                Expect(Publish, packet_id=6, dup=False),
                Expect(Publish, packet_id=7, dup=False),
                Expect(Publish, qos=0),
                Send(PubAck(6)),
                Send(PubAck(7)),
                *GOODBYE,
            ],
            timeout=PATIENCE,
        )
        async with (
            open_client(connector=peer.connect) as client,
            client.subscribe("a", qos=1, keep=True),
            client.subscribe("b", qos=2, keep=True),
            trio.open_nursery() as nursery,
        ):
            old = client.publish_nowait("x", "old", qos=1)
            await until(lambda: not client.statistics().connected)
            new = client.publish_nowait("x", "new", qos=1)
            nursery.start_soon(client.publish, "x", "even QoS 0")
            await old.wait()
            await new.wait()
        peer.assert_done()

    async def test_messages_do_not_wait_for_ever_for_the_subscriptions(
        self, autojump_clock: MockClock
    ) -> None:
        peer = ScriptedPeer(
            [*CONNECTED, *grant(1), *BROKEN],
            [
                *CONNECTED,
                Expect(Subscribe),
                ExpectSilence(9.9),
                Expect(Publish),
                Send(PubAck(3)),
                *GOODBYE,
            ],
            timeout=PATIENCE,
        )
        async with (
            open_client(connector=peer.connect, close_timeout=1) as client,
            client.subscribe("a", qos=1, keep=True),
        ):
            await until(lambda: not client.statistics().connected)
            await client.publish("x", qos=1)
        peer.assert_done()

    async def test_events_tell_of_everything(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            watching(client) as seen,
            client.subscribe("a", qos=1),
            client.subscribe("b", "c/#", qos=2),
        ):
            server.drop("c")
            await nth_connection(client, 2)
            await lose_session(server)
            await nth_connection(client, 3)
            await assert_works(client)
        assert [type(event) for event in seen.events] == [
            Disconnected,
            Connected,
            Disconnected,
            Connected,
            SessionReplaced,
            SubscriptionRestored,
            SubscriptionRestored,
            SubscriptionRestored,
        ]
        present = [each.session_present for each in seen.events if isinstance(each, Connected)]
        assert present == [True, False]
        restored = {
            each.topic_filter: each.granted
            for each in seen.events
            if isinstance(each, SubscriptionRestored)
        }
        assert restored == {"a": 1, "b": 2, "c/#": 2}

    async def test_a_subscription_refused_then_ends_once_its_buffer_is_empty(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            watching(client) as seen,
            client.subscribe("a", qos=1) as refused,
            client.subscribe("b", qos=1) as others,
        ):
            for number in range(3):
                server.publish("a", str(number), qos=1)
            await until(lambda: refused.statistics().buffered == 3)
            server.authorize_subscribe = lambda _client_id, request: (
                ReasonCode.NOT_AUTHORIZED if request.topic_filter == "a" else ReasonCode.SUCCESS
            )
            await lose_session(server)
            texts: list[str] = []
            with pytest.raises(SubscribeRejected) as caught:
                async for message in refused:
                    texts.append(message.text())  # noqa: PERF401 - it ends with an error
            assert texts == ["0", "1", "2"]
            assert caught.value.reasons == {"a": ReasonCode.NOT_AUTHORIZED}
            with pytest.raises(SubscribeRejected):
                refused.receive_nowait()
            server.publish("b", "goes on", qos=1)
            assert (await others.receive()).text() == "goes on"
            # It can be subscribed again, later.
            server.authorize_subscribe = None
            async with client.subscribe("a", qos=1) as again:
                server.publish("a", "back", qos=1)
                assert (await again.receive()).text() == "back"
        lost = [event for event in seen.events if isinstance(event, SubscriptionLost)]
        assert [(each.topic_filter, type(each.error)) for each in lost] == [
            ("a", SubscribeRejected)
        ]

    @pytest.mark.parametrize("losses", [1, 5])
    async def test_a_raise_of_the_qos_refused_then_leaves_what_there_was(
        self, server: Server, autojump_clock: MockClock, losses: int
    ) -> None:
        async def raise_it(client: trio_mqtt.Client) -> None:
            with pytest.raises(SubscribeRejected):
                async with client.subscribe("a", qos=2):
                    pytest.fail("it is refused")

        async with (
            open_client(connector=server.connect, client_id="c") as client,
            client.subscribe("a", qos=1) as messages,
            trio.open_nursery() as nursery,
        ):
            with server.holding(SubAck):
                nursery.start_soon(raise_it, client)
                await wait_all_tasks_blocked()
                tasks: list[int] = []
                server.authorize_subscribe = lambda _client_id, request: (
                    ReasonCode.QUOTA_EXCEEDED if request.qos == 2 else ReasonCode.SUCCESS
                )
                for number in range(losses):
                    await lose_session(server)
                    await nth_connection(client, number + 2)
                    await trio.sleep(20)  # longer than messages wait for the subscriptions
                    tasks.append(len(client._supervisor._nursery.child_tasks))
            assert tasks == tasks[:1] * losses
            await server.wait_until(lambda: "a" in server.sessions["c"].subscriptions)
            await wait_all_tasks_blocked()
            assert [packet.requests[0].qos for packet in received(server, Subscribe)] == [
                *(1, 2),
                *[2] * losses,
                1,
            ]
            server.publish("a", "goes on", qos=2)
            message = await messages.receive()
            assert (message.text(), message.qos) == ("goes on", 1)

    async def test_who_waits_for_a_message_of_a_refused_subscription_is_told(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            client.subscribe("a", qos=1) as messages,
            trio.open_nursery() as nursery,
        ):

            async def wait() -> None:
                with pytest.raises(SubscribeRejected):
                    await messages.receive()

            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            server.authorize_subscribe = lambda _client_id, _request: ReasonCode.QUOTA_EXCEEDED
            await lose_session(server)

    @pytest.mark.parametrize("keep", [True, False])
    async def test_mqtt_3_1_1_ephemeral_loses_it_each_time(
        self, server: Server, autojump_clock: MockClock, keep: bool
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c", protocol=MQTT_3_1_1) as client,
            watching(client) as seen,
            client.subscribe("a", qos=1, keep=keep) as messages,
        ):
            for count in (2, 3):
                server.drop("c")
                await nth_connection(client, count)
                await wait_all_tasks_blocked()
                server.publish("a", str(count), qos=1)
                message = await messages.receive()
                message.ack()
                assert message.text() == str(count)
        assert [each.clean_start for each in connects(server)] == [True] * 3
        assert len(seen.of(SessionReplaced)) == 2
        assert len(seen.of(SubscriptionRestored)) == 2

    async def test_the_granted_expiry_is_the_session_s_and_a_shorter_one_is_a_warning(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        granted = ConnAck(properties=Properties(session_expiry_interval=60))
        peer = ScriptedPeer([Expect(Connect), Send(granted), *GOODBYE])
        session = Session("c", expiry=3600)
        async with open_client(connector=peer.connect, session=session):
            assert session.expiry == 60
        assert len(warnings(caplog)) == 1
        assert "for 60 s only" in warnings(caplog)[0]


class TestPolicies:
    """What becomes of messages under way: one of QoS 1, one of QoS 2, one that never left."""

    first: Final[list[Step]] = [
        Expect(Publish, qos=1, packet_id=1),
        Expect(Publish, qos=2, packet_id=2),
        Expect(Publish, qos=2, packet_id=3),
        Send(PubRec(3)),
        Expect(PubRel(3)),
    ]

    def later(self, *numbers: int) -> list[Step]:
        """Some of them published anew: identifiers go on, and DUP is 0."""
        steps: list[Step] = []
        for packet_id, number in enumerate(numbers, 4):
            qos = 1 if number == 1 else 2
            steps.append(
                Expect(Publish, packet_id=packet_id, qos=qos, dup=False, payload=b"%d" % number)
            )
        for packet_id, number in enumerate(numbers, 4):
            if number == 1:
                steps.append(Send(PubAck(packet_id)))
            else:
                steps += [
                    Send(PubRec(packet_id)),
                    Expect(PubRel(packet_id)),
                    Send(PubComp(packet_id)),
                ]
        return steps

    @pytest.mark.parametrize(
        ("policy", "again"),
        [("republish_certain", (1, 4)), ("republish", (1, 2, 3, 4)), ("fail", (4,))],
    )
    async def test_policy(
        self, autojump_clock: MockClock, policy: Any, again: tuple[int, ...]
    ) -> None:
        peer = ScriptedPeer(
            [*CONNECTED, *self.first, *BROKEN],
            [*CONNECTED, *self.later(*again), QUIET, *GOODBYE],
            timeout=PATIENCE,
        )
        async with (
            open_client(connector=peer.connect, on_session_lost=policy) as client,
            watching(client) as seen,
        ):
            deliveries = {
                number: client.publish_nowait("a", str(number), qos=1 if number == 1 else 2)
                for number in (1, 2, 3)
            }
            await until(lambda: not client.statistics().connected)
            deliveries[4] = client.publish_nowait("a", "4", qos=2)
            for number, delivery in deliveries.items():
                if number in again:
                    await delivery.wait()
                else:
                    with pytest.raises(SessionLost, match="may or may not"):
                        await delivery.wait()
            await trio.sleep(2)
            assert client.statistics().unfinished == 0
            assert client.statistics().unfinished_bytes == 0
        failed = [
            (int(event.message.payload), type(event.error))
            for event in seen.events
            if isinstance(event, PublishFailed)
        ]
        assert failed == [(each, SessionLost) for each in (1, 2, 3) if each not in again]
        replaced = [each for each in seen.events if isinstance(each, SessionReplaced)]
        assert [each.in_doubt for each in replaced] == [len(failed)]
        peer.assert_done()

    async def test_a_lost_session_leaks_no_identifier(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            for count in range(2, 7):
                with server.holding(PubAck, PubRec):
                    deliveries = [
                        client.publish_nowait("a", qos=qos) for qos in (1, 2) for _ in range(20)
                    ]
                    await wait_all_tasks_blocked()
                    await lose_session(server)
                    await nth_connection(client, count)
                for delivery in deliveries[:20]:
                    await delivery.wait()
                for delivery in deliveries[20:]:
                    with pytest.raises(SessionLost):
                        await delivery.wait()
            await assert_works(client)


async def test_a_session_is_not_lost_by_an_answer_that_is_none(autojump_clock: MockClock) -> None:
    """Whoever is there now speaks another version, and does not know the Session."""
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish), *BROKEN],
        [Expect(Connect), SendBytes(b"\x20\x02\x00\x00"), ExpectEnd()],
        [
            Expect(Connect),
            Send(ConnAck(session_present=True)),
            Expect(Publish, dup=True),
            *GOODBYE,
        ],
    )
    session = Session("c", expiry=100)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def publish(client: Client) -> None:
                with pytest.raises(RemoteProtocolError, match=r"in the form of MQTT 3\.1\.1"):
                    await client.publish("a", "x", qos=2)

            with pytest.raises(RemoteProtocolError):
                async with open_client(connector=peer.connect, session=session) as client:
                    nursery.start_soon(publish, client)
                    await trio.sleep_forever()
        async with open_client(connector=peer.connect, session=session, close_timeout=1):
            await wait_all_tasks_blocked()
    peer.assert_done()
