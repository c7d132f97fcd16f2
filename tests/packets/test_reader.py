"""How PacketReader takes bytes apart: chunks, limits, versions and errors in the middle."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packets.support import OLD_VERSIONS, drain, forbidden, malformed, read_all, refused
from tests.packets.test_examples import ROWS
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import MalformedPacket, RemoteProtocolError
from trio_mqtt.packets._runs import PublishRun

TOO_LARGE = ReasonCode.PACKET_TOO_LARGE


def test_a_length_ends_where_it_ends_although_the_body_looks_like_more_of_it() -> None:
    """The body begins with a byte above 127, which must not be taken for part of the length."""
    reader = p.PacketReader(MQTT_5, maximum_packet_size=100)
    reader.feed(bytes.fromhex("30 80 01 FF"))
    with pytest.raises(RemoteProtocolError):
        reader.read_packets()
    assert refused(bytes.fromhex("E0 81 00 80")) == malformed("MQTT-1.5.5-1")


@pytest.mark.parametrize("count", range(120, 130))
def test_a_length_of_one_byte_is_not_taken_for_two(count: int) -> None:
    """The body begins with a byte that could end a longer length."""
    packet = p.SubAck(0x0102, (ReasonCode.SUCCESS,) * count)
    assert read_all(p.encode(packet, MQTT_5)) == [packet]


def test_the_version_of_a_connection_does_not_change() -> None:
    """What was remembered of one version must never be taken for another's."""
    connects = {protocol: p.encode(p.Connect("c"), protocol) for protocol in (MQTT_3_1_1, MQTT_5)}
    alias = p.Publish("", properties=p.Properties(topic_alias=1))
    reader = p.PacketReader(None)
    reader.feed(connects[MQTT_5] + p.encode(alias, MQTT_5) + connects[MQTT_3_1_1] + b"\x30\2\0\0")
    assert reader.read_packets() == [p.Connect("c"), alias]
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read_packets()
    assert caught.value.statement == "MQTT-3.1.0-2"
    assert refused(connects[MQTT_3_1_1], MQTT_5) == forbidden("MQTT-3.1.0-2")
    assert read_all(connects[MQTT_5] * 2, MQTT_5) == [p.Connect("c")] * 2


def test_the_version_is_known_once_a_connect_names_it_even_if_it_is_wrong_otherwise() -> None:
    """So that the CONNACK that refuses it can be one that the Client understands."""
    reader = p.PacketReader(None)
    reader.feed(bytes.fromhex("10 0C 00044D515454 04 FF 0000 0000"))
    with pytest.raises(RemoteProtocolError):
        reader.read_packets()
    assert reader.protocol is MQTT_3_1_1


def test_nothing_fed_is_nothing_read() -> None:
    reader = p.PacketReader()
    assert reader.protocol is MQTT_5
    assert reader.read_packets() == []
    reader.feed(b"")
    assert reader.read_packets() == []
    assert reader.buffered == 0


def test_packets_in_front_of_a_malformed_one_come_first() -> None:
    for _, text in ROWS[MQTT_5]:
        good = bytes.fromhex(text)
        reader = p.PacketReader(MQTT_5)
        reader.feed(good * 2 + bytes.fromhex("C1 00") + good)
        assert len(reader.read_packets()) == 2
        errors: list[MalformedPacket] = []
        for _ in range(3):
            with pytest.raises(MalformedPacket) as caught:
                reader.read_packets()
            errors.append(caught.value)
        assert errors[0] is errors[1] is errors[2]
        assert errors[0].statement == "MQTT-2.1.3-1"


def test_an_error_at_the_limit_waits_its_turn() -> None:
    reader = p.PacketReader(MQTT_5)
    reader.feed(bytes.fromhex("C000 D000 C100"))
    assert reader.read_packets(2) == [p.PingReq(), p.PingResp()]
    assert reader.buffered == 2
    with pytest.raises(MalformedPacket):
        reader.read_packets(2)


def test_what_comes_behind_an_error_is_not_kept() -> None:
    reader = p.PacketReader(MQTT_5)
    reader.feed(bytes.fromhex("C000 C100 C000"))
    assert reader.read_packets() == [p.PingReq()]
    for _ in range(2):
        assert reader.buffered == 0
        reader.feed(bytes.fromhex("C000"))
        with pytest.raises(MalformedPacket):
            reader.read_packets()


