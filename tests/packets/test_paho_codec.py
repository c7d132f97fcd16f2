"""Eclipse Paho, an independent client, understands our packets and is understood, in each version.

Its codec is reached through its client: one end of a socket pair is its connection, and the test
holds the other. Nothing waits: what is written is in the socket's buffer when it is read.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode as TheirReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.packets.support import VERSIONS, drain
from tests.packets.test_properties import ROWS, having
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1, MQTT_5, PacketType, Protocol, ReasonCode
from trio_mqtt.packets._properties import read_properties, write_properties
from trio_mqtt.packets._property_table import WILL
from trio_mqtt.packets._tables import REASON_CODES

if TYPE_CHECKING:
    from collections.abc import Generator

R = ReasonCode
TheirProperties: Any = Properties  # untyped
DISPUTED = {
    PacketType.DISCONNECT: {int(R.BAD_AUTHENTICATION_METHOD)},  # Table 3-10 against Table 2-6
    PacketType.CONNACK: {int(R.PAYLOAD_FORMAT_INVALID)},  # which they do not know there
}


class Peer(paho.Client):
    """Their client on one end of a socket pair, with what its callbacks were told."""

    def __init__(self, protocol: Protocol, client_id: str = "c", **options: Any) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion(protocol),
            **options,
        )
        self.version = protocol
        self.ours, self.theirs = socket.socketpair()
        self.told: list[tuple[Any, ...]] = []
        self.reader = p.PacketReader(protocol)
        self.on_connect = self.note
        self.on_subscribe = self.note
        self.on_unsubscribe = self.note
        self.on_publish = self.note
        self.on_message = self.note
        self.on_disconnect = self.note

    def note(self, *told: Any) -> None:
        self.told.append(told[2:])

    def _create_socket(self) -> Any:
        return self.theirs

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def sent(self) -> list[p.Packet]:
        """What they have sent since the last call."""
        self.loop_write()
        self.ours.setblocking(False)  # noqa: FBT003
        try:
            while True:
                data = self.ours.recv(65536)
                if not data:
                    break
                self.reader.feed(data)
        except BlockingIOError:
            pass
        return drain(self.reader)

    def hears(self, *packets: p.Packet) -> list[tuple[Any, ...]]:
        """What they make of packets of ours."""
        self.told.clear()
        self.ours.sendall(b"".join(p.encode(packet, self.version) for packet in packets))
        for _ in packets:
            assert self.loop_read() == paho.MQTT_ERR_SUCCESS
        return self.told.copy()

    def start(self) -> None:
        """Connect, and be done with it."""
        self.connect("test", 1883)
        assert isinstance(self.sent()[0], p.Connect)
        self.hears(p.ConnAck())


def make(protocol: Protocol) -> Generator[Peer]:
    made = Peer(protocol)
    made.start()
    yield made
    made.close()


@pytest.fixture(params=VERSIONS, ids=lambda version: version.title)
def peer(request: pytest.FixtureRequest) -> Generator[Peer]:
    yield from make(request.param)


@pytest.fixture
def peer_5() -> Generator[Peer]:
    yield from make(MQTT_5)


def theirs(packet_type: int, **values: object) -> Any:
    made = TheirProperties(packet_type)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("protocol", VERSIONS)
def test_we_read_their_connect(protocol: Protocol) -> None:
    five = protocol is MQTT_5
    sessions: dict[str, Any] = {} if five else {"clean_session": False}
    peer = Peer(protocol, "their-id", **sessions)
    peer.username_pw_set("user", "pass")
    will_properties = theirs(PacketTypes.WILLMESSAGE, WillDelayInterval=9) if five else None
    peer.will_set("will/topic", b"gone", 1, retain=True, properties=will_properties)
    options: dict[str, Any] = {}
    if five:
        options["clean_start"] = False
        options["properties"] = theirs(
            PacketTypes.CONNECT,
            SessionExpiryInterval=100,
            ReceiveMaximum=7,
            UserProperty=[("b", "1"), ("a", "2")],
        )
    peer.connect("test", keepalive=33, **options)
    peer.reader = p.PacketReader(None)
    assert peer.sent() == [
        p.Connect(
            "their-id",
            clean_start=False,
            keep_alive=33,
            username="user",
            password=b"pass",
            will=p.WillMessage(
                "will/topic",
                b"gone",
                1,
                retain=True,
                properties=p.Properties(will_delay_interval=9) if five else p.NO_PROPERTIES,
            ),
            properties=p.Properties(
                session_expiry_interval=100,
                receive_maximum=7,
                user_properties=(("b", "1"), ("a", "2")),
            )
            if five
            else p.NO_PROPERTIES,
        )
    ]
    assert peer.reader.protocol is protocol
    peer.close()


@pytest.mark.parametrize("protocol", VERSIONS)
def test_we_read_their_plain_connect(protocol: Protocol) -> None:
    peer = Peer(protocol)
    peer.connect("test")
    assert peer.sent() == [p.Connect("c")]
    peer.close()


@pytest.mark.parametrize("code", [R.SUCCESS, R.NOT_AUTHORIZED, R.BAD_USER_NAME_OR_PASSWORD])
@pytest.mark.parametrize("protocol", VERSIONS)
def test_they_read_our_connack(protocol: Protocol, code: ReasonCode) -> None:
    peer = Peer(protocol)
    peer.connect("test")
    peer.sent()
    present = protocol is not MQTT_3_1 and code is R.SUCCESS
    properties = p.NO_PROPERTIES
    if protocol is MQTT_5:
        properties = p.Properties(topic_alias_maximum=3, reason_string="because", maximum_qos=1)
    peer.ours.sendall(p.encode(p.ConnAck(present, code, properties), protocol))
    peer.loop_read()
    flags, reason, received = peer.told[0]
    assert flags.session_present == present
    assert reason.value == code
    if protocol is MQTT_5:
        assert received.TopicAliasMaximum == 3
        assert received.ReasonString == "because"
        assert received.MaximumQoS == 1
    else:
        assert received.isEmpty()
    peer.close()


PAYLOAD = bytes(range(256)) * 3


def test_we_read_their_publish(peer: Peer) -> None:
    for qos, retain in ((0, False), (1, True), (2, False)):
        properties, ours = None, p.NO_PROPERTIES
        if peer.version is MQTT_5:
            properties = theirs(
                PacketTypes.PUBLISH,
                PayloadFormatIndicator=0,
                MessageExpiryInterval=60,
                ContentType="t/p",
                ResponseTopic="answer",
                CorrelationData=b"\0\1",
                TopicAlias=5,
                UserProperty=[("k", "v"), ("k", "v")],
            )
            ours = p.Properties(
                payload_format_indicator=0,
                message_expiry_interval=60,
                content_type="t/p",
                response_topic="answer",
                correlation_data=b"\0\1",
                topic_alias=5,
                user_properties=(("k", "v"), ("k", "v")),
            )
        info = peer.publish("top/ic", PAYLOAD, qos, retain=retain, properties=properties)
        wanted = p.Publish("top/ic", PAYLOAD, qos, retain, packet_id=info.mid if qos else 0)
        wanted.properties = ours
        assert peer.sent() == [wanted]


def test_they_read_our_publish_and_we_their_acknowledgements(peer: Peer) -> None:
    for qos in (0, 1, 2):
        properties = p.NO_PROPERTIES
        if peer.version is MQTT_5:
            properties = p.Properties(
                message_expiry_interval=5,
                content_type="text",
                correlation_data=b"\xff",
                subscription_identifiers=(1, 200, 268_435_455),
                user_properties=(("z", "1"), ("a", "2")),
            )
        packet = p.Publish("b\u00e9", PAYLOAD, qos, True, qos > 0, 300 if qos else 0, properties)  # noqa: FBT003
        told = peer.hears(packet)
        if qos == 2:
            assert peer.sent() == [p.PubRec(300)]
            told = peer.hears(p.PubRel(300))
        assert peer.sent() == [[], [p.PubAck(300)], [p.PubComp(300)]][qos]
        ((message,),) = told
        assert message.topic == "b\u00e9"
        assert message.payload == PAYLOAD
        assert (message.qos, message.retain, message.dup) == (qos, True, qos > 0)
        if peer.version is MQTT_5:
            received = message.properties
            assert received.MessageExpiryInterval == 5
            assert received.ContentType == "text"
            assert received.CorrelationData == b"\xff"
            assert received.SubscriptionIdentifier == [1, 200, 268_435_455]
            assert received.UserProperty == [("z", "1"), ("a", "2")]


def test_they_read_our_acknowledgements(peer: Peer) -> None:
    first = peer.publish("t", b"1", 1).mid
    second = peer.publish("t", b"2", 2).mid
    peer.sent()
    told = peer.hears(p.PubAck(first), p.PubRec(second))
    assert [(mid, reason.value) for mid, reason, _ in told] == [(first, 0)]
    assert peer.sent() == [p.PubRel(second)]
    told = peer.hears(p.PubComp(second))
    assert [(mid, reason.value) for mid, reason, _ in told] == [(second, 0)]


def test_they_read_our_refusals(peer_5: Peer) -> None:
    first = peer_5.publish("t", b"1", 1).mid
    peer_5.sent()
    properties = p.Properties(reason_string="full", user_properties=(("k", "v"),))
    ((mid, reason, received),) = peer_5.hears(p.PubAck(first, R.QUOTA_EXCEEDED, properties))
    assert (mid, reason.value) == (first, R.QUOTA_EXCEEDED)
    assert received.ReasonString == "full"
    assert received.UserProperty == [("k", "v")]


def test_subscribing(peer: Peer) -> None:
    if peer.version is MQTT_5:
        options: Any = SubscribeOptions(
            qos=1, noLocal=True, retainAsPublished=True, retainHandling=2
        )
        result = peer.subscribe(
            [("a/+", options), ("$share/g/b", SubscribeOptions(qos=2))],
            properties=theirs(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=300),
        )
        requests = (
            p.SubscriptionRequest(
                "a/+", 1, no_local=True, retain_as_published=True, retain_handling=2
            ),
            p.SubscriptionRequest("$share/g/b", 2),
        )
        properties = p.Properties(subscription_identifiers=(300,))
    else:
        result = peer.subscribe([("a/+", 1), ("#", 2)])
        requests = (p.SubscriptionRequest("a/+", 1), p.SubscriptionRequest("#", 2))
        properties = p.NO_PROPERTIES
    mid = result[1]
    assert mid is not None
    assert peer.sent() == [p.Subscribe(mid, requests, properties)]
    answer = p.SubAck(mid, (R.GRANTED_QOS_1, R.UNSPECIFIED_ERROR))
    ((told, codes, _),) = peer.hears(answer)
    assert told == mid
    assert [code.value for code in codes] == [1, 0x80]


def test_unsubscribing(peer: Peer) -> None:
    mid = peer.unsubscribe(["a/+", "#"])[1]
    assert mid is not None
    assert peer.sent() == [p.Unsubscribe(mid, ("a/+", "#"))]
    codes = (R.SUCCESS, R.NO_SUBSCRIPTION_EXISTED) if peer.version is MQTT_5 else ()
    ((told, received, _),) = peer.hears(p.UnsubAck(mid, codes))
    assert told == mid
    if peer.version is MQTT_5:
        assert [code.value for code in received] == list(codes)


def test_pings(peer: Peer) -> None:
    assert peer.hears(p.PingReq()) == []
    assert peer.sent() == [p.PingResp()]
    assert peer.hears(p.PingResp()) == []


def test_they_disconnect(peer: Peer) -> None:
    reason = properties = None
    wanted = p.Disconnect()
    if peer.version is MQTT_5:
        reason = TheirReasonCode(PacketTypes.DISCONNECT, identifier=4)
        properties = theirs(PacketTypes.DISCONNECT, SessionExpiryInterval=3, ReasonString="bye")
        wanted = p.Disconnect(
            R.DISCONNECT_WITH_WILL_MESSAGE,
            p.Properties(session_expiry_interval=3, reason_string="bye"),
        )
    peer.disconnect(reason, properties)
    assert peer.sent() == [wanted]


def test_we_disconnect(peer_5: Peer) -> None:
    properties = p.Properties(server_reference="elsewhere", reason_string="moved")
    peer_5.ours.sendall(p.encode(p.Disconnect(R.SERVER_MOVED, properties), MQTT_5))
    peer_5.loop_read()
    _flags, reason, received = peer_5.told[-1]
    assert reason.value == R.SERVER_MOVED
    assert received.ServerReference == "elsewhere"
    assert received.ReasonString == "moved"


PLACES = [(row.name, place) for row in ROWS for place in row.places.split()]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_properties_in_each_packet(name: str, place: str) -> None:
    """Theirs from ours, and ours from theirs, AUTH included, which their client does not send."""
    row = next(row for row in ROWS if row.name == name)
    if name == "maximum_packet_size":
        row = row._replace(value=268_435_455)  # they allow no more
    title = next(one.title for one in p.PROPERTY_TABLE if one.name == name)
    attribute = title.replace(" ", "")
    where = PacketTypes.WILLMESSAGE if place == "W" else int(PacketType[place])
    listed = isinstance(row.value, tuple)
    written = having({name: row.value})
    block = write_properties(written, WILL if place == "W" else PacketType[place])

    received = TheirProperties(where)
    assert received.unpack(block)[1] == len(block)
    value = getattr(received, attribute)
    assert value == (list(row.value) if listed else row.value)

    made = theirs(where, **{attribute: row.value[0] if listed else row.value})
    packed = made.pack()
    place_number = WILL if place == "W" else PacketType[place]
    assert read_properties(packed, 0, len(packed), place_number) == (written, len(packed))


@pytest.mark.parametrize("packet_type", REASON_CODES)
def test_reason_codes_in_each_packet(packet_type: PacketType) -> None:
    """They allow the same ones, but for two."""
    allowed: set[int] = set()
    for code in range(256):
        try:
            TheirReasonCode(int(packet_type), identifier=code)
        except (KeyError, ValueError, AssertionError):  # varies with their version
            continue
        allowed.add(code)
    assert allowed ^ set(REASON_CODES[packet_type]) <= DISPUTED.get(packet_type, set())
