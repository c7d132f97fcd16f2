"""What a client tells of besides messages; see `Client.events`."""

from __future__ import annotations

from typing import Protocol

import attrs

__all__ = ["Event", "MessageReleased", "ReceivedMessage"]


class ReceivedMessage(Protocol):
    """A message as it stands in an event; a `trio_mqtt.Message`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    attempt: int


@attrs.frozen(kw_only=True)
class MessageReleased:
    """A QoS 1 or 2 message was acknowledged although no code of the program has dealt with it.

    It was left unsettled, and no subscription claimed it within the `unclaimed_timeout`. The
    Server does not send it again: whoever gets this event is the last to have it.

    Attributes:
        message: the message.
    """

    message: ReceivedMessage


Event = MessageReleased
"""Any event."""
