"""What was to be reached, and whether it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.clients import BARE, BARE_TRIO, DURABLE, MOSQUITTO
from benchmarks.works import LATENCY, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.results import Results

_NO_PEERS: Final = frozenset({BARE, BARE_TRIO, DURABLE, MOSQUITTO})
_ASYNCIO: Final = frozenset({"gmqtt", "mqttium", "aiomqtt 3", "zmqtt", "aiomqtt 2"})


@attrs.frozen
class Target:
    """Something to reach.

    Attributes:
        text: what the ratio is of.
        bound: what the ratio has to be, at least; or at most.
        ratio: makes it of the results; None if something was not measured.
        at_most: whether less is better.
    """

    text: str
    bound: float
    ratio: Callable[[Results], float | None]
    at_most: bool = False

    def describe(self, measured: Results) -> tuple[str, str, str, str]:
        """Its text, its bound, what was measured, and whether that is enough."""
        ratio = self.ratio(measured)
        bound = f"{'at most' if self.at_most else 'at least'} {self.bound:g}"
        if ratio is None:
            return self.text, bound, "-", "not measured"
        met = ratio <= self.bound if self.at_most else ratio >= self.bound
        return self.text, bound, f"{ratio:.2f}", "met" if met else "not met"


def _work(kind: str, qos: int, server: str = "canned", **options: object) -> Callable[[Work], bool]:
    wanted = {"transport": "tcp", "subscriptions": 1, "size": 64, **options}
    wanted |= {"kind": kind, "qos": qos, "server": server}
    return lambda work: all(getattr(work, name) == value for name, value in wanted.items())


def _find(measured: Results, which: Callable[[Work], bool]) -> Work | None:
    return next((work for work in measured.works() if which(work)), None)


def _peers(measured: Results) -> list[str]:
    return [name for name in measured.clients[1:] if name not in _NO_PEERS]


def _right_at_qos_2(measured: Results) -> list[str]:
    return [name for name in _peers(measured) if measured.duplicates.get(name)]


def _beside_peers(
    which: Callable[[Work], bool], peers: Callable[[Results], list[str]] = _peers
) -> Callable[[Results], float | None]:
    def ratio(measured: Results) -> float | None:
        work = _find(measured, which)
        if work is None:
            return None
        ours = measured.median(work, measured.clients[0])
        theirs = [measured.median(work, name) for name in peers(measured)]
        best = max((rate for rate in theirs if rate), default=None)
        return ours / best if ours and best else None

    return ratio


def _beside(which: Callable[[Work], bool], name: str) -> Callable[[Results], float | None]:
    return _beside_peers(which, lambda measured: [name] if name in measured.clients else [])


def _beside_own(
    which: Callable[[Work], bool], other: Callable[[Work], bool]
) -> Callable[[Results], float | None]:
    def ratio(measured: Results) -> float | None:
        works = _find(measured, which), _find(measured, other)
        rates = [work and measured.median(work, measured.clients[0]) for work in works]
        return rates[0] / rates[1] if rates[0] and rates[1] else None

    return ratio


def _latency_beside_peers(measured: Results) -> float | None:
    work = _find(measured, _MOSQUITTO_LATENCY)
    if work is None:
        return None
    ours = measured.median(work, measured.clients[0], "p50")
    theirs = [measured.median(work, name, "p50") for name in measured.clients if name in _ASYNCIO]
    best = min((seconds for seconds in theirs if seconds), default=None)
    return ours / best if ours and best else None


def _latency_spread(measured: Results) -> float | None:
    work = _find(measured, _MOSQUITTO_LATENCY)
    if work is None:
        return None
    p50, p99 = (measured.median(work, measured.clients[0], name) for name in work.figures)
    return p99 / p50 if p50 and p99 else None


_MOSQUITTO_LATENCY: Final = _work(LATENCY, 1, "mosquitto")
_RECEIVE: Final = _work("receive", 0)
_TLS: Final = _work("receive", 0, transport="tls")
_MANY: Final = _work("receive", 0, subscriptions=10_000)

TARGETS: Final = (
    Target("Receive QoS 0, to the fastest peer in Python", 1.25, _beside_peers(_RECEIVE)),
    Target("Receive QoS 0, to a bare parsing loop", 0.75, _beside(_RECEIVE, BARE)),
    Target(
        "Receive QoS 0, to a bare loop that does what Trio asks for",
        0.75,
        _beside(_RECEIVE, BARE_TRIO),
    ),
    Target("Receive QoS 0, to mosquitto_sub", 0.6, _beside(_RECEIVE, MOSQUITTO)),
    Target("Receive QoS 1, to the fastest peer", 1.25, _beside_peers(_work("receive", 1))),
    Target(
        "Receive QoS 2, to the fastest peer that takes a message sent again for the same",
        3,
        _beside_peers(_work("receive", 2), _right_at_qos_2),
    ),
    Target("Publish QoS 0, to the fastest peer", 1.5, _beside_peers(_work("publish", 0))),
    Target("Publish QoS 1, to the fastest peer", 3, _beside_peers(_work("publish", 1))),
    Target("Publish QoS 2, to the fastest peer", 3, _beside_peers(_work("publish", 2))),
    Target(
        "200 tasks that await QoS 1 publishes, to the fastest peer",
        2,
        _beside_peers(_work("tasks", 1)),
    ),
    Target(
        "One awaited QoS 1 publish at a time with Mosquitto: p50, to the fastest peer's on asyncio",
        1.15,
        _latency_beside_peers,
        at_most=True,
    ),
    Target("The same: p99, to p50", 3, _latency_spread, at_most=True),
    Target("Receive QoS 0 over TLS, to the same without", 0.6, _beside_own(_TLS, _RECEIVE)),
    Target("Receive QoS 0 over TLS, to the fastest peer", 1, _beside_peers(_TLS)),
    Target(
        "Receive QoS 0 with 10,000 filters, to the same with one",
        0.5,
        _beside_own(_MANY, _RECEIVE),
    ),
)


def lines(measured: Results) -> Iterator[str]:
    """What to print."""
    for text, bound, ratio, verdict in (each.describe(measured) for each in TARGETS):
        yield f"  {text:<90}{bound:>14}{ratio:>8}  {verdict}"
