"""Our messages and requests on one Network Connection: window, identifiers, handshakes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from trio_mqtt._enums import MQTT_5, Protocol, QoS, ReasonCode
from trio_mqtt._protocol.answers import refusal, take_answer
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.handshakes import SENDER, SenderAction, SenderInput, SenderState
from trio_mqtt._protocol.identifiers import MOST_IDENTIFIERS
from trio_mqtt._protocol.runs import NEXT_STEPS, FinishedRun, finish_each, release_each
from trio_mqtt.packets import (
    NO_PROPERTIES,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    encode,
)
from trio_mqtt.packets._encoder import (
    DUP_FLAG,
    RETAIN_FLAG,
    publish_first_byte,
    publish_header,
)
from trio_mqtt.packets._runs import encode_acknowledgements

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt._protocol.aliases import TopicAliases
    from trio_mqtt._protocol.exchanges import Listener
    from trio_mqtt._protocol.output import Output
    from trio_mqtt._protocol.session import SessionState
    from trio_mqtt.packets import SubAck, UnsubAck
    from trio_mqtt.packets._runs import AcknowledgementRun

OUTPUT_HIGH_WATER: Final = 256 * 1024
"""No queued message is moved to the output while this many bytes wait there."""
MOST_IN_FLIGHT: Final = 65_000
"""Cap on the send quota: leaves Packet Identifiers for SUBSCRIBE and UNSUBSCRIBE."""
MOST_QOS_2_BELOW_5: Final = 19
"""How many QoS 2 messages are under way at once where no Receive Maximum says how many may be.

