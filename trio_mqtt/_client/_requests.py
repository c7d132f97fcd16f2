"""SUBSCRIBE and UNSUBSCRIBE: what is asked for, whether a Server takes it, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trio_mqtt import _checks
from trio_mqtt._client._versions import as_spoken
from trio_mqtt._enums import MQTT_5, QoS, ReasonCode, RetainHandling, is_qos
from trio_mqtt._errors import (
    FeatureNotSupported,
    LocalProtocolError,
    MQTTError,
    PacketTooLarge,
    UserProperties,
)
from trio_mqtt._topics import split_share
from trio_mqtt.packets import Properties, Subscribe, SubscriptionRequest, Unsubscribe, encode
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._client._buffer import Overflow
    from trio_mqtt._client._routes import Route, Routes
    from trio_mqtt._client._subscription import Ack
    from trio_mqtt._client._versions import UnsupportedProperties
    from trio_mqtt._protocol.exchanges import Request
    from trio_mqtt._protocol.server_info import ServerInfo


@attrs.frozen(kw_only=True)
class SubscribeOptions:
    """The arguments of `Client.subscribe`, beside the Topic Filters."""

    qos: int
    no_local: bool
    retain_as_published: bool
    retain_handling: int
    buffer: int = attrs.field(validator=_checks.whole(1))
    overflow: Overflow = attrs.field(validator=_checks.choice("wait", "drop_oldest", "drop_newest"))
    ack: Ack = attrs.field(validator=_checks.choice("when_done", "manual", "on_receipt"))
    keep: bool | None
    user_properties: UserProperties = attrs.field(default=(), converter=as_pairs)


@attrs.define(eq=False)
class Grant:
    """A SUBSCRIBE for one Topic Filter, under way or answered.

    Attributes:
        route: the Topic Filter.
        earlier: what the Server had been asked for before, if that was something else.
        earlier_properties: the User Properties that went along with that.
        before: the one under way when this one was made, or None.
        done: set when it is answered or has failed.
        reason_code: the answer, or None.
        reason_string: the Server's own words, or None.
        user_properties: those of the answer.
        failure: the error that ended it instead, or None.
        refused: called if the Server refuses, after everything else; or None.
    """

    route: Route
    earlier: SubscriptionRequest | None = None
    earlier_properties: UserProperties = ()
    before: Grant | None = None
    refused: Callable[[], None] | None = None
    done: trio.Event = attrs.Factory(trio.Event)
    reason_code: ReasonCode | None = None
    reason_string: str | None = None
    user_properties: UserProperties = ()
    failure: Exception | None = None

    def withdraw(self) -> None:
        """It was not sent, after all: nothing has changed."""
        self._step_back()
        self._go_back()

    def _step_back(self) -> None:
        """It is not under way any more; the one before it may be."""
        if self.route.pending is self:
            before = self.before
            self.route.pending = before if before and not before.done.is_set() else None

    def answer(self, request: Request) -> None:
        """Take the SUBACK, or the failure, to the route and to whoever waits."""
        route = self.route
        self._step_back()
        if request.answer is None:
            self.failure = request.failure
            self._go_back()
        else:
            self.reason_code = request.answer.reason_codes[0]
            self.reason_string = request.answer.properties.reason_string
            self.user_properties = request.answer.properties.user_properties
            if not self.reason_code.is_failure:
                route.granted = QoS(self.reason_code)
            else:
                self._go_back()
        self.done.set()

    def _go_back(self) -> None:
        """What it asked for is not what the Server has, or is asked for."""
        if self.earlier is not None:
            self.route.options = self.earlier
            self.route.user_properties = self.earlier_properties


def subscribe_packet(
    route: Route, server: ServerInfo, retain_handling: RetainHandling | None = None
) -> Subscribe:
    """The SUBSCRIBE for a Topic Filter, as this Server takes it."""
    options = route.options
    if retain_handling is not None and options.retain_handling < retain_handling:
        options = attrs.evolve(options, retain_handling=retain_handling)
    known = server.subscription_identifier_available and route.identifier is not None
    identifiers = (route.identifier,) if known and route.identifier else ()
    properties = Properties(
        subscription_identifiers=identifiers, user_properties=route.user_properties
    )
    return Subscribe(0, (options,), properties)


def check_subscription(
    requests: tuple[SubscriptionRequest, ...], server: ServerInfo, routes: Routes
) -> None:
    """Refuse what the standard or the Server does not allow, before anything is sent.

    Raises:
        LocalProtocolError: the standard forbids it.
        FeatureNotSupported: the Server does not have what it needs.
    """
    if not requests:
        message = 'subscribe needs at least one Topic Filter, such as "sensors/#"'
        raise LocalProtocolError(message, statement="MQTT-3.8.3-2")
    for request in requests:
        if not is_qos(request.qos):
            message = f"qos is {request.qos!r}; it must be 0, 1 or 2"
            raise LocalProtocolError(message, statement="3.8.3.1")
        plain = SubscriptionRequest(request.topic_filter, request.qos)
        if server.protocol is not MQTT_5 and request != plain:
            message = (
                f"{server.protocol.title} subscriptions have no option but the QoS; leave out "
                "no_local, retain_as_published and retain_handling, or use MQTT 5.0"
            )
            raise FeatureNotSupported(message)
        check_available(request.topic_filter, server)
        _check_options(request, routes.get(request.topic_filter))


def _check_options(request: SubscriptionRequest, route: Route | None) -> None:
    topic_filter = request.topic_filter
    if request.no_local and split_share(topic_filter)[0] is not None:
        message = (
            f"no_local cannot be used with the shared subscription {topic_filter!r}; leave it out"
        )
        raise LocalProtocolError(message, statement="MQTT-3.8.3-4")
    if (
        route is not None
        and route.subscriptions
        and (
            route.options.no_local != request.no_local
            or route.options.retain_as_published != request.retain_as_published
        )
    ):
        message = (
            f"{topic_filter!r} is subscribed with another no_local or retain_as_published; "
            "the server keeps one subscription for a filter, so both must agree"
        )
        raise LocalProtocolError(message)


def check_available(topic_filter: str, server: ServerInfo) -> None:
    """Raise FeatureNotSupported if the Server has no subscriptions of this kind (3.2.2.3)."""
    lacks = None
    if not server.shared_subscription_available and split_share(topic_filter)[0] is not None:
        lacks = "shared subscriptions (Shared Subscription Available is 0)"
    elif not server.wildcard_subscription_available and set("+#") & set(topic_filter):
        lacks = "wildcards (Wildcard Subscription Available is 0)"
    if lacks is not None:
        message = f"cannot subscribe to {topic_filter!r}: the server has no {lacks}"
        raise FeatureNotSupported(message)


def check_size(packet: Subscribe | Unsubscribe, server: ServerInfo, server_name: str) -> None:
    """Raise PacketTooLarge if the Server does not take so much (MQTT-3.2.2-15)."""
    size = len(encode(attrs.evolve(packet, packet_id=1), server.protocol))
    limit = server.maximum_packet_size
    if limit is not None and size > limit:
        text = (
            f"the {name_of(packet)} would take {size} bytes, and {server_name} granted a Maximum "
            f"Packet Size of {limit}; use shorter Topic Filters"
        )
        raise PacketTooLarge(text, size=size, limit=limit)


def name_of(packet: Subscribe | Unsubscribe) -> str:
    """What the standard calls the packet."""
    return type(packet).__name__.upper()


def why_not(
    packet: Subscribe | Unsubscribe,
    server: ServerInfo,
    server_name: str,
    unsupported: UnsupportedProperties,
) -> MQTTError | None:
    """Have a request say only what this Server has; says why it takes none, or None."""
    if not server.subscription_identifier_available:
        packet.properties = attrs.evolve(packet.properties, subscription_identifiers=())
    try:
        packet.properties = as_spoken(
            packet.properties, server.protocol, unsupported, name_of(packet)
        )
        if isinstance(packet, Subscribe):
            for request in packet.requests:
                check_available(request.topic_filter, server)
        check_size(packet, server, server_name)
    except (FeatureNotSupported, PacketTooLarge) as error:
        return error
    return None
