"""Records: what is written is read again, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from trio_mqtt._enums import MQTT_5, Protocol, QoS
from trio_mqtt._errors import MQTTError
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage
from trio_mqtt._protocol.handshakes import SenderState
from trio_mqtt._protocol.records import (
    KeptSubscription,
    SessionRecord,
    SubscriptionState,
    apply_progress,
    decode_message,
    decode_session,
    decode_subscription,
    decode_unclaimed,
    encode_message,
    encode_progress,
    encode_session,
    encode_subscription,
    encode_unclaimed,
)
from trio_mqtt.packets import PingReq, Properties, SubscriptionRequest, encode
from trio_mqtt.packets._encoder import encode_topic

if TYPE_CHECKING:
    from collections.abc import Callable

UNREADABLE = (ValueError, struct.error, MQTTError)
topics = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=20)
clocks = st.floats(-1e9, 1e9)


@st.composite
def messages(draw: st.DrawFn) -> OutgoingMessage:
    topic = draw(topics)
    expires_at = draw(st.none() | clocks)
    return OutgoingMessage(
        topic,
        encode_topic(topic),
        draw(st.binary(max_size=50)),
        draw(st.sampled_from([1, 2])),
        draw(st.booleans()),
        draw(st.sampled_from([b"", b"\0", b"\x05\x02\0\0\0\x09"])),
        100,
        expires_at=expires_at,
        expiry_at=draw(st.integers(0, 255)),
        released=draw(st.integers(0, 2**64 - 1)),
    )


def content(message: OutgoingMessage) -> tuple[object, ...]:
    return (
        message.topic,
        message.topic_field,
        message.payload,
        message.qos,
        message.retain,
        message.properties,
        message.packet_id,
        message.state,
        message.expiry_at,
        message.released,
    )


@examples(100)
@given(messages(), st.integers(0, 65535), st.integers(1, 1000), clocks)
def test_a_message(message: OutgoingMessage, packet_id: int, sequence: int, shift: float) -> None:
    message.packet_id = packet_id
    if packet_id:
        message.state = SenderState.AWAITING_PUBACK if message.qos == 1 else SenderState(3)
    read = decode_message(sequence, encode_message(message, shift), shift)
    assert content(read) == content(message)
    assert read.sequence == sequence
    assert read.accepted_in == read.stored_in == 0
    assert read.listener is None
    assert read.failure is None
    assert read.size > len(message.payload)
    if message.expires_at is None:
        assert read.expires_at is None
    else:
        assert read.expires_at is not None
        assert math.isclose(read.expires_at, message.expires_at, abs_tol=1e-5)


def test_expiry_goes_by_the_wall_clock() -> None:
    message = OutgoingMessage("t", encode_topic("t"), b"", 1, False, b"", 0, expires_at=30.0)  # noqa: FBT003
    record = encode_message(message, 1000.0)  # the clock of the program began at 1000
    assert decode_message(1, record, 1025.0).expires_at == 5.0  # and that of the next one at 1025


@examples(100)
@given(messages(), st.integers(0, 65535), st.sampled_from(SenderState), st.integers(0, 2**64 - 1))
def test_progress(
    message: OutgoingMessage, packet_id: int, state: SenderState, released: int
) -> None:
    record = encode_message(message, 0.0)
    message.packet_id, message.state, message.released = packet_id, state, released
    read = decode_message(1, record, 0.0)
    apply_progress(read, encode_progress(message))
    assert (read.packet_id, read.released) == (packet_id, released)
    if state is SenderState.IDLE and packet_id:
        # It may have been sent just before the end, and nothing tells.
        state = SenderState.AWAITING_PUBACK if message.qos == 1 else SenderState.AWAITING_PUBREC
    assert read.state is state
    assert read.failure is None


@pytest.mark.parametrize("state", [SenderState.AWAITING_PUBREC, SenderState.AWAITING_PUBCOMP])
def test_progress_of_a_message_that_was_given_up(state: SenderState) -> None:
    message = OutgoingMessage("t", encode_topic("t"), b"", 2, False, b"", 0)  # noqa: FBT003
    record = encode_message(message, 0.0)
    message.packet_id, message.state, message.failure = 7, state, MQTTError("too large")
    read = decode_message(1, record, 0.0)
    apply_progress(read, encode_progress(message))
    assert (read.packet_id, read.state) == (7, state)
    assert isinstance(read.failure, MQTTError)


@examples(50)
@given(
    st.none() | st.integers(1, 268_435_455),
    topics,
    st.sampled_from(QoS),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from(SubscriptionState),
)
def test_a_subscription(
    identifier: int | None,
    topic: str,
    qos: QoS,
    no_local: bool,
    as_published: bool,
    handling: int,
    state: SubscriptionState,
) -> None:
    kept = KeptSubscription(
        identifier, SubscriptionRequest(topic, qos, no_local, as_published, handling), state
    )
    assert decode_subscription(topic, encode_subscription(kept)) == kept


def test_a_subscription_in_no_known_state_is_refused() -> None:
    record = bytearray(encode_subscription(KeptSubscription(1, SubscriptionRequest("t", 2))))
    record[4] |= 3 << 4
    with pytest.raises(ValueError, match="SubscriptionState"):
        decode_subscription("t", bytes(record))


@examples(50)
@given(
    st.sampled_from(Protocol),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_a_session(protocol: Protocol, expiry: int, last: int, server: str) -> None:
    record = SessionRecord(protocol, expiry, last, server)
    assert decode_session(encode_session(record)) == record


class Message(IncomingMessage):
    """A class of the caller's."""


