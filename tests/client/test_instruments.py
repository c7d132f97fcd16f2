"""What instruments are told, what they may change, and what becomes of one that raises."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.outages import longest_delays, until
from tests.client.support import open_once
from trio_mqtt import (
    MQTT_3_1_1,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    FeatureNotSupported,
    Message,
    MessageDropped,
    PacketType,
    PublishRejected,
    ReasonCode,
    Reconnect,
    Session,
    SubscribeRejected,
    open_client,
)
from trio_mqtt._client._hooks import HOOKS, Hooks
from trio_mqtt._client._tap import TappedStream
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt.abc import Instrument
from trio_mqtt.packets import Publish, SubAck
from trio_mqtt.testing import ServerLimits, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import Server

SUCCESS: Final = ReasonCode.SUCCESS
NOT_AUTHORIZED: Final = ReasonCode.NOT_AUTHORIZED


class Recorder(Instrument):
    """Keeps what it is told, as tuples of the method's name and the arguments."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        return [each for each in self.told if each[0] in names]


def record(name: str) -> Any:
    def method(self: Recorder, *arguments: object, **options: object) -> object:
        values = [
            each.topic if isinstance(each, OutgoingMessage | Message) else each
            for each in arguments
        ]
        self.told.append((name, *values, *options.values()))
        return arguments[-1] if name == "message_publishing" else None

    return method


for _name in HOOKS:
    setattr(Recorder, _name, record(_name))


def refuse(_client_id: str, _packet: Publish) -> ReasonCode:
    return NOT_AUTHORIZED


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


# -- what is told -----------------------------------------------------------------------------


async def test_connections(server: Server, recorder: Recorder, autojump_clock: MockClock) -> None:
    session = Session("me", expiry=60)
    options: Any = {"connector": server.connect, "session": session, "instruments": [recorder]}
    async with open_client(**options) as client:
        first = client.server
        server.drop("me", reset=True)
        await until(lambda: client.statistics().connections == 2)
    told = recorder.of(*(name for name in HOOKS if name.startswith("connection")))
    names = [each[0] for each in told]
    assert names == [*("connection_attempted", "connection_made", "connection_ended")] * 2
    assert {each[1] for each in told} == {"the server"}
    assert told[1][2] == first
    assert isinstance(told[2][2], ConnectionLost)
    assert told[5][2] is None


async def test_a_failed_attempt(recorder: Recorder) -> None:
    with pytest.raises(ConnectFailed) as caught:
        async with open_once("mqtt://127.0.0.1:1", instruments=[recorder]):
            pass
    url = "mqtt://127.0.0.1:1"
    attempted, failed = recorder.told
    assert attempted == ("connection_attempted", url)
    assert failed[:2] == ("connection_failed", url)
    assert str(failed[2]) == str(caught.value)


async def test_a_refused_attempt(server: Server, recorder: Recorder) -> None:
    server.authenticate = lambda _connect: NOT_AUTHORIZED
    with pytest.raises(ConnectRejected):
        async with open_once(connector=server.connect, instruments=[recorder]):
            pass
    assert [each[0] for each in recorder.of("connection_made", "connection_failed")] == [
        "connection_failed"
    ]
    (connack,) = recorder.of("packet_received")
    assert connack[1] is PacketType.CONNACK
    assert connack[3] is NOT_AUTHORIZED