def test_an_error_raised_again_does_not_collect_tracebacks() -> None:
    reader = p.PacketReader(MQTT_5)
    reader.feed(b"\0\0")
    depths: list[int] = []
    for _ in range(5):
        with pytest.raises(MalformedPacket) as caught:
            reader.read_packets()
        depths.append(len(caught.traceback))
    assert depths[1:] == [depths[1]] * 4


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 256])
def test_a_limit_cuts_and_loses_nothing(limit: int) -> None:
    packets = [row[0] for row in ROWS[MQTT_5]]
    reader = p.PacketReader(MQTT_5)
    reader.feed(b"".join(bytes.fromhex(row[1]) for row in ROWS[MQTT_5]))
    found: list[p.Packet] = []
    while some := reader.read_packets(limit):
        assert len(some) == min(limit, len(packets) - len(found))
        found += some
    assert found == packets


def test_feeding_goes_on_between_limited_reads() -> None:
    """The rest of an earlier chunk and the chunks behind it stay in order."""
    data = b"".join(p.encode(p.Publish("t", bytes((n,))), MQTT_5) for n in range(200))
    reader = p.PacketReader(MQTT_5)
    found: list[p.Packet] = []
    for start in range(0, len(data), 33):
        reader.feed(data[start : start + 33])
        found += reader.read_packets(3)
    found += drain(reader)
    assert found == [p.Publish("t", bytes((n,))) for n in range(200)]


def test_maximum_packet_size_is_the_whole_packet() -> None:
    packet = p.Publish("t", bytes(200))
    data = p.encode(packet, MQTT_5)
    reader = p.PacketReader(MQTT_5, maximum_packet_size=len(data))
    reader.feed(data)
    assert reader.read_packets() == [packet]
    reader.maximum_packet_size = len(data) - 1
    reader.feed(data)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read_packets()
    assert caught.value.reason_code is TOO_LARGE
    assert caught.value.statement == "MQTT-3.1.2-24"


@pytest.mark.parametrize("header", ["30 7F", "32 8001", "82 FFFF7F", "10 FFFFFF7F", "C0 8080 8001"])
def test_maximum_packet_size_counts_before_the_body_has_come(header: str) -> None:
    data = bytes.fromhex(header)
    for whole in (True, False):
        reader = p.PacketReader(MQTT_5, maximum_packet_size=100)
        for byte in data[:-1]:
            reader.feed(bytes((byte,)))
            if not whole:
                assert reader.read_packets() == []
        reader.feed(data[-1:])
        with pytest.raises(RemoteProtocolError) as caught:
            reader.read_packets()
        assert caught.value.reason_code is TOO_LARGE


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
def test_maximum_packet_size_is_no_statement_below_mqtt_5(protocol: Protocol) -> None:
    reader = p.PacketReader(protocol, maximum_packet_size=10)
    reader.feed(b"\x30\x0a")
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read_packets()
    assert (caught.value.reason_code, caught.value.statement) == (TOO_LARGE, None)


def test_the_class_of_publish_can_be_chosen() -> None:
    @attrs.define
    class Mine(p.Publish):
        taken: bool = False

    reader = p.PacketReader(MQTT_5, publish_type=Mine)
    sent = p.Publish("t", b"x", 2, True, True, 9, p.Properties(topic_alias=4))  # noqa: FBT003
    reader.feed(p.encode(sent, MQTT_5))
    (packet,) = reader.read_packets()
    assert isinstance(packet, Mine)
    assert packet == Mine("t", b"x", 2, True, True, 9, sent.properties)  # noqa: FBT003
    assert not packet.taken


@pytest.mark.parametrize(("width", "most"), [(5, 16_384), (70, 1024)], ids=["short", "middling"])
def test_more_topics_and_properties_than_are_remembered(width: int, most: int) -> None:
    """What was forgotten is read anew, and long ones are never remembered."""
    sent = [
        p.Publish(
            f"{n:0{width}}", b"", properties=p.Properties(correlation_data=b"%0*d" % (width, n))
        )
        for n in range(most + 100)
    ]
    long = p.Publish("x" * 300, b"", properties=p.Properties(content_type="y" * 300))
    data = b"".join(p.encode(packet, MQTT_5) for packet in [long, *sent, long])
    reader = p.PacketReader(MQTT_5)
    for _ in range(2):
        reader.feed(data)
        assert drain(reader) == [long, *sent, long]
    assert 100 <= len(reader._topics) <= most
    assert 100 <= len(reader._property_blocks) <= most
    assert max(map(len, reader._topics)) <= 256
    assert max(map(len, reader._property_blocks)) <= 256


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1])
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("changes", [1, 10, 100])
def test_topics_that_are_those_of_the_packet_before_and_others(
    protocol: Protocol, qos: int, changes: int
) -> None:
    """However many there were before; of two lengths, and one the beginning of another."""
    names = [f"{number % 7}" * (1 + number % 3) for number in range(changes)]
    topics = [name for name in [*names, *reversed(names)] for _ in range(2)]
    publishes = [p.Publish(topic, topic.encode(), qos, packet_id=qos) for topic in topics]
    assert read_all(b"".join(p.encode(each, protocol) for each in publishes), protocol) == publishes


