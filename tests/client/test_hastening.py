"""What an awaited publish sends goes out before the writer's turn, if that needs no waiting."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt._transports.plain_socket import PlainSocket
from trio_mqtt.packets import (
    ConnAck,
    Disconnect,
    PacketReader,
    PingReq,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trio.testing import MockClock

    from trio_mqtt.packets import Packet

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a socket is no file there")
LARGE: Final = 60_000
LONG: Final = 70_000
RESET: Final = struct.pack("ii", 1, 0)  # for SO_LINGER: on, 0 seconds
ROUNDS: Final = 40
CONNACK: Final = ConnAck()
ENOUGH: Final = 1 << 20
PATIENCE: Final = 10
"""How long what was sent may take, in seconds."""


class Far:
    """The other end of a client's socket; there is no Server but the test."""

    def __init__(self, near: socket.socket, end: socket.socket) -> None:
        end.settimeout(0)
        self.near = near
        self.socket = end
        self._reader = PacketReader(MQTT_5)

    def take(self, size: int = ENOUGH) -> list[Packet]:
        """The packets that are whole now."""
        with contextlib.suppress(BlockingIOError):
            self._reader.feed(self.socket.recv(size))
        return self._reader.read_packets()

    async def read(self, count: int) -> list[Packet]:
        """So many packets."""
        found = self.take()
        with trio.fail_after(PATIENCE):
            while len(found) < count:
                await trio.lowlevel.wait_readable(self.socket)
                found += self.take()
        return found

    def say(self, *packets: Packet) -> None:
        self.socket.sendall(b"".join(encode(packet, MQTT_5) for packet in packets))

    def acknowledge(self, packets: Sequence[Packet]) -> None:
        self.say(*(PubAck(each.packet_id) for each in packets if isinstance(each, Publish)))


def make_sockets(transport: str) -> tuple[socket.socket, socket.socket]:
    if transport == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


@asynccontextmanager
async def open_pair(
    answer: Packet = CONNACK, *, transport: str = "unix", keep_alive: int = 60
) -> AsyncGenerator[tuple[trio_mqtt.Client, Far]]:
    """A client that has connected, whose writer sleeps, and the other end of its socket."""
    near, far_end = make_sockets(transport)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(near))

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with stream:
            yield stream

    with far_end:
        far = Far(near, far_end)
        far.say(answer)
        async with open_once(connector=connect, keep_alive=keep_alive) as client:
            await wait_all_tasks_blocked()
            assert len(await far.read(1)) == 1
            yield client, far


def note_sends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """How the socket is written to, and how many packets are whole with that."""
    found: list[tuple[str, int]] = []
    writing: list[PlainSocket] = []
    reader = PacketReader(MQTT_5)
    at_once, send_all = PlainSocket.send_at_once, PlainSocket.send_all

    def note(name: str, data: bytes | memoryview) -> None:
        reader.feed(data)
        found.append((name, len(reader.read_packets())))

    def send_at_once(plain: PlainSocket, data: bytes | memoryview) -> int:
        if not writing:
            note("publisher", data)
        return at_once(plain, data)

    async def send_all_of_it(plain: PlainSocket, data: bytes | memoryview) -> None:
        note("writer", data)
        writing.append(plain)
        await send_all(plain, data)
        writing.clear()

    monkeypatch.setattr(PlainSocket, "send_at_once", send_at_once)
    monkeypatch.setattr(PlainSocket, "send_all", send_all_of_it)
    return found


def publish_each(client: trio_mqtt.Client, nursery: trio.Nursery, count: int) -> None:
    for _ in range(count):
        nursery.start_soon(partial(client.publish, "a", qos=1))


