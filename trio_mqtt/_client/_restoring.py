"""Making subscriptions again: those of a lost Session, and those that were never answered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._requests import Grant, check_available, subscribe_packet
from trio_mqtt._client._story import tell_subscribed_again
from trio_mqtt._client._unsubscribing import unsubscribe
from trio_mqtt._enums import MQTT_5, RetainHandling
from trio_mqtt._errors import (
    FeatureNotSupported,
    MQTTError,
    PacketTooLarge,
    SubscribeRejected,
)
from trio_mqtt.events import SubscriptionLost, SubscriptionRestored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._deliveries import Deliveries
    from trio_mqtt._client._link import Link
    from trio_mqtt._client._routes import Route
    from trio_mqtt._client._sending import Sending
    from trio_mqtt._client._session import Session
    from trio_mqtt._protocol.exchanges import Request

_TIMEOUT: Final = 10.0
"""How long messages wait for the subscriptions, in seconds."""


class Restorer:
    """Subscribes again what was subscribed, and holds messages back until that is done.

    Args:
        session: the Session.
        sending: where SUBSCRIBEs go.
        deliveries: who is subscribed, and who watches.
    """

    def __init__(self, session: Session, sending: Sending, deliveries: Deliveries) -> None:
        self._session = session
        self._sending = sending
        self._deliveries = deliveries
        self._first = True  # whether the next connection is the first of this client

    @property
    def has_work(self) -> bool:
        """Whether there is anything to subscribe again."""
        return bool(self._deliveries.routes)

    def connected(self, link: Link, start: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
        """See to the subscriptions on a new connection."""
        connection = link.connection
        if connection.unsure or not connection.resumed:
            self._session._subscriptions.doubt(lost=not connection.resumed)
        first, self._first = self._first, False
        if first and connection.resumed:
            connection.sender.hold()  # nothing new before them
            self._repeat()
        if connection.resumed and not connection.unsure:
            connection.sender.let_go()
            return
        handling = None
        if connection.unsure and connection.protocol is MQTT_5:
            handling = RetainHandling.SEND_IF_NEW  # perhaps it is there
        leaving = self._session._state.unsubscribing()
        routes = [
            route
            for route in self._deliveries.routes.all()
            if route.pending is not None or route.topic_filter not in leaving
        ]
        for route in routes:
            if route.pending is not None and route.pending.earlier is not None:
                route.pending.refused = partial(self._as_before, route.pending, handling)
        grants = [grant for route in routes if (grant := self._again(route, handling))]
        if grants:
            start(partial(self._let_go, link, grants))
        else:
            connection.sender.let_go()

    def _repeat(self) -> None:
        """Make anew what an earlier client with the Session had no answer to."""
        subscriptions = self._session._subscriptions
        for change in subscriptions.left():
            unsubscribe(self._sending, subscriptions, change)
        for route in self._deliveries.routes.all():
            if route.granted is None:
                self._again(route, None)

    def _again(self, route: Route, handling: RetainHandling | None) -> Grant | None:
        if route.pending is not None:
            return route.pending  # its SUBSCRIBE is made anew as it was
        grant = route.pending = Grant(route)
        server = self._sending.server
        try:
            check_available(route.topic_filter, server)
            packet = subscribe_packet(route, server, handling)
            stored_in = self._session._subscriptions.ask_again(route.topic_filter)
            self._sending.request(packet, partial(self._answered, grant), stored_in=stored_in)
        except MQTTError as error:
            route.pending = None
            self._cannot(route, error)
            return None
        return grant

    def _cannot(self, route: Route, error: MQTTError) -> None:
        """The Server takes no such subscription any more."""
        text = f"cannot subscribe {route.topic_filter!r} again: {error}"
        self._lose(route, SubscribeRejected(text))

    def _as_before(self, grant: Grant, handling: RetainHandling | None) -> None:
        """Subscribe as before, since the QoS that was to be raised is refused now."""
        route = grant.route
        if self._deliveries.routes.get(route.topic_filter) is route:
            self._again(route, handling)

    def _answered(self, grant: Grant, request: Request) -> None:
        grant.answer(request)
        route = grant.route
        code = grant.reason_code
        if code is None:
            if isinstance(grant.failure, FeatureNotSupported | PacketTooLarge):
                self._cannot(route, grant.failure)
            return
        if not code.is_failure:
            if route.pending is None:
                self._session._subscriptions.grant(route.topic_filter)
            event = SubscriptionRestored(topic_filter=route.topic_filter, granted=int(code))
            self._deliveries.events.put(event)
            tell_subscribed_again(route.topic_filter, int(code))
            return
        words = f": {grant.reason_string}" if grant.reason_string else ""
        name = self._sending.server_name
        error = SubscribeRejected(
            f"{name} refused to subscribe {route.topic_filter!r} again, with "
            f"{code.describe()}{words}",
            reasons={route.topic_filter: code},
            reason_string=grant.reason_string,
            user_properties=grant.user_properties,
        )
        self._lose(route, error)

    def _lose(self, route: Route, error: SubscribeRejected) -> None:
        routes = self._deliveries.routes
        if routes.get(route.topic_filter) is route:
            routes.remove(route)
        self._session._subscriptions.drop(route.topic_filter)
        for subscription in route.subscriptions:
            subscription._refuse(error)
        event = SubscriptionLost(topic_filter=route.topic_filter, error=error)
        self._deliveries.events.put(event)

    @enable_ki_protection
    async def _let_go(self, link: Link, grants: list[Grant]) -> None:
        """Hold messages until the subscriptions are there that may want the answers to them."""
        with trio.move_on_after(_TIMEOUT):
            for grant in grants:
                await grant.done.wait()
        link.connection.sender.let_go()
        self._sending.progress()
