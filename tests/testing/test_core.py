"""Properties of the broker core, which has neither I/O nor a clock."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt._topics import topic_matches
from trio_mqtt.packets import (
    Connect,
    Packet,
    PacketReader,
    PingReq,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    encode,
)
from trio_mqtt.testing._broker import Broker
from trio_mqtt.testing._connection import Connection
from trio_mqtt.testing._history import History
from trio_mqtt.testing._limits import ServerLimits
from trio_mqtt.testing._log import PacketLog
from trio_mqtt.testing._policy import (
    BeginAuthentication,
    Policy,
)
from trio_mqtt.testing._subscriptions import Subscription, SubscriptionIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mqtt.testing._policy import (
        Authenticate,
        AuthorizePublish,
        AuthorizeSubscribe,
    )


@attrs.define
class Lenient(Policy):
    limits: ServerLimits
    authenticate: Authenticate | None = None
    authorize_publish: AuthorizePublish | None = None
    authorize_subscribe: AuthorizeSubscribe | None = None
    authentication_methods: dict[str, BeginAuthentication] = attrs.field(
        factory=dict[str, BeginAuthentication]
    )


def ignore() -> None:
    """Nobody waits here."""


def make_broker(limits: ServerLimits | None = None) -> Broker:
    return Broker(
        Lenient(limits or ServerLimits()), PacketLog(100, ignore), History(ignore), ignore
    )


class Peer:
    """A client without I/O: what it sends is handled at once."""

    def __init__(self, broker: Broker, connect: Connect, protocol: Protocol = MQTT_5) -> None:
        self.connection = Connection(broker, ignore, 0)
        self.protocol = protocol
        self._reader = PacketReader(protocol)
        self.send(connect)
        self.packets = deque(self.receive())
        self.packets.popleft()  # CONNACK

    def send(self, packet: Packet) -> None:
        self.send_bytes(encode(packet, self.protocol))

    def send_bytes(self, data: bytes) -> None:
        self.connection.receive_data(data)
        while self.connection.handle_packets(0):
            pass

    def receive(self) -> Iterator[Packet]:
        while data := self.connection.outbox.take(0):
            self._reader.feed(data)
            while packets := self._reader.read_packets():
                yield from packets


PACKETS: list[Packet] = [
    Publish("t", b"payload"),
    Publish("t", b"payload", 2, packet_id=3, properties=Properties(content_type="x")),
    PubRel(3),
    PubRec(1),
    PubComp(1),
    Subscribe(7, (SubscriptionRequest("t/#", 2), SubscriptionRequest("$share/g/t", 1))),
    Unsubscribe(8, ("t/#",)),
    PingReq(),
]


@st.composite
def damaged(draw: st.DrawFn, protocol: Protocol) -> bytes:
    """Some packets with some bytes replaced."""
    packets = draw(st.lists(st.sampled_from(PACKETS), min_size=1, max_size=5))
    if protocol is not MQTT_5:
        packets = [
            attrs.evolve(packet, properties=Properties()) if isinstance(packet, Publish) else packet
            for packet in packets
        ]
    data = bytearray(b"".join(encode(packet, protocol) for packet in packets))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@examples(300)
@given(protocol=st.sampled_from([MQTT_3_1_1, MQTT_5]), data=st.data())
def test_nothing_that_a_client_sends_breaks_the_server(
    protocol: Protocol, data: st.DataObject
) -> None:
    broker = make_broker()
    peer = Peer(broker, Connect("c", keep_alive=0), protocol)
    peer.send_bytes(data.draw(damaged(protocol) | st.binary(max_size=50)))
    list(peer.receive())  # what the server sends can be read
    other = Peer(broker, Connect("d", keep_alive=0))
    other.send(PingReq())
    assert len(list(other.receive())) == 1


@examples(300)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x10" + rest))
def test_nothing_that_comes_first_breaks_the_server(data: bytes) -> None:
    connection = Connection(make_broker(), ignore, 0)
    connection.receive_data(data)
    while connection.handle_packets(0):
        pass
    assert connection.outbox.take(0)[:1] in (b"", b"\x20")


levels = st.sampled_from(["a", "b", "$x", "", "longer"])
topics = st.lists(levels, min_size=1, max_size=3).map("/".join).filter(bool)
any_levels = st.lists(levels | st.just("+"), min_size=1, max_size=3).map("/".join)
filters = (any_levels | any_levels.map("{}/#".format) | st.just("#")).filter(bool)


@given(st.dictionaries(filters, st.sampled_from("cde"), max_size=8), topics, st.data())
def test_messages_go_where_the_filters_match(
    subscriptions: dict[str, str], topic: str, data: st.DataObject
) -> None:
    index = SubscriptionIndex()
    for topic_filter, client_id in subscriptions.items():
        index.set(client_id, Subscription(topic_filter=topic_filter, qos=0))
    gone = [name for name in subscriptions if data.draw(st.booleans())]
    for topic_filter in gone:
        subscription = Subscription(topic_filter=topic_filter, qos=0)
        index.remove(subscriptions.pop(topic_filter), subscription)
    found = {
        (client_id, subscription.topic_filter)
        for client_id, matching in index.match(topic).plain.items()
        for subscription in matching
    }
    assert found == {
        (client_id, topic_filter)
        for topic_filter, client_id in subscriptions.items()
        if topic_matches(topic_filter, topic)
    }


def test_a_subscription_that_was_never_made_cannot_be_removed() -> None:
    with pytest.raises(KeyError):
        SubscriptionIndex().remove("c", Subscription(topic_filter="t", qos=0))


class Subscriber:
    """Has a Session, and minds what it may be sent."""

    def __init__(self, receive_maximum: int) -> None:
        self.broker = make_broker()
        self.receive_maximum = receive_maximum
        self.arrived: dict[int, int] = {}  # message: QoS, in the order of first arrival
        self.settled: set[int] = set()
        self.connect()
        self.peer.send(Subscribe(1, (SubscriptionRequest("t", 2),)))
        list(self.peer.receive())

    def connect(self) -> None:
        properties = Properties(session_expiry_interval=100, receive_maximum=self.receive_maximum)
        connect = Connect("c", clean_start=False, keep_alive=0, properties=properties)
        self.peer = Peer(self.broker, connect)
        for packet in self.peer.packets:
            self.mind(packet)

    def read(self) -> None:
        for packet in self.peer.receive():
            self.peer.packets.append(packet)
            self.mind(packet)

    def mind(self, packet: Packet) -> None:
        if isinstance(packet, Publish):
            number = int(packet.payload)
            assert number not in self.settled  # MQTT-4.4.0-1
            assert packet.dup == (number in self.arrived)  # MQTT-3.3.1-1
            self.arrived[number] = packet.qos
        in_flight = sum(isinstance(packet, Publish) for packet in self.peer.packets)
        assert in_flight <= self.receive_maximum  # MQTT-3.3.4-9

    def settle(self) -> None:
        """Answer the oldest packet."""
        if not self.peer.packets:
            return
        packet = self.peer.packets.popleft()
        if isinstance(packet, Publish):
            self.settled.add(int(packet.payload))
            answer = PubAck if packet.qos == 1 else PubRec
            self.peer.send(answer(packet.packet_id))
        elif isinstance(packet, PubRel):
            self.peer.send(PubComp(packet.packet_id))

    def lose_connection(self) -> None:
        self.peer.connection.lost(0)
        self.connect()


@examples(200)
@given(
    st.lists(st.sampled_from(["publish 1", "publish 2", "read", "settle", "break"]), max_size=60),
    st.integers(1, 4),
)
def test_every_message_arrives_in_order_however_often_the_connection_breaks(
    acts: list[str], receive_maximum: int
) -> None:
    subscriber = Subscriber(receive_maximum)
    published = 0
    does = {
        "read": subscriber.read,
        "settle": subscriber.settle,
        "break": subscriber.lose_connection,
    }
    for act in [*acts, *["read", "settle"] * 3 * len(acts)]:
        if act in does:
            does[act]()
        else:
            published += 1
            packet = Publish("t", b"%d" % published, int(act[-1]))
            subscriber.broker.publish(packet, None, 0)
    session = subscriber.broker.sessions["c"]
    assert (session.queued, session.in_flight) == (0, 0)
    assert set(subscriber.arrived) == set(range(1, published + 1))
    for qos in (1, 2):  # MQTT-4.6.0-5
        numbers = [number for number, level in subscriber.arrived.items() if level == qos]
        assert numbers == sorted(numbers)