@examples(50)
@given(
    topics,
    st.binary(max_size=50),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.integers(1, 2**32 - 1),
    st.none() | st.binary(max_size=5),
)
def test_an_unclaimed_message(
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    attempt: int,
    correlation: bytes | None,
) -> None:
    message = IncomingMessage(topic, payload, qos, retain, dup=True, packet_id=9)
    message.properties = Properties(topic_alias=3, correlation_data=correlation)
    read, its_attempt = decode_unclaimed(encode_unclaimed(message, attempt), Message)
    assert isinstance(read, Message)
    assert its_attempt == attempt
    assert (read.topic, read.payload, read.qos, read.retain) == (topic, payload, qos, retain)
    assert read.properties == Properties(correlation_data=correlation)
    assert read.settled is None


# -- damage ------------------------------------------------------------------------------------

SOME = OutgoingMessage("topic", encode_topic("topic"), b"payload", 2, False, b"\0", 0)  # noqa: FBT003
RECORDS: list[tuple[bytes, Callable[[bytes], object]]] = [
    (encode_message(SOME, 0.0), lambda record: decode_message(1, record, 0.0)),
    (
        encode_progress(SOME),
        lambda record: apply_progress(decode_message(1, encode_message(SOME, 0.0), 0.0), record),
    ),
    (
        encode_subscription(KeptSubscription(1, SubscriptionRequest("t"))),
        lambda record: decode_subscription("t", record),
    ),
    (encode_session(SessionRecord(MQTT_5, 60, 7, "server")), decode_session),
    (
        encode_unclaimed(IncomingMessage("t", b"payload", 1), 2),
        lambda record: decode_unclaimed(record, IncomingMessage),
    ),
]
NAMES = ["message", "progress", "subscription", "session", "unclaimed"]


@pytest.mark.parametrize(("record", "decode"), RECORDS, ids=NAMES)
def test_a_record_cut_short_is_read_otherwise_or_refused(
    record: bytes, decode: Callable[[bytes], object]
) -> None:
    decode(record)
    refused = 0
    for length in range(len(record)):
        try:
            decode(record[:length])
        except UNREADABLE:
            refused += 1
    assert refused


@pytest.mark.parametrize(("record", "decode"), RECORDS, ids=NAMES)
def test_a_damaged_record_is_read_otherwise_or_refused(
    record: bytes, decode: Callable[[bytes], object]
) -> None:
    @examples(200)
    @given(st.integers(0, len(record) - 1), st.integers(1, 255))
    def check(place: int, change: int) -> None:
        damaged = bytearray(record)
        damaged[place] ^= change
        with contextlib.suppress(*UNREADABLE):
            decode(bytes(damaged))

    check()


@pytest.mark.parametrize(("record", "decode"), RECORDS, ids=NAMES)
def test_what_is_no_record_at_all_is_refused(
    record: bytes, decode: Callable[[bytes], object]
) -> None:
    with pytest.raises(UNREADABLE):
        decode(b"")
    with pytest.raises(UNREADABLE):
        decode(record[: len(record) // 2])


def test_an_unclaimed_message_is_a_publish() -> None:
    with pytest.raises(ValueError, match="no PUBLISH"):
        decode_unclaimed(b"\0\0\0\1" + encode(PingReq(), MQTT_5), IncomingMessage)
