from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.testing.support import RawClient
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    encode,
)
from trio_mqtt.testing import (
    Close,
    Expect,
    ExpectBytes,
    ExpectEnd,
    ExpectSilence,
    Pause,
    Reply,
    Reset,
    ScriptedPeer,
    Send,
    SendBytes,
    Step,
    WaitFor,
)
from trio_mqtt.testing._memory import reset_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

GREETING: list[Step] = [Expect(Connect), Send(ConnAck())]


async def idle(_client: RawClient) -> None:
    await trio.sleep(11)


async def greet(client: RawClient) -> None:
    await client.send(Connect("c"))
    assert await client.receive() == ConnAck()


async def test_plays_a_script(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [
            Expect(Connect, client_id="c"),
            Send(ConnAck()),
            Expect(Publish("a", b"1", 1, packet_id=1)),
            Expect(Publish, lambda publish: len(publish.payload) == 1, topic="a", packet_id=2),
            Reply(Publish, lambda publish: PubAck(publish.packet_id)),
            SendBytes(b"\xd0\x00"),
            ExpectBytes(b"\xc0\x00\xc0"),
            ExpectBytes(b"\x00"),
            Expect(PingReq),
            ExpectSilence(10),
            Expect(Disconnect),
            ExpectEnd(),
        ],
        protocol=MQTT_5,
    )
    async with peer.connect(chunk=2) as stream:
        client = RawClient(stream)
        await greet(client)
        await client.send(*(Publish("a", b"1", 1, packet_id=number) for number in (1, 2)))
        assert await client.receive_many(2) == [PubAck(2), PingResp()]
        await client.send(PingReq(), PingReq(), PingReq())
        await trio.sleep(11)
        await client.send(Disconnect())
    peer.assert_done()
    assert peer.connections == 1
    expected = [Connect, Publish, Publish, PingReq, Disconnect]
    assert [type(packet) for packet in peer.received] == expected


DEPARTURES: list[tuple[str, Step, Callable[[RawClient], Awaitable[None]], str]] = [
    (
        "another packet",
        Expect(PingReq),
        lambda client: client.send(Publish("a")),
        r"connection 1, step 3 of 4, Expect\(PingReq\): the client sent Publish\(topic='a'",
    ),
    (
        "another field",
        Expect(Publish, topic="a", qos=1, protocol=MQTT_5),
        lambda client: client.send(Publish("b", qos=2, packet_id=1)),
        r"Expect\(Publish, prot.*\n  topic: expected 'a', got 'b'\n  qos: expected 1, got <QoS",
    ),
    (
        "other fields of a whole packet",
        Expect(Publish("a", b"long")),
        lambda client: client.send(Publish("a", b"short")),
        r"  payload: expected b'long', got b'short'\n",
    ),
    (
        "a check",
        Expect(Publish, lambda publish: not publish.topic),
        lambda client: client.send(Publish("b")),
        r"the check refuses Publish\(topic='b'",
    ),
    (
        "the end",
        Expect(PingReq),
        lambda client: client.stream.aclose(),
        "the client ended the connection instead",
    ),
    (
        "a reset",
        Expect(PingReq),
        lambda client: reset_stream(client.stream),
        "the client ended the connection instead",
    ),
    (
        "half a packet",
        Expect(PingReq),
        lambda client: client.stream.send_all(b"\xc0"),
        r"the client ended inside a packet: b'\\xc0'",
    ),
    (
        "no packet",
        Expect(PingReq),
        lambda client: client.stream.send_all(b"\xc0\x01x"),
        "the client sent no valid packet: PINGREQ has",
    ),
    (
        "an endless length",
        Expect(PingReq),
        lambda client: client.stream.send_all(b"\xc0\xff\xff\xff\xff\x01"),
        "the client sent no valid packet",
    ),
    (
        "other bytes",
        ExpectBytes(b"\xc0\x01"),
        lambda client: client.send(PingReq()),
        "the client sent other bytes:\n  c0 00\n",
    ),
    (
        "something instead of the end",
        ExpectEnd(),
        lambda client: client.send(PingReq()),
        r"ExpectEnd\(\): the client sent PingReq\(\) instead",
    ),
    (
        "something instead of silence",
        ExpectSilence(60),
        lambda client: client.send(PingReq()),
        r"the client sent PingReq\(\)",
    ),
    (
        "the end instead of silence",
        ExpectSilence(60),
        lambda client: client.stream.aclose(),
        "the client ended the connection",
    ),
    ("nothing at all", Expect(PingReq), idle, "nothing came for 10 s"),
    (
        "nothing to reply to",
        Reply(Publish, lambda publish: PubAck(publish.packet_id)),
        idle,
        "the client has sent no Publish so far",
    ),
    (
        "nobody there to send to",
        Pause(1),
        lambda client: client.stream.aclose(),
        r"step 4 of 4, Send\(.*: there is no connection left to send on",
    ),
    (
        "nobody who reads",
        SendBytes(encode(Publish("t", bytes(200_000)), MQTT_5)),
        idle,
        r"SendBytes\(data=b'0.{,200}\): the client read nothing for 10 s",
    ),
    (
        "an event that is never set",
        WaitFor(trio.Event()),
        idle,
        "the script is not over, and the client is gone",
    ),
]


