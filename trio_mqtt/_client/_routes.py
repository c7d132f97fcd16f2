"""Which subscriptions get a message (4.7, 3.3.4).

One entry for each Topic Filter subscribed at the Server, shared by all blocks that subscribe to
it; the entries in a tree by level, and the outcome remembered for each Topic Name met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._topics import TopicTree, split_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._client._message import Message
    from trio_mqtt._client._subscribing import Grant
    from trio_mqtt._client._subscription import Subscription
    from trio_mqtt._enums import QoS
    from trio_mqtt.packets import SubscriptionRequest

_REMEMBERED: Final = 4096


@attrs.define(eq=False)
class Route:
    """One Topic Filter subscribed at the Server.

    Attributes:
        topic_filter: as it was subscribed, with ``$share`` if that is in it.
        shared: whether it is a shared subscription: the blocks compete.
        identifier: its Subscription Identifier, or None where there are none.
        options: what the Server was asked for last.
        subscriptions: the blocks that want its messages.
        granted: the QoS granted, or None before SUBACK.
        pending: the SUBSCRIBE under way, or None.
        kept: whether it stays subscribed when the last block has left.
        turn: counts deliveries of a shared one, for taking turns.
    """

    topic_filter: str
    shared: bool
    identifier: int | None
    options: SubscriptionRequest
    subscriptions: list[Subscription]
    granted: QoS | None = None
    pending: Grant | None = None
    kept: bool = False
    turn: int = 0

    def receivers(self) -> list[Subscription]:
        """Who gets the next message."""
        if not self.shared or len(self.subscriptions) < 2:  # noqa: PLR2004 - nobody to compete with
            return self.subscriptions
        self.turn += 1
        return [self.subscriptions[self.turn % len(self.subscriptions)]]


class Routes:
    """All routes of a client.

    Attributes:
        only: the one subscription that gets every message to a topic, if that is known, else None.
    """

    def __init__(self) -> None:
        self._by_filter: dict[str, Route] = {}
        self._tree: TopicTree[list[Route]] = TopicTree()
        self._last_identifier = 0
        self._only: dict[str, Subscription] = {}
        self.only: Callable[[str], Subscription | None] = self._only.get
        self._found: dict[str, list[Route]] = {}

    def __len__(self) -> int:
        """How many Topic Filters are subscribed."""
        return len(self._by_filter)

    def get(self, topic_filter: str) -> Route | None:
        """The route of exactly this Topic Filter, or None."""
        return self._by_filter.get(topic_filter)

    def next_identifier(self) -> int:
        """A Subscription Identifier that was never used before."""
        self._last_identifier += 1
        return self._last_identifier

    def add(self, route: Route) -> None:
        """Begin to route by this Topic Filter."""
        self._by_filter[route.topic_filter] = route
        plain = split_share(route.topic_filter)[1]
        siblings = self._tree.get(plain)
        if siblings is None:
            self._tree.set(plain, [route])
        else:
            siblings.append(route)
        self.changed()

    def remove(self, route: Route) -> None:
        """Stop routing by this Topic Filter."""
        del self._by_filter[route.topic_filter]
        plain = split_share(route.topic_filter)[1]
        siblings = self._tree.get(plain) or []
        siblings.remove(route)
        if not siblings:
            self._tree.remove(plain)
        self.changed()

    def changed(self) -> None:
        """Forget what was remembered: a subscription came or went."""
        self._only.clear()
        self._found.clear()

    def find(self, message: Message) -> tuple[list[Subscription], bool]:
        """Who gets a message, each once, and whether anything here is subscribed to it."""
        topic = message.topic
        routes = self._found.get(topic)
        if routes is None:
            routes = self._look_up(topic)
        identifiers = message.properties.subscription_identifiers
        if identifiers and len(routes) > 1:
            meant = [route for route in routes if route.identifier in identifiers]
            routes = meant or routes  # identifiers that nobody here has: by filter
        receivers: dict[Subscription, None] = {}
        for route in routes:
            receivers.update(dict.fromkeys(route.receivers()))
        return list(receivers), bool(routes)

    def _look_up(self, topic: str) -> list[Route]:
        routes = [route for siblings in self._tree.match(topic) for route in siblings]
        if len(self._found) >= _REMEMBERED:
            self.changed()
        self._found[topic] = routes
        if len(routes) == 1 and len(routes[0].subscriptions) == 1:
            self._only[topic] = routes[0].subscriptions[0]
        return routes
