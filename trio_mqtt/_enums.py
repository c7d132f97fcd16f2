"""The numbers of the wire that have names: versions, packet types, QoS, reason codes."""

from __future__ import annotations

import enum


class Protocol(enum.IntEnum):
    """A version of MQTT; the value is the Protocol Version byte of CONNECT (3.1.2.2)."""

    MQTT_3_1 = 3
    MQTT_3_1_1 = 4
    MQTT_5 = 5

    @property
    def title(self) -> str:
        """The name people use for it, such as ``MQTT 3.1.1``."""
        return _TITLES[self]


_TITLES = {
    Protocol.MQTT_3_1: "MQTT 3.1",
    Protocol.MQTT_3_1_1: "MQTT 3.1.1",
    Protocol.MQTT_5: "MQTT 5.0",
}

MQTT_3_1 = Protocol.MQTT_3_1
MQTT_3_1_1 = Protocol.MQTT_3_1_1
MQTT_5 = Protocol.MQTT_5


class PacketType(enum.IntEnum):
    """MQTT Control Packet types (2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class QoS(enum.IntEnum):
    """Quality of Service levels (4.3)."""

    AT_MOST_ONCE = 0
    AT_LEAST_ONCE = 1
    EXACTLY_ONCE = 2


def is_qos(value: object) -> bool:
    """Whether this is a QoS; 1.0 is equal to one, and none."""
    return isinstance(value, int) and 0 <= value <= QoS.EXACTLY_ONCE


class RetainHandling(enum.IntEnum):
    """When the Server sends retained messages for a subscription (3.8.3.1)."""

    SEND_ON_SUBSCRIBE = 0
    SEND_IF_NEW = 1
    DO_NOT_SEND = 2


class ReasonCode(enum.IntEnum):
    """Reason Codes (2.4); 0x80 and above are failures.

    The standard gives 0x00 three names; ``NORMAL_DISCONNECTION`` and ``GRANTED_QOS_0`` are
    aliases of ``SUCCESS`` here. The return codes of MQTT 3.1.1 are expressed in these, too.
    """

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00  # the standard's second name for 0x00
    GRANTED_QOS_0 = 0x00  # and its third
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    @property
    def is_failure(self) -> bool:
        """Whether the code says that the request failed (0x80 and above)."""
        return self >= 0x80  # noqa: PLR2004 - the standard's own boundary (2.4)

    def describe(self) -> str:
        """The code for people, such as ``0x87 (not authorized)``."""
        return f"0x{self.value:02X} ({self.name.lower().replace('_', ' ')})"
