"""The peer's messages on one Network Connection: aliases, limits, ordered acknowledgements."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._enums import MQTT_5, Protocol, QoS, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.fitting import encode_within
from trio_mqtt._protocol.handshakes import RECEIVER, ReceiverAction, ReceiverInput, ReceiverState
from trio_mqtt.packets import NO_PROPERTIES, PubAck, PubComp, PubRec, encode
from trio_mqtt.packets._runs import encode_acknowledgements

if TYPE_CHECKING:
    from trio_mqtt._protocol.exchanges import IncomingMessage
    from trio_mqtt._protocol.output import Output
    from trio_mqtt._protocol.session import SessionState
    from trio_mqtt.packets import Properties, PubRel
    from trio_mqtt.packets._runs import AcknowledgementRun, PublishRun

_TOLERANCE: Final = 2
_MOST_OVERRUN_BYTES: Final = 16 * 1024 * 1024
_OVERHEAD: Final = 256  # what a message takes beside its payload, about
_SUCCESS: Final = ReasonCode.SUCCESS
# Python 3.11 is slow to look into an Enum.
_QOS_1: Final = QoS.AT_LEAST_ONCE
_QOS_2: Final = QoS.EXACTLY_ONCE
_UNKNOWN: Final = ReceiverState.UNKNOWN
_HELD: Final = ReceiverState.HELD
_ANSWERED: Final = ReceiverState.ANSWERED
_PUBLISH: Final = ReceiverInput.PUBLISH
_SETTLED: Final = ReceiverInput.SETTLED
_PUBREL: Final = ReceiverInput.PUBREL
_DELIVER: Final = ReceiverAction.DELIVER
_SEND_PUBREC: Final = ReceiverAction.SEND_PUBREC
_REFUSE: Final = ReceiverAction.REFUSE


@attrs.define(eq=False)
class _Repeat:
    """A PUBLISH of QoS 2 that came again after its PUBREC, in line for another one.

    Attributes:
        packet_id: its Packet Identifier.
        settled: as of a message that was settled.
    """

    packet_id: int
    settled: ReasonCode = _SUCCESS


def _is_settled(message: IncomingMessage | _Repeat) -> bool:
    return message.settled is not None


class Receiver:
    """The receiving half of a connection.

    Acknowledgements leave in the order of their PUBLISHes, PUBACKs and PUBRECs each for themselves
    (MQTT-4.6.0-2, MQTT-4.6.0-3): a settled message waits until all before it are settled, too.

    Args:
        session: where QoS 2 identifiers are remembered.
        output: where packets go.
        protocol: the version of MQTT spoken.
        receive_maximum: how many QoS 1 and 2 messages the peer may have unacknowledged.
        topic_alias_maximum: the highest Topic Alias that the peer may use.

    Attributes:
        protocol: the version of MQTT spoken.
        overruns: messages received beyond `receive_maximum` and tolerated.
        maximum_packet_size: the largest packet that the peer takes, in bytes, or None.
    """

    def __init__(
        self,
        session: SessionState,
        output: Output,
        protocol: Protocol,
        *,
        receive_maximum: int,
        topic_alias_maximum: int,
    ) -> None:
        self.protocol = protocol
        self.overruns: int = 0
        self.maximum_packet_size: int | None = None
        self._session = session
        self._output = output
        self._receive_maximum = receive_maximum
        self._alias_maximum = topic_alias_maximum
        self._aliases: dict[int, str] = {}  # of this connection only (MQTT-3.3.2-7)
        self._resumed = self._unsure = False
        # QoS 2 identifiers that count on this connection, with the message unless it was repeated.
        self._exchanges: dict[int, IncomingMessage | None] = {}
        self._before_puback: deque[IncomingMessage] = deque()
        self._before_pubrec: deque[IncomingMessage | _Repeat] = deque()
        self._repeated: dict[int, None] = {}  # the identifiers of the repeats among them
        self._has_due = False  # whether the output asks for acknowledgements
        self._overrun_sizes: deque[int] | None = None  # of messages beyond the Receive Maximum
        self._overrun_bytes = 0  # their sum

    @property
    def unsettled(self) -> int:
        """How many QoS 1 and 2 messages count against our Receive Maximum (3.3.4)."""
        self._acknowledge()
        return len(self._before_puback) + len(self._exchanges)

    def count_unsettled(self) -> int:
        """As `unsettled`, but nothing is changed by it, so that any thread may ask."""
        # In a copy, for nothing can be changed while that is made, only later.
        pubacks, pubrecs = list(self._before_puback), list(self._before_pubrec)
        due = sum(1 for _ in takewhile(_is_settled, pubacks))
        refused = sum(1 for each in takewhile(_is_settled, pubrecs) if each.settled)
        return len(pubacks) + len(self._exchanges) - due - refused

    @property
    def is_overrun(self) -> bool:
        """Whether more is unsettled than can be tolerated."""
        return (
            self.unsettled >= _TOLERANCE * self._receive_maximum
            and self._overrun_bytes > _MOST_OVERRUN_BYTES
        )

    def resume(self, *, unsure: bool = False) -> None:
        """Go on with the Session that the peer still has: it sends again what is unacknowledged.

        Args:
            unsure: whether it may be a new one, whose first messages have identifiers that we
                remember of the one before.
        """
        self._resumed = True
        self._unsure = unsure

    def end(self) -> None:
        """The connection is over; what it leaves unacknowledged is the Session's to remember.

        Settling such a message sends nothing any more.
        """
        self._acknowledge()
        pubrecs = [each for each in self._before_pubrec if not isinstance(each, _Repeat)]
        unwritten = self._output.take_unwritten()
        self._session.drop_connection([*unwritten, *self._before_puback, *pubrecs])
        self._before_puback.clear()
        self._before_pubrec.clear()
        self._repeated.clear()
        self._exchanges.clear()

    def oldest(self) -> list[IncomingMessage | _Repeat]:
        """The unsettled message of each QoS for which all later ones of it wait."""
        self._acknowledge()
        return [waiting[0] for waiting in (self._before_puback, self._before_pubrec) if waiting]

    def takes_run(self, run: PublishRun[IncomingMessage]) -> bool:
        """Take PUBLISHes in a row, if nothing stands in the way of any: all are to be delivered.

        Returns:
            Whether it took them; otherwise it has taken none, and they are for `on_publish`.
        """
        if run.has_alias:
            return False
        qos = run[0].qos
        if not qos:
            return True
        session = self._session
        if session.held or self.unsettled + len(run) > self._receive_maximum:
            return False
        if qos == _QOS_1:
            self._before_puback += run
            return True
        fresh = {message.packet_id: message for message in run}
        received = session.received
        if len(fresh) < len(run) or not received.keys().isdisjoint(fresh):
            return False
        row = RECEIVER[_UNKNOWN, _PUBLISH]
        received.update(dict.fromkeys(fresh, row.state))
        self._exchanges.update(fresh)
        self._before_pubrec += run
        return True

    def on_publish(self, message: IncomingMessage) -> bool:
        """Take a PUBLISH.

        Returns:
            Whether it is to be delivered; a repeated one is not.

        Raises:
            RemoteProtocolError: it exceeds what we granted.
        """
        alias = message.properties.topic_alias
        if alias is not None:
            self._resolve_alias(message, alias)
        qos = message.qos
        if not qos:
            return True
        if self.unsettled >= self._receive_maximum:
            self._tolerate_overrun(message)
        if self._session.held and self._is_held(message):
            return False
        if qos == _QOS_1:
            self._before_puback.append(message)
            return True
        packet_id = message.packet_id
        if self._unsure and not message.dup and packet_id not in self._exchanges:
            self._session.forget_received(packet_id)  # what is sent again has DUP: MQTT-3.3.1-1
        received = self._session.received
        row = RECEIVER[received.get(packet_id, _UNKNOWN), _PUBLISH]
        received[packet_id] = row.state  # none of them frees the identifier
        if row.action is _DELIVER:
            self._exchanges[packet_id] = message
            self._before_pubrec.append(message)
            return True
        self._exchanges.setdefault(packet_id)
        if row.action is _SEND_PUBREC and packet_id not in self._repeated:
            # In its turn; one PUBREC answers all repeats that wait for it.
            self._repeated[packet_id] = None
            self._before_pubrec.append(_Repeat(packet_id))
            self._send_pubrecs()
        return False

    def _is_held(self, message: IncomingMessage) -> bool:
        """Whether this is a message that an earlier connection brought and never acknowledged.

        Then it is acknowledged on this one, in its turn. It is the same only if all agrees: a
        Packet Identifier alone may stand for another message by now.
        """
        session = self._session
        held = session.held.pop((message.qos, message.packet_id), None)
        if held is None:
            return False
        same = self._resumed and message.dup  # MQTT-3.3.1-1
        if not same or (held.topic, held.payload) != (message.topic, message.payload):
            if held.qos == _QOS_2:
                session.forget_received(held.packet_id)
            return False
        if held.qos == _QOS_1:
            self._before_puback.append(held)
            self._send_pubacks()
        else:
            self._enter(held.packet_id, _HELD)
            self._exchanges[held.packet_id] = held
            self._before_pubrec.append(held)
            self._send_pubrecs()
        return True

    def _resolve_alias(self, message: IncomingMessage, alias: int) -> None:
        if alias > self._alias_maximum:
            raise RemoteProtocolError(
                f"Topic Alias {alias}; the Topic Alias Maximum is {self._alias_maximum}",
                reason_code=ReasonCode.TOPIC_ALIAS_INVALID,
                statement="MQTT-3.1.2-26",
            )
        if message.topic:
            self._aliases[alias] = message.topic
            return
        topic = self._aliases.get(alias)
        if topic is None:
            text = f"Topic Alias {alias} does not stand for a Topic Name yet"
            raise RemoteProtocolError(text, statement="3.3.2.3.4")
        message.topic = topic

    def _tolerate_overrun(self, message: IncomingMessage) -> None:
        """Absorb what exceeds our Receive Maximum, up to twice as much or to a number of bytes.

        The standard allows to refuse it at once (3.3.4). But Mosquitto 2.0 sends a message too
        many for each acknowledgement of a Client that publishes in its own loop. Below MQTT 5.0 a
        Server knows of no maximum, so it has broken none: `is_overrun` tells.
        """
        repeated = message.qos == _QOS_2 and message.packet_id in self._exchanges
        if repeated:
            return
        sizes = self._overrun_sizes
        if sizes is None:
            sizes = self._overrun_sizes = deque()
        while sizes and len(sizes) > self.unsettled - self._receive_maximum:
            self._overrun_bytes -= sizes.popleft()
        size = len(message.payload) + _OVERHEAD
        sizes.append(size)
        self._overrun_bytes += size
        if self.protocol is not MQTT_5:
            return
        if self.is_overrun:
            raise RemoteProtocolError(
                f"{self.unsettled + 1} unacknowledged messages; "
                f"the Receive Maximum is {self._receive_maximum}",
                reason_code=ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
                statement="MQTT-3.3.4-9",
            )
        self.overruns += 1

    def settle(self, message: IncomingMessage, reason_code: ReasonCode = _SUCCESS) -> None:
        """Note that the caller's code has dealt with a QoS 1 or 2 message.

        Its acknowledgement goes out once those of all earlier messages of its QoS have; for a
        message of an earlier connection none does, unless this one brings it again. Settling
        twice does nothing.
        """
        if message.settled is not None:
            return
        message.settled = reason_code
        if message.qos == _QOS_2 and self._session.journal is not None:
            self._note_settled(message, reason_code)
        if not self._has_due and self._is_any_due():
            # Made when they are to be sent: those of several messages at once.
            self._has_due = True
            self._output.ask_for_more(self._acknowledge)

    def _note_settled(self, message: IncomingMessage, reason_code: ReasonCode) -> None:
        if not reason_code.is_failure and self.expects(message):
            self._session.note_settled(message.packet_id)

    def _is_any_due(self) -> bool:
        pubacks, pubrecs = self._before_puback, self._before_pubrec
        return bool(
            (pubacks and pubacks[0].settled is not None)
            or (pubrecs and pubrecs[0].settled is not None)
        )

    def _acknowledge(self) -> None:
        """Put the acknowledgements that are due into the output.

        Behind the last packet there can be none: these messages are left to the Session.
        """
        if self._has_due:
            self._has_due = False
            self._send_pubacks()
            self._send_pubrecs()

    def expects(self, message: IncomingMessage) -> bool:
        """Whether a QoS 2 message has a PUBREC to come, on this connection or a later one."""
        held_here = self._exchanges.get(message.packet_id) is message
        return held_here or self._session.holds(message)

    def _send_pubacks(self) -> None:
        waiting = self._before_puback
        output = self._output
        while waiting and not output.closed and (reason_code := waiting[0].settled) is not None:
            accepted = self._take_accepted()
            if accepted:
                output.append_pubacks(accepted)  # MQTT-4.3.2-4
                continue
            message = waiting.popleft()
            properties = self._explanation(message, reason_code)
            encoded = self._encode(PubAck(message.packet_id, reason_code, properties))
            output.append(encoded, message.stored_in, message)

    def _take_accepted(self) -> list[IncomingMessage]:
        """Messages in a row whose PUBACKs are due, say nothing more and may be sent at once."""
        accepted: list[IncomingMessage] = []
        if self._session.explanations is None:
            waiting = self._before_puback
            committed = self._output.committed
            while waiting:
                first = waiting[0]
                if first.settled is not _SUCCESS or first.stored_in > committed:
                    break
                accepted.append(waiting.popleft())
        return accepted

    def _send_pubrecs(self) -> None:
        waiting = self._before_pubrec
        output = self._output
        session = self._session
        received = session.received
        is_plain = not self._repeated and session.explanations is None and session.journal is None
        row = RECEIVER[_HELD, _SETTLED]
        accepted: list[int] = []  # in a row
        while waiting and not output.closed and (reason_code := waiting[0].settled) is not None:
            first = waiting.popleft()
            packet_id = first.packet_id
            if is_plain and not reason_code and received.get(packet_id) is _HELD:
                received[packet_id] = row.state
                accepted.append(packet_id)
                continue
            self._accept(accepted)
            accepted = []
            self._send_pubrec(first, reason_code)
        self._accept(accepted)

    def _accept(self, packet_ids: list[int]) -> None:
        if packet_ids:
            self._output.append(encode_acknowledgements(PubRec, packet_ids))  # MQTT-4.3.3-8

    def _send_pubrec(self, first: IncomingMessage | _Repeat, reason_code: ReasonCode) -> None:
        packet_id = first.packet_id
        refused: IncomingMessage | None = None
        properties = NO_PROPERTIES
        if isinstance(first, _Repeat):
            self._repeated.pop(packet_id, None)
            event = _PUBLISH
        else:
            event = _SETTLED
            if reason_code.is_failure:
                refused = first
                event = ReceiverInput.REJECTED
            if self._session.explanations is not None:
                properties = self._explanation(first, reason_code)
        state = self._session.received.get(packet_id, _UNKNOWN)
        row = RECEIVER[state, event]
        if row.action is _SEND_PUBREC:  # else PUBREL has overtaken a repeat
            self._enter(packet_id, row.state)
            packet = self._encode(PubRec(packet_id, reason_code, properties))
            self._output.append(packet, self._session.settled_stored_in(packet_id), refused)

    def _explanation(self, message: IncomingMessage, reason_code: ReasonCode) -> Properties:
        """What the acknowledgement of a message says beside its Reason Code."""
        explanations = self._session.explanations
        if explanations is None or message not in explanations:
            return NO_PROPERTIES
        meant, properties = explanations.pop(message)
        return properties if meant is reason_code else NO_PROPERTIES

    def _encode(self, packet: PubAck | PubRec) -> bytes:
        return encode_within(packet, self.protocol, self.maximum_packet_size)

    def _enter(self, packet_id: int, state: ReceiverState) -> int:
        """Go to another state; says which batch must be on disk before that shows."""
        if state is _UNKNOWN:
            self._exchanges.pop(packet_id, None)
            return self._session.forget_received(packet_id)
        self._session.received[packet_id] = state
        return 0

    def takes_pubrels(self, packet_ids: AcknowledgementRun) -> bool:
        """Answer PUBRELs in a row, if each has its PUBREC and nothing is on disk.

        Returns:
            Whether it did; otherwise it has answered none, and they are for `on_pubrel`.
        """
        self._acknowledge()
        received = self._session.received
        if self._session.journal is not None or len(set(packet_ids)) < len(packet_ids):
            return False
        if any(received.get(packet_id) is not _ANSWERED for packet_id in packet_ids):
            return False
        for packet_id in packet_ids:
            del received[packet_id]  # MQTT-4.3.3-12
            self._exchanges.pop(packet_id, None)
        self._output.append(encode_acknowledgements(PubComp, packet_ids))  # MQTT-4.3.3-11
        return True

    def on_pubrel(self, packet: PubRel) -> None:
        """Answer a PUBREL.

        Raises:
            RemoteProtocolError: it came before our PUBREC.
        """
        self._acknowledge()
        packet_id = packet.packet_id
        state = self._session.received.get(packet_id, _UNKNOWN)
        row = RECEIVER[state, _PUBREL]
        if row.action is _REFUSE:
            message = f"PUBREL with the Packet Identifier {packet_id} before PUBREC: {row.guard}"
            raise RemoteProtocolError(message, statement=row.statement)
        stored_in = self._enter(packet_id, row.state)
        if row.action is ReceiverAction.SEND_PUBCOMP_NOT_FOUND and self.protocol is MQTT_5:
            not_found = PubComp(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
            data = encode(not_found, self.protocol)
        else:
            data = b"\x70\x02%c%c" % (packet_id >> 8, packet_id & 0xFF)
        self._output.append(data, stored_in)
