"""One Network Connection of the Client: bytes in and events out, requests in and bytes out.

`receive_data` only buffers; `next_events` parses and says what happened. What is to be sent
collects in `output`. The two halves, `sender` and `receiver`, know nothing of CONNECT: they would
serve the other side as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, cast

from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt._errors import PacketTooLarge, RemoteProtocolError
from trio_mqtt._protocol.aliases import MOST_ALIASES, TopicAliases
from trio_mqtt._protocol.authentication import Authentication
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage, Request
from trio_mqtt._protocol.fitting import encode_within
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt._protocol.runs import FinishedRun
from trio_mqtt._protocol.sender import Sender
from trio_mqtt._protocol.server_info import ServerInfo, read_server_info
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Disconnect,
    Packet,
    PacketReader,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
    encode,
)
from trio_mqtt.packets._runs import AcknowledgementRun, PublishRun
from trio_mqtt.packets._wire import LARGEST_PACKET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mqtt._protocol.session import OnSessionLost, SessionState
    from trio_mqtt.packets import Connect, Properties

Event = IncomingMessage | OutgoingMessage | Request | ConnAck | Disconnect | Auth
"""A message to deliver, a message or request that is over, or a packet to act on."""
Run = PublishRun[IncomingMessage] | FinishedRun
"""Messages in a row: to deliver, or over."""

_Found = Packet | PublishRun[IncomingMessage] | AcknowledgementRun
_BEFORE_CONNACK: Final = (ConnAck, Auth)
_V3_CONNACK: Final = b"\x20\x02"
_BATCH: Final = 256
_ACKNOWLEDGEMENTS: Final = (PubAck, PubRec, PubComp)
_UNEXPLAINED: Final = (PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Auth)
"""What has no Reason String or User Properties if Request Problem Information is 0 (3.1.2.11.7)."""
_OLDER_STATEMENTS: Final = {
    "2.1.2": "2.2.1",
    "2.2.1": "2.3.1",
    "MQTT-2.2.1-6": "MQTT-2.3.1-7",
    "MQTT-3.2.0-2": "3.2",
    "MQTT-3.2.2-2": "MQTT-3.2.2-1",
    "MQTT-3.8.4-6": "MQTT-3.8.4-5",
    "MQTT-4.3.3-4": "MQTT-4.3.3-1",
}
"""What MQTT 3.1.1 calls those statements of MQTT 5.0 that are cited here and hold there, too."""


def in_order(events: list[Event | Run]) -> list[Event]:
    """Events, with those in a row among them one by one."""
    flat: list[Event] = []
    for each in events:
        if isinstance(each, list):
            flat += each
        else:
            flat.append(each)
    return flat


class Connection:
    """The protocol side of one Network Connection.

    Args:
        session: the Session that the connection serves.
        connect: the CONNECT to send.
        protocol: the version of MQTT to speak.
        receive_maximum: how many QoS 1 and 2 messages we want to have unsettled at once; also the
            property of `connect`, where the version has it.
        message_type: the class made for each PUBLISH received.
        on_session_lost: what becomes of messages under way if the Server has no Session of ours.
        hold: after a lost Session, send no message until `sender.let_go`, so that subscriptions
            are made first.
        unheard: whether the answer to an earlier CONNECT was lost. The Server may have begun
            a new Session with that one, which is present now.
        use_topic_aliases: whether to use the Topic Aliases that the Server allows.

    Attributes:
        protocol: the version of MQTT spoken; 3.1.1 if a Server refused MQTT 5.0 in that form.
        session: the Session that the connection serves.
        output: what is to be sent.
        sender: our messages and requests.
        receiver: the Server's messages.
        authentication: the enhanced authentication; `authenticate` takes the next step of it.
        server: what the Server granted, or None before CONNACK; with enhanced authentication,
            before `open`.
        resumed: whether the Server went on with a Session; known after CONNACK.
        unsure: whether that may be another one than ours.
        doubtful: messages that were given up since the Server had lost the Session.
        ping_outstanding: whether a PINGREQ awaits its PINGRESP.
    """

    def __init__(  # noqa: PLR0913 - what CONNECT cannot say of the connection
        self,
        session: SessionState,
        connect: Connect,
        protocol: Protocol,
        *,
        receive_maximum: int,
        message_type: type[IncomingMessage] = IncomingMessage,
        on_session_lost: OnSessionLost = "republish_certain",
        hold: bool = False,
        unheard: bool = False,
        use_topic_aliases: bool = False,
    ) -> None:
        limits = connect.properties
        self.protocol: Protocol = protocol
        self.session = session
        self.output: Output = Output()
        self.sender: Sender = Sender(session, self.output, protocol)
        self.receiver: Receiver = Receiver(
            session,
            self.output,
            protocol,
            receive_maximum=receive_maximum,
            topic_alias_maximum=limits.topic_alias_maximum or 0,
        )
        self.authentication: Authentication = Authentication(limits.authentication_method)
        self.server: ServerInfo | None = None
        self.ping_outstanding: bool = False
        self._connect = connect
        self._asked = protocol
        self.resumed: bool = False
        self.doubtful: list[OutgoingMessage] = []
        self._on_session_lost: OnSessionLost = on_session_lost
        self.unsure: bool = False
        self._hold = hold
        self._unheard = unheard
        self._use_topic_aliases = use_topic_aliases
        self._reader = PacketReader(
            protocol, maximum_packet_size=limits.maximum_packet_size, publish_type=message_type
        )
        self._handlers: Mapping[type, Callable[..., Event | None]] = self._HANDLERS
        if limits.request_problem_information == 0:
            unexplained = dict.fromkeys(_UNEXPLAINED, Connection._on_unexplained)
            self._handlers = self._HANDLERS | unexplained
        self._failure: RemoteProtocolError | None = None
        self._answered = False  # by a CONNACK, be it a refusal
        self._first_bytes: bytes | None = b"" if protocol is MQTT_5 else None  # None: form is known
        self.output.append(encode(connect, protocol))  # MQTT-3.1.0-1

    def ping(self) -> None:
        """Send PINGREQ."""
        self.ping_outstanding = True
        self.output.append_ahead(encode(PingReq(), self.protocol))

    def disconnect(self, packet: Disconnect | None = None) -> None:
        """Send DISCONNECT as the last packet; what is asked for later is not sent.

        Below MQTT 5.0 its Reason Code and properties are left out, and the User Properties and the
        Reason String where the Server takes no packet of that size (MQTT-3.14.2-3, MQTT-3.14.2-4).
        """
        if packet is None or self.protocol is not MQTT_5:
            packet = Disconnect()
        limit = None if self.server is None else self.server.maximum_packet_size
        self.output.append(encode_within(packet, self.protocol, limit))
        self.output.close()  # MQTT-3.14.4-1

    def authenticate(self, properties: Properties) -> None:
        """Send AUTH: our answer, or, once the Server has accepted us, the first of a new exchange.

        Reason String and User Properties are left out if they make the packet larger than the
        Server takes (MQTT-3.15.2-2, MQTT-3.15.2-3).

        Raises:
            LocalProtocolError: it is not our turn.
            PacketTooLarge: the Server does not take so much.
        """
        limit = None if self.server is None else self.server.maximum_packet_size
        packet = self.authentication.make_packet(properties)
        data = encode_within(packet, self.protocol, limit)
        if limit is not None and len(data) > limit:
            message = (
                f"AUTH would take {len(data)} bytes, and the Server granted a Maximum Packet Size "
                f"of {limit}"
            )
            raise PacketTooLarge(message, size=len(data), limit=limit)
        self.authentication.sent()
        self.output.append_ahead(data)

    @property
    def needed(self) -> int:
        """How many bytes the packet takes that has come in part, as far as that is known."""
        return self._reader.needed

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take what arrived; `next_events` looks at it."""
        if self._first_bytes is not None:
            # A Server without MQTT 5.0 answers in the form of 3.1.1, which is too short for 5.0.
            self._first_bytes += data
            if len(self._first_bytes) < len(_V3_CONNACK):
                return
            data, self._first_bytes = self._first_bytes, None
            if data.startswith(_V3_CONNACK):
                self.protocol = self._reader.protocol = MQTT_3_1_1
        self._reader.feed(data)

    def next_events(self) -> list[Event]:
        """What happened, in order; empty when more bytes are needed.

        Events before a violation are returned first; the error comes with the next call, and with
        every call after that.

        Raises:
            RemoteProtocolError: the Server broke the protocol; send its Reason Code and close.
        """
        while (events := self.next_runs()) is not None:
            if events:
                return in_order(events)
        return []

    def next_runs(self) -> list[Event | Run] | None:
        """As `next_events`, but messages, or ends of exchanges, in a row are one element.

        Returns:
            What happened, which may be nothing that anybody is to be told; None when more bytes
            are needed.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # else each call would add to the same one
        most = 1 if self.server is None else _BATCH
        found = self._reader._read_runs(most)  # noqa: SLF001 - no API of the package
        if not found:
            return None
        packets = cast("list[_Found]", found)  # it makes messages of PUBLISHes
        events: list[Event | Run] = []
        try:
            self._handle(packets, events)
        except RemoteProtocolError as error:
            if self.protocol is not MQTT_5 and error.statement is not None:
                error.statement = _OLDER_STATEMENTS.get(error.statement, error.statement)
            self._failure = error
            if not events:
                raise
        return events

    def _handle(
        self,
        packets: list[_Found],
        events: list[Event | Run],
    ) -> None:
        opened = self.server is not None
        on_acknowledgement = self.sender.on_acknowledgement
        handlers = self._handlers
        # The handler of these is called without a look at the table, as there are so many.
        short_cut = opened and handlers is self._HANDLERS
        event: Event | None
        for packet in packets:
            if isinstance(packet, PublishRun):
                if not opened:
                    raise self._out_of_place(packet[0])
                self._on_publishes(packet, events)
                continue
            if isinstance(packet, AcknowledgementRun):
                taken = self._take_at_once(packet, events) if short_cut else 0
                if taken < len(packet):
                    self._handle([*packet.packets(taken)], events)
                continue
            if short_cut and isinstance(packet, _ACKNOWLEDGEMENTS):
                event = on_acknowledgement(packet)
            else:
                handler = handlers.get(type(packet))
                if handler is None or not (opened or type(packet) in _BEFORE_CONNACK):
                    raise self._out_of_place(packet)
                event = handler(self, packet)
            if event is not None:
                events.append(event)

    def _take_at_once(self, run: AcknowledgementRun, events: list[Event | Run]) -> int:
        """Take as many as can be taken at once; says how many."""
        if isinstance(run.first, PubRel):
            return len(run) if self.receiver.takes_pubrels(run) else 0
        taken, over = self.sender.on_acknowledgements(run)
        if over:
            events.append(over)
        return taken

    def _on_publishes(
        self,
        run: PublishRun[IncomingMessage],
        events: list[Event | Run],
    ) -> None:
        if self.receiver.takes_run(run):
            events.append(run)
            return
        new: PublishRun[IncomingMessage] = PublishRun()
        try:
            for message in run:
                if self.receiver.on_publish(message):
                    new.append(message)
        finally:
            if new:
                events.append(new)

    def _out_of_place(self, packet: Packet) -> RemoteProtocolError:
        is_publish = isinstance(packet, Publish)
        name = "PUBLISH" if is_publish else type(packet).__name__.upper()
        if is_publish or type(packet) in self._HANDLERS:
            message = f"the Server sent {name} before CONNACK"
            return RemoteProtocolError(message, statement="MQTT-3.2.0-1")
        message = f"the Server sent {name}, which only a Client may send"
        return RemoteProtocolError(message, statement="2.1.2")

    def _on_connack(self, packet: ConnAck) -> ConnAck:
        if self._answered:
            message = "the Server sent a second CONNACK"
            raise RemoteProtocolError(message, statement="MQTT-3.2.0-2")
        self._answered = True
        if packet.session_present and self._connect.clean_start:
            message = "CONNACK has Session Present 1 although CONNECT had Clean Start 1"
            raise RemoteProtocolError(message, statement="MQTT-3.2.2-2")
        if not packet.reason_code.is_failure:
            self.authentication.on_connack(packet)
            if self.protocol is not self._asked:
                message = "the Server accepted a CONNECT of MQTT 5.0 in the form of MQTT 3.1.1"
                raise RemoteProtocolError(message, statement="3.2.2")
            if self.authentication.method is None:
                self.open(packet)
        return packet

    def open(self, packet: ConnAck) -> None:
        """Go on with the Session, or begin a new one, as the CONNACK that was received says.

        With enhanced authentication that is for the caller to do, who knows first whether it is
        the right Server that has accepted the connection.
        """
        self.server = server = read_server_info(self._connect, packet, self.protocol)
        # MQTT 3.1 has no Session Present: its Server may have the Session, and there is no knowing.
        no_word = self.protocol is MQTT_3_1 and not self._connect.clean_start
        self.resumed = server.session_present or no_word
        self.receiver.maximum_packet_size = server.maximum_packet_size
        self.unsure = self.resumed and (self._unheard or no_word)
        self.sender.open(
            server.receive_maximum,
            hold=self._hold and (self.unsure or not self.resumed),
            aliases=self._new_aliases(server),
        )
        if self.resumed:
            self.sender.resume()
            self.receiver.resume(unsure=self.unsure)
        else:
            self.doubtful = self.session.start_anew(self._on_session_lost)

    def _new_aliases(self, server: ServerInfo) -> TopicAliases | None:
        maximum = min(server.topic_alias_maximum, MOST_ALIASES)  # MQTT-3.2.2-17, MQTT-3.2.2-18
        if not maximum or not self._use_topic_aliases:
            return None
        return TopicAliases(maximum, server.maximum_packet_size or LARGEST_PACKET)

    def end(self) -> None:
        """The Network Connection is over; nothing is sent or acknowledged on it any more."""
        self.receiver.end()

    def _on_pingresp(self, _packet: PingResp) -> None:
        self.ping_outstanding = False

    def _on_disconnect(self, packet: Disconnect) -> Disconnect:
        if self.protocol is not MQTT_5:
            message = f"a Server has no DISCONNECT in {self.protocol.title}"
            raise RemoteProtocolError(message, statement="3.14")
        return packet

    def _on_auth(self, packet: Auth) -> Auth:
        self.authentication.on_auth(packet)
        return packet

    def _on_unexplained(self, packet: PubAck) -> Event | None:
        """Take a packet that has no Reason String and no User Properties, as we asked for."""
        properties = packet.properties
        if properties.reason_string is not None or properties.user_properties:
            name = type(packet).__name__.upper()
            message = f"{name} has a Reason String or User Properties, which CONNECT declined"
            raise RemoteProtocolError(message, statement="MQTT-3.1.2-29")
        return self._HANDLERS[type(packet)](self, packet)

    def _on_acknowledgement(self, packet: PubAck | PubRec | PubComp) -> OutgoingMessage | None:
        return self.sender.on_acknowledgement(packet)

    def _on_pubrel(self, packet: PubRel) -> None:
        self.receiver.on_pubrel(packet)

    def _on_answer(self, packet: SubAck | UnsubAck) -> Request | None:
        return self.sender.on_answer(packet)

    _HANDLERS: ClassVar[dict[type, Callable[..., Event | None]]] = {
        ConnAck: _on_connack,
        PubAck: _on_acknowledgement,
        PubRec: _on_acknowledgement,
        PubRel: _on_pubrel,
        PubComp: _on_acknowledgement,
        SubAck: _on_answer,
        UnsubAck: _on_answer,
        PingResp: _on_pingresp,
        Disconnect: _on_disconnect,
        Auth: _on_auth,
    }
    """What a Server may send beside PUBLISH, and who deals with it."""
