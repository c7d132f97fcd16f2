"""Which subscriptions get a message (4.7, 3.3.4).

One entry for each Topic Filter subscribed at the Server, shared by all blocks that subscribe to
it; the entries in a tree by level, and the outcome remembered for each Topic Name met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._enums import QoS
from trio_mqtt._protocol.records import SubscriptionState
from trio_mqtt._topics import TopicTree, split_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._client._message import Message
    from trio_mqtt._client._requests import Grant
    from trio_mqtt._client._subscription import Subscription
    from trio_mqtt._errors import UserProperties
    from trio_mqtt._protocol.records import KeptSubscription
    from trio_mqtt.packets import SubscriptionRequest

_REMEMBERED: Final = 16_384
"""For how many Topic Names the outcome is remembered, at least."""
_MOST_LEFT: Final = 4096
"""Of how many Topic Filters that have no route any more it is remembered that they had."""


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
        asked: counts the SUBSCRIBEs for it.
        turn: counts deliveries of a shared one, for taking turns.
        user_properties: what the last SUBSCRIBE had of them, and the next one has.
    """

    topic_filter: str
    shared: bool
    identifier: int | None
    options: SubscriptionRequest
    subscriptions: list[Subscription]
    granted: QoS | None = None
    pending: Grant | None = None
    kept: bool = False
    asked: int = 0
    turn: int = 0
    user_properties: UserProperties = ()

    def receivers(self) -> list[Subscription]:
        """Who gets the next message."""
        if not self.shared or len(self.subscriptions) < 2:  # noqa: PLR2004 - nobody to compete with
            return self.subscriptions
        self.turn += 1
        return [self.subscriptions[self.turn % len(self.subscriptions)]]


def kept_route(kept: KeptSubscription) -> Route:
    """The route of a Topic Filter that the Server keeps for the Session."""
    request = kept.request
    topic_filter = request.topic_filter
    return Route(
        topic_filter,
        split_share(topic_filter)[0] is not None,
        kept.identifier,
        request,
        [],
        granted=QoS(request.qos) if kept.state is SubscriptionState.KEPT else None,
        kept=True,
    )


@attrs.frozen
class Left:
    """What is remembered of a Topic Filter that has no route any more.

    Attributes:
        identified: whether one that it had was known by a Subscription Identifier.
        unsubscribed: whether UNSUBSCRIBE was sent; otherwise the Server refused to go on with it.
    """

    identified: bool
    unsubscribed: bool


_NEVER: Final = Left(identified=False, unsubscribed=False)


