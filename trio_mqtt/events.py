"""What a client tells of besides messages; see `Client.events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from trio_mqtt._errors import MQTTError, SubscribeRejected, UserProperties

__all__ = [
    "Connected",
    "Disconnected",
    "Event",
    "MessageReleased",
    "PublishFailed",
    "ReceivedMessage",
    "SentMessage",
    "SessionReplaced",
    "SubscriptionLost",
    "SubscriptionRestored",
]


class ReceivedMessage(Protocol):
    """A message as it stands in an event; a `trio_mqtt.Message`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    attempt: int

    @property
    def user_properties(self) -> UserProperties:
        """Name and value pairs of the sender, in order."""
        ...


class SentMessage(Protocol):
    """A message that was to be sent, as it stands in an event."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@attrs.frozen(kw_only=True)
class Connected:
    """There is a connection, for the first time or again.

    Attributes:
        server: the Server's address.
        session_present: whether the Server went on with the Session.
        attempts: how many attempts it took since the connection before.
    """

    server: str
    session_present: bool
    attempts: int


@attrs.frozen(kw_only=True)
class Disconnected:
    """The connection was lost. The client tries to get another one, unless that is of no use.

    Attributes:
        server: the Server's address.
        error: why.
    """

    server: str
    error: MQTTError


@attrs.frozen(kw_only=True)
class SessionReplaced:
    """The Server had lost the Session and has begun another one.

    Subscriptions are made again; messages that came to the Server in the meantime are missing.

    Attributes:
        server: the Server's address.
        in_doubt: how many messages were given up since the Server may or may not have them; for
            each there is a `PublishFailed`, too.
    """

    server: str
    in_doubt: int


@attrs.frozen(kw_only=True)
class SubscriptionRestored:
    """A Topic Filter was subscribed again: the Session was lost, or the last time not answered.

    Attributes:
        topic_filter: the Topic Filter.
        granted: the QoS granted.
    """

    topic_filter: str
    granted: int


@attrs.frozen(kw_only=True)
class SubscriptionLost:
    """The Server refused to subscribe a Topic Filter again; see `SubscriptionRestored`.

    Attributes:
        topic_filter: the Topic Filter.
        error: why; whoever iterates gets it, too, once the buffer is empty.
    """

    topic_filter: str
    error: SubscribeRejected


@attrs.frozen(kw_only=True)
class PublishFailed:
    """A QoS 1 or 2 message was accepted and will not be sent, or not again, or was refused.

    Its publisher gets the error, too, if it waits.

    Attributes:
        message: the message.
        error: why: `PublishRejected` if the Server has refused it, `SessionLost` if it may have it,
            `MessageDropped` if it expired or its place was needed, `PacketTooLarge` or
            `FeatureNotSupported` if the Server takes no such message any more, `StorageError` if it
            could not be stored.
    """

    message: SentMessage
    error: MQTTError


@attrs.frozen(kw_only=True)
class MessageReleased:
    """A QoS 1 or 2 message was acknowledged although no code of the program has dealt with it.

    It was left unsettled, and no subscription claimed it within the `unclaimed_timeout`. The
    Server does not send it again, unless the acknowledgement could not leave any more.

    Attributes:
        message: the message.
        claimable: whether the durable storage of the Session keeps it for a subscription that
            matches; if not, whoever gets this event is the last to have it.
    """

    message: ReceivedMessage
    claimable: bool = False


Event = (
    Connected
    | Disconnected
    | SessionReplaced
    | SubscriptionRestored
    | SubscriptionLost
    | PublishFailed
    | MessageReleased
)
"""Any event."""
