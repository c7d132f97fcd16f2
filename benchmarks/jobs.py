"""What is to be done."""

from __future__ import annotations

import json
from typing import Final

import attrs

PAYLOAD_SIZE: Final = 64
MOST_IN_FLIGHT: Final = 65_535
TOPIC: Final = "benchmarks/topic"
REPLIES: Final = "benchmarks/replies"
"""The Response Topic of those clients that have none of their own."""

TASKS: Final = 200
"""How many publish at a time in the work of that name."""


def correlation(number: int) -> bytes:
    """The Correlation Data of a request."""
    return number.to_bytes(4, "big")


@attrs.frozen(kw_only=True)
class Job:
    """One run of one client, as it is told to the processes that take part.

    Attributes:
        kind: what the client does.
        qos: the Quality of Service of each message.
        messages: how many of them; or connections.
        size: the size of each payload, in bytes.
        port: where the server listens, on 127.0.0.1.
        window: how many QoS 1 and 2 messages that server allows to be unacknowledged.
        transport: what MQTT runs over: tcp, tls or ws.
        authority: the certificate that a client has to trust for TLS, in PEM; a file. That of the
            server is beside it.
        subscriptions: how many Topic Filters a client subscribes to; messages come for each in
            turn.
    """

    kind: str
    qos: int
    messages: int
    size: int = PAYLOAD_SIZE
    port: int = 0
    window: int = MOST_IN_FLIGHT
    transport: str = "tcp"
    authority: str = ""
    subscriptions: int = 1

    @property
    def topic(self) -> str:
        """The Topic Name of each message, if there is but one."""
        return TOPIC

    @property
    def topics(self) -> list[str]:
        """What the client subscribes to."""
        if self.subscriptions == 1:
            return [TOPIC]
        return [f"{TOPIC}/{number:05}" for number in range(self.subscriptions)]

    @property
    def payload(self) -> bytes:
        """The payload of each message."""
        return b"x" * self.size

    @property
    def arriving(self) -> int:
        """How many messages a receiving client waits for.

        One more than those that count comes last, at QoS 1, once the Server has the last
        acknowledgement of those before. So the time ends for all at the same point, and a client
        that lost some gets to know that no more will come.
        """
        return self.messages + 1

    def to_json(self) -> str:
        """As a line."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """From a line."""
        return cls(**json.loads(text))
