"""Every error that trio_mqtt raises on purpose.

The message is complete by itself: what was being done, to which Server, what to do. What a
program may want to act on is in attributes. An error copies and pickles with its attributes, since
each waiting task gets an instance of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mqtt._enums import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping

UserProperties = tuple[tuple[str, str], ...]
"""User Properties: name and value pairs, in order, names may repeat (MQTT-3.3.2-18)."""


class MQTTError(Exception):
    """The base of every error of this library."""


class ConnectFailed(MQTTError, OSError):
    """No Network Connection to the Server could be made.

    Attributes:
        stage: how far it came: ``resolve``, ``connect``, ``TLS``, ``WebSocket`` or ``CONNECT``.
    """

    def __init__(self, message: str, *, stage: str = "connect") -> None:
        super().__init__(message)
        self.stage = stage


class ConnectRejected(MQTTError):
    """The Server answered CONNECT with a failure (3.2.2.2).

    Attributes:
        reason_code: what the CONNACK said, in the terms of MQTT 5.0.
        reason_string: the Server's own words, or None.
        server_reference: another Server to use instead, or None (4.11).
        user_properties: those of the CONNACK.
    """

    def __init__(
        self,
        message: str,
        *,
        reason_code: ReasonCode = ReasonCode.UNSPECIFIED_ERROR,
        reason_string: str | None = None,
        server_reference: str | None = None,
        user_properties: UserProperties = (),
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.reason_string = reason_string
        self.server_reference = server_reference
        self.user_properties = user_properties


class AuthenticationFailed(MQTTError):
    """Enhanced authentication failed on our side (4.12): the Server has not proved who it is.

    Or it asked for what the `auth` of the client cannot answer. An `abc.AuthExchange` raises it.
    """


class ConnectionLost(MQTTError, trio.BrokenResourceError):
    """The Network Connection ended without our asking.

    Attributes:
        reason_code: the Reason Code of the Server's DISCONNECT, or None if it sent none.
        reason_string: the Server's own words, or None.
        server_reference: another Server to use instead, or None (4.11).
        user_properties: those of the DISCONNECT.
    """

    def __init__(
        self,
        message: str,
        *,
        reason_code: ReasonCode | None = None,
        reason_string: str | None = None,
        server_reference: str | None = None,
        user_properties: UserProperties = (),
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.reason_string = reason_string
        self.server_reference = server_reference
        self.user_properties = user_properties


class PublishRejected(MQTTError):
    """The Server refused an Application Message: PUBACK or PUBREC with 0x80 or above.

    Attributes:
        topic: the Topic Name of the message.
        reason_code: what the acknowledgement said.
        reason_string: the Server's own words, or None.
        user_properties: those of the acknowledgement.
    """

    def __init__(
        self,
        message: str,
        *,
        topic: str = "",
        reason_code: ReasonCode = ReasonCode.UNSPECIFIED_ERROR,
        reason_string: str | None = None,
        user_properties: UserProperties = (),
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.reason_code = reason_code
        self.reason_string = reason_string
        self.user_properties = user_properties


class _FiltersRejected(MQTTError):
    """What a refused SUBSCRIBE and a refused UNSUBSCRIBE have in common."""

    def __init__(
        self,
        message: str,
        *,
        reasons: Mapping[str, ReasonCode] | None = None,
        reason_string: str | None = None,
        user_properties: UserProperties = (),
    ) -> None:
        super().__init__(message)
        self.reasons: dict[str, ReasonCode] = dict(reasons or {})
        self.reason_string = reason_string
        self.user_properties = user_properties


class SubscribeRejected(_FiltersRejected):
    """The Server refused one or more Topic Filters of a SUBSCRIBE (3.9.3).

    Attributes:
        reasons: each refused Topic Filter and its Reason Code.
        reason_string: the Server's own words, or None.
        user_properties: those of the acknowledgement.
    """


class UnsubscribeRejected(_FiltersRejected):
    """The Server refused one or more Topic Filters of an UNSUBSCRIBE (3.11.3).

    Attributes:
        reasons: each refused Topic Filter and its Reason Code.
        reason_string: the Server's own words, or None.
        user_properties: those of the acknowledgement.
    """


class SessionLost(MQTTError):
    """The Session ended before the fate of a message was known: the Server may have it."""


class QueueFull(MQTTError):
    """The outgoing queue of the Session has no room, and its `overflow` is ``"error"``."""


class MessageDropped(MQTTError):
    """A message was dropped before it was ever sent: it expired, or others had to have its place.

    Attributes:
        topic: its Topic Name.
    """

    def __init__(self, message: str, *, topic: str = "") -> None:
        super().__init__(message)
        self.topic = topic


class StorageError(MQTTError):
    """What keeps a Session failed: a damaged or foreign file, a full disk.

    Nothing that was accepted before is lost.
    """


class StorageBusy(StorageError, trio.BusyResourceError):
    """The record of a Session is in use by somebody else; it has one owner at a time."""


class PacketTooLarge(MQTTError):
    """A packet would exceed the Maximum Packet Size that the Server granted (MQTT-3.2.2-15).

    Attributes:
        size: what the packet takes, in bytes.
        limit: what the Server allows, in bytes.
    """

    def __init__(self, message: str, *, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class FeatureNotSupported(MQTTError):
    """The protocol version, or this Server by its CONNACK, has no such feature."""


class LocalProtocolError(MQTTError):
    """You asked for what the protocol forbids; raised before a byte is sent.

    Attributes:
        statement: the numbered statement of the standard, such as ``MQTT-4.7.1-1``, or None.
    """

    def __init__(self, message: str, *, statement: str | None = None) -> None:
        super().__init__(message)
        self.statement = statement


class RemoteProtocolError(MQTTError):
    """The peer broke the protocol.

    Attributes:
        reason_code: the code that our DISCONNECT carries (4.13.1).
        statement: the numbered statement or section that the peer violated.
    """

    def __init__(
        self,
        message: str,
        *,
        reason_code: ReasonCode = ReasonCode.PROTOCOL_ERROR,
        statement: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.statement = statement


class MalformedPacket(RemoteProtocolError):
    """The peer sent bytes that cannot be read as a Control Packet (4.13.1)."""

    def __init__(
        self,
        message: str,
        *,
        reason_code: ReasonCode = ReasonCode.MALFORMED_PACKET,
        statement: str | None = None,
    ) -> None:
        super().__init__(message, reason_code=reason_code, statement=statement)
