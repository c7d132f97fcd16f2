"""Servers and networks that do their worst, at each stage of a connection's life.

Whatever it is, one documented error leaves the block, alone, within a time that is known; it names
the server, no task is left, and where MQTT 5.0 asks for it the server is told what it did wrong.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.moments import PATIENCE, all_tasks, assert_clean_end, assert_works, received
from tests.client.support import open_once
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    Client,
    ConnectFailed,
    ConnectionLost,
    MalformedPacket,
    MQTTError,
    Protocol,
    ReasonCode,
    RemoteProtocolError,
)
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Properties,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    encode,
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
    Step,
    memory_stream_pair,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from trio.testing import MockClock

    from trio_mqtt.testing._dialogue import Dialogue

URL: Final = "mqtt://far.test"
NAME: Final = "mqtt://far.test:1883"
Chunk = int | None

both_versions = pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
whole_or_bytewise = pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "bytewise"])


class HalfClose(Step):
    """The peer sends no more, and reads on."""

    def __repr__(self) -> str:
        return "HalfClose()"

    async def run(self, dialogue: Dialogue) -> None:
        assert isinstance(dialogue._stream, trio.abc.HalfCloseableStream)
        await dialogue._stream.send_eof()


class ExpectAny(Step):
    """The client sends so many packets next, in any order."""

    def __init__(self, count: int) -> None:
        self._count = count

    async def run(self, dialogue: Dialogue) -> None:
        for _ in range(self._count):
            assert await dialogue.read_packet() is not None


async def provoke(
    script: Sequence[Step],
    body: Callable[[Client], Awaitable[object]],
    *,
    chunk: Chunk = None,
    capacity: int = 64 * 1024,
    within: float = 1,
    to_its_end: bool = True,
    keep_alive: int = 0,
    **options: Any,
) -> MQTTError:
    """Play a script against a client, and return the one error that leaves its block."""
    peer = ScriptedPeer(script, timeout=PATIENCE)
    tasks = all_tasks()
    start = trio.current_time()
    with pytest.raises(MQTTError) as caught:
        async with open_once(
            URL,
            connector=partial(peer.connect, chunk=chunk, capacity=capacity),
            keep_alive=keep_alive,
            **options,
        ) as client:
            await body(client)
    assert trio.current_time() - start <= within
    assert all_tasks() == tasks
    assert NAME in str(caught.value)
    if to_its_end:
        peer.assert_done()
    return caught.value


# -- at each stage ----------------------------------------------------------------------------


@attrs.frozen
class Stage:
    """How far the dialogue has come when the server turns hostile."""

    steps: list[Step]
    body: Callable[[Client], Awaitable[object]]


async def idle(client: Client) -> None:
    await trio.sleep_forever()


async def publish(client: Client, qos: int) -> None:
    await client.publish("a", b"x", qos=qos)


async def subscribe(client: Client) -> None:
    async with client.subscribe("a"):
        await trio.sleep_forever()


async def receive(client: Client) -> None:
    async with client.subscribe("a") as messages:
        async for _message in messages:
            pass


async def many_at_once(client: Client) -> None:
    async with trio.open_nursery() as nursery:
        for qos in (1, 2):
            nursery.start_soon(publish, client, qos)
        for _ in range(2):
            nursery.start_soon(receive, client)
        nursery.start_soon(idle, client)


async def unsubscribe(client: Client) -> None:
    await client.unsubscribe("a")


async def leave_with_a_message_under_way(client: Client) -> None:
    client.publish_nowait("a", b"x", qos=1)


CONNECTED: Final[list[Step]] = [Expect(Connect), Send(ConnAck())]
STAGES: Final = {
    "idle": Stage([*CONNECTED, Pause(1)], idle),
    "publish QoS 1": Stage([*CONNECTED, Expect(Publish)], partial(publish, qos=1)),
    "publish QoS 2": Stage([*CONNECTED, Expect(Publish)], partial(publish, qos=2)),
    "after PUBREC": Stage(
        [*CONNECTED, Expect(Publish), Send(PubRec(1)), Expect(PubRel)], partial(publish, qos=2)
    ),
    "SUBSCRIBE": Stage([*CONNECTED, Expect(Subscribe)], subscribe),
    "UNSUBSCRIBE": Stage([*CONNECTED, Expect(Unsubscribe)], unsubscribe),
    "receiving": Stage(
        [
            *CONNECTED,
            Expect(Subscribe),
            Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_0,))),
            Send(Publish("a", b"1")),
        ],
        receive,
    ),
    "many at once": Stage([*CONNECTED, ExpectAny(3)], many_at_once),
    "closing": Stage([*CONNECTED, Expect(Publish)], leave_with_a_message_under_way),
}

each_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)


@pytest.mark.parametrize("end", [[Close()], [Reset()], [HalfClose(), ExpectEnd()]], ids=repr)
@each_stage
@both_versions
async def test_the_connection_ends(
    autojump_clock: MockClock, stage: Stage, end: list[Step], protocol: Protocol
) -> None:
    error = await provoke([*stage.steps, *end], stage.body, protocol=protocol)
    assert type(error) is ConnectionLost
    assert error.reason_code is None
    assert ("broke" if isinstance(end[0], Reset) else "closed the connection") in str(error)


@whole_or_bytewise
@each_stage
async def test_the_connection_ends_in_the_middle_of_a_packet(
    autojump_clock: MockClock, stage: Stage, chunk: Chunk
) -> None:
    half = encode(Publish("a", bytes(100)), MQTT_5)[:50]
    script = [*stage.steps, SendBytes(half), Close()]
    error = await provoke(script, stage.body, chunk=chunk)
    assert type(error) is ConnectionLost


@each_stage
@both_versions
async def test_garbage(autojump_clock: MockClock, stage: Stage, protocol: Protocol) -> None:
    told: list[Step] = []
    if protocol is MQTT_5:  # MQTT-4.13.1-1
        told = [Expect(Disconnect, reason_code=ReasonCode.MALFORMED_PACKET)]
    script = [*stage.steps, SendBytes(b"\xff" * 20), *told, ExpectEnd()]
    error = await provoke(script, stage.body, protocol=protocol)
    assert type(error) is MalformedPacket


@each_stage
async def test_the_server_says_why_it_ends_the_connection(
    autojump_clock: MockClock, stage: Stage
) -> None:
    why = Disconnect(ReasonCode.ADMINISTRATIVE_ACTION, Properties(reason_string="mending the roof"))
    error = await provoke([*stage.steps, Send(why), Close()], stage.body)
    assert type(error) is ConnectionLost
    assert error.reason_code is ReasonCode.ADMINISTRATIVE_ACTION
    assert error.reason_string == "mending the roof"
    assert "mending the roof" in str(error)


@each_stage
async def test_silence_is_noticed(autojump_clock: MockClock, stage: Stage) -> None:
    script = [*stage.steps, Pause(50), Close()]
    if stage is STAGES["closing"]:
        # Then the close timeout is shorter: it ends without an error, and without a word of it.
        start = trio.current_time()
        async with open_once(connector=ScriptedPeer(script).connect, close_timeout=2) as client:
            await stage.body(client)
        assert trio.current_time() - start <= 50
        return
    error = await provoke(
        [*stage.steps, Expect(PingReq), ExpectEnd()],
        stage.body,
        keep_alive=10,
        ping_timeout=5,
        within=1 + 10 + 5,
    )
    assert type(error) is ConnectionLost
    assert "PINGREQ" in str(error)


# -- before CONNACK ---------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Close(), Reset(), HalfClose()], ids=repr)
@both_versions
async def test_the_connection_ends_before_connack(
    autojump_clock: MockClock, end: Step, protocol: Protocol
) -> None:
    error = await provoke([Expect(Connect), end], idle, protocol=protocol)
    assert type(error) is ConnectFailed
    assert error.stage == "CONNECT"
    assert "before it sent a byte" in str(error)


@pytest.mark.parametrize("end", [Close(), Reset(), HalfClose()], ids=repr)
@both_versions
async def test_the_connection_ends_inside_connack(
    autojump_clock: MockClock, end: Step, protocol: Protocol
) -> None:
    script = [Expect(Connect), SendBytes(encode(ConnAck(), protocol)[:3]), Pause(0), end]
    error = await provoke(script, idle, protocol=protocol)
    assert type(error) is ConnectFailed
    assert error.stage == "CONNECT"


async def test_the_connection_ends_before_connect_is_read(autojump_clock: MockClock) -> None:
    error = await provoke([Reset()], idle, protocol=MQTT_5)
    assert type(error) is ConnectFailed


@whole_or_bytewise
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",  # a TLS alert
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff" * 20,
        b"\x00" * 20,
        b"\x20\xff\xff\xff\xff\xff",
        encode(Publish("a"), MQTT_5),
        encode(SubAck(1, (ReasonCode.SUCCESS,)), MQTT_5),
        encode(Disconnect(), MQTT_5),
        encode(ConnAck(session_present=True), MQTT_5),
        encode(Connect("c"), MQTT_5),
    ],
    ids=lambda answer: answer[:4].hex(),
)
@both_versions
async def test_garbage_instead_of_connack(
    autojump_clock: MockClock, answer: bytes, protocol: Protocol, chunk: Chunk
) -> None:
    # No DISCONNECT may come before CONNACK; the client only closes (4.13.1).
    script = [Expect(Connect), SendBytes(answer), ExpectEnd()]
    error = await provoke(script, idle, protocol=protocol, chunk=chunk, within=30)
    if isinstance(error, ConnectFailed):  # it may be the beginning of something that never ends
        assert "within 30 s" in str(error)
    else:
        assert isinstance(error, RemoteProtocolError)


@both_versions
async def test_connect_is_never_answered(autojump_clock: MockClock, protocol: Protocol) -> None:
    start = trio.current_time()
    error = await provoke(
        [Expect(Connect)],
        idle,
        protocol=protocol,
        connect_timeout=7,
        within=7,
        to_its_end=False,  # it is cancelled together with the attempt to connect
    )
    assert type(error) is ConnectFailed
    assert error.stage == "CONNECT"
    assert trio.current_time() - start == 7


async def test_both_versions_together_take_no_longer_than_the_timeout(
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer(
        [Expect(Connect, protocol=MQTT_5), Pause(4), Close()],
        [Expect(Connect, protocol=MQTT_3_1_1)],
    )
    start = trio.current_time()
    with pytest.raises(ConnectFailed) as caught:
        async with open_once(connector=peer.connect, connect_timeout=7):
            await trio.sleep_forever()
    assert trio.current_time() - start == 7
    assert "MQTT 5.0 was tried before" in caught.value.__notes__[0]


@whole_or_bytewise
async def test_a_refusal_in_the_form_of_mqtt_3_1_1(autojump_clock: MockClock, chunk: Chunk) -> None:
    refusal = b"\x20\x02\x00\x01"  # unacceptable protocol version
    peer = ScriptedPeer(
        [Expect(Connect, protocol=MQTT_5), SendBytes(refusal), ExpectEnd()],
        [
            Expect(Connect, protocol=MQTT_3_1_1),
            Send(ConnAck()),
            Expect(Disconnect),
            ExpectEnd(),
        ],
    )
    async with open_once(connector=partial(peer.connect, chunk=chunk)) as client:
        assert client.server.protocol is MQTT_3_1_1
    peer.assert_done()


# -- what a server must not do ----------------------------------------------------------------

_NO_TOPIC: Final = Properties(topic_alias=1)
WRONGS: Final[dict[str, tuple[bytes | Packet, ReasonCode]]] = {
    "reserved packet type": (b"\x00\x00", ReasonCode.MALFORMED_PACKET),
    "five bytes of length": (b"\x30\xff\xff\xff\xff\x01", ReasonCode.MALFORMED_PACKET),
    "QoS 3": (b"\x36\x06\x00\x01a\x00\x01\x00", ReasonCode.MALFORMED_PACKET),
    "no UTF-8": (b"\x30\x04\x00\x01\xff\x00", ReasonCode.MALFORMED_PACKET),
    "flags of PUBACK": (b"\x41\x02\x00\x01", ReasonCode.MALFORMED_PACKET),
    "second CONNACK": (ConnAck(), ReasonCode.PROTOCOL_ERROR),
    "CONNECT": (Connect("c"), ReasonCode.PROTOCOL_ERROR),
    "SUBSCRIBE": (Subscribe(1, (SubscriptionRequest("a"),)), ReasonCode.PROTOCOL_ERROR),
    "PINGREQ": (PingReq(), ReasonCode.PROTOCOL_ERROR),
    "AUTH": (
        Auth(properties=Properties(authentication_method="m")),
        ReasonCode.PROTOCOL_ERROR,
    ),
    "PUBCOMP for QoS 1": (PubComp(1), ReasonCode.PROTOCOL_ERROR),
    "PUBREC for QoS 1": (PubRec(1), ReasonCode.PROTOCOL_ERROR),
    "SUBACK for PUBLISH": (SubAck(1, (ReasonCode.SUCCESS,)), ReasonCode.PROTOCOL_ERROR),
    "UNSUBACK for PUBLISH": (UnsubAck(1, (ReasonCode.SUCCESS,)), ReasonCode.PROTOCOL_ERROR),
    "Topic Alias too high": (
        Publish("a", properties=Properties(topic_alias=3)),
        ReasonCode.TOPIC_ALIAS_INVALID,
    ),
    "unknown Topic Alias": (Publish("", properties=_NO_TOPIC), ReasonCode.PROTOCOL_ERROR),
    "larger than allowed": (Publish("a", bytes(1000)), ReasonCode.PACKET_TOO_LARGE),
}


@whole_or_bytewise
@pytest.mark.parametrize(("wrong", "reason_code"), WRONGS.values(), ids=WRONGS)
async def test_the_server_is_told_what_it_did_wrong(
    autojump_clock: MockClock, wrong: bytes | Packet, reason_code: ReasonCode, chunk: Chunk
) -> None:
    error = await provoke(
        [
            *CONNECTED,
            Expect(Publish, qos=1, packet_id=1),
            Send(wrong) if not isinstance(wrong, bytes) else SendBytes(wrong),
            Expect(Disconnect, reason_code=reason_code),
            ExpectEnd(),
        ],
        partial(publish, qos=1),
        chunk=chunk,
        protocol=MQTT_5,
        topic_alias_maximum=2,
        maximum_packet_size=500,
    )
    assert isinstance(error, RemoteProtocolError)
    assert error.reason_code is reason_code


async def test_far_more_messages_than_the_receive_maximum(autojump_clock: MockClock) -> None:
    payload = bytes(6 * 1024 * 1024)  # 16 MiB beyond the Receive Maximum are absorbed

    def message(packet_id: int) -> Step:
        return Send(Publish("a", payload, 1, packet_id=packet_id))

    error = await provoke(
        [
            *CONNECTED,
            Expect(Subscribe),
            Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_1,))),
            *(message(packet_id) for packet_id in range(1, 6)),
            Expect(Disconnect, reason_code=ReasonCode.RECEIVE_MAXIMUM_EXCEEDED),
            ExpectEnd(),
        ],
        subscribe,
        receive_maximum=2,
    )
    assert isinstance(error, RemoteProtocolError)


async def test_a_pubrel_before_our_pubrec(autojump_clock: MockClock) -> None:
    error = await provoke(
        [
            *CONNECTED,
            Expect(Subscribe),
            Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_2,))),
            Send(Publish("a", b"x", 2, packet_id=1)),
            Send(PubRel(1)),
            Expect(Disconnect, reason_code=ReasonCode.PROTOCOL_ERROR),
            ExpectEnd(),
        ],
        subscribe,
    )
    assert isinstance(error, RemoteProtocolError)


@pytest.mark.parametrize("count", [0, 2])
async def test_a_suback_with_the_wrong_number_of_reason_codes(
    autojump_clock: MockClock, count: int
) -> None:
    answer = b"\x90" + bytes([3 + count, 0, 1, 0]) + bytes(count)
    error = await provoke(
        [*CONNECTED, Expect(Subscribe), SendBytes(answer), Expect(Disconnect), ExpectEnd()],
        subscribe,
    )
    assert isinstance(error, RemoteProtocolError)


async def test_a_server_that_does_not_read_its_disconnect(autojump_clock: MockClock) -> None:
    """What it did wrong is told, but not waited for."""
    client_end, server_end = memory_stream_pair(capacity=1000)

    @asynccontextmanager
    async def connector() -> AsyncGenerator[trio.abc.Stream]:
        await server_end.send_all(encode(ConnAck(), MQTT_5))
        async with client_end:
            yield client_end

    start = trio.current_time()
    with pytest.raises(MalformedPacket):
        async with open_once(URL, connector=connector, protocol=MQTT_5, keep_alive=0) as client:
            await client.publish("a", bytes(1_000_000))
            await server_end.send_all(b"\x00\x00")
            await trio.sleep_forever()
    assert trio.current_time() - start <= 1


# -- a server that does not read --------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@both_versions
async def test_a_server_that_stops_reading(
    autojump_clock: MockClock, qos: int, protocol: Protocol
) -> None:
    tasks = all_tasks()
    async with open_server() as server:
        start = trio.current_time()
        with pytest.raises(ConnectionLost) as caught:
            async with open_once(
                URL,
                connector=partial(server.connect, capacity=1000),
                client_id="c",
                protocol=protocol,
                keep_alive=20,
                ping_timeout=5,
            ) as client:
                server.pause_reading("c")
                async with client.open_publisher(qos=qos) as publisher:
                    while True:
                        await publisher.send("a", bytes(1000))
        assert trio.current_time() - start <= 20 + 5
        assert NAME in str(caught.value)
    assert all_tasks() == tasks


@pytest.mark.parametrize("under_way", [0, 100_000])
@both_versions
async def test_closing_while_the_server_does_not_read(
    autojump_clock: MockClock, under_way: int, protocol: Protocol
) -> None:
    tasks = all_tasks()
    async with open_server() as server:
        async with open_once(
            connector=partial(server.connect, capacity=1000),
            client_id="c",
            protocol=protocol,
            close_timeout=3,
        ) as client:
            server.pause_reading("c")
            await client.publish("a", bytes(under_way))
            start = trio.current_time()
        assert trio.current_time() - start == (3 if under_way else 0)
    assert all_tasks() == tasks


@pytest.mark.parametrize("end", [Close(), Reset()], ids=repr)
async def test_the_connection_ends_while_the_writer_is_stuck(
    autojump_clock: MockClock, end: Step
) -> None:
    async def publish_much(client: Client) -> None:
        await client.publish("a", bytes(1_000_000), qos=1)

    error = await provoke([*CONNECTED, Pause(3), end], publish_much, capacity=1000, within=3)
    assert type(error) is ConnectionLost


# -- bytes as they come -----------------------------------------------------------------------


def random_sizes(seed: int) -> Callable[[], int]:
    return partial(random.Random(seed).randint, 1, 9)  # noqa: S311 - the same sizes each time


@pytest.mark.parametrize(
    ("chunk", "capacity"),
    [(1, 64 * 1024), (1, 1), (2, 3), *((random_sizes(seed), 64 * 1024) for seed in range(5))],
    ids=["1", "1 of 1", "2 of 3", *(f"random {seed}" for seed in range(5))],
)
@both_versions
async def test_a_whole_life_in_small_chunks(
    autojump_clock: MockClock, chunk: int | Callable[[], int], capacity: int, protocol: Protocol
) -> None:
    sent = [(qos, bytes([qos]) * size) for size in (0, 1, 100, 3000) for qos in (0, 1, 2)]
    got: list[tuple[int, bytes]] = []
    async with open_server() as server:
        async with open_once(
            connector=partial(server.connect, chunk=chunk, capacity=capacity), protocol=protocol
        ) as client:
            async with client.subscribe("a/+", "b/#", qos=2) as messages:
                for number, (qos, payload) in enumerate(sent):
                    await client.publish(f"a/{number}", payload, qos=qos, retain=number == 5)
                async for message in messages:
                    got.append((message.qos, message.payload))
                    if len(got) == len(sent):
                        message.ack()
                        break
            assert [each for each in got if each[0]] == [each for each in sent if each[0]]
            assert sorted(got) == sorted(sent)
            await client.unsubscribe("never/subscribed")
            await assert_works(client)
        await wait_all_tasks_blocked()
        assert_clean_end(server)
        assert received(server, Disconnect) == [Disconnect()]


@both_versions
async def test_a_busy_life_in_random_chunks(autojump_clock: MockClock, protocol: Protocol) -> None:
    sizes = random.Random(7)  # noqa: S311 - the same sizes each time
    messages_each = 100
    got: list[int] = []

    async def consume(client: Client) -> None:
        async with client.subscribe("work", qos=2, buffer=1) as messages:
            ready.set()
            async for message in messages:
                got.append(int(message.payload))
                if len(got) == 3 * messages_each:
                    message.ack()
                    return

    async def produce(client: Client, qos: int) -> None:
        async with client.open_publisher(qos=qos) as publisher:
            for number in range(messages_each):
                await publisher.send("work", str(number))

    async with open_server() as server:
        connector = partial(server.connect, chunk=lambda: sizes.randint(1, 50), capacity=100)
        ready = trio.Event()
        with trio.fail_after(PATIENCE):
            async with (
                open_once(connector=connector, protocol=protocol) as client,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(consume, client)
                await ready.wait()
                for qos in (0, 1, 2):
                    nursery.start_soon(produce, client, qos)
        await wait_all_tasks_blocked()
        assert_clean_end(server)
    assert sorted(got) == sorted(3 * [*range(messages_each)])
