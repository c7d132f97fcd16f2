"""Publishing: results, refusals, limits, the ways to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import PacketTooLarge, Protocol, PublishResult, ReasonCode
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
)
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    Reply,
    Reset,
    ScriptedPeer,
    Send,
    ServerLimits,
    WaitFor,
    open_server,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import Server

ACCEPT = [Expect(Connect), Send(ConnAck())]
GOODBYE = [Expect(Disconnect), ExpectEnd()]


def published(server: Server) -> list[Publish]:
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "received" and isinstance(entry.packet, Publish)
    ]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_qos_in_each_version(server: Server, qos: int, protocol: Protocol) -> None:
    async with open_once(connector=server.connect, protocol=protocol) as client:
        async with client.subscribe("a", qos=2) as messages:
            result = await client.publish("a", b"payload", qos=qos)
            message = await messages.receive()
            message.ack()
        assert result == PublishResult()
        assert (message.topic, message.payload, message.qos) == ("a", b"payload", qos)
        assert client.statistics().unfinished == 0


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        ("\u00fctf-8", "\u00fctf-8".encode()),
        (b"", b""),
        ("", b""),
    ],
    ids=["bytes", "bytearray", "memoryview", "str", "no bytes", "empty str"],
)
async def test_what_a_payload_can_be(
    server: Server, payload: trio_mqtt.Payload, expected: bytes
) -> None:
    async with open_once(connector=server.connect) as client:
        await client.publish("a", payload, qos=1)
    (packet,) = published(server)
    assert packet.payload == expected
    indicator = packet.properties.payload_format_indicator
    assert indicator == (1 if isinstance(payload, str) else None)


async def test_a_bytearray_may_change_once_it_is_published(server: Server) -> None:
    async with open_once(connector=server.connect) as client:
        payload = bytearray(b"before")
        delivery = await client.enqueue("a", payload)
        payload[:] = b"after!"
        await delivery.wait()
    assert published(server)[0].payload == b"before"


@pytest.mark.parametrize("payload", [None, 5, 1.5, ["a"], {"a": 1}])
async def test_what_a_payload_cannot_be(server: Server, payload: Any) -> None:
    async with open_once(connector=server.connect) as client:
        with pytest.raises(TypeError, match="bytes, bytearray, memoryview or str"):
            await client.publish("a", payload)
        with pytest.raises(trio_mqtt.LocalProtocolError, match="surrogates"):
            await client.publish("a", "\ud800")
        await client.publish("a", qos=1)
    assert len(published(server)) == 1


async def test_properties_arrive(server: Server) -> None:
    async with open_once(connector=server.connect) as client:
        await client.publish(
            "a",
            "text",
            qos=1,
            retain=True,
            message_expiry=60,
            content_type="text/plain",
            response_topic="answer",
            correlation_data=b"7",
            user_properties=[("k", "1"), ("k", "2")],
        )
    (packet,) = published(server)
    assert packet.retain
    assert packet.properties == Properties(
        payload_format_indicator=1,
        message_expiry_interval=60,
        content_type="text/plain",
        response_topic="answer",
        correlation_data=b"7",
        user_properties=(("k", "1"), ("k", "2")),
    )


async def test_properties_need_mqtt_5(server: Server) -> None:
    async with open_once(connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1) as client:
        with pytest.raises(trio_mqtt.FeatureNotSupported, match="no properties"):
            await client.publish("a", content_type="x")
        await client.publish("a", "text", qos=1, user_properties=())
    assert len(published(server)) == 1


@pytest.mark.parametrize(
    ("topic", "arguments", "error"),
    [
        ("", {}, trio_mqtt.LocalProtocolError),
        ("a/+", {}, trio_mqtt.LocalProtocolError),
        ("a\0", {}, trio_mqtt.LocalProtocolError),
        ("a" * 70_000, {}, trio_mqtt.LocalProtocolError),
        ("a", {"qos": 3}, trio_mqtt.LocalProtocolError),
        ("a", {"qos": -1}, trio_mqtt.LocalProtocolError),
        ("a", {"response_topic": "a/#"}, trio_mqtt.LocalProtocolError),
        ("a", {"message_expiry": -1}, trio_mqtt.LocalProtocolError),
        ("a", {"colour": "red"}, TypeError),
    ],
)
async def test_what_is_refused_before_a_byte_is_sent(
    server: Server, topic: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with open_once(connector=server.connect) as client:
        with pytest.raises(error):
            await client.publish(topic, **arguments)
        with pytest.raises(error):
            await client.enqueue(topic, **arguments)
        with pytest.raises(error):
            client.publish_nowait(topic, **arguments)
        assert client.statistics().published == 0
    assert published(server) == []


class TestLimits:
    """What CONNACK granted is honoured, by an error that names the limit (contract 15)."""

    async def test_maximum_qos(self) -> None:
        async with (
            open_server(limits=ServerLimits(maximum_qos=1)) as server,
            open_once(connector=server.connect) as client,
        ):
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="Maximum QoS of 1"):
                await client.publish("a", qos=2)
            await client.publish("a", qos=1)

    async def test_retain_available(self) -> None:
        async with (
            open_server(limits=ServerLimits(retain_available=False)) as server,
            open_once(connector=server.connect) as client,
        ):
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="retain"):
                await client.publish("a", retain=True)

    @pytest.mark.parametrize("qos", [0, 1])
    async def test_maximum_packet_size_to_the_byte(self, qos: int) -> None:
        async with (
            open_server(limits=ServerLimits(maximum_packet_size=200)) as server,
            open_once(connector=server.connect) as client,
        ):
            # fixed header 3, topic 3, identifier 2 at QoS 1, property length 1
            room = 200 - 3 - 3 - 1 - (2 if qos else 0)
            await client.publish("a", b"x" * room, qos=qos)
            with pytest.raises(trio_mqtt.PacketTooLarge, match=r"201 bytes.*of 200") as caught:
                await client.publish("a", b"x" * (room + 1), qos=qos)
            assert (caught.value.size, caught.value.limit) == (201, 200)
            with pytest.raises(trio_mqtt.PacketTooLarge, match="SUBSCRIBE"):
                async with client.subscribe("x" * 200):
                    raise AssertionError("not reached")
            with pytest.raises(trio_mqtt.PacketTooLarge, match="UNSUBSCRIBE"):
                await client.unsubscribe("x" * 200)
            await client.publish("a", qos=1)

    @pytest.mark.parametrize("maximum", [1, 2, 10])
    @pytest.mark.parametrize("qos", [1, 2])
    async def test_receive_maximum(self, maximum: int, qos: int) -> None:
        """The test server ends the connection if it is exceeded."""
        async with (
            open_server(limits=ServerLimits(receive_maximum=maximum)) as server,
            open_once(connector=server.connect) as client,
        ):
            assert client.statistics().window == maximum
            most = 0
            with server.holding(PubAck, PubRec) as held:
                async with trio.open_nursery() as nursery:
                    for _ in range(25):
                        nursery.start_soon(lambda: client.publish("a", qos=qos))
                    await trio.testing.wait_all_tasks_blocked()
                    async with client.subscribe("not subject to the window"):
                        assert client.statistics().window == 0
                    while held.packets:
                        most = max(most, len(held.packets))
                        held.release()
                        await trio.testing.wait_all_tasks_blocked()
            assert most == maximum
            assert len(published(server)) == 25
            assert client.statistics().window == maximum


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_refused_message(server: Server, qos: int) -> None:
    server.authorize_publish = lambda _client, _publish: ReasonCode.NOT_AUTHORIZED
    async with open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.PublishRejected, match="'a/b' with 0x87") as caught:
            await client.publish("a/b", qos=qos)
        assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED
        assert caught.value.topic == "a/b"
        assert client.statistics().unfinished == 0
    assert not [entry for entry in server.log if isinstance(entry.packet, PubRel)]


async def test_the_words_of_a_refusal_and_of_an_acceptance() -> None:
    words = Properties(reason_string="because", user_properties=(("k", "v"),))
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Publish),
            Reply(Publish, lambda p: PubAck(p.packet_id, ReasonCode.QUOTA_EXCEEDED, words)),
            Expect(Publish),
            Reply(
                Publish, lambda p: PubAck(p.packet_id, ReasonCode.NO_MATCHING_SUBSCRIBERS, words)
            ),
            *GOODBYE,
        ]
    )
    async with open_once(connector=peer.connect) as client:
        with pytest.raises(trio_mqtt.PublishRejected, match="because") as caught:
            await client.publish("a", qos=1)
        assert caught.value.reason_string == "because"
        assert caught.value.user_properties == (("k", "v"),)
        result = await client.publish("a", qos=1)
        assert result == PublishResult(
            reason_code=ReasonCode.NO_MATCHING_SUBSCRIBERS,
            reason_string="because",
            user_properties=(("k", "v"),),
        )


async def test_publish_waits_for_the_whole_exchange() -> None:
    rec, comp = trio.Event(), trio.Event()
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Publish, qos=2, dup=False, packet_id=1),
            WaitFor(rec),
            Send(PubRec(1)),
            Expect(PubRel(1)),
            WaitFor(comp),
            Send(PubComp(1)),
            *GOODBYE,
        ]
    )
    done = trio.Event()

    async def publish(client: trio_mqtt.Client) -> None:
        await client.publish("a", qos=2)
        done.set()

    async with (
        open_once(connector=peer.connect) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(publish, client)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        rec.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        comp.set()
        await trio.testing.wait_all_tasks_blocked()
        assert done.is_set()
    peer.assert_done()


async def test_enqueue_does_not_wait_for_the_server(server: Server) -> None:
    async with open_once(connector=server.connect) as client:
        with server.holding(PubAck) as held:
            delivery = await client.enqueue("a", qos=1)
            with trio.move_on_after(0):
                await delivery.wait()
                raise AssertionError("not reached")
            await trio.testing.wait_all_tasks_blocked()
            held.release()
            assert await delivery.wait() == PublishResult(
                reason_code=ReasonCode.NO_MATCHING_SUBSCRIBERS
            )
            assert await delivery.wait() == await delivery.wait()
        for_nobody = await client.enqueue("a", qos=0)
        assert await for_nobody.wait() == PublishResult()


async def test_publish_nowait_blocks_at_the_bounds(server: Server) -> None:
    async with open_once(connector=server.connect) as client:
        client_id = client.server.client_id
        await client.publish("a", qos=1)
        server.pause_reading(client_id)
        deliveries: list[trio_mqtt.Delivery] = []
        with pytest.raises(trio.WouldBlock):
            for _ in range(10_000):
                delivery = client.publish_nowait("a", b"x" * 10_000, qos=1)
                deliveries.append(delivery)
        assert client.statistics().output_bytes < 1_000_000
        assert len(deliveries) * 10_000 < 20_000_000
        with pytest.raises(trio.WouldBlock):
            for _ in range(100_000):
                client.publish_nowait("a", b"x" * 10_000)
        assert client.statistics().output_bytes < 1_000_000
        server.resume_reading(client_id)
        for delivery in deliveries:
            await delivery.wait()
        client.publish_nowait("a")


async def test_one_message_larger_than_every_bound_passes(server: Server) -> None:
    async with open_once(connector=server.connect) as client:
        payload = b"x" * (17 * 1024 * 1024)
        with trio.fail_after(60):
            await client.publish("a", payload, qos=1)
            await client.publish("a", payload, qos=0)
            await client.publish("a", qos=1)
    assert [len(packet.payload) for packet in published(server)] == [len(payload)] * 2 + [0]


async def test_publishers_get_in_by_turns(server: Server) -> None:
    """Whoever waits longest for room goes first; a crowd does not starve anybody."""
    async with open_once(connector=server.connect) as client:
        client_id = client.server.client_id
        server.pause_reading(client_id)
        for _ in range(3):  # the writer makes room until the stream is full, too
            with pytest.raises(trio.WouldBlock):
                while True:
                    client.publish_nowait("a", b"x" * 1000, qos=1)
            await trio.testing.wait_all_tasks_blocked()
        order: list[int] = []

        async def publish(number: int) -> None:
            await client.enqueue("a", str(number).encode(), qos=1)
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(publish, number)
                await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.WouldBlock):
                client.publish_nowait("a", qos=1)
            server.resume_reading(client_id)
        assert order == list(range(10))


class TestPublisher:
    """`open_publisher`."""

    @pytest.mark.parametrize("qos", [0, 1, 2])
    async def test_order_and_completion(self, server: Server, qos: int) -> None:
        async with open_once(connector=server.connect) as client:
            async with client.open_publisher(qos=qos) as publisher:
                for number in range(500):
                    await publisher.send("a", str(number))
                assert publisher.sent == 500
            assert publisher.pending == 0
            assert client.statistics().unfinished == 0
        assert [int(packet.payload) for packet in published(server)] == list(range(500))

    async def test_leaving_waits_for_every_acknowledgement(self, server: Server) -> None:
        left = trio.Event()

        async def publish(client: trio_mqtt.Client) -> None:
            async with client.open_publisher() as publisher:
                for _ in range(3):
                    await publisher.send("a")
            left.set()

        async with (
            open_once(connector=server.connect) as client,
            trio.open_nursery() as nursery,
        ):
            with server.holding(PubAck) as held:
                nursery.start_soon(publish, client)
                await trio.testing.wait_all_tasks_blocked()
                held.release(2)
                await trio.testing.wait_all_tasks_blocked()
                assert not left.is_set()
                held.release()
                await trio.testing.wait_all_tasks_blocked()
                assert left.is_set()

    async def test_refusals_are_told_at_the_end(self, server: Server) -> None:
        server.authorize_publish = lambda _client, packet: (
            ReasonCode.NOT_AUTHORIZED if packet.payload in (b"1", b"3") else ReasonCode.SUCCESS
        )
        async with open_once(connector=server.connect) as client:
            with pytest.raises(trio_mqtt.PublishRejected) as caught:
                async with client.open_publisher() as publisher:
                    for number in range(5):
                        await publisher.send("a", str(number))
            assert publisher.rejected == 2
            assert len(publisher.rejections) == 2
            assert caught.value.__notes__ == ["and 1 more of 5 messages were refused"]

    async def test_a_single_refusal_needs_no_note(self, server: Server) -> None:
        server.authorize_publish = lambda _client, _packet: ReasonCode.NOT_AUTHORIZED
        async with open_once(connector=server.connect) as client:
            with pytest.raises(trio_mqtt.PublishRejected) as caught:
                async with client.open_publisher() as publisher:
                    await publisher.send("a")
            assert not hasattr(caught.value, "__notes__")

    async def test_a_block_that_fails_does_not_wait(self, server: Server) -> None:
        async with open_once(connector=server.connect) as client:
            with server.holding(PubAck):
                with pytest.raises(ZeroDivisionError):
                    async with client.open_publisher() as publisher:
                        await publisher.send("a")
                        raise ZeroDivisionError
                assert publisher.pending == 1
        assert len(published(server)) == 1

    async def test_a_lost_connection_is_told(self) -> None:
        cut = trio.Event()
        peer = ScriptedPeer([*ACCEPT, Expect(Publish), WaitFor(cut), Reset()])
        errors: list[Exception] = []

        async def publish(client: trio_mqtt.Client) -> None:
            with pytest.raises(trio_mqtt.ConnectionLost) as caught:
                async with client.open_publisher() as publisher:
                    await publisher.send("a")
            errors.append(caught.value)

        async with trio.open_nursery() as outer:
            with pytest.raises(trio_mqtt.ConnectionLost):
                async with open_once(connector=peer.connect) as client:
                    outer.start_soon(publish, client)
                    await trio.testing.wait_all_tasks_blocked()
                    cut.set()
                    await trio.sleep_forever()
        assert [type(error) for error in errors] == [trio_mqtt.ConnectionLost]

    async def test_a_bad_qos(self, server: Server) -> None:
        async with open_once(connector=server.connect) as client:
            with pytest.raises(trio_mqtt.LocalProtocolError, match="qos is 5"):
                async with client.open_publisher(qos=5):
                    raise AssertionError("not reached")


class Large(bytes):
    """Bytes that say to be many, and take no memory."""

    size = 0

    def __len__(self) -> int:
        return self.size


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_no_packet_can_hold_is_refused_at_once(
    server: Server, autojump_clock: MockClock, qos: int
) -> None:
    most = 268_435_455  # of a Remaining Length (2.1.4)
    overhead = 2 + len("a") + (2 if qos else 0) + 1  # topic, Packet Identifier, property length
    payload = Large()
    async with open_once(connector=server.connect) as client:
        payload.size = most - overhead
        client._sending.make("a", payload, qos=qos, retain=False, options={})
        payload.size += 1
        with pytest.raises(PacketTooLarge, match="MQTT has packets of at most") as caught:
            await client.publish("a", payload, qos=qos)
        assert caught.value.size == caught.value.limit + 1
        assert client.statistics().published == 0