Mosquitto closes the connection of a Client that sends another one while 20 are under way, be that
of QoS 1 or 2.
"""
_COPIED: Final = 1024
"""A payload up to this size is one chunk with its header."""
_FIRST_BYTES: Final = tuple(publish_first_byte(qos, retain=False, dup=False) for qos in QoS)
"""How a PUBLISH begins, by QoS."""
_TWO_BYTES: Final = 128
"""A Remaining Length below that takes one byte."""
_PLAIN: Final = _FIRST_BYTES[0]
_AWAITING: Final = (SenderState.IDLE, SenderState.AWAITING_PUBACK, SenderState.AWAITING_PUBREC)
"""What a message awaits once it was sent, by QoS."""
_INPUTS: Final[Mapping[type, SenderInput]] = {
    PubAck: SenderInput.PUBACK,
    PubRec: SenderInput.PUBREC,
    PubComp: SenderInput.PUBCOMP,
}
_UNANSWERED: Final = {SenderState.AWAITING_PUBACK, SenderState.AWAITING_PUBREC}
# What each message is compared with: on Python 3.11 a look into an Enum takes longer than a call.
_IDLE: Final = SenderState.IDLE
_AWAITING_PUBREC: Final = SenderState.AWAITING_PUBREC
_PUBREC: Final = SenderInput.PUBREC
_FINISH: Final = SenderAction.FINISH
_SEND_PUBREL: Final = SenderAction.SEND_PUBREL
_REFUSE: Final = SenderAction.REFUSE
_EXACTLY_ONCE: Final = int(QoS.EXACTLY_ONCE)
_SUCCESS: Final = ReasonCode.SUCCESS
_NOT_FOUND: Final = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND


class Sender:
    """The sending half of a connection.

    Args:
        session: where messages and requests live.
        output: where packets go.

    Attributes:
        protocol: the version of MQTT spoken.
        quota: how many more QoS 1 and 2 messages may be sent now (4.9); 0 until it is opened.
        strays: acknowledgements received that belonged to nothing.
        expired: messages that were dropped instead of being sent; the caller's to take and report.
        aliases: the Topic Aliases of this connection, or None if none are used.
    """

    def __init__(self, session: SessionState, output: Output, protocol: Protocol) -> None:
        self.protocol = protocol
        self.quota: int = 0
        self.strays: int = 0
        self._session = session
        self._output = output
        self.expired: list[OutgoingMessage] = []
        self.aliases: TopicAliases | None = None
        self._no_properties = b"\0" if protocol is MQTT_5 else b""
        self._most_quota = 0
        self._qos_2_room = 0
        self._open = False
        self._holding = False
        self._again: deque[OutgoingMessage] | None = None  # sent on an earlier connection
        self._outside: set[int] = set()  # identifiers of earlier connections without a place here

    @property
    def is_repeating(self) -> bool:
        """Whether something new would overtake messages that are to be sent again."""
        return self._holding or bool(self._again)

    def open(
        self, receive_maximum: int, *, hold: bool = False, aliases: TopicAliases | None = None
    ) -> None:
        """Allow sending, with this window (MQTT-4.9.0-1).

        Args:
            receive_maximum: how many messages the peer takes.
            hold: send SUBSCRIBEs and UNSUBSCRIBEs only, until `let_go`.
            aliases: what decides about Topic Aliases, or None to use none.
        """
        self._open = True
        self._holding = hold
        self.aliases = aliases
        self.quota = self._most_quota = min(receive_maximum, MOST_IN_FLIGHT)
        self._qos_2_room = self.quota if self.protocol is MQTT_5 else MOST_QOS_2_BELOW_5

    def hold(self) -> None:
        """Send SUBSCRIBEs and UNSUBSCRIBEs only, until `let_go`."""
        self._holding = True

    def let_go(self) -> None:
        """Send messages, too, from now on."""
        self._holding = False

    def resume(self) -> None:
        """Go on with the Session that the peer still has (MQTT-4.4.0-1).

        PUBRELs leave at once, in the order of their PUBRECs; PUBLISHes as the window allows, in
        their own; SUBSCRIBEs and UNSUBSCRIBEs are made anew.
        """
        releases: list[OutgoingMessage] = []
        self._again = deque()
        for message in self._session.messages():
            if message.state is SenderState.IDLE:
                continue
            self._outside.add(message.packet_id)
            if message.state is SenderState.AWAITING_PUBCOMP:
                releases.append(message)  # although it may have been given up: the peer has it
            elif message.failure is None:
                self._again.append(message)  # MQTT-4.6.0-1
        for message in sorted(releases, key=lambda each: each.released):  # MQTT-4.6.0-4
            self._append_pubrel(message.packet_id, ReasonCode.SUCCESS, message.stored_in)
        self._session.renew_requests()

    def send(self, message: OutgoingMessage) -> None:
        """Put a QoS 0 message into the output."""
        self._append_publish(message, dup=False)  # MQTT-4.3.1-1, MQTT-3.3.1-2

    def send_plain(self, topic: bytes, payload: bytes) -> bool:
        """Put a QoS 0 message into the output that has nothing but these; most of them cost half.

        Args:
            topic: the Topic Name as a UTF-8 Encoded String.
            payload: the Application Message.

        Returns:
            Whether it was sent: that is not its turn yet while `is_repeating`, or the output is
            full or closed.
        """
        output = self._output
        if self._holding or self._again or output.closed or output.size >= OUTPUT_HIGH_WATER:
            return False
        properties = self._no_properties
        if self.aliases is not None:
            topic, properties = self.aliases.apply(topic, properties, len(payload))
        flowing = output.flowing
        length = len(topic) + len(properties) + len(payload)
        if length < _TWO_BYTES and flowing is not None:
            flowing.append(b"%c%c%b%b%b" % (_PLAIN, length, topic, properties, payload))
            output.size += length + 2
        else:
            self._append_parts(_PLAIN, topic, 0, 0, properties, payload)
        return True

    def publish_plain(  # noqa: PLR0913, PLR0917 - the parts of a message, on the hot path
        self,
        topic: str,
        topic_field: bytes,
        payload: bytes,
        qos: int,
        size: int,
        listener: Listener | None,
        made: OutgoingMessage | None = None,
    ) -> OutgoingMessage | None:
        """Take over a QoS 1 or 2 message and send it, if it need not wait for anything.

        It is made here, of no more than these; or it is one that was made before, and all its own.

        Args:
            topic: the Topic Name.
            topic_field: the same as a UTF-8 Encoded String.
            payload: the Application Message.
            qos: 1 or 2.
            size: what the whole takes in memory, about.
            listener: called once, when the exchange is over or has failed.
            made: the message, if it was made before.

        Returns:
            The message, which was sent; None if nothing has happened.
        """
        session = self._session
        output = self._output
        if (
            session.journal is not None
            or session.queue
            or session.requests
            or self._again
            or self._holding
            or self.quota <= 0  # MQTT-4.9.0-2
            or output.size >= OUTPUT_HIGH_WATER
            or output.closed
        ):
            return None
        first, state = _FIRST_BYTES[qos], _AWAITING[qos]
        identifiers = session.identifiers
        in_use = identifiers.in_use
        packet_id = identifiers.last + 1  # MQTT-4.3.2-1, MQTT-4.3.3-1
        if packet_id > MOST_IDENTIFIERS or packet_id in in_use:
            return None
        if qos == _EXACTLY_ONCE:
            if not self._qos_2_room:
                return None
            self._qos_2_room -= 1
        self.quota -= 1
        identifiers.last = packet_id
        session.outgoing_size += size
        if made is not None:
            in_use[packet_id] = made
            made.packet_id = packet_id
            made.state = state
            self._append_publish(made)  # MQTT-4.3.2-2, MQTT-4.3.3-2
            return made
        properties = self._no_properties
        in_use[packet_id] = message = OutgoingMessage(
            topic,
            topic_field,
            payload,
            qos,
            False,  # noqa: FBT003 - RETAIN; by keyword it would take longer
            properties,
            size,
            listener,
            packet_id,
            state,
        )
        length = len(topic_field) + 2 + len(properties) + len(payload)
        if length < _TWO_BYTES and self.aliases is None:
            high, low = packet_id >> 8, packet_id & 0xFF
            parts = (first, length, topic_field, high, low, properties, payload)
            whole = b"%c%c%b%c%c%b%b" % parts
            flowing = output.flowing
            if flowing is None:
                output.append(whole)
            else:
                flowing.append(whole)
                output.size += length + 2
        else:
            self._append_publish(message)
        return message

    def send_at_once(self, message: OutgoingMessage) -> bool:
        """As `publish_plain`, for a message that was made before.

        Returns:
            Whether it was sent. Otherwise nothing has happened: it is for `SessionState.accept`.
        """
        field, payload = message.topic_field, message.payload
        size = message.size
        sent = self.publish_plain(message.topic, field, payload, message.qos, size, None, message)
        return sent is not None

    # Not by keyword: Python 3.11 calls a function with such arguments at twice the cost.
    def _append_publish(self, message: OutgoingMessage, dup: bool = False) -> None:  # noqa: FBT001, FBT002
        payload = message.payload
        qos = message.qos
        topic = message.topic_field
        properties = message.properties
        if message.expires_at is not None:
            properties = message.properties_at(self._session.clock())
        if self.aliases is not None and not dup:  # what is sent again has its full Topic Name
            topic, properties = self.aliases.apply(topic, properties, len(payload))
        first = _FIRST_BYTES[qos]
        if message.retain:
            first |= RETAIN_FLAG
        if dup:
            first |= DUP_FLAG
        self._append_parts(first, topic, qos, message.packet_id, properties, payload)

    def _append_parts(  # noqa: PLR0913, PLR0917 - as `publish_header`
        self,
        first: int,
        topic: bytes,
        qos: int,
        packet_id: int,
        properties: bytes,
        payload: bytes,
    ) -> None:
        output = self._output
        size = len(payload)
        if size <= _COPIED:
            output.append(publish_header(first, topic, qos, packet_id, properties, size, payload))
        else:
            output.append(publish_header(first, topic, qos, packet_id, properties, size))
            output.append(payload)

    def oldest(self) -> tuple[object, int] | None:
        """What was sent first and is not answered, and how far it is; None if nothing is."""
        for holder in self._session.identifiers.holders():
            if isinstance(holder, Request):
                return holder, 0
            if holder.state is not SenderState.IDLE and holder.failure is None:
                return holder, holder.state
        return None

    def pump(self) -> int:
        """Send what the window, the identifiers, the storage and the output have room for.

        Returns:
            How many messages were sent for the first time.
        """
        session = self._session
        output = self._output
        if not self._open or output.closed:
            return 0
        requests = session.requests
        if not (session.queue or session.prepared or requests or self._again):
            return 0  # most of the time
        while requests and not session.identifiers.exhausted:  # also at quota 0: MQTT-4.9.0-3
            request = requests.pop(0)
            request.packet.packet_id = session.identifiers.take(request)
            output.append(encode(request.packet, self.protocol), request.stored_in)
        if self._holding or (self._again and not self._send_again()):
            return 0
        if session.journal is not None:
            session.prepare_ahead(self.quota)
        return self._send_waiting()

    def _send_waiting(self) -> int:
        """Send what was never sent, as far as it may be; says how many messages."""
        session = self._session
        output = self._output
        identifiers = session.identifiers
        # With a journal, what has no identifier yet would be sent before that is on disk.
        waiting = session.queue if session.journal is None else session.prepared
        moved = 0
        while waiting and self.quota > 0 and output.size < OUTPUT_HIGH_WATER:  # MQTT-4.9.0-2
            message = waiting[0]
            if message.stored_in > output.committed:
                break  # it is not on disk yet
            if message.expires_at is not None and message.is_over_at(session.clock()):
                waiting.popleft()
                session.finish(message)
                self.expired.append(message)
                continue
            if not message.packet_id and identifiers.exhausted:
                break
            if not self._take_place(message):
                break
            waiting.popleft()
            if not message.packet_id:  # MQTT-4.3.2-1, MQTT-4.3.3-1
                message.packet_id = identifiers.take(message)
            message.state = _AWAITING[message.qos]
            self._append_publish(message, dup=False)  # MQTT-4.3.2-2, MQTT-4.3.3-2
            moved += 1
        return moved

    def _take_place(self, message: OutgoingMessage) -> bool:
        """Let a message have a place in the window; False if there is none for its QoS."""
        if message.qos == _EXACTLY_ONCE:
            if not self._qos_2_room:
                return False
            self._qos_2_room -= 1
        self.quota -= 1
        return True

    def _send_again(self) -> bool:
        """Send again what the window has room for; says whether that was all."""
        again = self._again
        output = self._output
        while again and self.quota > 0 and output.size < OUTPUT_HIGH_WATER:
            message = again[0]
            if message.state in _UNANSWERED and message.failure is None:
                if not self._take_place(message):
                    return False
                self._outside.discard(message.packet_id)
                self._append_publish(message, dup=True)  # MQTT-3.3.1-1
            again.popleft()
        return not again

    def on_acknowledgements(self, run: AcknowledgementRun) -> tuple[int, FinishedRun]:
        """Take the same step of many handshakes, as far as nothing is unusual about them.

        What happens is the same as by `on_acknowledgement`, which costs three times as much.

        Returns:
            How many of them were taken, 0 if the first is for `on_acknowledgement`; and the
            messages whose exchanges are over by them.
        """
        session = self._session
        if session.journal is not None or session.given_up or self._outside:
            return 0, FinishedRun()
        kind = run.first.__class__
        state, received = NEXT_STEPS[kind]
        action = SENDER[state, received].action
        if action is _FINISH:
            finished = finish_each(session, run, state)
            if kind is PubComp:
                self._qos_2_room += len(finished)
            self.quota += len(finished)  # each had a place: none is of an earlier connection
            return len(finished), finished
        if action is _SEND_PUBREL and not run.first.reason_code:
            # Of what else PUBREC says PUBCOMP says nothing, so that it would have to be kept.
            released = release_each(session, run, state)
            if released:
                self._output.append(encode_acknowledgements(PubRel, released))
            return len(released), FinishedRun()
        return 0, FinishedRun()

    def on_acknowledgement(self, packet: PubAck | PubRec | PubComp) -> OutgoingMessage | None:
        """Take a step of a handshake.

        Returns:
            The message whose exchange is over by this, or None.

        Raises:
            RemoteProtocolError: the packet fits no step.
        """
        packet_id = packet.packet_id
        message = self._session.identifiers.holder(packet_id)
        if isinstance(message, Request):
            raise refusal(packet, "belongs to a SUBSCRIBE or UNSUBSCRIBE", "2.2.1")
        received = _INPUTS[packet.__class__]
        if received is _PUBREC and packet.reason_code.is_failure:
            received = SenderInput.PUBREC_REFUSING
        row = SENDER[_IDLE if message is None else message.state, received]
        if row.action is _REFUSE:
            raise refusal(packet, f"fits no exchange: {row.guard}", row.statement)
        if message is None or message.state is _IDLE:
            self.strays += 1
            if row.action is SenderAction.SEND_PUBREL_NOT_FOUND:
                self._append_pubrel(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
            return None
        was = message.state
        message.state = row.state
        if row.action is _SEND_PUBREL:
            # At once, so in the order of the PUBRECs (MQTT-4.6.0-4).
            stored_in = message.stored_in
            if was is _AWAITING_PUBREC:
                stored_in = self._session.release(message)
            self._append_pubrel(packet_id, _SUCCESS, stored_in)
            if isinstance(packet, PubRec) and (
                packet.reason_code or packet.properties is not NO_PROPERTIES
            ):
                message.verdict = packet
            return None
        not_found = packet.reason_code is _NOT_FOUND
        if not_found and packet_id in self._outside:
            packet = PubComp(packet_id)  # the PUBREL of the earlier connection had come (3.7.2.1)
        self._session.finish(message)
        self._give_back(message)
        message.acknowledgement = packet if packet.reason_code else message.verdict or packet
        return message

    def _give_back(self, message: OutgoingMessage) -> None:
        """Let another message have its place in the window (4.9)."""
        if self._outside and message.packet_id in self._outside:
            self._outside.discard(message.packet_id)  # it had none on this connection
            return
        if message.qos == _EXACTLY_ONCE:
            self._qos_2_room += 1
        if self.quota < self._most_quota:
            self.quota += 1

    def _append_pubrel(self, packet_id: int, reason_code: ReasonCode, after: int = 0) -> None:
        if reason_code and self.protocol is MQTT_5:
            data = encode(PubRel(packet_id, reason_code), self.protocol)
        else:
            data = b"\x62\x02%c%c" % (packet_id >> 8, packet_id & 0xFF)
        self._output.append(data, after)

    def on_answer(self, packet: SubAck | UnsubAck) -> Request | None:
        """Match a SUBACK or UNSUBACK with its request; see `take_answer`."""
        request = take_answer(self._session.identifiers, packet, self.protocol)
        if request is None:
            self.strays += 1
        return request
