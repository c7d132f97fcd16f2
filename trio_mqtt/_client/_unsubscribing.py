"""Unsubscribing: what blocks have left, and what somebody asks for by name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mqtt._client._story import tell_unsubscribed
from trio_mqtt._enums import ReasonCode
from trio_mqtt._errors import (
    FeatureNotSupported,
    MQTTError,
    PacketTooLarge,
    UnsubscribeRejected,
)
from trio_mqtt.packets import Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt._client._routes import Routes
    from trio_mqtt._client._sending import Sending
    from trio_mqtt._client._session_records import Change, KeptSubscriptions
    from trio_mqtt._errors import UserProperties
    from trio_mqtt._protocol.exchanges import Request

_logger = logging.getLogger("trio_mqtt")


def unsubscribe(sending: Sending, subscriptions: KeptSubscriptions, change: Change) -> trio.Event:
    """Send UNSUBSCRIBE for a Topic Filter that was left.

    It does not wait for the storage, as an UNSUBSCRIBE that somebody asked for does: a block can
    be left while the disk is full.

    Returns:
        What is set when it is answered, or cannot be sent. Without an answer it is made anew by
        the next client with the Session.
    """
    answered = trio.Event()
    topic_filter = change.kept.request.topic_filter

    def take_answer(request: Request) -> None:
        if request.answer is not None:
            subscriptions.end(change)
            codes = request.answer.reason_codes
            if codes and codes[0].is_failure:
                text = "%s refused to unsubscribe %r: %s"
                _logger.warning(text, sending.server_name, topic_filter, codes[0].describe())
            else:
                tell_unsubscribed(topic_filter)
        answered.set()

    try:
        sending.request(Unsubscribe(0, (topic_filter,)), take_answer)
    except MQTTError as error:  # it must not take the place of what the block raised
        _logger.warning("cannot unsubscribe %r: %s", topic_filter, error)
        answered.set()
    return answered


@attrs.frozen(kw_only=True)
class UnsubscribeResult:
    """What the Server said to an UNSUBSCRIBE that it accepted.

    Attributes:
        reason_codes: each Topic Filter and SUCCESS, or NO_SUBSCRIPTION_EXISTED; always SUCCESS
            below MQTT 5.0, where the Server says nothing.
        reason_string: the Server's own words, or None.
        user_properties: those of the UNSUBACK.
    """

    reason_codes: Mapping[str, ReasonCode]
    reason_string: str | None = None
    user_properties: UserProperties = ()


class Unsubscription:
    """An UNSUBSCRIBE that somebody asks for; see `Client.unsubscribe`.

    Args:
        sending: where it goes.
        routes: the subscriptions by Topic Filter.
        subscriptions: what the Session remembers of them.
        packet: the UNSUBSCRIBE.

    Raises:
        LocalProtocolError: the standard forbids it.
    """

    def __init__(
        self,
        sending: Sending,
        routes: Routes,
        subscriptions: KeptSubscriptions,
        packet: Unsubscribe,
    ) -> None:
        sending.check(packet)  # before anything changes
        topic_filters = packet.topic_filters
        self._packet = packet
        self._sending = sending
        self._routes = routes
        self._subscriptions = subscriptions
        self._topic_filters = topic_filters
        self._asked = {
            each: (route, route.asked) for each in topic_filters if (route := routes.get(each))
        }
        self._changes = {each: subscriptions.leave(each) for each in dict.fromkeys(topic_filters)}

    async def run(self) -> UnsubscribeResult:
        """Send it and wait for UNSUBACK; cancelled, only the waiting ends."""
        stored_in = max(each.stored_in for each in self._changes.values())
        answer = await self._sending.ask(self._packet, self._take_answer, stored_in=stored_in)
        reasons = {
            topic_filter: code
            for topic_filter, code in zip(self._topic_filters, answer.reason_codes, strict=False)
            if code.is_failure
        }
        if reasons:
            listed = ", ".join(f"{each!r} {code.describe()}" for each, code in reasons.items())
            said = answer.properties.reason_string
            words = f": {said}" if said else ""
            raise UnsubscribeRejected(
                f"{self._sending.server_name} refused to unsubscribe {listed}{words}",
                reasons=reasons,
                reason_string=said,
                user_properties=answer.properties.user_properties,
            )
        codes = answer.reason_codes or [ReasonCode.SUCCESS] * len(self._topic_filters)
        return UnsubscribeResult(
            reason_codes=dict(zip(self._topic_filters, codes, strict=True)),
            reason_string=answer.properties.reason_string,
            user_properties=answer.properties.user_properties,
        )

    def _take_back(self) -> None:
        """The Server takes no such packet, so it never comes to know."""
        for change in self._changes.values():
            self._subscriptions.take_back(change)

    def _take_answer(self, request: Request) -> None:
        """Stop routing what the Server does not send any more; it has not refused that."""
        if request.answer is None:
            if isinstance(request.failure, PacketTooLarge | FeatureNotSupported):
                # On another connection than the one that it was made for.
                self._take_back()
            return
        codes = request.answer.reason_codes
        for number, topic_filter in enumerate(self._topic_filters):
            change = self._changes[topic_filter]
            if codes and codes[number].is_failure:
                self._subscriptions.take_back(change)
            else:
                self._subscriptions.end(change)
                self._stop_routing(topic_filter)
                tell_unsubscribed(topic_filter)

    def _stop_routing(self, topic_filter: str) -> None:
        route = self._routes.get(topic_filter)
        if route is not None:
            if self._asked.get(topic_filter) != (route, route.asked):
                return  # what was subscribed since the UNSUBSCRIBE stays
            self._routes.remove(route)
        self._routes.unsubscribed(topic_filter)
