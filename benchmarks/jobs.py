"""What is to be done."""

from __future__ import annotations

import json
from typing import Final

import attrs

PAYLOAD_SIZE: Final = 64
MOST_IN_FLIGHT: Final = 65_535
TOPIC: Final = "benchmarks/topic"


@attrs.frozen(kw_only=True)
class Work:
    """A row of the table.

    Attributes:
        kind: what a client does; a key of its WORK.
        qos: the Quality of Service of each message.
        server: with whom; a key of `servers.SERVERS`.
        share: the part of the messages that is enough, where all clients are slow.
    """

    kind: str
    qos: int
    server: str
    share: float = 1.0

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.kind} QoS {self.qos}"


WORKS: Final = (
    Work(kind="receive", qos=0, server="canned"),
    Work(kind="receive", qos=1, server="canned"),
    Work(kind="publish", qos=0, server="canned"),
    Work(kind="publish", qos=1, server="canned"),
    Work(kind="publish", qos=2, server="canned", share=0.5),
    Work(kind="receive", qos=0, server="mosquitto", share=0.5),
    Work(kind="receive", qos=1, server="mosquitto", share=0.5),
    Work(kind="publish", qos=0, server="mosquitto", share=0.5),
    Work(kind="publish", qos=1, server="mosquitto", share=0.25),
    Work(kind="publish", qos=2, server="mosquitto", share=0.25),
)


@attrs.frozen(kw_only=True)
class Job:
    """One run of one client, as it is told to the processes that take part.

    Attributes:
        kind: what the client does.
        qos: the Quality of Service of each message.
        messages: how many of them.
        size: the size of each payload, in bytes.
        port: where the server listens, on 127.0.0.1.
        window: how many QoS 1 and 2 messages that server allows to be unacknowledged.
    """

    kind: str
    qos: int
    messages: int
    size: int = PAYLOAD_SIZE
    port: int = 0
    window: int = MOST_IN_FLIGHT

    @property
    def topic(self) -> str:
        """The Topic Name of each message."""
        return TOPIC

    @property
    def payload(self) -> bytes:
        """The payload of each message."""
        return b"x" * self.size

    def to_json(self) -> str:
        """As a command-line argument."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """From a command-line argument."""
        return cls(**json.loads(text))
