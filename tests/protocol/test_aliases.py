"""Topic Aliases of what we send: the peer finds every Topic Name, and bytes are saved."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.support import Wire, outgoing
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5
from trio_mqtt._protocol.aliases import MOST_ALIASES, TopicAliases
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import ConnAck, Connect, Packet, Properties, PubAck, Publish, encode
from trio_mqtt.packets._encoder import encode_publish_properties

LONG: Final = "a/long/topic"


def granting(
    maximum: int | None,
    *,
    session: SessionState | None = None,
    present: bool = False,
    maximum_packet_size: int | None = None,
    receive_maximum: int | None = None,
    use: bool = True,
) -> Wire:
    """A connection whose Server allows so many Topic Aliases."""
    properties = Properties(
        topic_alias_maximum=maximum,
        maximum_packet_size=maximum_packet_size,
        receive_maximum=receive_maximum,
    )
    return Wire(
        connect=Connect("c", clean_start=not present),
        connack=ConnAck(present, properties=properties),
        session=session,
        use_topic_aliases=use,
    )


def message(
    topic: str, payload: bytes = b"", properties: Properties | None = None
) -> OutgoingMessage:
    made = outgoing(0, payload, topic=topic)
    if properties is not None:
        made.properties = encode_publish_properties(properties)
    return made


def send(wire: Wire, *topics: str) -> list[tuple[str, int | None]]:
    """Publish at QoS 0, and return Topic Name and Topic Alias of each PUBLISH."""
    for topic in topics:
        wire.connection.sender.send(message(topic))
    return what_was_sent(wire)


def what_was_sent(wire: Wire) -> list[tuple[str, int | None]]:
    sent: list[tuple[str, int | None]] = []
    for packet in wire.sent():
        assert isinstance(packet, Publish)
        sent.append((packet.topic, packet.properties.topic_alias))
    return sent


def test_a_topic_gets_an_alias_at_its_second_use() -> None:
    wire = granting(10)
    assert send(wire, *[LONG] * 4) == [(LONG, None), (LONG, 1), ("", 1), ("", 1)]


def test_a_topic_used_once_gets_none() -> None:
    wire = granting(10)
    topics = [f"device/{number}/state" for number in range(50)]
    assert send(wire, *topics) == [(topic, None) for topic in topics]


def test_a_topic_that_an_alias_makes_no_shorter_gets_none() -> None:
    wire = granting(10)
    assert send(wire, *["t/abc"] * 9) == [("t/abc", None)] * 9
    assert send(wire, *["t/abcd"] * 3) == [("t/abcd", None), ("t/abcd", 1), ("", 1)]


@pytest.mark.parametrize("maximum", [None, 0])
def test_none_is_used_where_the_server_allows_none(maximum: int | None) -> None:
    assert send(granting(maximum), *[LONG] * 5) == [(LONG, None)] * 5


def test_none_is_used_if_we_do_not_want_to() -> None:
    assert send(granting(10, use=False), *[LONG] * 5) == [(LONG, None)] * 5


def test_none_is_used_below_5() -> None:
    wire = Wire(MQTT_3_1_1, use_topic_aliases=True)
    for _ in range(3):
        wire.connection.sender.send(outgoing(0, protocol=MQTT_3_1_1, topic=LONG))
    assert what_was_sent(wire) == [(LONG, None)] * 3


def test_no_alias_is_above_the_maximum() -> None:
    wire = granting(3)
    topics = [f"device/{number}/state" for number in range(9)]
    sent = send(wire, *topics, *topics, *topics)
    assert {alias for _, alias in sent} == {None, 1, 2, 3}
    assert granting(65_535).connection.sender.aliases is not None
    many = [f"device/{number}/state" for number in range(MOST_ALIASES + 5)]
    sent = send(granting(65_535), *many, *many)
    assert max(alias or 0 for _, alias in sent) == MOST_ALIASES


def test_the_alias_unused_longest_goes_to_a_topic_that_is_used_more() -> None:
    wire = granting(2)
    one, two, three = "device/1/state", "device/2/state", "device/3/state"
    send(wire, one, one, two, two)
    assert send(wire, one) == [("", 1)]
    # Both were used after the first use of `three`, so that it takes none away ...
    assert send(wire, three, one, two, three) == [(three, None), ("", 1), ("", 2), (three, None)]
    # ... until it is used twice while `one` is not.
    assert send(wire, three, two, one) == [(three, 1), ("", 2), (one, None)]


def test_it_is_the_use_that_counts_not_when_the_alias_was_given() -> None:
    wire = granting(2)
    one, two, three = "device/1/state", "device/2/state", "device/3/state"
    send(wire, one, one, two, two, one)
    assert send(wire, three, three, one) == [(three, None), (three, 2), ("", 1)]


def test_a_cycle_of_too_many_topics_keeps_the_aliases_where_they_are() -> None:
    wire = granting(10)
    topics = [f"device/{number}/state" for number in range(11)]
    send(wire, *topics, *topics)
    assert (
        send(wire, *topics * 3)
        == [*[("", number) for number in range(1, 11)], (topics[10], None)] * 3
    )


def test_a_topic_that_lost_its_alias_gets_one_as_it_is_used_again() -> None:
    wire = granting(1)
    one, two = "device/1/state", "device/2/state"
    assert send(wire, one, one, two, two) == [(one, None), (one, 1), (two, None), (two, 1)]
    assert send(wire, one, one, one) == [(one, None), (one, 1), ("", 1)]


def test_uses_long_ago_are_forgotten() -> None:
    wire = granting(1)
    others = [f"device/{number}/state" for number in range(64)]
    send(wire, LONG, *others[:63])
    assert send(wire, LONG) == [(LONG, 1)]
    wire = granting(1)
    send(wire, LONG, *others)
    assert send(wire, LONG) == [(LONG, None)]


def test_an_alias_holds_for_one_connection_only() -> None:
    wire = granting(10)
    send(wire, *[LONG] * 5)
    again = granting(10, session=wire.session)
    assert send(again, *[LONG] * 3) == [(LONG, None), (LONG, 1), ("", 1)]


def test_what_is_sent_again_has_its_full_topic() -> None:
    wire = granting(10)
    for _ in range(4):
        wire.session.accept(outgoing(1, topic=LONG))
    wire.connection.sender.pump()
    assert what_was_sent(wire)[-1] == ("", 1)
    wire.connection.end()
    again = granting(10, session=wire.session, present=True)
    again.connection.sender.pump()
    packets = again.sent()
    assert [(each.topic, each.dup) for each in packets if isinstance(each, Publish)] == [
        (LONG, True)
    ] * 4
    for packet_id in range(1, 5):
        again.feed(PubAck(packet_id))
    assert send(again, *[LONG] * 3) == [(LONG, None), (LONG, 1), ("", 1)]


@pytest.mark.parametrize("length", [0, 5, 124, 125, 126, 127, 128, 200, 16_381, 16_384])
def test_the_alias_stands_behind_the_other_properties(length: int) -> None:
    wire = granting(10)
    # A name and a value with their lengths, and the identifier, take five bytes.
    pair = ("n", "v" * (length - 6)) if length > 5 else ("", "")
    properties = Properties(user_properties=(pair,) if length else ())
    for _ in range(3):
        wire.connection.sender.send(message(LONG, b"payload", properties))
    sent = wire.sent()
    assert [each.topic for each in sent if isinstance(each, Publish)] == [LONG, LONG, ""]
    for packet in sent:
        assert isinstance(packet, Publish)
        assert packet.payload == b"payload"
        assert packet.properties.user_properties == properties.user_properties


def test_giving_an_alias_does_not_make_a_packet_too_large() -> None:
    plain = len(encode(Publish(LONG, bytes(50)), MQTT_5))
    wire = granting(10, maximum_packet_size=plain)
    for _ in range(4):
        wire.connection.sender.send(message(LONG, bytes(50)))
    assert what_was_sent(wire) == [(LONG, None)] * 4
    for size in (40, 40, 50):
        wire.connection.sender.send(message(LONG, bytes(size)))
    assert what_was_sent(wire) == [(LONG, None), (LONG, 1), ("", 1)]


def test_savings_are_counted() -> None:
    aliases = TopicAliases(1, 1000)
    field = b"\0\x0c" + LONG.encode()
    assert aliases.apply(field, b"\0", 0) == (field, b"\0")
    assert aliases.apply(field, b"\0", 0) == (field, b"\x03\x23\0\x01")
    assert aliases.saved == -3
    assert aliases.apply(field, b"\0", 0) == (b"\0\0", b"\x03\x23\0\x01")
    assert aliases.saved == -3 + len(LONG) - 3


class Resolver:
    """A Server's side of it, by the letter of 3.3.2.3.4."""

    def __init__(self, maximum: int, most_bytes: int) -> None:
        self._maximum = maximum
        self._most_bytes = most_bytes
        self._topics: dict[int, str] = {}
        self.saved = 0

    def take(self, packet: Packet) -> str:
        assert isinstance(packet, Publish)
        assert len(encode(packet, MQTT_5)) <= self._most_bytes
        alias = packet.properties.topic_alias
        if alias is None:
            return packet.topic
        assert not packet.dup
        assert 1 <= alias <= self._maximum
        self.saved -= 3
        if packet.topic:
            self._topics[alias] = packet.topic
        else:
            self.saved += len(self._topics[alias])
        return self._topics[alias]


