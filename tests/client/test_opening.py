"""Opening and closing: what leaves the block, in which order things end (contracts 1 and 2)."""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import ReasonCode
from trio_mqtt._client._sending import Sending
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
)
from trio_mqtt.testing import (
    Close,
    Expect,
    ExpectEnd,
    Pause,
    Reply,
    Reset,
    ScriptedPeer,
    Send,
    SendBytes,
    WaitFor,
    memory_stream_pair,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.testing import Server

ACCEPT = [Expect(Connect), Send(ConnAck())]
GOODBYE = [Expect(Disconnect, reason_code=ReasonCode.SUCCESS), ExpectEnd()]


class BodyError(Exception):
    pass


@asynccontextmanager
async def failing_connector(error: Exception) -> AsyncGenerator[trio.abc.Stream]:
    if str(error) != "never":
        raise error
    yield memory_stream_pair()[0]


async def test_a_normal_end_says_goodbye() -> None:
    peer = ScriptedPeer([*ACCEPT, *GOODBYE])
    async with open_once(connector=peer.connect) as client:
        assert client.server.protocol is trio_mqtt.MQTT_5
    peer.assert_done()


async def test_connect_says_what_was_asked_for() -> None:
    expected = Expect(
        Connect,
        client_id="me",
        clean_start=True,
        keep_alive=30,
        username="user",
        password=b"secret",
    )
    peer = ScriptedPeer([expected, Send(ConnAck()), *GOODBYE])
    async with open_once(
        connector=peer.connect,
        client_id="me",
        keep_alive=30,
        username="user",
        password="secret",
        receive_maximum=7,
        maximum_packet_size=4096,
        topic_alias_maximum=3,
        user_properties=(("a", "1"), ("a", "2")),
    ):
        pass
    peer.assert_done()
    connect = peer.received[0]
    assert isinstance(connect, Connect)
    assert connect.properties == Properties(
        receive_maximum=7,
        maximum_packet_size=4096,
        topic_alias_maximum=3,
        request_response_information=1,
        user_properties=(("a", "1"), ("a", "2")),
    )


async def test_a_generated_client_id_has_23_letters_and_digits() -> None:
    names: set[str] = set()
    for _ in range(3):
        peer = ScriptedPeer([*ACCEPT, *GOODBYE])
        async with open_once(connector=peer.connect) as client:
            names.add(client.server.client_id)
    assert len(names) == 3
    assert all(len(name) == 23 and name.isalnum() and name.isascii() for name in names)


async def test_the_assigned_client_id_is_told() -> None:
    answer = ConnAck(properties=Properties(assigned_client_identifier="yours"))
    peer = ScriptedPeer([Expect(Connect, client_id=""), Send(answer), *GOODBYE])
    async with open_once(connector=peer.connect, client_id="") as client:
        assert client.server.client_id == "yours"
        assert "yours" in repr(client)


async def test_the_exception_of_the_body_leaves_the_block_as_it_is() -> None:
    peer = ScriptedPeer([*ACCEPT, *GOODBYE])
    error = BodyError("mine")
    with pytest.raises(BodyError) as caught:
        async with open_once(connector=peer.connect):
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    peer.assert_done()


async def test_a_group_that_the_body_raises_leaves_it_as_it_is() -> None:
    error = ExceptionGroup("mine", [ValueError("one"), BodyError("two")])
    async with open_server() as server:
        with pytest.raises(ExceptionGroup) as caught:
            async with open_once(connector=server.connect):
                raise error
    assert caught.value is error


async def test_the_body_s_exception_wins_over_a_lost_connection(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPT, Pause(1), Reset()])
    error = BodyError("mine")
    with pytest.raises(BodyError) as caught:
        async with open_once(connector=peer.connect):
            try:
                await trio.sleep_forever()
            finally:
                raise error
    assert caught.value is error
    assert any("broke while reading" in note for note in error.__notes__)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_the_interrupt_of_the_body_wins(
    kind: type[BaseException], autojump_clock: MockClock
) -> None:
    peer = ScriptedPeer([*ACCEPT, Pause(1), Reset()])
    with pytest.raises(kind):
        async with open_once(connector=peer.connect):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                raise kind from None


