"""Every row of the two tables of handshakes, seen through a connection.

What is expected stands here a second time, by hand; a row that says something else fails, as does
code that does something else than the row says.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.protocol.support import Wire, publish
from trio_mqtt._enums import MQTT_5, PacketType, Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt._protocol.handshakes import (
    RECEIVER,
    SENDER,
    ReceiverAction,
    ReceiverInput,
    ReceiverRow,
    ReceiverState,
    SenderAction,
    SenderInput,
    SenderRow,
    SenderState,
)
from trio_mqtt.packets import PubAck, PubComp, PubRec, PubRel
from trio_mqtt.packets._tables import REASON_CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

STATEMENTS: Final = {
    *(f"MQTT-4.3.2-{number}" for number in range(1, 6)),
    *(f"MQTT-4.3.3-{number}" for number in range(1, 14)),
    "3.4",  # PUBACK
    "3.5",  # PUBREC
    "3.6.2.1",  # Reason Codes of PUBREL
    "3.7",  # PUBCOMP
    "3.7.2.1",  # Reason Codes of PUBCOMP
    "4.3.3",
}
"""Those of MQTT 5.0 that the handshakes can rest on."""

codes = {
    packet_type: sorted(REASON_CODES[packet_type].values())
    for packet_type in (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBCOMP)
}
ACCEPTING: Final = [code for code in codes[PacketType.PUBREC] if not code.is_failure]
REFUSING: Final = [code for code in codes[PacketType.PUBREC] if code.is_failure]


def not_found(wire: Wire) -> ReasonCode:
    """What PUBREL and PUBCOMP say of an unknown identifier, if the version lets them."""
    is_5 = wire.protocol is MQTT_5
    return ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if is_5 else ReasonCode.SUCCESS


def check_refusal(error: RemoteProtocolError, wire: Wire, row: SenderRow | ReceiverRow) -> None:
    assert wire.sent() == []
    assert row.guard in str(error)
    assert error.statement == row.statement or wire.protocol is not MQTT_5
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR


# -- the sender --------------------------------------------------------------------------------

_S, _I, _A = SenderState, SenderInput, SenderAction
SENDER_DOES: Final = {
    (_S.IDLE, _I.PUBACK): (_A.IGNORE, _S.IDLE),
    (_S.IDLE, _I.PUBREC): (_A.SEND_PUBREL_NOT_FOUND, _S.IDLE),
    (_S.IDLE, _I.PUBREC_REFUSING): (_A.IGNORE, _S.IDLE),
    (_S.IDLE, _I.PUBCOMP): (_A.IGNORE, _S.IDLE),
    (_S.AWAITING_PUBACK, _I.PUBACK): (_A.FINISH, _S.IDLE),
    (_S.AWAITING_PUBACK, _I.PUBREC): (_A.REFUSE, _S.AWAITING_PUBACK),
    (_S.AWAITING_PUBACK, _I.PUBREC_REFUSING): (_A.REFUSE, _S.AWAITING_PUBACK),
    (_S.AWAITING_PUBACK, _I.PUBCOMP): (_A.REFUSE, _S.AWAITING_PUBACK),
    (_S.AWAITING_PUBREC, _I.PUBACK): (_A.REFUSE, _S.AWAITING_PUBREC),
    (_S.AWAITING_PUBREC, _I.PUBREC): (_A.SEND_PUBREL, _S.AWAITING_PUBCOMP),
    (_S.AWAITING_PUBREC, _I.PUBREC_REFUSING): (_A.FINISH, _S.IDLE),
    (_S.AWAITING_PUBREC, _I.PUBCOMP): (_A.REFUSE, _S.AWAITING_PUBREC),
    (_S.AWAITING_PUBCOMP, _I.PUBACK): (_A.REFUSE, _S.AWAITING_PUBCOMP),
    (_S.AWAITING_PUBCOMP, _I.PUBREC): (_A.SEND_PUBREL, _S.AWAITING_PUBCOMP),
    (_S.AWAITING_PUBCOMP, _I.PUBREC_REFUSING): (_A.REFUSE, _S.AWAITING_PUBCOMP),
    (_S.AWAITING_PUBCOMP, _I.PUBCOMP): (_A.FINISH, _S.IDLE),
}
SENDER_PAIRS: Final = list(itertools.product(SenderState, SenderInput))
others_in_flight = st.lists(st.sampled_from([1, 2]), max_size=3)


def names(value: object) -> str | None:
    return value.name if isinstance(value, SenderState | SenderInput) else None


class Outgoing:
    """A connection with a message in a given state, among others."""

    def __init__(self, protocol: Protocol, state: SenderState, before: list[int]) -> None:
        self.wire = wire = Wire(protocol)
        self.others = [wire.publish(qos) for qos in before]
        self.message = wire.publish(2 if state > SenderState.AWAITING_PUBACK else 1)
        self.packet_id = self.message.packet_id
        if state is SenderState.IDLE:
            assert wire.feed(PubAck(self.packet_id)) == [self.message]
        elif state is SenderState.AWAITING_PUBCOMP:
            assert wire.feed(PubRec(self.packet_id)) == []
        wire.sent()
        assert self.state is state

    @property
    def state(self) -> SenderState:
        holder = self.wire.session.identifiers.holder(self.packet_id)
        if holder is None:
            return SenderState.IDLE
        assert holder is self.message
        return self.message.state

    def packet(self, what: SenderInput, number: int) -> PubAck | PubRec | PubComp:
        """What arrives; on MQTT 5.0 `number` chooses one of the Reason Codes that it can have."""
        success = [ReasonCode.SUCCESS]
        is_5 = self.wire.protocol is MQTT_5
        if what is SenderInput.PUBACK:
            choice = codes[PacketType.PUBACK] if is_5 else success
            return PubAck(self.packet_id, choice[number % len(choice)])
        if what is SenderInput.PUBCOMP:
            choice = codes[PacketType.PUBCOMP] if is_5 else success
            return PubComp(self.packet_id, choice[number % len(choice)])
        choice = REFUSING if what is SenderInput.PUBREC_REFUSING else ACCEPTING if is_5 else success
        return PubRec(self.packet_id, choice[number % len(choice)])

    def observe(self, packet: PubAck | PubRec | PubComp, row: SenderRow) -> SenderAction:
        """Feed the packet and say which of the actions that was."""
        wire = self.wire
        quota, size = wire.connection.sender.quota, wire.session.outgoing_size
        strays = wire.connection.sender.strays
        try:
            events = wire.feed(packet)
        except RemoteProtocolError as error:
            check_refusal(error, wire, row)
            return SenderAction.REFUSE
        sent = wire.sent()
        if events:
            assert events == [self.message]
            assert sent == []
            assert self.message.acknowledgement == packet
            assert wire.connection.sender.quota == quota + 1
            assert wire.session.outgoing_size == size - self.message.size
            return SenderAction.FINISH
        assert wire.connection.sender.quota == quota
        assert wire.session.outgoing_size == size
        if not sent:
            assert wire.connection.sender.strays == strays + 1
            return SenderAction.IGNORE
        (pubrel,) = sent
        assert isinstance(pubrel, PubRel)
        assert pubrel.packet_id == self.packet_id
        if self.state is SenderState.IDLE:
            assert pubrel.reason_code is not_found(wire)
            assert wire.connection.sender.strays == strays + 1
            return SenderAction.SEND_PUBREL_NOT_FOUND
        assert pubrel.reason_code is ReasonCode.SUCCESS
        return SenderAction.SEND_PUBREL


@pytest.mark.parametrize(("state", "what"), SENDER_PAIRS, ids=names)
def test_each_row_of_the_sender(state: SenderState, what: SenderInput) -> None:
    row = SENDER[state, what]
    versions = [MQTT_5] if what is SenderInput.PUBREC_REFUSING else list(Protocol)

    @examples(30)
    @given(st.sampled_from(versions), others_in_flight, others_in_flight, st.integers(0, 9))
    def check(protocol: Protocol, before: list[int], after: list[int], number: int) -> None:
        outgoing = Outgoing(protocol, state, before)
        others = outgoing.others + [outgoing.wire.publish(qos) for qos in after]
        outgoing.wire.sent()
        others_before = [(other.packet_id, other.state) for other in others]
        action = outgoing.observe(outgoing.packet(what, number), row)
        assert (action, outgoing.state) == SENDER_DOES[state, what]
        assert (action, outgoing.state) == (row.action, row.state)
        assert [(other.packet_id, other.state) for other in others] == others_before

    check()


# -- the receiver ------------------------------------------------------------------------------

_T, _J, _B = ReceiverState, ReceiverInput, ReceiverAction
RECEIVER_DOES: Final = {
    (_T.UNKNOWN, _J.PUBLISH): (_B.DELIVER, _T.HELD),
    (_T.UNKNOWN, _J.PUBREL): (_B.SEND_PUBCOMP_NOT_FOUND, _T.UNKNOWN),
    (_T.UNKNOWN, _J.SETTLED): (_B.IGNORE, _T.UNKNOWN),
    (_T.UNKNOWN, _J.REJECTED): (_B.IGNORE, _T.UNKNOWN),
    (_T.HELD, _J.PUBLISH): (_B.IGNORE, _T.HELD),
    (_T.HELD, _J.PUBREL): (_B.REFUSE, _T.HELD),
    (_T.HELD, _J.SETTLED): (_B.SEND_PUBREC, _T.ANSWERED),
    (_T.HELD, _J.REJECTED): (_B.SEND_PUBREC, _T.UNKNOWN),
    (_T.ANSWERED, _J.PUBLISH): (_B.SEND_PUBREC, _T.ANSWERED),
    (_T.ANSWERED, _J.PUBREL): (_B.SEND_PUBCOMP, _T.UNKNOWN),
    (_T.ANSWERED, _J.SETTLED): (_B.IGNORE, _T.ANSWERED),
    (_T.ANSWERED, _J.REJECTED): (_B.IGNORE, _T.ANSWERED),
}
RECEIVER_PAIRS: Final = list(itertools.product(ReceiverState, ReceiverInput))


class Incoming:
    """A connection with a received message in a given state, among others.

    What is UNKNOWN was rejected, or went all the way to PUBCOMP.
    """

    def __init__(
        self, protocol: Protocol, state: ReceiverState, packet_id: int, *, rejected: bool
    ) -> None:
        self.packet_id = packet_id
        self.wire = wire = Wire(protocol)
        (self.message,) = wire.receive(publish(packet_id, 2))
        receiver = wire.connection.receiver
        if state is ReceiverState.UNKNOWN and rejected:
            receiver.settle(self.message, ReasonCode.UNSPECIFIED_ERROR)
        elif state is not ReceiverState.HELD:
            receiver.settle(self.message)
        if state is ReceiverState.UNKNOWN and not rejected:
            assert wire.feed(PubRel(packet_id)) == []
        wire.sent()
        assert self.state is state

    @property
    def state(self) -> ReceiverState:
        return self.wire.session.received.get(self.packet_id, ReceiverState.UNKNOWN)

    def observe(self, what: ReceiverInput, code: ReasonCode, row: ReceiverRow) -> ReceiverAction:
        """Let it happen and say which of the actions that was."""
        wire, before = self.wire, self.state
        try:
            events = self._happens(what, code)
        except RemoteProtocolError as error:
            check_refusal(error, wire, row)
            return ReceiverAction.REFUSE
        sent = wire.sent()
        if events:
            (message,) = events
            assert isinstance(message, IncomingMessage)
            assert message is not self.message
            assert sent == []
            return ReceiverAction.DELIVER
        if not sent:
            return ReceiverAction.IGNORE
        (answer,) = sent
        if isinstance(answer, PubRec):
            assert answer == PubRec(self.packet_id, code)
            return ReceiverAction.SEND_PUBREC
        assert isinstance(answer, PubComp)
        assert answer.packet_id == self.packet_id
        if before is ReceiverState.UNKNOWN:
            assert answer.reason_code is not_found(wire)
            return ReceiverAction.SEND_PUBCOMP_NOT_FOUND
        assert answer.reason_code is ReasonCode.SUCCESS
        return ReceiverAction.SEND_PUBCOMP

    def _happens(self, what: ReceiverInput, code: ReasonCode) -> Sequence[object]:
        if what is ReceiverInput.PUBLISH:
            return self.wire.feed(publish(self.packet_id, 2, dup=True))
        if what is ReceiverInput.PUBREL:
            return self.wire.feed(PubRel(self.packet_id))
        self.wire.connection.receiver.settle(self.message, code)
        return self.wire.events()


def receiver_names(value: object) -> str | None:
    return value.name if isinstance(value, ReceiverState | ReceiverInput) else None


@pytest.mark.parametrize(("state", "what"), RECEIVER_PAIRS, ids=receiver_names)
def test_each_row_of_the_receiver(state: ReceiverState, what: ReceiverInput) -> None:
    row = RECEIVER[state, what]
    versions = [MQTT_5] if what is ReceiverInput.REJECTED else list(Protocol)
    choice = [ReasonCode.SUCCESS]
    if what is ReceiverInput.REJECTED:
        choice = REFUSING

    @examples(30)
    @given(
        st.sampled_from(versions),
        st.integers(1, 65535),
        st.booleans(),
        st.sampled_from(choice),
    )
    def check(protocol: Protocol, packet_id: int, rejected: bool, code: ReasonCode) -> None:
        incoming = Incoming(protocol, state, packet_id, rejected=rejected and protocol is MQTT_5)
        action = incoming.observe(what, code, row)
        assert (action, incoming.state) == RECEIVER_DOES[state, what]
        assert (action, incoming.state) == (row.action, row.state)

    check()


# -- both tables -------------------------------------------------------------------------------


def test_the_tables_are_total() -> None:
    assert list(SENDER) == list(SENDER_DOES) == SENDER_PAIRS
    assert list(RECEIVER) == list(RECEIVER_DOES) == RECEIVER_PAIRS


def test_each_row_has_a_guard_of_its_own_and_a_statement_that_exists() -> None:
    for rows in (SENDER, RECEIVER):
        guards = [row.guard for row in rows.values()]
        assert all(guards)
        assert len(set(guards)) == len(guards)
        assert {row.statement for row in rows.values()} <= STATEMENTS