class Routes:
    """All routes of a client, and those that it had.

    A Subscription Identifier is never used again. So one that was given out, and that no route has
    any more, tells of a subscription that was left: what still arrives for it is for nobody, even
    if the Topic Filter of another subscription matches, too. Without identifiers there is no
    telling, and a subscription that was left is of no interest as long as another one matches.

    Attributes:
        only: the same as `sole`, for a topic that was looked for, else None.
    """

    def __init__(self) -> None:
        self._by_filter: dict[str, Route] = {}
        self._tree: TopicTree[list[Route]] = TopicTree()
        self._last_identifier = 0
        self._identifiers: dict[int, None] = {}  # that a route has
        # By Topic Filter, without $share; the one left last at the end.
        self._left: dict[str, None] = {}
        self._left_tree: TopicTree[Left] = TopicTree()
        self._only: dict[str, Subscription] = {}  # by Topic Name
        self.only: Callable[[str], Subscription | None] = self._only.get
        # The others: the routes, and whether something may still arrive for one that was left.
        self._found: dict[str, tuple[list[Route], bool]] = {}

    def __len__(self) -> int:
        """How many Topic Filters are subscribed."""
        return len(self._by_filter)

    def get(self, topic_filter: str) -> Route | None:
        """The route of exactly this Topic Filter, or None."""
        return self._by_filter.get(topic_filter)

    def all(self) -> list[Route]:
        """All routes."""
        return list(self._by_filter.values())

    def add(self, route: Route) -> None:
        """Begin to route by this Topic Filter."""
        self._by_filter[route.topic_filter] = route
        plain = split_share(route.topic_filter)[1]
        siblings = self._tree.get(plain)
        if siblings is None:
            self._tree.set(plain, [route])
        else:
            siblings.append(route)
        if route.identifier is not None:
            self._identifiers[route.identifier] = None
            self._last_identifier = max(self._last_identifier, route.identifier)
        self.changed()

    def remove(self, route: Route) -> None:
        """Stop routing by this Topic Filter."""
        del self._by_filter[route.topic_filter]
        plain = split_share(route.topic_filter)[1]
        siblings = self._tree.get(plain) or []
        siblings.remove(route)
        if not siblings:
            self._tree.remove(plain)
        if route.identifier is not None:
            self._identifiers.pop(route.identifier, None)
            self._note_left(plain, identified=True)
        self.changed()

    def unsubscribed(self, topic_filter: str) -> None:
        """Note that UNSUBSCRIBE was sent for a Topic Filter, whether it had a route or not."""
        self._note_left(split_share(topic_filter)[1], unsubscribed=True)

    def was_unsubscribed(self, topic: str) -> bool:
        """Whether a message may be for a Topic Filter that we have unsubscribed."""
        return any(left.unsubscribed for left in self._left_tree.match(topic))

    def _note_left(
        self, plain: str, *, identified: bool = False, unsubscribed: bool = False
    ) -> None:
        before = self._left_tree.get(plain) or _NEVER
        left = Left(identified or before.identified, unsubscribed or before.unsubscribed)
        self._left.pop(plain, None)
        self._left[plain] = None
        self._left_tree.set(plain, left)
        if len(self._left) > _MOST_LEFT:
            oldest = next(iter(self._left))
            del self._left[oldest]
            self._left_tree.remove(oldest)

    def changed(self) -> None:
        """Forget what was remembered: a subscription came or went."""
        self._only.clear()
        self._found.clear()

    def sole(self, topic: str) -> Subscription | None:
        """The one subscription that gets every message to a topic, or None; it is looked for."""
        only = self._only.get(topic)
        if only is None and topic not in self._found:
            self._look_up(topic)
            only = self._only.get(topic)
        return only

    def find(self, message: Message) -> tuple[list[Subscription], bool]:
        """Who gets a message, each once, and whether anything here is subscribed to it."""
        topic = message.topic
        found = self._found.get(topic)
        routes, left = self._look_up(topic) if found is None else found
        identifiers = message.properties.subscription_identifiers
        if identifiers and (left or len(routes) > 1):
            meant = [route for route in routes if route.identifier in identifiers]
            if left and not meant and all(map(self._is_out_of_use, identifiers)):
                return [], False
            routes = meant or routes  # identifiers that nobody here has: by filter
        if len(routes) == 1:
            return list(routes[0].receivers()), True
        receivers: dict[Subscription, None] = {}
        for route in routes:
            receivers.update(dict.fromkeys(route.receivers()))
        return list(receivers), bool(routes)

    def _is_out_of_use(self, identifier: int) -> bool:
        return identifier <= self._last_identifier and identifier not in self._identifiers

    def _look_up(self, topic: str) -> tuple[list[Route], bool]:
        routes = [route for siblings in self._tree.match(topic) for route in siblings]
        left = bool(self._left) and any(each.identified for each in self._left_tree.match(topic))
        # As many as it has Topic Filters and more, so that all of them are found without a search.
        remembered = len(self._only) + len(self._found)
        if remembered >= max(_REMEMBERED, 2 * len(self._by_filter)):
            self.changed()
        if len(routes) == 1 and len(routes[0].subscriptions) == 1 and not left:
            self._only[topic] = routes[0].subscriptions[0]
        else:
            self._found[topic] = routes, left
        return routes, left