@pytest.mark.parametrize("qos", [1, 2])
async def test_the_publisher_sends_it(monkeypatch: pytest.MonkeyPatch, qos: int) -> None:
    async with open_pair() as (client, far), trio.open_nursery() as nursery:
        sends = note_sends(monkeypatch)
        nursery.start_soon(partial(client.publish, "a", b"payload", qos=qos))
        await wait_all_tasks_blocked()
        assert sends == [("publisher", 1)]
        (sent,) = far.take()
        assert isinstance(sent, Publish)
        assert sent.payload == b"payload"
        if qos == 1:
            far.say(PubAck(sent.packet_id))
        else:
            far.say(PubRec(sent.packet_id))
            assert await far.read(1) == [PubRel(sent.packet_id)]
            far.say(PubComp(sent.packet_id))


async def test_it_is_sent_so_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_pair() as (client, far):
        sends = note_sends(monkeypatch)
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                publish_each(client, nursery, 1)
                await wait_all_tasks_blocked()
                far.acknowledge(far.take())
        assert sends == [("publisher", 1)] * 3


async def test_what_a_message_calls_for_is_sent_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_pair() as (client, far):
        far.say(Publish("a", b""))
        await wait_all_tasks_blocked()
        sends = note_sends(monkeypatch)
        async with trio.open_nursery() as nursery:
            publish_each(client, nursery, 1)
            await wait_all_tasks_blocked()
            far.acknowledge(far.take())
        assert sends == [("publisher", 1)]


async def test_a_request_is_sent_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_pair() as (client, far):
        sends = note_sends(monkeypatch)
        for number in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.request, "a")
                if not number:
                    (subscribe,) = await far.read(1)
                    assert isinstance(subscribe, Subscribe)
                    far.say(SubAck(subscribe.packet_id, (ReasonCode.SUCCESS,)))
                (request,) = await far.read(1)
                assert isinstance(request, Publish)
                told = request.properties
                assert told.response_topic is not None
                properties = Properties(correlation_data=told.correlation_data)
                far.acknowledge([request])
                far.say(Publish(told.response_topic, b"", properties=properties))
        assert sends == [("writer", 1), ("publisher", 1), ("publisher", 1)]


async def test_what_many_send_goes_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_pair() as (client, far), trio.open_nursery() as nursery:
        sends = note_sends(monkeypatch)
        publish_each(client, nursery, 20)
        await wait_all_tasks_blocked()
        assert sends == [("publisher", 1), ("writer", 19)]
        far.acknowledge(far.take())


async def test_what_many_send_who_were_woken_together_goes_out_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def publish_twice() -> None:
        await client.publish("a", qos=1)
        await client.publish("b", qos=1)

    async with open_pair() as (client, far), trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(publish_twice)
        await wait_all_tasks_blocked()
        sends = note_sends(monkeypatch)
        for _ in range(2):
            packets = far.take()
            assert len(packets) == 20
            far.acknowledge(packets)
            await wait_all_tasks_blocked()
        assert sends == [("writer", 20)]


async def test_it_does_not_come_in_the_middle_of_a_packet() -> None:
    async def publish_when_there_is_room() -> None:
        assert far.take() == []
        await client.publish("b", qos=1)

    async with open_pair() as (client, far), trio.open_nursery() as nursery:
        client.publish_nowait("a", bytes(4 * ENOUGH))
        await wait_all_tasks_blocked()  # the writer waits for room
        nursery.start_soon(publish_when_there_is_room)
        packets = await far.read(2)
        assert topics_of(packets) == ["a", "b"]
        far.acknowledge(packets[1:])


@pytest.mark.parametrize("is_full", [False, True])
async def test_what_finds_no_room_follows_in_its_place(is_full: bool) -> None:
    payload = bytes(number % 251 for number in range(LARGE))

    async def publish() -> None:
        nursery.start_soon(publish_another)
        await client.publish("a", payload, qos=1)

    async def publish_another() -> None:
        client.publish_nowait("b")

    async with open_pair() as (client, far), trio.open_nursery() as nursery:
        far.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        before = fill(far.near) if is_full else 0
        nursery.start_soon(publish)
        await wait_all_tasks_blocked()
        packets = await far.read(before + 2)
        assert topics_of(packets[before:]) == ["a", "b"]
        first = packets[before]
        assert isinstance(first, Publish)
        assert first.payload == payload
        far.acknowledge([first])


