"""The 15 Control Packets as plain objects (chapter 3).

They are mutable and unvalidated: the decoder makes them by the hundred thousand. `encode` checks
everything. A field that a protocol version does not have keeps its default.
"""

from __future__ import annotations

import attrs

from trio_mqtt._enums import QoS, ReasonCode, RetainHandling
from trio_mqtt.packets._properties import NO_PROPERTIES, Properties


def _size_only(value: bytes | None) -> str:
    return "None" if value is None else f"<{len(value)} bytes>"


def _hidden(value: str | None) -> str:
    return "None" if value is None else "<hidden>"


@attrs.define
class WillMessage:
    """The Will Message inside CONNECT (3.1.2.5)."""

    topic: str
    payload: bytes = attrs.field(default=b"", repr=_size_only)
    qos: int = QoS.AT_MOST_ONCE
    retain: bool = False
    properties: Properties = NO_PROPERTIES


@attrs.define
class Connect:
    """CONNECT: the Client requests a connection (3.1).

    Attributes:
        client_id: the Client Identifier; empty lets the Server choose one.
        clean_start: Clean Start; on MQTT 3.1.1 and 3.1, Clean Session.
        keep_alive: in seconds; 0 is off.
        username: the User Name, or None.
        password: the Password, or None.
        will: the Will Message, or None.
        properties: MQTT 5.0 only.
    """

    client_id: str = ""
    clean_start: bool = True
    keep_alive: int = 60
    username: str | None = attrs.field(default=None, repr=_hidden)
    password: bytes | None = attrs.field(default=None, repr=_size_only)
    will: WillMessage | None = None
    properties: Properties = NO_PROPERTIES


@attrs.define
class ConnAck:
    """CONNACK: the Server answers CONNECT (3.2).

    Attributes:
        session_present: whether the Server had a Session; always False on MQTT 3.1.
        reason_code: the answer; return codes 1 to 5 of MQTT 3.1.1 appear as 0x84, 0x85, 0x88,
            0x86 and 0x87.
        properties: MQTT 5.0 only.
    """

    session_present: bool = False
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


@attrs.define
class Publish:
    """PUBLISH: an Application Message (3.3).

    Attributes:
        topic: the Topic Name; empty if a Topic Alias stands for it.
        payload: the Application Message itself.
        qos: the Quality of Service.
        retain: the RETAIN flag.
        dup: the DUP flag: this may be a re-delivery.
        packet_id: the Packet Identifier; 0 at QoS 0, where there is none.
        properties: MQTT 5.0 only.
    """

    topic: str
    payload: bytes = attrs.field(default=b"", repr=_size_only)
    qos: int = QoS.AT_MOST_ONCE
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = NO_PROPERTIES


@attrs.define
class Acknowledgement:
    """What PUBACK, PUBREC, PUBREL and PUBCOMP have in common.

    Attributes:
        packet_id: the Packet Identifier of the PUBLISH that it belongs to.
        reason_code: MQTT 5.0 only; SUCCESS below.
        properties: MQTT 5.0 only.
    """

    packet_id: int
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


@attrs.define
class PubAck(Acknowledgement):
    """PUBACK: the answer to a QoS 1 PUBLISH (3.4)."""


@attrs.define
class PubRec(Acknowledgement):
    """PUBREC: the first answer to a QoS 2 PUBLISH (3.5)."""


@attrs.define
class PubRel(Acknowledgement):
    """PUBREL: the sender's answer to PUBREC (3.6)."""


@attrs.define
class PubComp(Acknowledgement):
    """PUBCOMP: the answer to PUBREL, the end of a QoS 2 exchange (3.7)."""


@attrs.define
class SubscriptionRequest:
    """A Topic Filter with its Subscription Options (3.8.3.1); MQTT 3.1.1 has only the QoS."""

    topic_filter: str
    qos: int = QoS.AT_MOST_ONCE
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = RetainHandling.SEND_ON_SUBSCRIBE


@attrs.define
class Subscribe:
    """SUBSCRIBE (3.8)."""

    packet_id: int
    requests: tuple[SubscriptionRequest, ...]
    properties: Properties = NO_PROPERTIES


@attrs.define
class SubAck:
    """SUBACK: one Reason Code for each request of the SUBSCRIBE (3.9)."""

    packet_id: int
    reason_codes: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


@attrs.define
class Unsubscribe:
    """UNSUBSCRIBE (3.10)."""

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


@attrs.define
class UnsubAck:
    """UNSUBACK (3.11); MQTT 3.1.1 has no Reason Codes, so there are none then."""

    packet_id: int
    reason_codes: tuple[ReasonCode, ...] = ()
    properties: Properties = NO_PROPERTIES


@attrs.define
class PingReq:
    """PINGREQ: is the Server alive (3.12)?"""


@attrs.define
class PingResp:
    """PINGRESP: the Server is alive (3.13)."""


@attrs.define
class Disconnect:
    """DISCONNECT: the last packet of a connection (3.14); a Server sends it on MQTT 5.0 only."""

    reason_code: ReasonCode = ReasonCode.NORMAL_DISCONNECTION
    properties: Properties = NO_PROPERTIES


@attrs.define
class Auth:
    """AUTH: one step of enhanced authentication (3.15); MQTT 5.0 only."""

    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)
"""Any Control Packet."""