TOPICS: Final = [f"{'x' * number}/{number}" for number in range(12)]
PAYLOADS: Final = st.sampled_from([0, 3, 60, 99, 120])


@given(
    maximum=st.integers(0, 4),
    most_bytes=st.integers(150, 200),
    window=st.integers(1, 3),
    lives=st.lists(
        st.lists(
            st.tuples(st.sampled_from(TOPICS), st.integers(0, 1), PAYLOADS, st.booleans()),
            max_size=60,
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_the_peer_finds_every_topic(
    maximum: int,
    most_bytes: int,
    window: int,
    lives: list[list[tuple[str, int, int, bool]]],
) -> None:
    session = SessionState()
    for number, life in enumerate(lives):
        wire = granting(
            maximum,
            session=session,
            present=number > 0,
            maximum_packet_size=most_bytes,
            receive_maximum=window,
        )
        resolver = Resolver(maximum, most_bytes)
        sender = wire.connection.sender
        expected = [each.topic for each in session.messages() if each.packet_id]
        sender.pump()
        sent = wire.sent()
        waiting = [each.topic for each in session.messages() if not each.packet_id]
        assert [resolver.take(each) for each in sent][: len(expected)] == expected[: len(sent)]
        for topic, qos, size, acknowledged in life:
            made = outgoing(qos, bytes(size), topic=topic)
            if qos:
                session.accept(made)
                waiting.append(topic)
                sender.pump()
            else:
                sender.send(made)
            for packet in wire.sent():
                assert isinstance(packet, Publish)
                found = resolver.take(packet)
                if not packet.qos:
                    assert found == topic
                elif not packet.dup:
                    assert found == waiting.pop(0)
                else:
                    assert packet.topic == found
            oldest = next(iter(session.identifiers.holders()), None)
            if acknowledged and isinstance(oldest, OutgoingMessage):
                wire.feed(PubAck(oldest.packet_id))
        if sender.aliases is not None:
            assert sender.aliases.saved == resolver.saved
        wire.connection.end()


@given(
    topics=st.lists(st.sampled_from(TOPICS), max_size=200),
    maximum=st.integers(1, 4),
)
def test_aliases_cost_little_and_save_where_a_topic_stays(topics: list[str], maximum: int) -> None:
    wire = granting(maximum)
    resolver = Resolver(maximum, 1000)
    for topic in topics:
        wire.connection.sender.send(message(topic))
    given_out = 0
    uses: dict[str, int] = {}
    for packet, topic in zip(wire.sent(), topics, strict=True):
        assert isinstance(packet, Publish)
        assert resolver.take(packet) == topic
        uses[topic] = uses.get(topic, 0) + 1
        if packet.topic and packet.properties.topic_alias is not None:
            given_out += 1
            assert uses[topic] > 1
    assert resolver.saved >= -3 * given_out
    assert given_out <= len(topics) // 2


def test_what_waits_for_the_disk_leaves_in_the_order_in_which_aliases_were_given() -> None:
    wire = granting(10)
    output, sender = wire.connection.output, wire.connection.sender
    sender.send(message(LONG))
    output.append(encode(PubAck(1), MQTT_5), after=1)
    sender.send(message(LONG))
    sender.send(message(LONG))
    assert what_was_sent(wire) == [(LONG, None)]
    output.commit(1)
    assert [each for each in wire.sent() if isinstance(each, Publish)] == [
        Publish(LONG, properties=Properties(topic_alias=1)),
        Publish("", properties=Properties(topic_alias=1)),
    ]


@pytest.mark.parametrize("left", range(7))
@pytest.mark.parametrize("largest", [100, 127, 128, 129, 130, 131, 150, 16_384, 16_390, 16_400])
def test_no_alias_takes_a_packet_beyond_what_the_server_takes(largest: int, left: int) -> None:
    """At the second use, for the bytes that are left where the packet has none."""
    wire = granting(10, maximum_packet_size=largest)
    plain = Publish(LONG, b"", 1, packet_id=1)
    size = largest - left - len(encode(plain, MQTT_5)) - (largest > 129) - (largest > 16_386)
    for payload in (b"", bytes(size)):
        message = outgoing(1, payload, topic=LONG)
        assert len(encode(Publish(LONG, payload, 1, packet_id=1), MQTT_5)) <= largest
        assert wire.connection.sender.send_at_once(message)
        assert sum(map(len, wire.connection.output.take())) <= largest