def fill(near: socket.socket) -> int:
    """Send until the system takes no more; says how many packets that were."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while near.send(encode(PingReq(), MQTT_5)) == 2:
            count += 1
    return count


def topics_of(packets: list[Packet]) -> list[str]:
    return [packet.topic for packet in packets if isinstance(packet, Publish)]


async def test_what_is_long_is_left_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_pair() as (client, far), trio.open_nursery() as nursery:
        sends = note_sends(monkeypatch)
        nursery.start_soon(partial(client.publish, "a", bytes(LONG), qos=1))
        far.acknowledge(await far.read(1))
        assert {name for name, _ in sends} == {"writer"}


async def test_what_has_to_wait_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ConnAck(properties=Properties(receive_maximum=1))
    async with open_pair(limit) as (client, far), trio.open_nursery() as nursery:
        publish_each(client, nursery, 1)
        await wait_all_tasks_blocked()
        sends = note_sends(monkeypatch)
        publish_each(client, nursery, 1)
        await wait_all_tasks_blocked()
        assert sends == []
        for _ in range(2):
            far.acknowledge(await far.read(1))


@pytest.mark.parametrize("transport", ["unix", "tcp"])
async def test_why_it_could_not_be_sent_is_told(transport: str) -> None:
    with pytest.raises(trio_mqtt.ConnectionLost, match=r"broke while .*(pipe|reset)") as caught:
        async with open_pair(transport=transport) as (client, far):
            far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            far.socket.close()
            await client.publish("a", qos=1)
    assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


async def test_the_writer_does_not_try_again(mock_clock: MockClock) -> None:
    async def publish() -> None:
        with contextlib.suppress(trio_mqtt.ConnectionLost):
            await client.publish("a", qos=1)

    with pytest.raises(trio_mqtt.ConnectionLost, match="broke while writing"):
        async with open_pair() as (client, far), trio.open_nursery() as nursery:
            far.socket.shutdown(socket.SHUT_RD)
            nursery.start_soon(publish)
            await wait_all_tasks_blocked()
            mock_clock.jump(0.6)
            client.publish_nowait("b")
            await wait_all_tasks_blocked()
            mock_clock.jump(0.6)
            await wait_all_tasks_blocked()
            mock_clock.autojump_threshold = 0  # for the end
            raise AssertionError("the reader goes on for more than a second")


@pytest.mark.parametrize("transport", ["unix", "tcp"])
async def test_why_the_server_ended_the_connection_is_read_though_it_cannot_be_sent(
    transport: str,
) -> None:
    with pytest.raises(trio_mqtt.ConnectionLost) as caught:
        async with open_pair(transport=transport) as (client, far):
            far.say(Disconnect(ReasonCode.SESSION_TAKEN_OVER))
            far.socket.close()
            await client.publish("a", qos=1)
    assert caught.value.reason_code is ReasonCode.SESSION_TAKEN_OVER


async def test_nothing_is_sent_once_the_connection_is_given_up() -> None:
    times = 0
    for _ in range(ROUNDS):
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with open_pair() as (client, far):
                link = client._sending._link
                far.say(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN))
                await trio.lowlevel.checkpoint()  # with luck the reader has its turn before
                is_known = link is not None and link.loss is not None
                try:
                    await client.publish("a", qos=1)
                finally:
                    times += is_known
                    assert not is_known or far.take() == []
    assert times


async def test_it_counts_as_a_sign_of_life(mock_clock: MockClock) -> None:
    async with open_pair(keep_alive=100) as (client, far), trio.open_nursery() as nursery:
        mock_clock.jump(50)
        publish_each(client, nursery, 1)
        await wait_all_tasks_blocked()
        far.acknowledge(far.take())
        await wait_all_tasks_blocked()
        mock_clock.jump(45)
        await wait_all_tasks_blocked()
        assert far.take() == []
        mock_clock.jump(50)
        await wait_all_tasks_blocked()
        assert far.take() == [PingReq()]
