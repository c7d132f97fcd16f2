"""The rows of the table."""

from __future__ import annotations

from typing import Final

import attrs

from benchmarks.jobs import PAYLOAD_SIZE, Job

RATE: Final = ("rate",)
QUANTILES: Final = ("p50", "p99")
LATENCY: Final = "latency"
_BULKY: Final = 4096
_UNITS: Final = ((1 << 20, "MiB"), (1 << 10, "KiB"))


@attrs.frozen(kw_only=True)
class Work:
    """What each client does, in a row of the table; or several, of which each has a figure.

    Attributes:
        kind: what a client does; a key of its WORK.
        qos: the Quality of Service of each message.
        server: with whom; a key of `servers.SERVERS`.
        share: the part of the messages that is enough, where all clients are slow.
        size: of each payload, in bytes.
        transport: what MQTT runs over: tcp, tls or ws.
        subscriptions: how many Topic Filters the client subscribes to.
    """

    kind: str
    qos: int
    server: str
    share: float = 1.0
    size: int = PAYLOAD_SIZE
    transport: str = "tcp"
    subscriptions: int = 1

    @property
    def figures(self) -> tuple[str, ...]:
        """What a run measures."""
        return QUANTILES if self.kind == LATENCY else RATE

    @property
    def times(self) -> int:
        """How often each client does it in a round.

        A latency depends on where the processes of a run come to lie: medians of nine runs differed
        by a quarter. Such a run takes a second.
        """
        return 7 if self.kind == LATENCY else 1

    @property
    def name(self) -> str:
        """What the table calls it."""
        name = "connect, close" if self.kind == "connect" else f"{self.kind} QoS {self.qos}"
        if self.size != PAYLOAD_SIZE:
            name += f", {size_name(self.size)}"
        if self.transport != "tcp":
            name += f", {TRANSPORTS[self.transport]}"
        if self.subscriptions > 1:
            name += f", {self.subscriptions:,} filters"
        return name

    @property
    def quick(self) -> bool:
        """Whether it is among those that tell most in least time."""
        return self.size == PAYLOAD_SIZE and (self.server == "canned" or self.kind == LATENCY)

    @property
    def traits(self) -> frozenset[str]:
        """By which a client can say that it does not do this."""
        more = "filters" if self.subscriptions > 1 else self.transport
        return frozenset({self.kind, f"{self.kind} QoS {self.qos}", self.server, more})

    def job(self, messages: int, client_share: float) -> Job:
        """A run of a client that takes so many times the messages.

        But not with large payloads, as there the bytes take the time, nor for quantiles.
        """
        is_whole = self.size > _BULKY or self.kind == LATENCY
        share = self.share if is_whole else self.share * client_share
        return Job(
            kind=self.kind,
            qos=self.qos,
            messages=max(1, int(messages * share)),
            size=self.size,
            transport=self.transport,
            subscriptions=self.subscriptions,
        )


TRANSPORTS: Final = {"tls": "TLS", "ws": "WebSocket"}


def size_name(size: int) -> str:
    """As people write it."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


_SIZES: Final = {PAYLOAD_SIZE: 1.0, 16: 0.25, 256: 0.25, 1 << 14: 0.1, 1 << 20: 0.003}
"""Of the payloads, with the part of the messages that is enough."""

_QOS_SHARE: Final = {0: 1.0, 1: 1.0, 2: 0.5}


def _canned(kind: str) -> tuple[Work, ...]:
    return tuple(
        Work(kind=kind, qos=qos, server="canned", size=size, share=share * _QOS_SHARE[qos])
        for size, share in _SIZES.items()
        for qos in _QOS_SHARE
    )


WORKS: Final = (
    *_canned("receive"),
    Work(kind="receive", qos=0, server="canned", subscriptions=100),
    Work(kind="receive", qos=0, server="canned", subscriptions=10_000),
    Work(kind="receive", qos=0, server="canned", transport="tls"),
    Work(kind="receive", qos=0, server="canned", transport="ws", share=0.5),
    *_canned("publish"),
    Work(kind="tasks", qos=1, server="canned", share=0.5),
    Work(kind=LATENCY, qos=1, server="canned", share=0.05),
    Work(kind="request", qos=1, server="canned", share=0.05),
    Work(kind="connect", qos=0, server="canned", share=0.005),
    Work(kind="receive", qos=0, server="mosquitto", share=0.5),
    Work(kind="receive", qos=1, server="mosquitto", share=0.5),
    Work(kind="receive", qos=2, server="mosquitto", share=0.25),
    Work(kind="publish", qos=0, server="mosquitto", share=0.5),
    Work(kind="publish", qos=1, server="mosquitto", share=0.25),
    Work(kind="publish", qos=2, server="mosquitto", share=0.25),
    Work(kind="tasks", qos=1, server="mosquitto", share=0.25),
    Work(kind=LATENCY, qos=1, server="mosquitto", share=0.05),
)

DUPLICATES: Final = Work(kind="duplicates", qos=2, server="canned", share=0.0)
"""Whether a client takes a QoS 2 message that is sent again for the same; a few tell."""
