"""The broker behind all connections: Sessions, routing, retained messages and Wills.

No I/O and no clock: whoever calls says what time it is.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING

from trio_mqtt._enums import QoS, ReasonCode, RetainHandling
from trio_mqtt._topics import TopicTree, split_share
from trio_mqtt.packets import Publish
from trio_mqtt.testing._history import Published
from trio_mqtt.testing._session import ApplicationMessage, Delivery, Session, forwarded
from trio_mqtt.testing._subscriptions import Subscription, SubscriptionIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_mqtt.packets import SubscriptionRequest
    from trio_mqtt.testing._connection import Connection
    from trio_mqtt.testing._history import History
    from trio_mqtt.testing._holding import Held
    from trio_mqtt.testing._log import PacketLog
    from trio_mqtt.testing._policy import Policy

_NEVER = 0xFFFF_FFFF
"""The Session Expiry Interval of a Session that does not expire (3.1.2.11.2)."""


class Broker:
    """What all connections of a server share.

    Args:
        policy: its limits and who may do what.
        log: where packets are noted.
        history: where is noted what clients do.
        on_timer: called when `next_timer` may have changed.

    Attributes:
        sessions: by Client Identifier.
        retained: by Topic Name.
        holds: the answers that are held back.
    """

    def __init__(
        self, policy: Policy, log: PacketLog, history: History, on_timer: Callable[[], None]
    ) -> None:
        self.policy = policy
        self.log = log
        self.history = history
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, ApplicationMessage] = {}
        self.holds: list[Held] = []
        self._index = SubscriptionIndex()
        self._on_timer = on_timer
        self._generated = count(1)

    # Sessions

    def unused_client_id(self) -> str:
        """A Client Identifier that no Session has (MQTT-3.2.2-16)."""
        return next(
            client_id
            for number in self._generated
            if (client_id := f"auto-{number}") not in self.sessions
        )

    def open_session(
        self, connection: Connection, client_id: str, now: float, *, clean_start: bool
    ) -> tuple[Session, bool]:
        """The Session for a new connection, and whether it was there before."""
        session = self.sessions.get(client_id)
        if session is not None and session.connection is not None:
            session.connection.disconnect(ReasonCode.SESSION_TAKEN_OVER, now)  # MQTT-3.1.4-3
            session = self.sessions.get(client_id)
        if session is not None and clean_start:
            self.end_session(session, now)  # MQTT-3.1.2-4
            session = None
        present = session is not None
        if session is None:
            session = Session(client_id, self.policy.limits.maximum_queued)  # MQTT-3.1.2-6
            self.sessions[client_id] = session
        session.connection = connection
        session.will = None  # MQTT-3.1.3-9
        session.will_at = session.ends_at = math.inf
        session.resend.clear()
        session.resend.extend(session.unacknowledged)  # MQTT-4.4.0-1
        return session, present

    def connection_closed(self, session: Session, now: float) -> None:
        """The Network Connection of a Session is closed: its Will and its end draw near."""
        session.connection = None
        if not self.policy.limits.queue_qos_0_offline:
            session.drop_unacknowledgeable()
        session.ends_at = now + session.expiry
        if session.will is not None:
            delay = session.will.properties.will_delay_interval or 0
            session.will_at = min(now + delay, session.ends_at)  # MQTT-3.1.2-8
        self.tick(now)
        self._on_timer()

    def end_session(self, session: Session, now: float) -> None:
        """Discard the Session State (MQTT-4.1.0-2)."""
        for subscription in session.subscriptions.values():
            self._index.remove(session.client_id, subscription)
        del self.sessions[session.client_id]
        self._publish_will(session, now)

    def forget(self) -> None:
        """Lose all Sessions, whose Wills are not published, and all retained messages."""
        self.retained.clear()
        for session in list(self.sessions.values()):
            session.will = None
            session.expiry = 0  # it ends with its connection
            if session.connection is None:
                self.end_session(session, 0)

    def granted_expiry(self, interval: int) -> int:
        """The Session Expiry Interval that a client gets when it asks for this one."""
        most = self.policy.limits.session_expiry_maximum
        return interval if most is None else min(interval, most)

    # Time

    def next_timer(self) -> float:
        """When `tick` has something to do, if nothing else happens before."""
        return min(
            (min(session.will_at, session.ends_at) for session in self.sessions.values()),
            default=math.inf,
        )

    def tick(self, now: float) -> None:
        """Publish the Wills and end the Sessions whose time has come."""
        for session in list(self.sessions.values()):
            if session.will_at <= now:
                self._publish_will(session, now)
            if session.ends_at <= now:
                self.end_session(session, now)

    def _publish_will(self, session: Session, now: float) -> None:
        will = session.will
        session.will = None  # MQTT-3.1.2-10
        session.will_at = math.inf
        if will is None:
            return
        # MQTT-3.1.2-14, MQTT-3.1.2-15, MQTT-3.1.3-10
        packet = Publish(
            will.topic,
            will.payload,
            will.qos,
            retain=will.retain,
            properties=forwarded(will.properties),
        )
        self.publish(packet, session.client_id, now, will=True)

    # Messages

    def publish(
        self, packet: Publish, publisher: str | None, now: float, *, will: bool = False
    ) -> ReasonCode:
        """Take an Application Message and hand it to all Sessions that match.

        Args:
            packet: a PUBLISH whose Topic Name is complete.
            publisher: the Client Identifier of its publisher, or None.
            now: what time it is.
            will: whether it is a Will Message.

        Returns:
            The Reason Code for PUBACK or PUBREC.
        """
        reason_code = self._take(packet, publisher, now)
        if publisher is not None:
            self.history.add(
                Published(
                    client_id=publisher,
                    topic=packet.topic,
                    payload=packet.payload,
                    qos=packet.qos,
                    retain=packet.retain,
                    will=will,
                    reason_code=reason_code,
                    properties=packet.properties,
                )
            )
        return reason_code

    def _take(self, packet: Publish, publisher: str | None, now: float) -> ReasonCode:
        authorize = self.policy.authorize_publish
        if authorize is not None and publisher is not None:
            reason_code = authorize(publisher, packet)
            if reason_code.is_failure:
                return reason_code
        message = ApplicationMessage.take(packet, publisher, now)
        if message.retain:  # MQTT-3.3.1-8
            self._retain(message)
        return self._route(message)

    def _retain(self, message: ApplicationMessage) -> None:
        self.retained.pop(message.topic, None)
        if message.payload:  # MQTT-3.3.1-6, MQTT-3.3.1-7
            self.retained[message.topic] = message  # MQTT-3.3.1-5

    def _route(self, message: ApplicationMessage) -> ReasonCode:
        matches = self._index.match(message.topic)
        found = False
        for client_id, subscriptions in matches.plain.items():
            fitting = [
                subscription
                for subscription in subscriptions
                if not (subscription.no_local and client_id == message.publisher)  # MQTT-3.8.3-3
            ]
            for delivery in self._copies(message, fitting):
                found = True
                self._deliver(client_id, delivery)
        for group in matches.groups:
            found = True
            client_id, subscription = group.choose(self._is_connected)
            for delivery in self._copies(message, [subscription]):
                self._deliver(client_id, delivery)
        return ReasonCode.SUCCESS if found else ReasonCode.NO_MATCHING_SUBSCRIBERS

    def _is_connected(self, client_id: str) -> bool:
        return self.sessions[client_id].connection is not None

    def _copies(
        self, message: ApplicationMessage, subscriptions: list[Subscription]
    ) -> Iterator[Delivery]:
        """What one Session gets of a message that matches these of its Subscriptions."""
        if self.policy.limits.overlapping == "copies":
            for subscription in subscriptions:
                yield _merge(message, [subscription])  # MQTT-3.3.4-5
        elif subscriptions:
            yield _merge(message, subscriptions)

    def _deliver(self, client_id: str, delivery: Delivery) -> None:
        session = self.sessions[client_id]
        offline = session.connection is None
        if delivery.qos or not offline or self.policy.limits.queue_qos_0_offline:
            session.enqueue(delivery)

    # Subscriptions

    def subscribe(
        self, session: Session, request: SubscriptionRequest, qos: int, identifier: int | None
    ) -> bool:
        """Make or replace a Subscription; whether it is new (MQTT-3.8.4-3)."""
        subscription = Subscription(
            topic_filter=request.topic_filter,
            qos=qos,
            no_local=request.no_local,
            retain_as_published=request.retain_as_published,
            identifier=identifier,
        )
        is_new = request.topic_filter not in session.subscriptions
        session.subscriptions[request.topic_filter] = subscription
        self._index.set(session.client_id, subscription)
        return is_new

    def unsubscribe(self, session: Session, topic_filter: str) -> ReasonCode:
        """Delete a Subscription (MQTT-3.10.4-1, MQTT-3.10.4-2)."""
        subscription = session.subscriptions.pop(topic_filter, None)
        if subscription is None:
            return ReasonCode.NO_SUBSCRIPTION_EXISTED
        self._index.remove(session.client_id, subscription)
        return ReasonCode.SUCCESS

    def send_retained(
        self, session: Session, request: SubscriptionRequest, now: float, *, is_new: bool
    ) -> None:
        """Send the retained messages that a SUBSCRIBE asks for (3.8.3.1)."""
        share_name, topic_filter = split_share(request.topic_filter)
        wanted = {
            RetainHandling.SEND_ON_SUBSCRIBE: True,  # MQTT-3.3.1-9
            RetainHandling.SEND_IF_NEW: is_new,  # MQTT-3.3.1-10
            RetainHandling.DO_NOT_SEND: False,  # MQTT-3.3.1-11
        }[RetainHandling(request.retain_handling)]
        if not wanted or share_name is not None:  # 4.8.2: never for a shared subscription
            return
        subscription = session.subscriptions[request.topic_filter]
        tree: TopicTree[bool] = TopicTree()
        tree.set(topic_filter, value=True)
        for topic, message in list(self.retained.items()):
            if message.expires_at <= now:
                del self.retained[topic]
            elif tree.match(topic) and not (
                subscription.no_local and message.publisher == session.client_id
            ):
                session.enqueue(_merge(message, [subscription], is_retained=True))


def _merge(
    message: ApplicationMessage, subscriptions: list[Subscription], *, is_retained: bool = False
) -> Delivery:
    """One copy for all these Subscriptions of one Session."""
    return Delivery(
        message=message,
        # MQTT-3.3.4-2, MQTT-3.8.4-8, MQTT-4.8.2-3
        qos=QoS(min(message.qos, max(subscription.qos for subscription in subscriptions))),
        # MQTT-3.3.1-12, MQTT-3.3.1-13
        retain=is_retained
        or (message.retain and any(item.retain_as_published for item in subscriptions)),
        # MQTT-3.3.4-3, MQTT-3.3.4-4
        identifiers=tuple(
            subscription.identifier
            for subscription in subscriptions
            if subscription.identifier is not None
        ),
    )


def expiry_seconds(interval: int) -> float:
    """A Session Expiry Interval as a number of seconds."""
    return math.inf if interval == _NEVER else interval