async def test_packets_with_their_sizes_and_reason_codes(
    server: Server, recorder: Recorder
) -> None:
    async with (
        open_client(connector=server.connect, client_id="me", instruments=[recorder]) as client,
        client.subscribe("a", qos=2) as messages,
    ):
        await client.publish("a", bytes(100_000), qos=1)
        with await messages.receive():
            server.authorize_publish = refuse
        with pytest.raises(PublishRejected):
            await client.publish("a", b"x", qos=2)
    sent = recorder.of("packet_sent")
    packet = PacketType
    assert [(each[1], each[3]) for each in sent] == [
        (packet.CONNECT, None),
        (packet.SUBSCRIBE, None),
        (packet.PUBLISH, None),
        (packet.PUBACK, SUCCESS),
        (packet.PUBLISH, None),
        (packet.UNSUBSCRIBE, None),
        (packet.DISCONNECT, SUCCESS),
    ]
    assert sent[2][2] == 1 + 3 + 2 + 1 + 2 + 1 + 100_000
    assert sent[3][2] == 4
    received = recorder.of("packet_received")
    codes = {each[1]: each[3] for each in received}
    assert codes == {
        packet.CONNACK: SUCCESS,
        packet.SUBACK: None,
        packet.PUBLISH: None,
        packet.PUBACK: SUCCESS,
        packet.PUBREC: NOT_AUTHORIZED,
        packet.UNSUBACK: None,
    }


async def test_a_message_published(server: Server, recorder: Recorder) -> None:
    async with open_client(connector=server.connect, instruments=[recorder]) as client:
        await client.publish("zero")
        await client.publish("one", qos=1)
        async with client.open_publisher(qos=2) as publisher:
            await publisher.send("two", user_properties=iter([("a", "b")]))
        server.authorize_publish = refuse
        delivery = await client.enqueue("no")
        with pytest.raises(PublishRejected):
            await delivery.wait()
        client.publish_nowait("now")
    told = recorder.of("message_publishing", "message_published", "message_completed")
    assert [each for each in told if each[1] == "zero"] == [
        ("message_publishing", "zero", ()),
        ("message_published", "zero"),
        ("message_completed", "zero", SUCCESS, None),
    ]
    by_topic = {each[1]: each[2:] for each in told if each[0] == "message_completed"}
    assert by_topic["one"] == (ReasonCode.NO_MATCHING_SUBSCRIBERS, None)
    assert by_topic["two"] == (ReasonCode.NO_MATCHING_SUBSCRIBERS, None)
    assert by_topic["now"] == (SUCCESS, None)
    code, error = by_topic["no"]
    assert code is NOT_AUTHORIZED
    assert isinstance(error, PublishRejected)
    assert ("message_publishing", "two", (("a", "b"),)) in told
    published = [each[1] for each in told if each[0] == "message_published"]
    assert published == ["zero", "one", "two", "no", "now"]


