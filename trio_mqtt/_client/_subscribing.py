"""Entering and leaving the block of a subscription."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._filters import subscription_requests
from trio_mqtt._client._misuse import Block
from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._client._refusals import hint_for
from trio_mqtt._client._requests import (
    Grant,
    SubscribeOptions,
    check_subscription,
    subscribe_packet,
)
from trio_mqtt._client._routes import Route
from trio_mqtt._client._story import tell_subscribed
from trio_mqtt._client._subscription import SubscribeResult
from trio_mqtt._client._unsubscribing import unsubscribe
from trio_mqtt._client._versions import as_spoken
from trio_mqtt._enums import MQTT_5, ReasonCode, RetainHandling
from trio_mqtt._errors import (
    FeatureNotSupported,
    MQTTError,
    PacketTooLarge,
    SubscribeRejected,
)
from trio_mqtt._topics import split_share
from trio_mqtt.packets import Properties, Subscribe, SubscriptionRequest, encode

if TYPE_CHECKING:
    from types import TracebackType

    from trio_mqtt._client._filters import TopicFilter
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._session_records import Change
    from trio_mqtt._client._subscription import Subscription
    from trio_mqtt._client._supervisor import Supervisor
    from trio_mqtt._errors import UserProperties
    from trio_mqtt._protocol.exchanges import Request
    from trio_mqtt._protocol.server_info import ServerInfo

_NOTHING: Final[frozenset[Message]] = frozenset()
_logger = logging.getLogger("trio_mqtt")


class SubscriptionManager(Block):
    """What `Client.subscribe` returns: subscribes on entry, unsubscribes on exit.

    Args:
        supervisor: of the client.
        topic_filters: what to subscribe to.
        options: how.
        subscription: what gets the messages; None for a new one. With one it is used without
            ``async with``.
    """

    _call = "client.subscribe(...)"
    _target = "messages"

    def __init__(
        self,
        supervisor: Supervisor,
        topic_filters: tuple[str | TopicFilter, ...],
        options: SubscribeOptions,
        subscription: Subscription | None = None,
    ) -> None:
        self._sending = supervisor.sending
        self._deliveries = supervisor.deliveries
        self._routes = supervisor.deliveries.routes
        self._supervisor = supervisor
        self._session = supervisor.session
        keep = options.keep
        self._keep = not self._session._ephemeral if keep is None else keep
        self._given_filters = topic_filters
        self._wanted: tuple[SubscriptionRequest, ...] = ()
        self._user_properties: UserProperties = ()
        # What `_join` wants to be sent, with the batch of the journal before it.
        self._asked: list[tuple[Subscribe, int, Grant, Change | None]] = []
        self._options = options
        self._joined: list[Route] = []
        self._given = subscription
        self._entered = subscription is not None
        self._subscription: Subscription | None = None
        self._claimed = _NOTHING

    # -- entry --------------------------------------------------------------------------------

    def check(self, server: ServerInfo) -> None:
        """Refuse what the standard or the Server does not allow, before anything is sent."""
        self._wanted = subscription_requests(self._given_filters, self._options)
        check_subscription(self._wanted, server, self._routes)
        properties = as_spoken(
            Properties(user_properties=self._options.user_properties),
            server.protocol,
            self._deliveries.unsupported,
            "SUBSCRIBE",
        )
        self._user_properties = properties.user_properties
        if self._user_properties:  # encoding refuses what the standard forbids
            encode(Subscribe(1, self._wanted, properties), server.protocol)

    @enable_ki_protection
    async def __aenter__(self) -> Subscription:
        """Subscribe and wait for SUBACK; see `Client.subscribe`."""
        self._enter()
        server = await self._supervisor.wait_known()
        self.check(server)
        subscription, grants = self._begin()
        try:
            for grant in grants:
                await self._sending.await_answer(grant.done)
            await trio.lowlevel.checkpoint()
            self._finish(subscription, grants)
        except BaseException:
            self._leave()
            raise
        self._claimed = _NOTHING
        return subscription

    @enable_ki_protection
    def _begin(self) -> tuple[Subscription, list[Grant]]:
        """Join the routes, before SUBSCRIBE: messages may come before SUBACK (3.8.4)."""
        options = self._options
        topic_filters = tuple(each.topic_filter for each in self._wanted)
        names = ", ".join(repr(each) for each in topic_filters)
        subscription = self._subscription = self._given or self._deliveries.new_subscription(
            f"subscription to {names}", options
        )
        self._deliveries.subscriptions[subscription] = None
        grants: list[Grant] = []
        try:
            for wanted in self._wanted:
                grant = self._join(subscription, wanted)
                if grant is not None:
                    grants.append(grant)
            self._ask()
        except BaseException:
            self._leave()
            raise
        self._claimed = self._deliveries.unclaimed.claim(subscription, topic_filters)
        return subscription, grants

    def _new_route(self, wanted: SubscriptionRequest) -> Route:
        topic_filter = wanted.topic_filter
        has_identifiers = self._sending.server.subscription_identifier_available
        route = Route(
            topic_filter,
            split_share(topic_filter)[0] is not None,
            self._session._identifier_for(topic_filter) if has_identifiers else None,
            wanted,
            [],
        )
        self._routes.add(route)
        return route

    def _join(self, subscription: Subscription, wanted: SubscriptionRequest) -> Grant | None:
        """Join or make the route of a filter; subscribe if the Server has less than wanted."""
        topic_filter = wanted.topic_filter
        route = self._routes.get(topic_filter) or self._new_route(wanted)
        server = self._sending.server
        asked = route.granted is not None or route.pending is not None
        if topic_filter in self._session._state.unsubscribing():
            asked = False  # by hand; what is asked for after that holds
        joins = bool(route.subscriptions)  # else the Server kept it for nobody here: ask again
        route.subscriptions.append(subscription)
        self._joined.append(route)
        self._routes.changed()
        if asked and joins and wanted.qos <= route.options.qos:
            return route.pending
        handling = None
        if joins and asked and server.protocol is MQTT_5:
            # Only the QoS is raised; who is subscribed already wants no retained message again.
            handling = RetainHandling.DO_NOT_SEND
        earlier = route.options if asked else None
        grant = Grant(route, earlier, route.user_properties, route.pending)
        route.options = wanted
        route.user_properties = self._user_properties
        route.pending = grant
        route.asked += 1
        change = self._session._subscriptions.ask(route.identifier, wanted) if self._keep else None
        stored_in = 0 if change is None else change.stored_in
        if change is None and self._session._state.journal is not None:
            stored_in = self._session._note_record()  # the identifier is never used again

        packet = subscribe_packet(route, server, handling)
        self._asked.append((packet, stored_in, grant, change))
        return grant

    def _ask(self) -> None:
        """Send SUBSCRIBEs, all or none.

        Each Topic Filter has one of its own, as each has its own Subscription Identifier; and
        some Servers take no more than one. Several in one would mean the same (MQTT-3.8.4-5).
        """
        asked, self._asked = self._asked, []
        try:
            for packet, *_ in asked:
                self._sending.check(packet)
        except PacketTooLarge:
            for _, _, grant, change in asked:
                grant.withdraw()
                if change is not None:
                    self._session._subscriptions.take_back(change)
            raise
        for packet, stored_in, grant, change in asked:
            answered = partial(self._answered, grant, change)
            self._sending.request(packet, answered, stored_in=stored_in)

    def _answered(self, grant: Grant, change: Change | None, request: Request) -> None:
        grant.answer(request)
        if grant.reason_code is None:
            if change is not None and isinstance(
                grant.failure, FeatureNotSupported | PacketTooLarge
            ):
                self._session._subscriptions.take_back(change)  # this Server is never asked
            return
        if not grant.reason_code.is_failure:
            if grant.route.pending is None:
                self._session._subscriptions.grant(grant.route.topic_filter)
            return
        if change is not None:
            self._session._subscriptions.take_back(change)
        if grant.refused is not None:
            grant.refused()

    def _finish(self, subscription: Subscription, grants: list[Grant]) -> None:
        reasons: dict[str, ReasonCode] = {}
        first: Grant | None = None
        for grant in grants:
            if grant.failure is not None:
                raise own_instance(grant.failure)
            if grant.reason_code is not None and grant.reason_code.is_failure:
                first = first or grant
                reasons[grant.route.topic_filter] = grant.reason_code
        if first is not None:
            listed = ", ".join(f"{each!r} {code.describe()}" for each, code in reasons.items())
            words = f": {first.reason_string}" if first.reason_string else ""
            hint = hint_for(next(iter(reasons.values())))
            raise SubscribeRejected(
                f"{self._sending.server_name} refused to subscribe {listed}{words}{hint}",
                reasons=reasons,
                reason_string=first.reason_string,
                user_properties=first.user_properties,
            )
        tell_subscribed(grants)
        if self._keep:
            for route in self._joined:
                route.kept = True
                self._session._subscriptions.keep(route.identifier, route.options)
        subscription._granted = {
            route.topic_filter: route.granted for route in self._joined if route.granted is not None
        }
        subscription._answers = {
            grant.route.topic_filter: SubscribeResult(
                reason_code=grant.reason_code,
                reason_string=grant.reason_string,
                user_properties=grant.user_properties,
            )
            for grant in grants
            if grant.reason_code is not None
        }

    # -- exit ---------------------------------------------------------------------------------

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe; wait for UNSUBACK unless the block failed or was cancelled.

        Without a connection it does not wait: UNSUBSCRIBE is sent once there is one.
        """
        answers = self._leave()
        if exc_type is None:
            if self._supervisor.connection is not None:
                await self._await_answers(answers)
            await trio.lowlevel.checkpoint()

    async def _await_answers(self, answers: list[trio.Event]) -> None:
        """Wait as long as the connection lasts."""
        leaving = self._supervisor.leaving
        with trio.CancelScope() as scope:
            leaving[scope] = None
            try:
                for answered in answers:
                    await self._sending.await_answer(answered)
            finally:
                leaving.pop(scope, None)

    @enable_ki_protection
    def _leave(self) -> list[trio.Event]:
        """Leave the routes; have those unsubscribed that nobody wants any more.

        Returns:
            What is set when each UNSUBSCRIBE is answered.
        """
        subscription = self._subscription
        if subscription is None:
            return []
        unwanted: list[Change] = []
        kept = False
        heirs: list[tuple[Subscription, str]] = []
        subscriptions = self._session._subscriptions
        for route in self._joined:
            route.subscriptions.remove(subscription)
            if self._routes.get(route.topic_filter) is not route:
                continue  # unsubscribed by hand
            if route.subscriptions:
                if route.shared:  # the others have no copies of what this block got
                    heirs.append((route.subscriptions[0], route.topic_filter))
                continue  # another block holds it
            if route.kept:
                kept = True
                continue
            self._routes.remove(route)
            self._routes.unsubscribed(route.topic_filter)
            if route.granted is not None or route.pending is not None:
                unwanted.append(subscriptions.leave(route.topic_filter))
            else:
                subscriptions.drop(route.topic_filter)
        self._joined.clear()
        self._routes.changed()
        self._deliveries.subscriptions.pop(subscription, None)
        inherited = tuple(topic_filter for _, topic_filter in heirs)
        left = subscription._close(
            unsubscribed=not kept, claimed=self._claimed, inherited=inherited
        )
        for heir, topic_filter in heirs:
            self._deliveries.unclaimed.claim(heir, (topic_filter,), left=left)
        try:
            self._deliveries.check_open()
        except (MQTTError, trio.ClosedResourceError):
            return []  # nobody is there to be told; the next client with the Session does it
        return [unsubscribe(self._sending, subscriptions, change) for change in unwanted]