async def test_a_lost_connection_cancels_the_body_and_is_one_error() -> None:
    peer = ScriptedPeer([*ACCEPT, Close()])
    ended = False
    with pytest.raises(trio_mqtt.ConnectionLost, match="closed the connection") as caught:
        async with open_once(connector=peer.connect):
            try:
                await trio.sleep_forever()
            finally:
                ended = True
    assert ended
    assert isinstance(caught.value, trio.BrokenResourceError)
    assert caught.value.reason_code is None


async def test_a_disconnect_of_the_server_is_told_with_its_words() -> None:
    words = Properties(reason_string="bye", server_reference="other", user_properties=(("a", "b"),))
    peer = ScriptedPeer(
        [*ACCEPT, Send(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN, words)), Close()]
    )
    with pytest.raises(trio_mqtt.ConnectionLost, match=r"0x8B.*bye") as caught:
        async with open_once(connector=peer.connect):
            await trio.sleep_forever()
    assert caught.value.reason_code is ReasonCode.SERVER_SHUTTING_DOWN
    assert caught.value.reason_string == "bye"
    assert caught.value.server_reference == "other"
    assert caught.value.user_properties == (("a", "b"),)


async def test_a_body_that_ends_by_itself_after_the_loss_still_gets_the_error() -> None:
    peer = ScriptedPeer([*ACCEPT, Close()])
    with pytest.raises(trio_mqtt.ConnectionLost):
        async with open_once(connector=peer.connect):
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()


async def test_the_outer_cancellation_passes_and_says_goodbye() -> None:
    peer = ScriptedPeer([*ACCEPT, *GOODBYE])
    with trio.CancelScope() as scope:
        async with open_once(connector=peer.connect):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    peer.assert_done()


