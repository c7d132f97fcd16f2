"""One Network Connection as the Server sees it: what each packet does.

No I/O and no clock. Bytes go in by `receive_data`, `handle_packets` does what they ask for, and
`outbox.take` returns the bytes to write. Whatever the standard calls a Protocol Error raises
RemoteProtocolError inside; `handle_packets` turns it into DISCONNECT and the end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    Connect,
    Disconnect,
    Packet,
    PacketReader,
    Properties,
    PubRel,
)
from trio_mqtt.testing._connecting import (
    client_limits,
    handle_auth,
    handle_connect,
    refuse,
    refuse_version,
)
from trio_mqtt.testing._handlers import HANDLERS
from trio_mqtt.testing._outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.testing._broker import Broker
    from trio_mqtt.testing._connecting import Authentication
    from trio_mqtt.testing._limits import ServerLimits
    from trio_mqtt.testing._session import Session

_BATCH = 64


class Connection:
    """One Network Connection, from its first byte to its end.

    Args:
        broker: what all connections share.
        on_output: called when there may be something to send, or the connection is closed.
        now: what time it is.

    Attributes:
        limits: those of the server when the connection was made.
        outbox: what is sent to the Client.
        client_id: empty until CONNECT was accepted.
        deadline: when the connection is to be closed unless a packet comes before.
        closed: nothing that arrives is looked at any more; what is in the outbox is still sent.
        authentication: the enhanced authentication, or None.
        aliases: the Topic Names behind the Client's Topic Aliases (MQTT-3.3.2-7).
    """

    def __init__(self, broker: Broker, on_output: Callable[[], None], now: float) -> None:
        self.broker = broker
        self.limits: ServerLimits = broker.policy.limits
        self.outbox: Outbox = Outbox(broker, on_output)
        self.client_id: str = ""
        self.closed: bool = False
        self.deadline: float = now + self.limits.connect_timeout  # 3.1.4
        self.authentication: Authentication | None = None
        self._session: Session | None = None
        self._keep_alive = math.inf
        self.aliases: dict[int, str] = {}
        self._reader = PacketReader(None, maximum_packet_size=self.limits.maximum_packet_size)

    # In and out

    @property
    def protocol(self) -> Protocol | None:
        """The version of MQTT spoken, or None before CONNECT."""
        return self._reader.protocol

    def receive_data(self, data: bytes) -> None:
        """Take bytes that arrived."""
        if not self.closed:
            self._reader.feed(data)

    def handle_packets(self, now: float) -> bool:
        """Do what some of the packets that arrived ask for; whether there may be more."""
        if self.outbox.closed:
            return False
        try:
            packets = self._reader.read_packets(_BATCH)
            for packet in packets:
                name = self.client_id or self.outbox.client_id or _name_in(packet)
                self.broker.log.add("received", name, packet)
                self._handle(packet, now)
                if self.closed:
                    return False
        except RemoteProtocolError as error:
            self._fail(error, now)
            return False
        if packets:
            self.restart_keep_alive(now)
        return bool(packets)

    def open(
        self,
        session: Session,
        connect: Connect,
        protocol: Protocol,
        server_keep_alive: int | None,
        now: float,
    ) -> None:
        """CONNECT was accepted: take up the Session."""
        keep_alive = connect.keep_alive  # MQTT-3.2.2-22
        if server_keep_alive is not None:
            keep_alive = server_keep_alive  # MQTT-3.2.2-21
        self._keep_alive = 1.5 * keep_alive or math.inf
        self.restart_keep_alive(now)
        self.client_id = session.client_id
        self._session = session
        outbox = self.outbox
        outbox.protocol = protocol
        outbox.client_id = session.client_id
        outbox.session = session
        outbox.problem_information = connect.properties.request_problem_information != 0
        outbox.receive_maximum, outbox.maximum_packet_size, aliases = client_limits(
            connect.properties
        )
        if self.limits.outbound_topic_aliases:
            outbox.topic_alias_maximum = aliases
        for packet_id in session.released:  # MQTT-4.4.0-1
            outbox.answer(PubRel(packet_id))

    def restart_keep_alive(self, now: float) -> None:
        """Give the Client its whole time again."""
        if self._session is not None:
            self.deadline = now + self._keep_alive

    def check_deadline(self, now: float) -> None:
        """Close the connection if its time is up (MQTT-3.1.2-22)."""
        if now >= self.deadline:
            self.disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT, now)

    # The end

    def disconnect(
        self, reason_code: ReasonCode, now: float, properties: Properties = NO_PROPERTIES
    ) -> None:
        """End the connection from the Server's side, with a DISCONNECT where there is one."""
        if self.outbox.opened and self.outbox.protocol is MQTT_5:  # MQTT-3.14.0-1
            self.outbox.answer_now(Disconnect(reason_code, properties))
        self.lost(now)

    def lost(self, now: float) -> None:
        """The connection is over, as far as the Client is concerned."""
        self.close()
        session, self._session = self._session, None
        if session is not None:
            self.broker.connection_closed(session, now)

    def close(self) -> None:
        """Look at nothing more and send nothing more than is in the outbox (MQTT-3.14.4-1)."""
        if not self.closed:
            self.closed = self.outbox.closed = True
            self.outbox.wake()

    def _fail(self, error: RemoteProtocolError, now: float) -> None:
        """The Client broke the protocol (MQTT-4.13.1-1; MQTT-4.8.0-1 of MQTT 3.1.1)."""
        if self._session is not None:
            self.disconnect(error.reason_code, now, Properties(reason_string=str(error)))
        elif error.reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
            refuse_version(self, MQTT_3_1_1)
        else:  # MQTT-3.1.4-1; MQTT-3.1.3-8 of MQTT 3.1.1
            refuse(self, error.reason_code, self.protocol or MQTT_3_1_1)

    def _handle(self, packet: Packet, now: float) -> None:
        session = self._session
        if session is None:
            if isinstance(packet, Connect) and self.protocol and not self.authentication:
                handle_connect(self, packet, self.protocol, now)
                return
            if isinstance(packet, Auth) and self.authentication:
                handle_auth(self, packet, now)
                return
        handler = HANDLERS.get(type(packet))
        if session is None or handler is None:
            message = f"a Client cannot send {type(packet).__name__} here"
            raise RemoteProtocolError(message, statement="MQTT-3.1.0-2")
        handler(self, session, packet, now)

    @property
    def is_5(self) -> bool:
        """Whether MQTT 5.0 is spoken."""
        return self.protocol is MQTT_5

    def if_5(self, reason_code: ReasonCode) -> ReasonCode:
        """A Reason Code where acknowledgements have one, else SUCCESS."""
        return reason_code if self.is_5 else ReasonCode.SUCCESS


def _name_in(packet: Packet) -> str:
    return packet.client_id if isinstance(packet, Connect) else ""