@pytest.mark.parametrize("packet_class", [p.PubAck, p.PubRec, p.PubRel, p.PubComp])
@pytest.mark.parametrize("protocol", Protocol)
def test_an_acknowledgement_that_comes_alone(
    packet_class: type[p.PubAck], protocol: Protocol
) -> None:
    """In parts or at once, and with something behind it that needs fewer bytes."""
    packet = packet_class(0x1234)
    data = p.encode(packet, protocol)
    for cut in range(len(data)):
        reader = p.PacketReader(protocol)
        reader.feed(data[:cut])
        assert reader.read_packets() == []
        reader.feed(data[cut:])
        if not cut:
            assert reader.read_packets(0) == []
        assert reader.read_packets() == [packet]
        assert reader.buffered == 0
        reader.feed(p.encode(p.PingResp(), protocol))
        assert reader.read_packets() == [p.PingResp()]


@pytest.mark.parametrize(
    ("data", "protocol", "most", "statement"),
    [
        ("40 02 00 01", MQTT_5, 3, "MQTT-3.1.2-24"),
        ("40 02 00 01", None, None, "MQTT-3.1.0-1"),
        ("40 02 00 00", MQTT_5, None, "2.2.1"),
        ("41 02 00 01", MQTT_5, None, "MQTT-2.1.3-1"),
        ("40 01 00 01", MQTT_5, None, "2.1.4"),
    ],
)
def test_what_is_wrong_with_one_that_comes_alone(
    data: str, protocol: Protocol | None, most: int | None, statement: str
) -> None:
    reader = p.PacketReader(protocol, maximum_packet_size=most)
    reader.feed(bytes.fromhex(data))
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read_packets()
    assert caught.value.statement == statement


@pytest.mark.parametrize("end", ["", " 00", " 80 00"], ids=["short", "code", "properties"])
def test_what_is_wrong_with_one_in_a_row(end: str) -> None:
    """A Packet Identifier of 0, with those in front of it and behind it the same but for theirs."""
    size = 2 + len(bytes.fromhex(end))
    reader = p.PacketReader(MQTT_5)
    row = [f"40 0{size} 00 0{number}{end}" for number in (1, 2, 0, 3)]
    reader.feed(bytes.fromhex(" ".join(row)))
    code = ReasonCode.UNSPECIFIED_ERROR if "80" in end else ReasonCode.SUCCESS
    assert reader.read_packets() == [p.PubAck(1, code), p.PubAck(2, code)]
    with pytest.raises(RemoteProtocolError, match="the Packet Identifier is 0"):
        reader.read_packets()


@pytest.mark.parametrize(("first", "packet_class"), [("40", p.PubAck), ("50", p.PubRec)])
@pytest.mark.parametrize("length", [3, 4], ids=["code", "properties"])
def test_those_in_a_row_that_say_something_else(
    first: str, packet_class: type[p.PubAck | p.PubRec], length: int
) -> None:
    """All take as many bytes; what differs, beside the Packet Identifiers, is the Reason Code."""
    codes = [0x10, 0x97, 0x97, 0x10, 0x00, 0x97]
    end = "00" * (length - 3)
    row = [
        f"{first} 0{length} 000{number} {code:02x} {end}" for number, code in enumerate(codes, 1)
    ]
    packets = [packet_class(number, ReasonCode(code)) for number, code in enumerate(codes, 1)]
    assert read_all(bytes.fromhex(" ".join(row))) == packets


@pytest.mark.parametrize("length", [2, 3, 4], ids=["short", "code", "properties"])
def test_a_row_that_comes_in_two_parts(length: int) -> None:
    end = "97 00"[: 3 * length - 6]
    row = bytes.fromhex(" ".join(f"40 0{length} 000{number} {end}" for number in range(1, 5)))
    before = b"\xd0\0" * 4
    data = before + row
    for cut in range(len(before), len(data)):
        reader = p.PacketReader(MQTT_5)
        reader.feed(data[:cut])
        found = reader.read_packets()
        assert len(found) == 4 + (cut - len(before)) // (2 + length)
        reader.feed(data[cut:])
        assert [*found, *reader.read_packets()] == read_all(data)


def test_one_that_says_more_is_not_there_with_four_bytes() -> None:
    reader = p.PacketReader(MQTT_5)
    reader.feed(b"\x40\x03\0\1")
    assert reader.read_packets() == []
    reader.feed(b"\x10")
    assert reader.read_packets() == [p.PubAck(1, ReasonCode.NO_MATCHING_SUBSCRIBERS)]


