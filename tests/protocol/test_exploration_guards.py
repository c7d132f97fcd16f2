"""Take out what keeps a Session's promises, piece by piece, and see the exploration miss each.

First the rows of the two tables of handshakes: each becomes something plausible and wrong. Then
the code around them. What is on the wire and on the disks is not looked at, only what follows: a
message that is lost or comes twice, a publisher who is told what is not true, an end that refuses
what is right, or one that waits for good. A few rules have no such consequence here, or only with
other peers; for those, marked `strict`, it is.
"""

from __future__ import annotations

import inspect
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs
import pytest

from tests.protocol.bounds import Bounds
from tests.protocol.consumer import HastyReceiver
from tests.protocol.exploration import explore
from trio_mqtt._protocol import session as session_module
from trio_mqtt._protocol.handshakes import (
    RECEIVER,
    SENDER,
    ReceiverAction,
    ReceiverInput,
    ReceiverState,
    SenderAction,
    SenderInput,
    SenderState,
)
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt._protocol.sender import Sender
from trio_mqtt._protocol.session import SessionState

if TYPE_CHECKING:
    from collections.abc import Mapping

world = partial(Bounds, strict=False)
QOS_1: Final = world(qos=(1,))
QOS_2: Final = world(qos=(2,))
SLOW: Final = world(qos=(2,), slow_disk=True)
REJECTING: Final = world(qos=(2,), rejects=True)
REPEATING_1: Final = world(qos=(1,), repeats=1)
REPEATING: Final = world(qos=(2,), repeats=1)
REPEATING_REJECTING: Final = world(qos=(2,), repeats=1, rejects=True)
STRANGE_1: Final = world(qos=(1,), strange=1)
STRANGE: Final = world(qos=(2,), strange=1)
ONE_IDENTIFIER: Final = world(identifiers=1)
FEW_PREPARED: Final = world(qos=(2, 2), identifiers=2, prepared=1, breaks=1)
DROPPING_ONLINE: Final = world(qos=(2,), drops="online", breaks=0, crashes=0)
DROPPING: Final = world(identifiers=1, drops="offline")
DROPPING_1: Final = world(qos=(1, 1), identifiers=1, drops="offline")
DROPPING_ALIKE: Final = world(
    qos=(1, 1), identifiers=1, drops="offline", alike=True, breaks=1, crashes=0
)
CHANGING_MIND: Final = world(changes_mind=True, breaks=0, crashes=0)
REOPENING: Final = world(qos=(2,), reopens=True)
MIXED: Final = world(qos=(2, 1), breaks=1, crashes=0)
WINDOW: Final = world(qos=(2, 1, 1), window=1, breaks=1, crashes=0)
WINDOW_1: Final = world(qos=(1, 1), window=1, breaks=1, crashes=1)
WORKING: Final = world(qos=(2,), slow_disk=True, works=True)
STRICT: Final = Bounds(breaks=0, crashes=0)
STRICT_1: Final = Bounds(qos=(1, 1), breaks=0, crashes=0)
STRICT_FAULTS: Final = Bounds(breaks=1, crashes=0)
HASTY: Final = Bounds(breaks=1, crashes=0, receiver=HastyReceiver)

# -- the tables --------------------------------------------------------------------------------

_S, _I, _A = SenderState, SenderInput, SenderAction
_T, _J, _B = ReceiverState, ReceiverInput, ReceiverAction


class Wrong(NamedTuple):
    """What a row should not be, and where that is missed."""

    action: Any
    state: Any
    bounds: Bounds