@pytest.mark.parametrize(
    ("step", "act", "message"), [row[1:] for row in DEPARTURES], ids=[row[0] for row in DEPARTURES]
)
async def test_a_departure_from_the_script_fails(
    step: Step,
    act: Callable[[RawClient], Awaitable[None]],
    message: str,
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer([*GREETING, step, Send(PingResp())])
    with pytest.raises(AssertionError, match=message) as caught:
        async with peer.connect() as stream:
            client = RawClient(stream)
            await greet(client)
            await act(client)
            await trio.sleep(0.5)
    assert "received on this connection:\n  Connect(client_id='c'" in str(caught.value)
    with pytest.raises(AssertionError, match=message):
        peer.assert_done()


async def test_the_client_notices_at_once(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([Expect(Connect)])
    with pytest.raises(AssertionError, match="received on this connection:\n  nothing") as caught:
        async with peer.connect() as stream:
            await stream.send_all(b"\xc0\x00")
            await stream.receive_some()
    assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


async def test_minds_what_comes_after_the_script(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*GREETING])
    with pytest.raises(AssertionError, match=r"after its script: the client sent PingReq\(\)"):
        async with peer.connect() as stream:
            client = RawClient(stream)
            await greet(client)
            await trio.sleep(100)
            await client.send(PingReq())


async def test_minds_bytes_that_end_too_early(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([ExpectBytes(b"12")])
    with pytest.raises(AssertionError, match="the client sent other bytes:\n  31\n"):
        async with peer.connect() as stream:
            await stream.send_all(b"1")


async def test_minds_the_version(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([Expect(Connect, protocol=MQTT_3_1_1), Send(ConnAck())], GREETING)
    async with peer.connect() as stream:
        await greet(RawClient(stream, MQTT_3_1_1))
    with pytest.raises(AssertionError, match="1 of 2 expected connections were made"):
        peer.assert_done()
    peer = ScriptedPeer(GREETING, protocol=MQTT_3_1_1)
    with pytest.raises(AssertionError, match="where another version is spoken"):
        async with peer.connect() as stream:
            await RawClient(stream).send(Connect("c"))


async def test_plays_one_script_for_each_connection(autojump_clock: MockClock) -> None:
    go_on = trio.Event()
    peer = ScriptedPeer(
        [*GREETING, Close()], [*GREETING, Reset()], [WaitFor(go_on), Pause(5), *GREETING]
    )
    async with peer.connect() as stream:
        client = RawClient(stream)
        await greet(client)
        assert await client.receive() is None
    async with peer.connect() as stream:
        client = RawClient(stream)
        await client.send(Connect("c"))
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_many(2)
    async with peer.connect() as stream:
        client = RawClient(stream)
        await client.send(Connect("c"))
        assert await client.silent(100)
        with pytest.raises(AssertionError, match=r"step 1 of 4.*the script is not over"):
            peer.assert_done()
        go_on.set()
        assert await client.silent(4.9)
        assert await client.receive() == ConnAck()
    peer.assert_done()
    with pytest.raises(AssertionError, match="there is no script for connection 4"):
        async with peer.connect():
            pass
    with pytest.raises(AssertionError, match="there is no script for connection 4"):
        peer.assert_done()


async def test_a_script_cannot_go_on_after_its_end(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([Close(), Expect(Connect)])
    with pytest.raises(AssertionError, match="the script has closed the connection before"):
        async with peer.connect():
            pass


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
async def test_what_the_block_raises_leaves_it_as_it_is(
    kind: type[BaseException], autojump_clock: MockClock
) -> None:
    error = kind("of the block")
    with pytest.raises(kind) as caught:
        async with ScriptedPeer([]).connect():
            raise error
    assert caught.value is error
    with pytest.raises(kind) as caught:
        async with ScriptedPeer().listen():
            raise error
    assert caught.value is error
    with pytest.raises(kind) as caught, trio.CancelScope() as scope:
        async with ScriptedPeer([]).connect():
            scope.cancel()
            raise error
    assert caught.value is error


async def test_cancellation_is_no_departure(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(GREETING, GREETING)
    with trio.move_on_after(5) as scope:
        async with peer.connect():
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with trio.move_on_after(5) as scope:
        async with peer.listen():
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_bug_in_a_check_leaves_the_block(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([Expect(Connect, lambda _connect: bool(1 / 0))])
    with pytest.raises(ZeroDivisionError):
        async with peer.connect() as stream:
            await RawClient(stream).send(Connect("c"))
            await trio.sleep_forever()


# Over a port


async def dial(url: str) -> trio.SocketStream:
    host, port = url.removeprefix("mqtt://").split(":")
    return await trio.open_tcp_stream(host, int(port))


async def test_plays_over_a_port() -> None:
    peer = ScriptedPeer([*GREETING, Reset()], [*GREETING, ExpectEnd()])
    async with peer.listen() as url:
        async with await dial(url) as stream:
            client = RawClient(stream)
            await greet(client)
            with pytest.raises(trio.BrokenResourceError):
                await client.receive()
        async with await dial(url) as stream:
            await greet(RawClient(stream))
    peer.assert_done()


async def test_a_departure_over_a_port_cancels_the_block() -> None:
    peer = ScriptedPeer(GREETING)
    with pytest.raises(AssertionError, match="step 1 of 2"):
        async with peer.listen() as url, await dial(url) as stream:
            await stream.send_all(encode(PingReq(), MQTT_5))
            await trio.sleep_forever()


async def test_one_connection_too_many_over_a_port() -> None:
    with pytest.raises(AssertionError, match="there is no script for connection 1"):
        async with ScriptedPeer().listen() as url, await dial(url):
            await trio.sleep_forever()