ALIKE = st.builds(
    p.Publish,
    topic=st.sampled_from(["a", "b", "ab", "aba"]),
    payload=st.sampled_from([b"", b"\0", b"\2\x0b\1", b"b"]),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    properties=st.sampled_from(
        [
            p.NO_PROPERTIES,
            p.Properties(subscription_identifiers=(1,)),
            p.Properties(subscription_identifiers=(2,)),
            p.Properties(subscription_identifiers=(1, 2)),
            p.Properties(topic_alias=1),
            p.Properties(content_type="x" * 200),
        ]
    ),
)


@given(st.lists(st.lists(ALIKE, min_size=1, max_size=3), max_size=20), st.integers(0, 30))
def test_what_is_like_the_packet_before_is_read_as_if_it_came_alone(
    rows: list[list[p.Publish]], more: int
) -> None:
    publishes = [attrs.evolve(each) for row in rows for each in row * 2] * (1 + more)
    for number, each in enumerate(publishes, 1):
        each.packet_id = number if each.qos else 0
    reader = p.PacketReader(MQTT_5)
    reader.feed(b"".join(p.encode(each, MQTT_5) for each in publishes))
    found = reader._read_runs(len(publishes))
    runs = [run for run in found if isinstance(run, PublishRun)]
    assert [each for run in runs for each in run] == publishes
    for run in runs:
        assert run.has_alias == any(each.properties.topic_alias for each in run)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("30 05 0001 61 02 0B", "the properties take 2 bytes, 1 are left"),
        ("30 05 0001 61 05 0B", "the properties take 5 bytes, 1 are left"),
        ("30 04 0001 61 02", "the properties take 2 bytes, 0 are left"),
        ("30 03 0001 61", "property length"),
        ("32 05 0001 61 0001", "property length"),
        ("32 06 0001 61 0001 02", "the properties take 2 bytes, 0 are left"),
        ("30 03 0000 00", "neither a Topic Name nor a Topic Alias"),
        ("32 05 0000 0001 00", "neither a Topic Name nor a Topic Alias"),
    ],
)
@pytest.mark.parametrize("behind", ["", "00", "01 00", "02 0B 01 00", "0B 01 00"])
def test_what_is_wrong_is_found_behind_what_is_like_the_packet_before(
    rest: str, words: str, behind: str
) -> None:
    """Whose bytes go on as those of the packet before did."""
    properties = p.Properties(subscription_identifiers=(1,))
    good = [
        p.Publish("a", b"", qos, packet_id=qos, properties=properties) for qos in (0, 0, 1, 1, 0)
    ]
    if rest.startswith("32"):
        good.append(good[-2])
    reader = p.PacketReader(MQTT_5)
    reader.feed(b"".join(p.encode(each, MQTT_5) for each in good))
    reader.feed(bytes.fromhex(rest + behind))
    assert reader.read_packets() == good
    with pytest.raises(RemoteProtocolError, match=words):
        reader.read_packets()


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1])
def test_a_topic_does_not_go_on_in_the_next_packet(protocol: Protocol) -> None:
    """Although its bytes and those behind it look like the Topic Name of the packet before."""
    good = p.Publish("ab", b"x")
    whole = p.encode(good, protocol)
    reader = p.PacketReader(protocol)
    reader.feed(whole + b"\x30\x03\x00\x02a" + b"b\0\0\0")
    assert reader.read_packets() == [good]
    with pytest.raises(MalformedPacket, match="ends inside the Topic Name"):
        reader.read_packets()


def test_a_bad_topic_is_never_remembered_as_a_good_one() -> None:
    for body in ("0001 2B 00", "0001 FF 00", "0001 00 00", "0001 61 02 01 05"):
        data = bytes.fromhex(body)
        reader = p.PacketReader(MQTT_5)
        reader.feed(bytes((0x30, len(data))) + data)
        with pytest.raises(RemoteProtocolError):
            reader.read_packets()
        assert not reader._property_blocks
        assert not reader._topics


def test_what_is_printed_hides_payloads_and_credentials() -> None:
    connect = p.Connect("c", username="alice", password=b"sesame", will=p.WillMessage("w", b"gone"))
    shown = repr(connect)
    assert "alice" not in shown
    assert "sesame" not in shown
    assert "gone" not in shown
    assert "password=<6 bytes>" in shown
    assert "username=<hidden>" in shown
    assert "username=None, password=None" in repr(p.Connect("c"))
    assert "payload=<3 bytes>" in repr(p.Publish("t", b"abc"))