WRONG_SENDER: Final = {
    (_S.IDLE, _I.PUBACK): [Wrong(_A.REFUSE, _S.IDLE, REPEATING_1)],
    (_S.IDLE, _I.PUBREC): [
        Wrong(_A.IGNORE, _S.IDLE, DROPPING_ONLINE),
        Wrong(_A.REFUSE, _S.IDLE, STRANGE),
    ],
    (_S.IDLE, _I.PUBREC_REFUSING): [Wrong(_A.REFUSE, _S.IDLE, REPEATING_REJECTING)],
    (_S.IDLE, _I.PUBCOMP): [Wrong(_A.REFUSE, _S.IDLE, REPEATING)],
    (_S.AWAITING_PUBACK, _I.PUBACK): [
        Wrong(_A.REFUSE, _S.AWAITING_PUBACK, QOS_1),
        Wrong(_A.SEND_PUBREL, _S.AWAITING_PUBCOMP, QOS_1),
    ],
    (_S.AWAITING_PUBACK, _I.PUBREC): [
        Wrong(_A.FINISH, _S.IDLE, STRANGE_1),
        Wrong(_A.SEND_PUBREL, _S.AWAITING_PUBCOMP, STRANGE_1),
    ],
    (_S.AWAITING_PUBACK, _I.PUBREC_REFUSING): [Wrong(_A.FINISH, _S.IDLE, STRANGE_1)],
    (_S.AWAITING_PUBACK, _I.PUBCOMP): [Wrong(_A.FINISH, _S.IDLE, STRANGE_1)],
    (_S.AWAITING_PUBREC, _I.PUBACK): [Wrong(_A.FINISH, _S.IDLE, STRANGE)],
    (_S.AWAITING_PUBREC, _I.PUBREC): [
        Wrong(_A.FINISH, _S.IDLE, QOS_2),
        Wrong(_A.SEND_PUBREL, _S.AWAITING_PUBREC, QOS_2),
        Wrong(_A.REFUSE, _S.AWAITING_PUBREC, QOS_2),
    ],
    (_S.AWAITING_PUBREC, _I.PUBREC_REFUSING): [
        Wrong(_A.SEND_PUBREL, _S.AWAITING_PUBCOMP, REJECTING),
        Wrong(_A.REFUSE, _S.AWAITING_PUBREC, REJECTING),
    ],
    (_S.AWAITING_PUBREC, _I.PUBCOMP): [Wrong(_A.FINISH, _S.IDLE, STRANGE)],
    (_S.AWAITING_PUBCOMP, _I.PUBACK): [Wrong(_A.FINISH, _S.IDLE, STRANGE)],
    (_S.AWAITING_PUBCOMP, _I.PUBREC): [
        Wrong(_A.FINISH, _S.IDLE, REPEATING),
        Wrong(_A.SEND_PUBREL, _S.AWAITING_PUBREC, REPEATING),
        Wrong(_A.REFUSE, _S.AWAITING_PUBCOMP, REPEATING),
    ],
    (_S.AWAITING_PUBCOMP, _I.PUBREC_REFUSING): [Wrong(_A.FINISH, _S.IDLE, STRANGE)],
    (_S.AWAITING_PUBCOMP, _I.PUBCOMP): [
        Wrong(_A.REFUSE, _S.AWAITING_PUBCOMP, QOS_2),
        Wrong(_A.SEND_PUBREL, _S.AWAITING_PUBCOMP, QOS_2),
    ],
}
WRONG_RECEIVER: Final = {
    (_T.UNKNOWN, _J.PUBLISH): [
        Wrong(_B.IGNORE, _T.HELD, QOS_2),
        Wrong(_B.DELIVER, _T.UNKNOWN, QOS_2),
        Wrong(_B.SEND_PUBREC, _T.ANSWERED, QOS_2),
    ],
    (_T.UNKNOWN, _J.PUBREL): [Wrong(_B.REFUSE, _T.UNKNOWN, QOS_2)],
    (_T.HELD, _J.PUBLISH): [Wrong(_B.DELIVER, _T.HELD, REPEATING)],
    (_T.HELD, _J.PUBREL): [Wrong(_B.SEND_PUBCOMP, _T.UNKNOWN, STRANGE)],
    (_T.HELD, _J.SETTLED): [
        Wrong(_B.IGNORE, _T.HELD, QOS_2),
        Wrong(_B.SEND_PUBREC, _T.UNKNOWN, QOS_2),
        Wrong(_B.SEND_PUBREC, _T.HELD, QOS_2),
    ],
    (_T.HELD, _J.REJECTED): [
        Wrong(_B.IGNORE, _T.HELD, REJECTING),
        Wrong(_B.SEND_PUBREC, _T.ANSWERED, REJECTING),
    ],
    (_T.ANSWERED, _J.PUBLISH): [
        Wrong(_B.IGNORE, _T.ANSWERED, QOS_2),
        Wrong(_B.DELIVER, _T.HELD, QOS_2),
    ],
    (_T.ANSWERED, _J.PUBREL): [
        Wrong(_B.SEND_PUBCOMP, _T.ANSWERED, QOS_2),
        Wrong(_B.REFUSE, _T.ANSWERED, QOS_2),
    ],
}
UNASKED: Final = [
    (_T.UNKNOWN, _J.SETTLED),
    (_T.UNKNOWN, _J.REJECTED),
    (_T.ANSWERED, _J.SETTLED),
    (_T.ANSWERED, _J.REJECTED),
]
"""Rows for what cannot happen: a message in line has a HELD identifier, and one that was settled is
not settled again (below, that is one of the guards)."""


