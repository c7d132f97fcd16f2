"""The QoS 1 and QoS 2 handshakes as tables (4.3), the same for whoever sends and receives.

A row says: in this state of one Packet Identifier, this input does that and leads there. The
rules behind the rows:

- An identifier is the sender's until the exchange is over: PUBACK at QoS 1; PUBCOMP, or a PUBREC
  that refuses, at QoS 2 (MQTT-2.2.1-3, MQTT-4.3.3-4).
- After PUBREL the PUBLISH is never sent again (MQTT-4.3.3-6).
- The receiver remembers a QoS 2 identifier until PUBREL, so that a repeated PUBLISH is answered
  and not delivered (MQTT-4.3.3-10).
- A row that refuses changes no state: what a broken Server left unfinished is unfinished still.
- An answer that fits no exchange is stale or a mistake of the peer: it is ignored, or answered
  with 0x92 where the standard provides for that, since it happens after a Session was lost.
  An answer of the wrong kind for an exchange under way is a Protocol Error.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


class SenderState(enum.IntEnum):
    """Where an outgoing message stands."""

    IDLE = 0  # not sent yet, or over
    AWAITING_PUBACK = 1
    AWAITING_PUBREC = 2
    AWAITING_PUBCOMP = 3


class SenderInput(enum.IntEnum):
    """What can arrive for an outgoing message."""

    PUBACK = 0
    PUBREC = 1
    PUBREC_REFUSING = 2  # Reason Code 0x80 or above
    PUBCOMP = 3


class SenderAction(enum.IntEnum):
    """What the sender does about it."""

    FINISH = 0  # release the identifier, give back the quota, tell the publisher
    SEND_PUBREL = 1
    IGNORE = 2
    SEND_PUBREL_NOT_FOUND = 3  # with 0x92
    REFUSE = 4  # Protocol Error: disconnect


class ReceiverState(enum.IntEnum):
    """Where an incoming QoS 2 message stands."""

    UNKNOWN = 0  # never seen, or over
    HELD = 1  # delivered and not settled: PUBREC is still to be sent
    ANSWERED = 2  # PUBREC was sent


class ReceiverInput(enum.IntEnum):
    """What can happen to an incoming QoS 2 message."""

    PUBLISH = 0
    PUBREL = 1
    SETTLED = 2  # the caller's code has dealt with it
    REJECTED = 3  # the caller's code refused it


class ReceiverAction(enum.IntEnum):
    """What the receiver does about it."""

    DELIVER = 0
    IGNORE = 1
    SEND_PUBREC = 2
    SEND_PUBCOMP = 3
    SEND_PUBCOMP_NOT_FOUND = 4  # with 0x92
    REFUSE = 5  # Protocol Error: disconnect


@attrs.frozen
class SenderRow:
    """What follows from one input in one state of an outgoing message.

    Attributes:
        action: what to do.
        state: the state afterwards.
        guard: a name for the rule that the row keeps.
        statement: where the standard says so.
    """

    action: SenderAction
    state: SenderState
    guard: str
    statement: str


@attrs.frozen
class ReceiverRow:
    """What follows from one input in one state of an incoming QoS 2 message.

    Attributes:
        action: what to do.
        state: the state afterwards.
        guard: a name for the rule that the row keeps.
        statement: where the standard says so.
    """

    action: ReceiverAction
    state: ReceiverState
    guard: str
    statement: str


_S, _I, _A = SenderState, SenderInput, SenderAction

SENDER: Final[Mapping[tuple[SenderState, SenderInput], SenderRow]] = {
    (_S.IDLE, _I.PUBACK): SenderRow(_A.IGNORE, _S.IDLE, "stale PUBACK", "3.4"),
    (_S.IDLE, _I.PUBREC): SenderRow(
        _A.SEND_PUBREL_NOT_FOUND, _S.IDLE, "PUBREC for nothing is answered", "3.6.2.1"
    ),
    (_S.IDLE, _I.PUBREC_REFUSING): SenderRow(_A.IGNORE, _S.IDLE, "stale refusal", "MQTT-4.3.3-4"),
    (_S.IDLE, _I.PUBCOMP): SenderRow(_A.IGNORE, _S.IDLE, "stale PUBCOMP", "3.7"),
    (_S.AWAITING_PUBACK, _I.PUBACK): SenderRow(
        _A.FINISH, _S.IDLE, "PUBACK ends QoS 1", "MQTT-4.3.2-3"
    ),
    (_S.AWAITING_PUBACK, _I.PUBREC): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBACK, "PUBREC answers QoS 2 only", "3.5"
    ),
    (_S.AWAITING_PUBACK, _I.PUBREC_REFUSING): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBACK, "QoS 1 is refused by PUBACK", "3.5"
    ),
    (_S.AWAITING_PUBACK, _I.PUBCOMP): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBACK, "PUBCOMP ends QoS 2 only", "3.7"
    ),
    (_S.AWAITING_PUBREC, _I.PUBACK): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBREC, "PUBACK answers QoS 1 only", "3.4"
    ),
    (_S.AWAITING_PUBREC, _I.PUBREC): SenderRow(
        _A.SEND_PUBREL, _S.AWAITING_PUBCOMP, "PUBREC is answered with PUBREL", "MQTT-4.3.3-4"
    ),
    (_S.AWAITING_PUBREC, _I.PUBREC_REFUSING): SenderRow(
        _A.FINISH, _S.IDLE, "a refusing PUBREC ends QoS 2, no PUBREL follows", "MQTT-4.3.3-4"
    ),
    (_S.AWAITING_PUBREC, _I.PUBCOMP): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBREC, "PUBCOMP answers PUBREL only", "3.7"
    ),
    (_S.AWAITING_PUBCOMP, _I.PUBACK): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBCOMP, "PUBACK does not answer PUBREL", "3.4"
    ),
    (_S.AWAITING_PUBCOMP, _I.PUBREC): SenderRow(
        _A.SEND_PUBREL, _S.AWAITING_PUBCOMP, "a repeated PUBREC gets PUBREL again", "MQTT-4.3.3-6"
    ),
    (_S.AWAITING_PUBCOMP, _I.PUBREC_REFUSING): SenderRow(
        _A.REFUSE, _S.AWAITING_PUBCOMP, "what PUBREC accepted it cannot refuse", "4.3.3"
    ),
    (_S.AWAITING_PUBCOMP, _I.PUBCOMP): SenderRow(
        _A.FINISH, _S.IDLE, "PUBCOMP ends QoS 2", "MQTT-4.3.3-5"
    ),
}
"""What the sender of a message does, for every state and input."""

_T, _J, _B = ReceiverState, ReceiverInput, ReceiverAction

RECEIVER: Final[Mapping[tuple[ReceiverState, ReceiverInput], ReceiverRow]] = {
    (_T.UNKNOWN, _J.PUBLISH): ReceiverRow(
        _B.DELIVER, _T.HELD, "a new identifier is a new message", "MQTT-4.3.3-8"
    ),
    (_T.UNKNOWN, _J.PUBREL): ReceiverRow(
        _B.SEND_PUBCOMP_NOT_FOUND, _T.UNKNOWN, "PUBREL for nothing is answered", "3.7.2.1"
    ),
    (_T.UNKNOWN, _J.SETTLED): ReceiverRow(
        _B.IGNORE, _T.UNKNOWN, "what is over is not settled again", "4.3.3"
    ),
    (_T.UNKNOWN, _J.REJECTED): ReceiverRow(
        _B.IGNORE, _T.UNKNOWN, "what is over is not rejected", "4.3.3"
    ),
    (_T.HELD, _J.PUBLISH): ReceiverRow(
        _B.IGNORE, _T.HELD, "a repeated PUBLISH waits for the one PUBREC", "MQTT-4.3.3-10"
    ),
    (_T.HELD, _J.PUBREL): ReceiverRow(
        _B.REFUSE, _T.HELD, "PUBREL answers PUBREC only", "MQTT-4.3.3-4"
    ),
    (_T.HELD, _J.SETTLED): ReceiverRow(
        _B.SEND_PUBREC, _T.ANSWERED, "a settled message is acknowledged", "MQTT-4.3.3-8"
    ),
    (_T.HELD, _J.REJECTED): ReceiverRow(
        _B.SEND_PUBREC, _T.UNKNOWN, "a refusing PUBREC frees the identifier", "MQTT-4.3.3-9"
    ),
    (_T.ANSWERED, _J.PUBLISH): ReceiverRow(
        _B.SEND_PUBREC, _T.ANSWERED, "a repeated PUBLISH gets PUBREC again", "MQTT-4.3.3-10"
    ),
    (_T.ANSWERED, _J.PUBREL): ReceiverRow(
        _B.SEND_PUBCOMP, _T.UNKNOWN, "PUBREL is answered with PUBCOMP", "MQTT-4.3.3-11"
    ),
    (_T.ANSWERED, _J.SETTLED): ReceiverRow(
        _B.IGNORE, _T.ANSWERED, "a message is settled once", "4.3.3"
    ),
    (_T.ANSWERED, _J.REJECTED): ReceiverRow(
        _B.IGNORE, _T.ANSWERED, "what was settled is not rejected", "4.3.3"
    ),
}
"""What the receiver of a QoS 2 message does, for every state and input."""