async def test_a_cancelled_group_of_tasks_passes_and_says_goodbye() -> None:
    peer = ScriptedPeer([*ACCEPT, *GOODBYE])
    with trio.CancelScope() as scope:
        async with (
            open_once(connector=peer.connect),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
    assert scope.cancelled_caught
    peer.assert_done()


async def test_waiters_inside_the_body_are_cancelled_those_outside_get_the_error() -> None:
    cut = trio.Event()
    answers = {"inside": "nothing", "outside": "nothing", "shielded": "nothing"}

    async def wait(client: trio_mqtt.Client, where: str, *, shield: bool = False) -> None:
        with trio.CancelScope(shield=shield):
            try:
                await client.publish("a", qos=1)
            except BaseException as error:
                answers[where] = type(error).__name__
                if isinstance(error, trio.Cancelled):
                    raise

    peer = ScriptedPeer(
        [*ACCEPT, Expect(Publish), Expect(Publish), Expect(Publish), WaitFor(cut), Reset()]
    )
    async with trio.open_nursery() as outer:
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with (
                open_once(connector=peer.connect) as client,
                trio.open_nursery() as inner,
            ):
                outer.start_soon(wait, client, "outside")
                inner.start_soon(wait, client, "inside")
                inner.start_soon(lambda: wait(client, "shielded", shield=True))
                await trio.testing.wait_all_tasks_blocked()
                cut.set()
                await trio.sleep_forever()
    assert answers == {
        "inside": "Cancelled",
        "outside": "ConnectionLost",
        "shielded": "ConnectionLost",
    }


async def test_each_waiter_gets_an_instance_of_its_own() -> None:
    errors: list[trio_mqtt.ConnectionLost] = []
    cut = trio.Event()

    async def wait(client: trio_mqtt.Client) -> None:
        with pytest.raises(trio_mqtt.ConnectionLost) as caught:
            await client.publish("a", qos=2)
        errors.append(caught.value)

    peer = ScriptedPeer([*ACCEPT, Expect(Publish), Expect(Publish), WaitFor(cut), Reset()])
    async with trio.open_nursery() as outer:
        with pytest.raises(trio_mqtt.ConnectionLost) as caught:
            async with open_once(connector=peer.connect) as client:
                outer.start_soon(wait, client)
                outer.start_soon(wait, client)
                await trio.testing.wait_all_tasks_blocked()
                cut.set()
                await trio.sleep_forever()
    assert len({id(error) for error in (*errors, caught.value)}) == 3
    assert len({str(error) for error in (*errors, caught.value)}) == 1


async def test_a_bug_in_the_connector_leaves_the_block_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_once(connector=lambda: failing_connector(ZeroDivisionError())):
            raise AssertionError("not reached")


async def test_a_bug_before_the_first_attempt_leaves_the_block_too(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Nothing outside can bring one about, so that one is put in."""

    def fail(_sending: Sending) -> None:
        raise BodyError

    monkeypatch.setattr(Sending, "watch_expiry", fail)
    with trio.move_on_after(1000) as patience, pytest.raises(BodyError):
        async with trio_mqtt.open_client():
            raise AssertionError
    assert not patience.cancel_called


async def test_a_connector_that_fails_later_cancels_the_body() -> None:
    async with open_server() as server:

        @asynccontextmanager
        async def connector() -> AsyncGenerator[trio.abc.Stream]:
            async with server.connect() as stream, trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                yield stream

        async def fail() -> None:
            await trio.testing.wait_all_tasks_blocked()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            async with open_once(connector=connector):
                await trio.sleep_forever()


async def test_an_os_error_of_the_connector_is_a_failed_connection() -> None:
    with pytest.raises(trio_mqtt.ConnectFailed, match="no way") as caught:
        async with open_once(connector=lambda: failing_connector(OSError(13, "no way"))):
            raise AssertionError("not reached")
    assert caught.value.stage == "connect"
    assert isinstance(caught.value, OSError)


async def test_nobody_listens() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(trio_mqtt.ConnectFailed, match=f"mqtt://127.0.0.1:{port}") as caught:
        async with open_once(f"mqtt://user:secret@127.0.0.1:{port}"):
            raise AssertionError("not reached")
    assert caught.value.stage == "connect"
    assert "secret" not in str(caught.value)


async def test_an_unknown_host_is_told_apart() -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_args: Any, **_kwargs: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_args: Any, **_kwargs: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(trio_mqtt.ConnectFailed, match=r"'nowhere\.test' is not known") as caught:
        async with open_once("mqtt://nowhere.test"):
            raise AssertionError("not reached")
    assert caught.value.stage == "resolve"


@pytest.mark.parametrize("host", ["a..b", f"{70 * 'a'}.test", "a\u2000b"])
async def test_a_host_name_that_is_none_is_told_apart(host: str) -> None:
    with pytest.raises(trio_mqtt.ConnectFailed, match="is not a host name") as caught:
        async with trio_mqtt.open_client(f"mqtt://{host}"):
            raise AssertionError("not reached")
    assert caught.value.stage == "resolve"
    assert repr(host) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("localhost", "scheme"),
        ("http://localhost", "scheme 'http'"),
        ("mqtt://", "no host"),
        ("mqtt://user:secret@host:99999", "port"),
        ("mqtt://host?query=1", "path or query"),
        ("mqtt://[::1", "cannot be read"),
    ],
)
async def test_a_bad_url_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        async with open_once(url):
            raise AssertionError("not reached")
    assert "secret" not in str(caught.value)


async def test_credentials_in_the_url_are_unquoted_and_sent() -> None:
    peer = ScriptedPeer(
        [Expect(Connect, username="a/b", password=b"c:d"), Send(ConnAck()), *GOODBYE]
    )
    async with peer.listen() as url:
        address = url.replace("mqtt://", "mqtt://a%2Fb:c%3Ad@")
        async with open_once(address):
            pass
    peer.assert_done()


async def test_a_url_beside_a_connector_names_the_server_and_holds_credentials() -> None:
    # The password is too long to be found in a Client Identifier made at random.
    expected = Expect(Connect, username="me", password=b"secret")
    peer = ScriptedPeer([expected, Send(ConnAck()), *GOODBYE])
    async with open_once("mqtt://me:secret@far.test", connector=peer.connect) as client:
        assert "mqtt://far.test:1883" in repr(client)
        assert "secret" not in repr(client)
    peer.assert_done()


@pytest.mark.parametrize(
    "arguments",
    [
        {"keep_alive": -1},
        {"keep_alive": 70_000},
        {"receive_maximum": 0},
        {"maximum_packet_size": 0},
        {"topic_alias_maximum": 65_536},
        {"connect_timeout": 0},
        {"close_timeout": -1},
        {"ping_timeout": 0},
        {"unclaimed_timeout": 0},
    ],
)
async def test_numbers_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    async with open_server() as server:
        with pytest.raises(ValueError, match=next(iter(arguments))):
            async with open_once(connector=server.connect, **arguments):
                raise AssertionError("not reached")


REFUSALS = [
    (ReasonCode.BAD_USER_NAME_OR_PASSWORD, "check username and password"),
    (ReasonCode.NOT_AUTHORIZED, "not authorized"),
    (ReasonCode.SERVER_BUSY, "server busy"),
    (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "choose another client_id"),
]


@pytest.mark.parametrize(("reason_code", "words"), REFUSALS)
async def test_a_refused_connection(reason_code: ReasonCode, words: str) -> None:
    answer = ConnAck(
        reason_code=reason_code,
        properties=Properties(reason_string="go away", server_reference="there"),
    )
    peer = ScriptedPeer([Expect(Connect), Send(answer), Close()])
    with pytest.raises(trio_mqtt.ConnectRejected, match=words) as caught:
        async with open_once(connector=peer.connect):
            raise AssertionError("not reached")
    assert caught.value.reason_code is reason_code
    assert caught.value.reason_string == "go away"
    assert caught.value.server_reference == "there"
    assert "go away" in str(caught.value)


async def test_no_answer_to_connect_ends_at_the_timeout(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([Expect(Connect), ExpectEnd()], timeout=100)
    start = trio.current_time()
    with pytest.raises(trio_mqtt.ConnectFailed, match="did not answer within 3 s") as caught:
        async with open_once(connector=peer.connect, connect_timeout=3):
            raise AssertionError("not reached")
    assert trio.current_time() - start == 3
    assert caught.value.stage == "CONNECT"


async def test_a_connector_that_hangs_ends_at_the_timeout(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def connector() -> AsyncGenerator[trio.abc.Stream]:
        await trio.Event().wait()
        yield memory_stream_pair()[0]

    with pytest.raises(trio_mqtt.ConnectFailed, match="no connection was made within 3 s"):
        async with open_once(connector=connector, connect_timeout=3):
            raise AssertionError("not reached")


async def test_the_connect_timeout_is_over_once_connected(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, connect_timeout=1) as client,
    ):
        await trio.sleep(1000)
        await client.publish("a", qos=1)


async def test_exit_waits_for_what_was_enqueued() -> None:
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Publish, topic="a", qos=1),
            Reply(Publish, lambda publish: PubAck(publish.packet_id)),
            *GOODBYE,
        ]
    )
    async with open_once(connector=peer.connect) as client:
        delivery = await client.enqueue("a", qos=1)
    peer.assert_done()
    assert await delivery.wait() == trio_mqtt.PublishResult()


async def test_exit_after_a_cancellation_waits_for_what_was_enqueued() -> None:
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Publish, topic="a", qos=1),
            Reply(Publish, lambda publish: PubAck(publish.packet_id)),
            *GOODBYE,
        ]
    )
    with trio.CancelScope() as scope:
        async with open_once(connector=peer.connect) as client:
            client.publish_nowait("a", qos=1)
            scope.cancel()
    peer.assert_done()


async def test_exit_is_bounded_and_tells_what_was_lost(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    peer = ScriptedPeer([*ACCEPT, Expect(Publish), Expect(Disconnect), ExpectEnd()], timeout=100)
    start = trio.current_time()
    async with open_once(connector=peer.connect, close_timeout=5) as client:
        delivery = await client.enqueue("a", qos=1)
    assert trio.current_time() - start <= 5
    with pytest.raises(trio_mqtt.SessionLost, match="closed before"):
        await delivery.wait()
    assert "1 messages were not acknowledged" in caplog.text
    peer.assert_done()


async def test_exit_is_bounded_when_the_server_does_not_read(autojump_clock: MockClock) -> None:
    release = trio.Event()
    peer = ScriptedPeer([*ACCEPT, WaitFor(release)], timeout=100)
    start = trio.current_time()

    @asynccontextmanager
    async def connector() -> AsyncGenerator[trio.abc.Stream]:
        async with peer.connect(capacity=100) as stream:
            try:
                yield stream
            finally:
                release.set()

    async with open_once(connector=connector, close_timeout=5) as client:
        await client.publish("a", b"x" * 1000)
    assert trio.current_time() - start == 5


async def test_using_a_closed_client() -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
    ):
        async with client.subscribe("a") as subscription:
            pass
        async with client.open_publisher() as publisher:
            pass
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await subscription.receive()
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            subscription.receive_nowait()
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await publisher.send("a")
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        await client.publish("a")
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        client.publish_nowait("a")
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        await client.unsubscribe("a")
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        async with client.subscribe("a"):
            raise AssertionError("not reached")
    assert client.server.protocol is trio_mqtt.MQTT_5
    assert client.statistics().unfinished == 0


async def test_using_a_failed_client(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPT, Pause(1), Reset()])
    client = None
    with pytest.raises(trio_mqtt.ConnectionLost):
        async with open_once(connector=peer.connect) as client:
            await trio.sleep_forever()
    assert client is not None
    with pytest.raises(trio_mqtt.ConnectionLost):
        await client.publish("a")


async def test_a_receiver_outside_the_body_ends_with_the_client() -> None:
    outcomes: list[str] = []

    async def receive(subscription: trio_mqtt.Subscription) -> None:
        try:
            await subscription.receive()
        except (trio.ClosedResourceError, trio_mqtt.ConnectionLost) as error:
            outcomes.append(type(error).__name__)

    async with trio.open_nursery() as outer, open_server() as server:
        async with (
            open_once(connector=server.connect) as client,
            client.subscribe("a") as subscription,
        ):
            outer.start_soon(receive, subscription)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with (
                open_once(connector=server.connect) as client,
                client.subscribe("a") as subscription,
            ):
                outer.start_soon(receive, subscription)
                await trio.testing.wait_all_tasks_blocked()
                server.drop(client.server.client_id)
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
    assert outcomes == ["ClosedResourceError", "ConnectionLost"]


async def test_what_had_arrived_can_be_received_after_the_loss() -> None:
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Subscribe),
            Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.SUCCESS,))),
            Send(Publish("a", b"1")),
            Send(Publish("a", b"2")),
            Close(),
        ]
    )
    got: list[bytes] = []
    with pytest.raises(trio_mqtt.ConnectionLost):
        async with (
            open_once(connector=peer.connect) as client,
            client.subscribe("a") as subscription,
        ):
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                got.append((await subscription.receive()).payload)
                got.append(subscription.receive_nowait().payload)
                with pytest.raises(trio_mqtt.ConnectionLost):
                    await subscription.receive()
    assert got == [b"1", b"2"]


async def test_garbage_is_answered_with_a_reason_and_is_one_error() -> None:
    peer = ScriptedPeer(
        [
            *ACCEPT,
            SendBytes(b"\x00\x00"),
            Expect(Disconnect, reason_code=ReasonCode.MALFORMED_PACKET),
        ]
    )
    with pytest.raises(trio_mqtt.MalformedPacket, match="type is 0") as caught:
        async with open_once(connector=peer.connect):
            await trio.sleep_forever()
    assert caught.value.reason_code is ReasonCode.MALFORMED_PACKET
    peer.assert_done()


class TestWill:
    """A body that raised lets the will be published (contract 21)."""

    async def run(self, body_error: type[BaseException] | None, **arguments: Any) -> ReasonCode:
        peer = ScriptedPeer([*ACCEPT, Expect(Disconnect), ExpectEnd()])
        try:
            async with open_once(connector=peer.connect, **arguments):
                if body_error is not None:
                    raise body_error
        except BodyError:
            pass
        peer.assert_done()
        last = peer.received[-1]
        assert isinstance(last, Disconnect)
        return last.reason_code

    async def test_normal_end(self) -> None:
        assert await self.run(None, will=trio_mqtt.Will(topic="w")) == 0

    async def test_error(self) -> None:
        assert await self.run(BodyError, will=trio_mqtt.Will(topic="w")) == 4

    async def test_error_without_a_will(self) -> None:
        assert await self.run(BodyError) == 0

    async def test_error_with_a_will_that_does_not_want_it(self) -> None:
        will = trio_mqtt.Will(topic="w", on_error=False)
        assert await self.run(BodyError, will=will) == 0

    async def test_error_below_mqtt_5_closes_without_a_word(self) -> None:
        peer = ScriptedPeer([*ACCEPT, ExpectEnd()])
        with pytest.raises(BodyError):
            async with open_once(
                connector=peer.connect,
                will=trio_mqtt.Will(topic="w"),
                protocol=trio_mqtt.MQTT_3_1_1,
            ):
                raise BodyError
        peer.assert_done()

    async def test_every_property_arrives(self) -> None:
        will = trio_mqtt.Will(
            topic="w/t",
            payload="text",
            qos=1,
            retain=True,
            delay=5,
            message_expiry=6,
            content_type="c",
            response_topic="r",
            correlation_data=b"d",
            user_properties=(("k", "v"),),
        )
        peer = ScriptedPeer([*ACCEPT, *GOODBYE])
        async with open_once(connector=peer.connect, will=will):
            pass
        connect = peer.received[0]
        assert isinstance(connect, Connect)
        assert connect.will is not None
        assert (connect.will.topic, connect.will.payload) == ("w/t", b"text")
        assert (connect.will.qos, connect.will.retain) == (1, True)
        assert connect.will.properties == Properties(
            payload_format_indicator=1,
            will_delay_interval=5,
            message_expiry_interval=6,
            content_type="c",
            response_topic="r",
            correlation_data=b"d",
            user_properties=(("k", "v"),),
        )

    @pytest.mark.parametrize(
        "arguments",
        [{"topic": "a/#"}, {"topic": ""}, {"topic": "a", "qos": 3}, {"topic": "a", "delay": -1}],
    )
    def test_a_bad_will_is_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises((ValueError, trio_mqtt.LocalProtocolError)):
            trio_mqtt.Will(**arguments)

    @pytest.mark.parametrize("payload", [5, None, [1, 2], ReasonCode.SUCCESS])
    def test_what_is_no_payload(self, payload: Any) -> None:
        with pytest.raises(TypeError, match="a payload is bytes"):
            trio_mqtt.Will(topic="a", payload=payload)

    def test_text_that_is_no_utf_8(self) -> None:
        with pytest.raises(trio_mqtt.LocalProtocolError) as caught:
            trio_mqtt.Will(topic="a", payload="\ud800")
        assert caught.value.statement == "MQTT-1.5.4-1"

    async def test_properties_need_mqtt_5(self) -> None:
        async with open_server() as server:
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="Will Delay Interval"):
                async with open_once(
                    connector=server.connect,
                    protocol=trio_mqtt.MQTT_3_1_1,
                    will=trio_mqtt.Will(topic="w", delay=5),
                ):
                    raise AssertionError("not reached")


@pytest.mark.parametrize("where", ["username", "password"])
async def test_credentials_that_are_no_utf_8_are_in_no_error(server: Server, where: str) -> None:
    options: dict[str, Any] = {"username": "u", "password": "p", where: "secret\ud800"}
    with pytest.raises(trio_mqtt.LocalProtocolError, match="contains a surrogate") as caught:
        async with open_once(connector=server.connect, **options):
            raise AssertionError("not reached")
    assert caught.value.statement == "MQTT-1.5.4-1"
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in repr(error)
        error = error.__cause__ or error.__context__


async def test_what_mqtt_3_1_1_lacks_is_refused() -> None:
    async with open_server() as server:
        with pytest.raises(trio_mqtt.FeatureNotSupported, match="User Property"):
            async with open_once(
                connector=server.connect,
                protocol=trio_mqtt.MQTT_3_1_1,
                user_properties=(("a", "b"),),
            ):
                raise AssertionError("not reached")
        with pytest.raises(trio_mqtt.LocalProtocolError, match="user name"):
            async with open_once(
                connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1, password="x"
            ):
                raise AssertionError("not reached")


async def test_credentials_are_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_server(port=0) as server:
        server.authenticate = lambda _connect: ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert server.url is not None
        url = server.url.replace("mqtt://", "mqtt://somebody:hush@")
        with pytest.raises(trio_mqtt.ConnectRejected) as caught:
            async with open_once(url):
                raise AssertionError("not reached")
    assert "hush" not in caplog.text + str(caught.value) + repr(caught.value)
    assert "somebody" not in caplog.text + str(caught.value)