def flatten(wrong: Mapping[Any, list[Wrong]], table: Mapping[Any, Any]) -> list[Any]:
    """Each wrong row, by the name of the guard that it is without."""
    return [
        pytest.param(key, row, id=f"{table[key].guard} - {row.action.name} {row.state.name}")
        for key, rows in wrong.items()
        for row in rows
    ]


@pytest.mark.parametrize(("key", "wrong"), flatten(WRONG_SENDER, SENDER))
def test_each_row_of_the_sender_is_missed(
    key: tuple[SenderState, SenderInput], wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = attrs.evolve(SENDER[key], action=wrong.action, state=wrong.state)
    assert row != SENDER[key]
    monkeypatch.setitem(SENDER, key, row)
    assert explore(wrong.bounds).trace is not None


@pytest.mark.parametrize(("key", "wrong"), flatten(WRONG_RECEIVER, RECEIVER))
def test_each_row_of_the_receiver_is_missed(
    key: tuple[ReceiverState, ReceiverInput], wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = attrs.evolve(RECEIVER[key], action=wrong.action, state=wrong.state)
    assert row != RECEIVER[key]
    monkeypatch.setitem(RECEIVER, key, row)
    assert explore(wrong.bounds).trace is not None


def test_all_rows_are_there() -> None:
    assert set(WRONG_SENDER) == set(SENDER)
    assert {*WRONG_RECEIVER, *UNASKED} == set(RECEIVER)


@pytest.mark.parametrize("bounds", [CHANGING_MIND, REJECTING, REPEATING_REJECTING, STRANGE])
def test_some_rows_are_never_asked_for(bounds: Bounds, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {key: row for key, row in RECEIVER.items() if key not in UNASKED}
    monkeypatch.setattr("trio_mqtt._protocol.receiver.RECEIVER", rows)
    assert explore(bounds).trace is None


# -- the rest ----------------------------------------------------------------------------------


class Guard(NamedTuple):
    """A piece of code, what it becomes when it is taken out, and where that is missed."""

    name: str
    owner: object
    function: str
    code: str
    without: str
    bounds: Bounds


GUARDS: Final = [
    Guard("DUP at QoS 1", Sender, "_send_again", "dup=True", "dup=False", QOS_1),
    Guard("DUP at QoS 2", Sender, "_send_again", "dup=True", "dup=False", QOS_2),
    Guard("DUP only then", Sender, "_send_waiting", "dup=False", "dup=True", DROPPING_ALIKE),
    Guard(
        "unanswered PUBLISHes again",
        Sender,
        "pump",
        "if self._holding or (self._again and not self._send_again()):",
        "if self._holding:",
        QOS_1,
    ),
    Guard("PUBRELs again", Sender, "resume", "releases.append(message)", "pass", QOS_2),
    Guard(
        "PUBRELs in their order",
        Sender,
        "resume",
        "sorted(releases, key=lambda each: each.released)",
        "releases",
        HASTY,
    ),
    Guard(
        "PUBLISH waits for the disk",
        Sender,
        "_send_waiting",
        "message.stored_in > output.committed",
        "False",
        QOS_2,
    ),
    Guard(
        "PUBLISH waits for its identifier, too",
        Sender,
        "_send_waiting",
        "message.stored_in > output.committed",
        "message.accepted_in > output.committed",
        QOS_2,
    ),
    Guard(
        "no PUBLISH whose identifier is not on its way to the disk",
        Sender,
        "_send_waiting",
        "session.queue if session.journal is None else session.prepared",
        "session.prepared or session.queue",
        FEW_PREPARED,
    ),
    Guard(
        "PUBREC waits for the disk",
        Receiver,
        "_send_pubrec",
        "self._session.settled_stored_in(packet_id)",
        "0",
        QOS_2,
    ),
    Guard(
        "PUBREL waits for the disk",
        Sender,
        "on_acknowledgement",
        "self._session.release(message)",
        "self._session.release(message) * 0",
        QOS_2,
    ),
    Guard(
        "PUBREL waits for the disk on the next connection, too",
        Sender,
        "resume",
        "ReasonCode.SUCCESS, message.stored_in",
        "ReasonCode.SUCCESS",
        SLOW,
    ),
    Guard(
        "PUBCOMP waits for the disk",
        Receiver,
        "on_pubrel",
        "self._output.append(data, stored_in)",
        "self._output.append(data)",
        ONE_IDENTIFIER,
    ),
    Guard(
        "PUBCOMP waits for the disk on the next connection, too",
        SessionState,
        "forget_received",
        "return self.journal.after((RECEIVED, packet_id))",
        "return 0",
        ONE_IDENTIFIER,
    ),
    Guard(
        "what waits for the disk is not overtaken",
        Output,
        "append",
        "if self._held or after > self.committed:",
        "if after > self.committed:",
        STRICT,
    ),
    Guard(
        "what is being committed is not on the disk",
        Journal,
        "after",
        "return taken.number",
        "return 0",
        SLOW,
    ),
    Guard("what failed is tried again", Journal, "restore", "merged | self._open", "{}", SLOW),
    Guard(
        "work that failed is not",
        Journal,
        "restore",
        "if isinstance(step, dict):",
        "step = getattr(step, 'changes', step)\n        if True:",
        WORKING,
    ),
    Guard(
        "a settled message is remembered",
        Receiver,
        "_note_settled",
        "self._session.note_settled(message.packet_id)",
        "pass",
        QOS_2,
    ),
    Guard(
        "an identifier is stored",
        SessionState,
        "prepare",
        "self._note_progress(message)",
        "pass",
        QOS_2,
    ),
    Guard(
        "a PUBREC is stored",
        SessionState,
        "release",
        "self._note_progress(message)",
        "pass",
        QOS_2,
    ),
    Guard(
        "what is stored, or about to be, is stored anew when it changes",
        SessionState,
        "_note_progress",
        "message.accepted_in == journal.open_batch",
        "message.accepted_in > journal.committed",
        SLOW,
    ),
    Guard(
        "what is over is deleted",
        SessionState,
        "finish",
        "journal.delete((OUTGOING, message.sequence))",
        "pass",
        QOS_2,
    ),
    Guard(
        "its progress, too",
        SessionState,
        "finish",
        "journal.delete((PROGRESS, message.sequence))",
        "pass",
        ONE_IDENTIFIER,
    ),
    Guard(
        "what is over frees its identifier",
        SessionState,
        "finish",
        "self.identifiers.release(message.packet_id)",
        "pass",
        ONE_IDENTIFIER,
    ),
    Guard(
        "a forgotten identifier is deleted",
        SessionState,
        "forget_received",
        "return self.journal.delete((RECEIVED, packet_id))",
        "return 0",
        ONE_IDENTIFIER,
    ),
    Guard(
        "a forgotten identifier is forgotten",
        SessionState,
        "forget_received",
        "self.received.pop(packet_id, None)",
        "pass",
        ONE_IDENTIFIER,
    ),
    Guard(
        "a message with an identifier may have been sent",
        session_module,
        "decode_message",
        "_mark_in_flight(message)",
        "pass",
        QOS_2,
    ),
    Guard(
        "one that got its identifier later, too",
        session_module,
        "apply_progress",
        "_mark_in_flight(message)",
        "pass",
        QOS_2,
    ),
    Guard(
        "progress counts after a restart",
        SessionState,
        "load",
        "apply_progress(message, progress[sequence])",
        "pass",
        QOS_2,
    ),
    Guard(
        "identifiers are in use after a restart",
        SessionState,
        "load",
        "self.identifiers.restore(message.packet_id, message)",
        "pass",
        ONE_IDENTIFIER,
    ),
    Guard(
        "numbers of messages are in use after a restart",
        SessionState,
        "load",
        "self._last_sequence = sequence",
        "pass",
        world(qos=(1, 1), breaks=0, crashes=1),
    ),
    Guard(
        "settled identifiers are known after a restart",
        SessionState,
        "load",
        "self.received[packet_id] = ReceiverState.ANSWERED",
        "pass",
        QOS_2,
    ),
    Guard(
        "they are known to be stored, too",
        SessionState,
        "load",
        "self._stored_received.add(packet_id)",
        "pass",
        ONE_IDENTIFIER,
    ),
    Guard(
        "a message of an earlier connection is known again",
        Receiver,
        "on_publish",
        "self._session.held and self._is_held(message)",
        "False",
        QOS_1,
    ),
    Guard(
        "it is only that if its content agrees",
        Receiver,
        "_is_held",
        "if not same or (held.topic, held.payload) != (message.topic, message.payload):",
        "if not same:",
        DROPPING_1,
    ),
    Guard(
        "it is only that if it has DUP",
        Receiver,
        "_is_held",
        "self._resumed and message.dup",
        "self._resumed",
        DROPPING_ALIKE,
    ),
    Guard(
        "it is HELD again",
        Receiver,
        "_is_held",
        "self._enter(held.packet_id, _HELD)",
        "pass",
        QOS_2,
    ),
    Guard(
        "it has a PUBREC to come again",
        Receiver,
        "_is_held",
        "self._exchanges[held.packet_id] = held",
        "pass",
        QOS_2,
    ),
    Guard(
        "its PUBACK goes out if it was settled",
        Receiver,
        "_is_held",
        "self._send_pubacks()",
        "pass",
        QOS_1,
    ),
    Guard(
        "its PUBREC goes out if it was settled",
        Receiver,
        "_is_held",
        "self._send_pubrecs()",
        "pass",
        QOS_2,
    ),
    Guard(
        "it takes its place in line",
        Receiver,
        "_is_held",
        "self._before_pubrec.append(held)",
        "self._before_pubrec.appendleft(held)",
        STRICT_FAULTS,
    ),
    Guard(
        "unacknowledged messages are held",
        SessionState,
        "drop_connection",
        "self.held[message.qos, message.packet_id] = message",
        "pass",
        QOS_2,
    ),
    Guard(
        "those whose PUBACK nobody took are, too",
        Receiver,
        "end",
        "[*unwritten, *self._before_puback, *pubrecs]",
        "[*self._before_puback, *pubrecs]",
        QOS_1,
    ),
    Guard(
        "those whose PUBACK waits behind a PUBREC are, too",
        Output,
        "take_unwritten",
        "[each for _, _, each in self._held if each is not None]",
        "[]",
        MIXED,
    ),
    Guard(
        "those whose refusing PUBREC nobody took are, too",
        Receiver,
        "_send_pubrec",
        "settled_stored_in(packet_id), refused)",
        "settled_stored_in(packet_id))",
        REJECTING,
    ),
    Guard(
        "HELD identifiers end with the connection",
        SessionState,
        "drop_connection",
        "state is ReceiverState.HELD",
        "False",
        REOPENING,
    ),
    Guard(
        "ANSWERED ones do not",
        SessionState,
        "drop_connection",
        "state is ReceiverState.HELD",
        "True",
        QOS_2,
    ),
    Guard(
        "a message is settled once",
        Receiver,
        "settle",
        "message.settled is not None",
        "False",
        CHANGING_MIND,
    ),
    Guard(
        "a message that no PUBREC belongs to is not remembered",
        Receiver,
        "_note_settled",
        "not reason_code.is_failure and self.expects(message)",
        "not reason_code.is_failure",
        DROPPING,
    ),
    Guard(
        "one whose identifier is another's now is such a message",
        Receiver,
        "expects",
        "self._exchanges.get(message.packet_id) is message",
        "message.packet_id in self._exchanges",
        DROPPING,
    ),
    Guard(
        "one whose identifier is another's on an earlier connection, too",
        SessionState,
        "holds",
        "(message.qos, message.packet_id)) is message",
        "(message.qos, message.packet_id)) is not None",
        DROPPING,
    ),
    Guard(
        "PUBACKs in order",
        Receiver,
        "settle",
        "if not self._has_due and self._is_any_due():",
        "self._before_puback.remove(message)\n"
        "    self._before_puback.appendleft(message)\n"
        "    if not self._has_due and self._is_any_due():",
        STRICT_1,
    ),
    Guard(
        "PUBRECs in order",
        Receiver,
        "settle",
        "if not self._has_due and self._is_any_due():",
        "self._before_pubrec.remove(message)\n"
        "    self._before_pubrec.appendleft(message)\n"
        "    if not self._has_due and self._is_any_due():",
        STRICT,
    ),
    Guard(
        "new messages within the window",
        Sender,
        "_send_waiting",
        "while waiting and self.quota > 0 and",
        "while waiting and",
        WINDOW_1,
    ),
    Guard(
        "repeated messages within the window",
        Sender,
        "_send_again",
        "while again and self.quota > 0 and",
        "while again and",
        WINDOW_1,
    ),
    Guard(
        "a repeated message takes a place",
        Sender,
        "_send_again",
        "not self._take_place(message)",
        "False",
        WINDOW,
    ),
    Guard(
        "a repeated message has a place to give back",
        Sender,
        "_send_again",
        "self._outside.discard(message.packet_id)",
        "pass",
        WINDOW,
    ),
    Guard(
        "one that took no place gives none back",
        Sender,
        "_give_back",
        "message.packet_id in self._outside",
        "False",
        WINDOW,
    ),
    Guard("a place is given back", Sender, "_give_back", "self.quota += 1", "pass", WINDOW),
    Guard(
        "PUBCOMP 0x92 is a success where the PUBREL was sent before",
        Sender,
        "on_acknowledgement",
        "not_found and packet_id in self._outside",
        "False",
        QOS_2,
    ),
    Guard(
        "a detached message is stored as it is then",
        SessionState,
        "_alone",
        "message.accepted_in == self.journal.open_batch",
        "False",
        REOPENING,
    ),
    Guard(
        "settled messages are known to those who open the Session again",
        SessionState,
        "forget_held",
        "self.received[packet_id] = ReceiverState.ANSWERED",
        "pass",
        REOPENING,
    ),
    Guard(
        "messages that nobody has any more are delivered again",
        SessionState,
        "forget_held",
        "self.held.clear()",
        "pass",
        REOPENING,
    ),
]


def take_out(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a function without the guard."""
    function = inspect.getattr_static(guard.owner, guard.function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(guard.code) == 1
    source = "from __future__ import annotations\n" + source.replace(guard.code, guard.without)
    names: dict[str, object] = {}
    exec(compile(source, guard.function, "exec"), function.__globals__, names)  # noqa: S102 - ours
    monkeypatch.setattr(guard.owner, guard.function, names[guard.function])


@pytest.mark.parametrize("guard", GUARDS, ids=[guard.name for guard in GUARDS])
def test_each_guard_is_missed(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out(guard, monkeypatch)
    assert explore(guard.bounds).trace is not None


def all_bounds() -> list[Bounds]:
    wrong = [row for rows in (*WRONG_SENDER.values(), *WRONG_RECEIVER.values()) for row in rows]
    bounds = [row.bounds for row in wrong] + [guard.bounds for guard in GUARDS]
    return list(dict.fromkeys(bounds))


@pytest.mark.parametrize("bounds", all_bounds(), ids=str)
def test_nothing_is_wrong_while_they_are_there(bounds: Bounds) -> None:
    assert explore(bounds).trace is None


def test_how_it_comes_to_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (guard,) = (each for each in GUARDS if each.name == "PUBREL waits for the disk")
    take_out(guard, monkeypatch)
    assert explore(guard.bounds).trace == [
        "client accepts message a",
        "link connects the two again",
        "client commits",
        "client sends PUBLISH 1 (message a, QoS 2)",
        "server receives PUBLISH 1 (message a, QoS 2)",
        "server settles message a",
        "server commits",
        "server sends PUBREC 1",
        "client receives PUBREC 1",
        "client sends PUBREL 1",
        "server receives PUBREL 1",
        "client crashes and restarts",
        "link connects the two again",
        "client sends PUBLISH 1 (message a, QoS 2, DUP)",
        "server receives PUBLISH 1 (message a, QoS 2, DUP)",
        "message a is handed over again",
    ]
