"""Sessions that a caller keeps (contract 22)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import assert_works, received
from tests.client.outages import (
    connects,
    longest_delays,
    lose_session,
    nth_connection,
    until,
)
from trio_mqtt import (
    MQTT_3_1_1,
    ConnectionLost,
    Protocol,
    Reconnect,
    Session,
)
from trio_mqtt.packets import (
    Disconnect,
    PubAck,
    PubRec,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import (
        Server,
    )

open_client = trio_mqtt.open_client


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


class TestKept:
    @pytest.mark.parametrize("protocol", [trio_mqtt.MQTT_5, MQTT_3_1_1])
    async def test_it_goes_on_in_the_next_block(
        self, server: Server, autojump_clock: MockClock, protocol: Protocol
    ) -> None:
        session = Session("c", expiry=1000)
        options: Any = {"connector": server.connect, "session": session, "protocol": protocol}
        async with open_client(**options) as client, client.subscribe("a", qos=2):
            pass
        assert server.sessions["c"].subscriptions.keys() == {"a"}
        server.publish("a", "meanwhile", qos=2)
        async with (
            open_client(**options) as client,
            client.subscribe("a", qos=2) as messages,
        ):
            assert client.server.session_present
            message = await messages.receive()
            assert (message.text(), message.attempt) == ("meanwhile", 1)
            message.ack()
            await wait_all_tasks_blocked()  # else PUBREL meets a closed connection
        assert [each.clean_start for each in connects(server)] == [False, False]
        await wait_all_tasks_blocked()  # the server reads the last DISCONNECT
        # It was not told to end.
        ends = [each.properties.session_expiry_interval for each in received(server, Disconnect)]
        assert ends == [None, None]

    async def test_it_belongs_to_one_client_at_a_time(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        session = Session("c", expiry=1000)
        async with open_client(connector=server.connect, session=session) as client:
            with pytest.raises(trio.BusyResourceError):
                async with open_client(connector=server.connect, session=session):
                    pytest.fail("it is in use")
            await assert_works(client)
        async with open_client(connector=server.connect, session=session) as client:
            await assert_works(client)

    async def test_messages_left_offline_are_sent_by_the_next_block(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        session = Session("c", expiry=1000)
        outcomes: list[BaseException] = []

        async def publish(client: trio_mqtt.Client, text: str, qos: int) -> None:
            with pytest.raises(ConnectionLost, match="the Session keeps it") as caught:
                await client.publish("a", text, qos=qos)
            outcomes.append(caught.value)

        async with (
            trio.open_nursery() as nursery,
            open_client(connector=server.connect, session=session) as client,
        ):
            with server.holding(PubAck, PubRec):
                nursery.start_soon(publish, client, "sent 1", 1)
                nursery.start_soon(publish, client, "sent 2", 2)
                await wait_all_tasks_blocked()
                server.accepting = False
                server.drop("c")
                await until(lambda: not client.statistics().connected)
                nursery.start_soon(publish, client, "queued 1", 1)
                nursery.start_soon(publish, client, "queued 2", 2)
                await wait_all_tasks_blocked()
        assert len(outcomes) == 4
        assert len({id(each) for each in outcomes}) == 4
        server.accepting = True
        async with (
            open_client(connector=server.connect) as watcher,
            watcher.subscribe("a", qos=2) as messages,
            open_client(connector=server.connect, session=session) as client,
        ):
            assert client.statistics().unfinished == 4
            await until(lambda: not client.statistics().unfinished)
            texts = [(await messages.receive()).text() for _ in range(3)]
            assert sorted(texts) == ["queued 1", "queued 2", "sent 1"]  # of QoS 1, again
            assert client.statistics().unfinished_bytes == 0
            await assert_works(client)

    async def test_discard_ends_it_at_the_server(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        session = Session("c", expiry=1000)
        async with open_client(connector=server.connect, session=session):
            session.discard()
        await wait_all_tasks_blocked()
        assert "c" not in server.sessions
        async with open_client(connector=server.connect, session=session):
            pass
        assert "c" in server.sessions
        session.discard()  # while nobody has it open
        async with open_client(connector=server.connect, session=session) as client:
            assert not client.server.session_present
        assert [each.clean_start for each in connects(server)][-1] is True
        assert "c" in server.sessions

    async def test_nothing_is_left_in_the_wrong_place_after_a_failure(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        session = Session("c", expiry=1000)
        server.accepting = False
        for _ in range(3):
            with pytest.raises(trio_mqtt.ConnectFailed):
                async with open_client(connector=server.connect, session=session):
                    pytest.fail("it is not connected")
        server.accepting = True
        async with open_client(
            connector=server.connect, session=session, reconnect=Reconnect(initial="background")
        ) as client:
            await client.wait_connected()
            await assert_works(client)


async def test_a_request_and_its_response_go_on_after_a_loss(
    server: Server, autojump_clock: MockClock
) -> None:
    """The response handler is a subscription like any other, and survives with it."""
    for forget in (False, True):
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            open_client(connector=server.connect) as other,
            other.subscribe("request", qos=1) as requests,
            client.subscribe("response", qos=1) as responses,
        ):
            if forget:
                await lose_session(server)
            else:
                server.drop("c")
            await nth_connection(client, 2)
            await client.publish("request", qos=1, response_topic="response")
            request = await requests.receive()
            assert request.response_topic is not None
            await other.publish(request.response_topic, "answer", qos=1)
            assert (await responses.receive()).text() == "answer"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"client_id": ""}, "needs a client_id"),
        ({"expiry": 0}, "expiry is 0"),
        ({"expiry": 0x1_0000_0000}, "expiry is"),
        ({"queue": 0}, "queue is 0"),
        ({"queue_bytes": 0}, "queue_bytes is 0"),
        ({"overflow": "drop_newest"}, "overflow is 'drop_newest'"),
    ],
)
def test_a_session_that_cannot_be(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        usual: dict[str, Any] = {"client_id": "c", "expiry": 60}
        trio_mqtt.Session(**(usual | arguments))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"client_id": "c", "session": trio_mqtt.Session("d", expiry=60)}, "not both"),
        ({"username": "u", "credentials": trio.lowlevel.checkpoint}, "not both"),
        ({"password": "p", "credentials": trio.lowlevel.checkpoint}, "not both"),
    ],
)
async def test_arguments_that_exclude_each_other(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        async with trio_mqtt.open_client(**arguments):
            pytest.fail("it is not opened")


def test_a_session_says_whose_it_is() -> None:
    assert repr(trio_mqtt.Session("gateway", expiry=60)).startswith("<trio_mqtt.Session 'gateway'")
