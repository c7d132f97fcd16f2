"""Who subscribes to what: the Subscriptions of all Sessions by Topic Filter (4.7, 4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mqtt._topics import TopicTree, split_share

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen(kw_only=True)
class Subscription:
    """A Topic Filter that a Session is subscribed to, as it was granted.

    Attributes:
        topic_filter: as it stood in SUBSCRIBE, with the share name if it has one.
        qos: the Maximum QoS granted.
        no_local: No Local.
        retain_as_published: Retain As Published.
        identifier: the Subscription Identifier, or None.
    """

    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int | None = None


class SharedGroup:
    """The members of one Shared Subscription: each message goes to one of them (4.8.2)."""

    def __init__(self) -> None:
        self.members: dict[str, Subscription] = {}

    def choose(self, connected: Callable[[str], bool]) -> tuple[str, Subscription]:
        """The member whose turn it is: round robin, those that are connected first."""
        client_id = next(filter(connected, self.members), next(iter(self.members)))
        subscription = self.members.pop(client_id)
        self.members[client_id] = subscription  # now the last one
        return client_id, subscription


class _Subscribers:
    """All that subscribe with one Topic Filter."""

    def __init__(self) -> None:
        self.plain: dict[str, Subscription] = {}
        self.groups: dict[str, SharedGroup] = {}


@attrs.define
class Matches:
    """The Subscriptions that match a Topic Name.

    Attributes:
        plain: by Client Identifier, those that are not shared.
        groups: the shared ones.
    """

    plain: dict[str, list[Subscription]]
    groups: list[SharedGroup]


class SubscriptionIndex:
    """Finds the Subscriptions that match a Topic Name."""

    def __init__(self) -> None:
        self._tree: TopicTree[_Subscribers] = TopicTree()

    def set(self, client_id: str, subscription: Subscription) -> None:
        """Add a Subscription, or replace the one of the same Topic Filter (MQTT-3.8.4-3)."""
        share_name, topic_filter = split_share(subscription.topic_filter)
        found = self._tree.get(topic_filter)
        if found is None:
            found = _Subscribers()
            self._tree.set(topic_filter, found)
        if share_name is None:
            found.plain[client_id] = subscription
        else:
            found.groups.setdefault(share_name, SharedGroup()).members[client_id] = subscription

    def remove(self, client_id: str, subscription: Subscription) -> None:
        """Remove a Subscription that was added before (MQTT-3.10.4-1)."""
        share_name, topic_filter = split_share(subscription.topic_filter)
        found = self._tree.get(topic_filter)
        if found is None:
            raise KeyError(subscription.topic_filter)
        if share_name is None:
            del found.plain[client_id]
        else:
            group = found.groups[share_name]
            del group.members[client_id]
            if not group.members:
                del found.groups[share_name]
        if not found.plain and not found.groups:
            self._tree.remove(topic_filter)

    def match(self, topic: str) -> Matches:
        """The Subscriptions that match; MQTT-4.7.2-1 and MQTT-4.7.3-4 are the tree's work."""
        matches = Matches({}, [])
        for found in self._tree.match(topic):
            for client_id, subscription in found.plain.items():
                matches.plain.setdefault(client_id, []).append(subscription)
            matches.groups += found.groups.values()
        return matches