async def test_a_message_that_is_never_accepted(
    server: Server,
    recorder: Recorder,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest_delays(monkeypatch)
    slow = Reconnect(delay=30)
    options: Any = {"connector": server.connect, "reconnect": slow, "instruments": [recorder]}
    async with open_client(**options) as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.publish("not even made", qos=1)
        server.drop(client.server.client_id)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await client.publish("a")
        with pytest.raises(trio.WouldBlock):
            client.publish_nowait("b")
        with pytest.raises(MessageDropped):
            await client.publish("c", qos=1, message_expiry=1)
    told = recorder.of("message_published", "message_completed")
    assert [each[:2] for each in told] == [
        ("message_completed", "a"),
        ("message_completed", "b"),
        ("message_published", "c"),
        ("message_completed", "c"),
    ]
    errors: list[object] = [type(each[3]) for each in told if len(each) > 2]
    assert errors == [trio.Cancelled, trio.WouldBlock, MessageDropped]


async def test_a_message_that_has_expired_at_once(
    server: Server, recorder: Recorder, autojump_clock: MockClock
) -> None:
    async with open_client(connector=server.connect, instruments=[recorder]) as client:
        for qos in (0, 1):
            with pytest.raises(MessageDropped):
                await client.publish("a", qos=qos, message_expiry=0)
    told = recorder.of("message_published", "message_completed")
    assert [(each[0], type(each[3])) for each in told] == [
        ("message_completed", MessageDropped)
    ] * 2


async def test_a_message_that_a_closed_client_leaves_to_its_session(
    server: Server, recorder: Recorder, autojump_clock: MockClock
) -> None:
    session = Session("me", expiry=60)
    options: Any = {"connector": server.connect, "session": session, "instruments": [recorder]}
    async with open_client(**options) as client:
        server.pause_reading("me")
        await client.enqueue("a", bytes(3_000_000), qos=1)
    (completed,) = recorder.of("message_completed")
    assert completed[2] is None
    assert isinstance(completed[3], ConnectionLost)


async def test_a_message_received(server: Server, recorder: Recorder) -> None:
    async with (
        open_client(connector=server.connect, instruments=[recorder]) as client,
        client.subscribe("#", qos=1, ack="manual") as messages,
    ):
        for topic in ("zero", "done", "refused", "left"):
            await client.publish(topic, qos=topic != "zero")
        assert (await messages.receive()).topic == "zero"
        assert recorder.of("message_settled") == []
        (await messages.receive()).ack()
        (await messages.receive()).reject(NOT_AUTHORIZED)
        await client.publish("last", qos=0)
        await wait_all_tasks_blocked()
    told = recorder.of("message_delivered", "message_settled", "message_dropped")
    assert told == [
        ("message_delivered", "zero"),
        ("message_delivered", "done"),
        ("message_settled", "done", SUCCESS, False),
        ("message_delivered", "refused"),
        ("message_settled", "refused", NOT_AUTHORIZED, False),
        ("message_dropped", "last", "block_left"),
        ("message_settled", "left", SUCCESS, True),
    ]


async def test_each_of_several_subscriptions_has_a_message_of_its_own(
    server: Server, recorder: Recorder
) -> None:
    async with (
        open_client(connector=server.connect, instruments=[recorder]) as client,
        client.subscribe("a", qos=1) as one,
        client.subscribe("+", qos=1) as other,
    ):
        await client.publish("a", qos=1)
        for messages in (one, other):
            with await messages.receive():
                pass
    assert len(recorder.of("message_delivered")) == 2
    assert recorder.of("message_settled") == [("message_settled", "a", SUCCESS, False)] * 2


async def test_a_message_released_since_nobody_claims_it(
    server: Server, recorder: Recorder, autojump_clock: MockClock
) -> None:
    async with (
        open_client(connector=server.connect, instruments=[recorder]) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        await client.publish("a", qos=1)
        with pytest.raises(ZeroDivisionError), await messages.receive():
            raise ZeroDivisionError
        await trio.sleep(31)  # the unclaimed_timeout
        assert recorder.of("message_settled") == [("message_settled", "a", SUCCESS, True)]


@pytest.mark.parametrize(("overflow", "dropped"), [("drop_oldest", "ab"), ("drop_newest", "cd")])
async def test_messages_for_which_the_buffer_has_no_room(
    server: Server, recorder: Recorder, overflow: Any, dropped: str
) -> None:
    async with (
        open_client(connector=server.connect, instruments=[recorder]) as client,
        client.subscribe("+", buffer=2, overflow=overflow) as messages,
    ):
        for topic in "abcd":
            await client.publish(topic)
        await wait_all_tasks_blocked()
        assert messages.statistics().dropped == 2
        assert recorder.of("message_dropped") == [
            ("message_dropped", topic, "buffer_full") for topic in dropped
        ]


async def test_messages_to_nobody(server: Server, recorder: Recorder) -> None:
    session = Session("me", expiry=60)
    options: Any = {"connector": server.connect, "session": session}
    async with (
        open_client(**options) as client,
        client.subscribe("a", qos=1),
        client.subscribe("b", qos=1),
    ):
        pass
    async with open_client(**options, instruments=[recorder]) as client:
        async with client.subscribe("b", keep=False):
            pass
        server.publish("a", b"x", qos=0)  # for the Topic Filter that is kept
        await wait_all_tasks_blocked()
        assert recorder.of("message_dropped") == [("message_dropped", "a", "no_subscription")]


async def test_requests_and_replies(server: Server, recorder: Recorder) -> None:
    async def answer(_request: Message) -> bytes:
        return b"42"

    async with (
        open_client(connector=server.connect) as responder,
        open_client(connector=server.connect, instruments=[recorder]) as client,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(partial(responder.serve, "ask", answer))
        reply = await client.request("ask")
        nursery.cancel_scope.cancel()
        (delivered,) = recorder.of("message_delivered")
        assert delivered[1] == reply.topic
        await responder.publish(reply.topic, b"again", correlation_data=b"unknown")
        await wait_all_tasks_blocked()
        assert recorder.of("message_dropped") == [
            ("message_dropped", reply.topic, "no_subscription")
        ]


async def test_a_request_that_comes_to_nothing_is_completed_all_the_same(
    server: Server, recorder: Recorder, autojump_clock: MockClock
) -> None:
    """Before the client accepts it, it waits for SUBACK."""
    async with open_client(connector=server.connect, instruments=[recorder]) as client:
        with server.holding(SubAck), trio.move_on_after(1):
            await client.request("cancelled")
    server.authorize_subscribe = lambda _client_id, _request: NOT_AUTHORIZED
    async with open_client(connector=server.connect, instruments=[recorder]) as client:
        with pytest.raises(SubscribeRejected):
            await client.request("refused")
    told = recorder.of("message_publishing", "message_published", "message_completed")
    errors = {
        "cancelled": trio.Cancelled,
        "refused": SubscribeRejected,
    }
    assert [each[:2] for each in told] == [
        (name, topic) for topic in errors for name in ("message_publishing", "message_completed")
    ]
    assert [(each[2], type(each[3])) for each in told[1::2]] == [
        (None, kind) for kind in errors.values()
    ]


async def test_a_message_is_one_object(server: Server) -> None:
    class Kept(Instrument):
        def __init__(self) -> None:
            self.sent: list[object] = []
            self.received: list[object] = []

        def message_publishing(self, message: Any, user_properties: Any) -> Any:
            self.sent.append(message)
            return user_properties

        def message_published(self, message: Any) -> None:
            self.sent.append(message)

        def message_completed(self, message: Any, reason_code: object, error: object) -> None:
            self.sent.append(message)

        def message_delivered(self, message: Any) -> None:
            self.received.append(message)

        def message_settled(self, message: Any, reason_code: object, *, released: bool) -> None:
            self.received.append(message)

    kept = Kept()
    async with (
        open_client(connector=server.connect, instruments=[kept]) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        await client.publish("a", b"x", qos=1)
        message = await messages.receive()
        message.ack()
    assert len(kept.sent) == 3
    assert len(set(map(id, kept.sent))) == 1
    assert kept.received == [message, message]


# -- User Properties --------------------------------------------------------------------------


class Stamp(Instrument):
    """Adds a User Property."""

    def __init__(self, name: str, value: str = "v") -> None:
        self.pair = (name, value)

    def message_publishing(self, message: Any, user_properties: Any) -> Any:
        return (*user_properties, self.pair)


def published(server: Server) -> list[Publish]:
    return [entry.packet for entry in server.log if type(entry.packet) is Publish]


async def test_instruments_add_user_properties_in_order(server: Server) -> None:
    stamps = [Stamp("one"), Stamp("two")]
    async with open_client(connector=server.connect, instruments=stamps) as client:
        await client.publish("a", "text", qos=1, user_properties=iter([("own", "1")]))
        await client.publish("a", "text", qos=1, message_expiry=100, content_type="x")
    first, second = published(server)
    assert first.properties.user_properties == (("own", "1"), ("one", "v"), ("two", "v"))
    assert first.properties.payload_format_indicator == 1
    assert second.properties.message_expiry_interval == 100
    assert second.properties.content_type == "x"
    assert second.properties.user_properties == (("one", "v"), ("two", "v"))


async def test_an_instrument_that_changes_nothing(server: Server, recorder: Recorder) -> None:
    async with open_client(connector=server.connect, instruments=[recorder]) as client:
        await client.publish("a", qos=1, user_properties=iter([("own", "1")]))
    assert published(server)[0].properties.user_properties == (("own", "1"),)


async def test_the_expiry_stands_elsewhere_behind_a_longer_length(server: Server) -> None:
    stamp = Stamp("x" * 200)
    async with open_client(connector=server.connect, instruments=[stamp]) as client:
        await client.publish("a", qos=1, message_expiry=100)
    properties = published(server)[0].properties
    assert properties.message_expiry_interval == 100
    assert properties.user_properties == (stamp.pair,)


async def test_an_instrument_may_take_user_properties_away(server: Server) -> None:
    class Strip(Instrument):
        def message_publishing(self, message: Any, user_properties: Any) -> Any:
            return [pair for pair in user_properties if pair[0] != "secret"]

    async with open_client(connector=server.connect, instruments=[Strip()]) as client:
        await client.publish("a", qos=1, user_properties=[("secret", "1"), ("plain", "2")])
    (packet,) = published(server)
    assert packet.properties.user_properties == (("plain", "2"),)


async def test_a_message_that_would_be_too_large_goes_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = ServerLimits(maximum_packet_size=60)
    async with (
        open_server(limits=limits) as server,
        open_client(
            connector=server.connect, client_id="c", instruments=[Stamp("x" * 30)]
        ) as client,
    ):
        await client.publish("a", bytes(20), qos=1)
        await client.publish("a", b"", qos=1)
        large, small = published(server)
        assert large.properties.user_properties == ()
        assert small.properties.user_properties == (("x" * 30, "v"),)
    assert "User Properties" not in caplog.text  # it is nobody's fault


async def test_below_mqtt_5_there_are_none(server: Server) -> None:
    options: Any = {"connector": server.connect, "protocol": MQTT_3_1_1}
    async with open_client(**options, instruments=[Stamp("x")]) as client:
        await client.publish("a", b"", qos=1)
    (packet,) = published(server)
    assert packet.properties.user_properties == ()


async def test_what_was_published_before_the_version_is_known_goes_without_if_it_has_to() -> None:
    limits = ServerLimits(protocols=[MQTT_3_1_1])
    offline = Reconnect(initial="background")
    async with (
        open_server(limits=limits) as server,
        open_client(
            connector=server.connect, reconnect=offline, instruments=[Stamp("x")]
        ) as client,
    ):
        delivery = await client.enqueue("a", "text", message_expiry=None)
        await delivery.wait()
        assert published(server)[0].payload == b"text"


async def test_the_program_s_own_properties_are_refused_all_the_same() -> None:
    limits = ServerLimits(protocols=[MQTT_3_1_1])
    offline = Reconnect(initial="background")
    async with (
        open_server(limits=limits) as server,
        open_client(
            connector=server.connect, reconnect=offline, instruments=[Stamp("x")]
        ) as client,
    ):
        delivery = await client.enqueue("a", user_properties=[("own", "1")])
        with pytest.raises(FeatureNotSupported):
            await delivery.wait()


async def test_the_expiry_of_a_message_that_goes_without_is_where_it_was(
    autojump_clock: MockClock,
) -> None:
    wide, narrow = ServerLimits(), ServerLimits(maximum_packet_size=60)
    async with open_server(limits=wide) as one, open_server(limits=narrow) as other:
        connectors = iter([one.connect, other.connect])
        async with open_client(
            connector=lambda: next(connectors)(),  # noqa: PLW0108 - another one each time
            client_id="c",
            instruments=[Stamp("x" * 200)],
        ) as client:
            one.drop("c")
            await wait_all_tasks_blocked()
            delivery = await client.enqueue("a", "text", message_expiry=100)
            await delivery.wait()
        (packet,) = published(other)
        assert packet.properties.user_properties == ()
        assert packet.properties.payload_format_indicator == 1
        assert packet.properties.message_expiry_interval is not None
        assert 90 <= packet.properties.message_expiry_interval <= 100


@pytest.mark.parametrize(
    "made", [None, "ab", 5, [("a",)], [("a", 1)], [(b"a", "b")], (("a", "b"), None)]
)
async def test_what_are_no_user_properties_are_the_instrument_s_fault(
    server: Server, caplog: pytest.LogCaptureFixture, made: Any
) -> None:
    class Wrong(Instrument):
        def message_publishing(self, message: Any, user_properties: Any) -> Any:
            return made

    async with open_client(connector=server.connect, instruments=[Wrong()]) as client:
        await client.publish("a", qos=1, user_properties=[("own", "1")])
        await client.publish("a", qos=1)
    first, second = published(server)
    assert first.properties.user_properties == (("own", "1"),)
    assert second.properties.user_properties == ()
    (line,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "failed in message_publishing and is called no more" in line.getMessage()


async def test_user_properties_that_cannot_be_sent_are_left_out(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    surrogate = chr(0xD800)
    async with open_client(connector=server.connect, instruments=[Stamp(surrogate)]) as client:
        await client.publish("a", qos=1)
    assert published(server)[0].properties.user_properties == ()
    assert "User Properties that cannot be sent" in caplog.text


# -- instruments that raise -------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", [name for name in HOOKS if name != "connection_failed"])
async def test_one_that_raises_is_dropped_and_the_client_goes_on(
    server: Server,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    name: str,
    error: type[BaseException],
) -> None:
    calls = 0

    def fail(_self: object, *_arguments: object, **_options: object) -> None:
        nonlocal calls
        calls += 1
        raise error

    def count(_self: object, *arguments: Any, **_options: object) -> object:
        nonlocal calls
        calls += bool(calls)  # those after the failure
        return arguments[-1]

    methods = dict.fromkeys(HOOKS, count) | {name: fail}
    faulty = type("Faulty", (Instrument,), methods)()
    async with (
        open_client(connector=server.connect, instruments=[faulty, recorder]) as client,
        client.subscribe("+", qos=1, buffer=1, overflow="drop_oldest") as messages,
    ):
        for topic in "ab":
            await client.publish(topic, qos=0)
        await client.publish("c", qos=1)
        assert (await messages.receive()).topic == "b"
        with await messages.receive() as message:
            assert message.topic == "c"
    assert calls == 1
    assert {each[0] for each in recorder.told} == {*HOOKS} - {"connection_failed"}
    (line,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert f"failed in {name} and is called no more" in line.getMessage()
    assert line.exc_info is not None
    assert line.exc_info[0] is error


async def test_what_is_no_instrument_is_refused(server: Server) -> None:
    wrong: Any = [object()]
    with pytest.raises(TypeError, match=r"an instrument is a trio_mqtt\.abc\.Instrument"):
        async with open_client(connector=server.connect, instruments=wrong):
            pass


# -- what it costs ----------------------------------------------------------------------------


async def test_without_an_instrument_the_parts_are_the_plain_ones(server: Server) -> None:
    for instruments in ([], [Instrument()]):  # the second overrides nothing
        async with (
            open_client(connector=server.connect, instruments=instruments) as client,
            client.subscribe("a") as messages,
        ):
            supervisor = client._supervisor
            parts = (supervisor.sending, supervisor.deliveries, supervisor._dialer, messages)
            names = [type(each).__name__ for each in (*parts, messages._buffer)]
            assert names == ["Sending", "Deliveries", "Dialer", "Subscription", "Buffer"]
            link = supervisor._link
            assert link is not None
            assert not isinstance(link._stream, TappedStream)


def test_only_methods_that_are_overridden_are_called() -> None:
    hooks = Hooks([Instrument(), Stamp("x")])
    assert hooks.wants("message_publishing")
    assert not hooks.wants(*(name for name in HOOKS if name != "message_publishing"))


def test_the_methods_of_the_interface_do_nothing() -> None:
    plain: Any = Instrument()
    for name in HOOKS:
        method = getattr(plain, name)
        count = method.__code__.co_argcount - 1
        options = {"released": True} if name == "message_settled" else {}
        result = method(*range(count), **options)
        assert result == (1 if name == "message_publishing" else None)
