"""What it costs to find the one subscription that a message is for, among many.

``python -m benchmarks.routing`` times it with 10, 1,000 and 10,000 subscriptions on one client,
with exact Topic Filters and with wildcards: for Topic Names met before, which are remembered, and
for new ones, which are looked up.
"""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from benchmarks import report
from trio_mqtt import Message
from trio_mqtt._client._routes import Route, Routes
from trio_mqtt.packets import SubscriptionRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trio_mqtt._client._subscription import Subscription

SUBSCRIPTIONS: Final = (10, 1_000, 10_000)
MESSAGES: Final = 20_000
ROUNDS: Final = 5
ALLOWED: Final = 2.0
_REMEMBERED: Final = 10

KINDS: Final[dict[str, tuple[Callable[[int], str], Callable[[int, int], str]]]] = {
    "exact": (lambda n: f"site/{n}/room/temperature", lambda n, _m: f"site/{n}/room/temperature"),
    "single-level": (lambda n: f"site/{n}/+/temperature", lambda n, m: f"site/{n}/{m}/temperature"),
    "multi-level": (lambda n: f"site/{n}/#", lambda n, m: f"site/{n}/room/{m}"),
    "shared": (lambda n: f"$share/group/site/{n}/#", lambda n, m: f"site/{n}/room/{m}"),
}
"""Of each kind of filter the n-th, and the m-th Topic Name that the n-th matches."""


def make_routes(topic_filters: Sequence[str]) -> Routes:
    """The routes of a client with one subscription to each."""
    routes = Routes()
    for number, topic_filter in enumerate(topic_filters, 1):
        # Routing only hands it on: anything stands for a subscription.
        subscription = cast("Subscription", topic_filter)
        request = SubscriptionRequest(topic_filter)
        shared = topic_filter.startswith("$share/")
        routes.add(Route(topic_filter, shared, number, request, [subscription]))
    return routes


def time_routing(routes: Routes, messages: Sequence[Message], expected: Sequence[str]) -> float:
    """Seconds for each message, as `Deliveries.deliver` routes it.

    Raises:
        RuntimeError: a message went elsewhere.
    """
    found: list[object] = []
    note = found.append
    start = perf_counter()
    for message in messages:
        subscription = routes.only(message.topic)
        if subscription is not None:
            note(subscription)
        else:
            found += routes.find(message)[0]
    taken = perf_counter() - start
    if found != expected:
        raise RuntimeError("a message went to another subscription")
    return taken / len(messages)


def measure(kind: str, count: int, messages: int, rounds: int) -> tuple[float, float]:
    """Seconds for each message: to a topic met before, and to a new one; of the best round."""
    filter_of, topic_of = KINDS[kind]
    routes = make_routes([filter_of(number) for number in range(count)])
    known: list[float] = []
    new: list[float] = []
    for number in range(rounds):
        # Spread over all subscriptions; an exact filter has one topic, so the memory is emptied.
        targets = [index * 7919 % count for index in range(messages)]
        topics = [
            topic_of(target, number * messages + index) for index, target in enumerate(targets)
        ]
        expected = [filter_of(target) for target in targets]
        new.append(_time_new(routes, topics, expected))
        few = [index % _REMEMBERED for index in range(messages)]
        remembered = [Message(topics[index]) for index in few]
        wanted = [expected[index] for index in few]
        time_routing(routes, remembered[:_REMEMBERED], wanted[:_REMEMBERED])
        known.append(time_routing(routes, remembered, wanted))
    return min(known), min(new)


def _time_new(routes: Routes, topics: Sequence[str], expected: Sequence[str]) -> float:
    """With nothing remembered of any topic."""
    total = 0.0
    size = 10  # as many topics as the smallest client has filters: each is met once
    for start in range(0, len(topics), size):
        routes.changed()
        messages = [Message(topic) for topic in topics[start : start + size]]
        total += time_routing(routes, messages, expected[start : start + size]) * len(messages)
    return total / len(topics)


def table(messages: int, rounds: int) -> Iterator[tuple[str, float]]:
    """Lines to print, each with its ratio to the fewest subscriptions."""
    for kind in KINDS:
        base: tuple[float, float] | None = None
        for count in SUBSCRIPTIONS:
            times = measure(kind, count, messages, rounds)
            base = base or times
            line = f"  {kind:14}{count:>14,}"
            ratios = [one / other for one, other in zip(times, base, strict=True)]
            for value, ratio in zip(times, ratios, strict=True):
                line += f"{value * 1e6:>12.2f} us{ratio:>8.2f}"
            yield line, max(ratios)


def _heading(title: str) -> str:
    return f"{title:>15}{'ratio':>8}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status tells whether many cost little more than few."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(%(default)s)")
    options = parser.parse_args(arguments)
    print(f"Routing one message, {report.load()}; ratios to {SUBSCRIPTIONS[0]} subscriptions.\n")
    print(f"  {'filters':14}{'subscriptions':>14}", _heading("met before"), _heading("new"), sep="")
    worst = 0.0
    for line, ratio in table(options.messages, options.rounds):
        worst = max(worst, ratio)
        print(line)
    print(f"\nThe highest ratio is {worst:.2f}; {ALLOWED:.0f} is allowed.")
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
