"""What each packet of a connected Client does (chapter 3, 4.3).

Each handler gets the connection, its Session, the packet and what time it is. What the standard
calls a Protocol Error raises RemoteProtocolError; the connection turns that into its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt._enums import QoS, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._topics import SHARE_PREFIX
from trio_mqtt.packets import (
    Auth,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing._broker import expiry_seconds
from trio_mqtt.testing._connecting import handle_auth
from trio_mqtt.testing._history import Acknowledged, Subscribed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mqtt.testing._connection import Connection
    from trio_mqtt.testing._session import Delivery, Session

_R = ReasonCode


def _publish(connection: Connection, session: Session, packet: Publish, now: float) -> None:
    _check_publish(connection, packet)
    _resolve_alias(connection, packet)
    packet_id = packet.packet_id
    if packet.qos:
        used = packet_id in connection.outbox.receiving
        connection.outbox.receiving.add(packet_id)
        if len(connection.outbox.receiving) > connection.limits.receive_maximum and connection.is_5:
            raise RemoteProtocolError(
                f"{len(connection.outbox.receiving)} QoS 1 and 2 messages at a time",
                reason_code=_R.RECEIVE_MAXIMUM_EXCEEDED,
                statement="3.3.4",
            )
        if packet.qos == QoS.EXACTLY_ONCE and packet_id in session.received:
            connection.outbox.answer(PubRec(packet_id))  # MQTT-4.3.3-10
            return
        if used and connection.is_5:
            connection.outbox.answer(_ANSWERS[packet.qos](packet_id, _R.PACKET_IDENTIFIER_IN_USE))
            return
    reason_code = connection.broker.publish(packet, session.client_id, now)
    if not connection.is_5:
        reason_code = _R.SUCCESS  # MQTT-3.3.5-2 of MQTT 3.1.1
    if packet.qos == QoS.EXACTLY_ONCE and not reason_code.is_failure:  # MQTT-4.3.3-9
        session.received.add(packet_id)
    if packet.qos:
        connection.outbox.answer(
            _ANSWERS[packet.qos](packet_id, reason_code)
        )  # MQTT-4.3.2-4, 4.3.3-8


def _check_publish(connection: Connection, packet: Publish) -> None:
    if packet.qos > connection.limits.maximum_qos:
        raise RemoteProtocolError(
            f"QoS {packet.qos} is more than the Maximum QoS {connection.limits.maximum_qos}",
            reason_code=_R.QOS_NOT_SUPPORTED,
            statement="MQTT-3.2.2-11",
        )
    if packet.retain and not connection.limits.retain_available:
        raise RemoteProtocolError(
            "retained messages are not available",
            reason_code=_R.RETAIN_NOT_SUPPORTED,
            statement="MQTT-3.2.2-14",
        )
    if packet.properties.subscription_identifiers:
        message = "a Client's PUBLISH has a Subscription Identifier"
        raise RemoteProtocolError(message, statement="MQTT-3.3.4-6")


def _resolve_alias(connection: Connection, packet: Publish) -> None:
    alias = packet.properties.topic_alias
    if alias is None:
        return
    if alias > connection.limits.topic_alias_maximum:  # MQTT-3.3.2-12
        raise RemoteProtocolError(
            f"Topic Alias {alias} is more than {connection.limits.topic_alias_maximum}",
            reason_code=_R.TOPIC_ALIAS_INVALID,
            statement="MQTT-3.3.2-9",
        )
    if packet.topic:
        connection.aliases[alias] = packet.topic
    elif alias not in connection.aliases:
        raise RemoteProtocolError(f"Topic Alias {alias} has no Topic Name", statement="3.3.4")
    packet.topic = connection.aliases[alias]


def _puback(connection: Connection, session: Session, packet: PubAck, _now: float) -> None:
    delivery = session.unacknowledged.get(packet.packet_id)
    if delivery is None or delivery.qos != QoS.AT_LEAST_ONCE:
        message = f"PUBACK {packet.packet_id} answers no PUBLISH"
        raise RemoteProtocolError(message, statement="MQTT-2.2.1-5")
    del session.unacknowledged[packet.packet_id]
    _note_acknowledged(connection, delivery, packet)
    connection.outbox.acknowledged(packet.packet_id)


def _note_acknowledged(connection: Connection, delivery: Delivery, packet: PubAck | PubRec) -> None:
    connection.broker.history.add(
        Acknowledged(
            client_id=connection.client_id,
            topic=delivery.message.topic,
            payload=delivery.message.payload,
            qos=delivery.qos,
            reason_code=packet.reason_code,
        )
    )


def _pubrec(connection: Connection, session: Session, packet: PubRec, _now: float) -> None:
    packet_id = packet.packet_id
    delivery = session.unacknowledged.get(packet_id)
    if delivery is not None and delivery.qos == QoS.EXACTLY_ONCE:
        del session.unacknowledged[packet_id]
        _note_acknowledged(connection, delivery, packet)
        if packet.reason_code.is_failure:  # MQTT-4.4.0-2
            connection.outbox.acknowledged(packet_id)
            return
        session.released[packet_id] = None
    if packet_id in session.released:
        connection.outbox.answer(PubRel(packet_id))  # MQTT-4.3.3-4
    elif not packet.reason_code.is_failure:
        connection.outbox.answer(PubRel(packet_id, connection.if_5(_R.PACKET_IDENTIFIER_NOT_FOUND)))


def _pubrel(connection: Connection, session: Session, packet: PubRel, _now: float) -> None:
    known = packet.packet_id in session.received
    session.received.discard(packet.packet_id)  # MQTT-4.3.3-12
    reason_code = _R.SUCCESS if known else connection.if_5(_R.PACKET_IDENTIFIER_NOT_FOUND)
    connection.outbox.answer(PubComp(packet.packet_id, reason_code))  # MQTT-4.3.3-11


def _pubcomp(connection: Connection, session: Session, packet: PubComp, _now: float) -> None:
    session.released.pop(packet.packet_id, None)
    connection.outbox.acknowledged(packet.packet_id)


def _subscribe(connection: Connection, session: Session, packet: Subscribe, now: float) -> None:
    identifiers = packet.properties.subscription_identifiers
    if identifiers and not connection.limits.subscription_identifier_available:
        raise RemoteProtocolError(
            "Subscription Identifiers are not available",
            reason_code=_R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            statement="3.2.2.3.12",
        )
    codes: list[ReasonCode] = []
    made: list[tuple[SubscriptionRequest, bool]] = []
    for request in packet.requests:  # MQTT-3.8.4-5
        refusal = _why_not_subscribe(connection, session, packet.packet_id, request)
        if refusal is not None:
            codes.append(refusal if connection.is_5 else _R.UNSPECIFIED_ERROR)
            continue
        granted = min(request.qos, connection.limits.maximum_qos)  # MQTT-3.2.2-10
        identifier = identifiers[0] if identifiers else None
        is_new = connection.broker.subscribe(session, request, granted, identifier)
        made.append((request, is_new))
        codes.append(ReasonCode(granted))  # MQTT-3.8.4-7
    for request, reason_code in zip(packet.requests, codes, strict=True):
        connection.broker.history.add(
            Subscribed(
                client_id=session.client_id,
                topic_filter=request.topic_filter,
                qos=request.qos,
                reason_code=reason_code,
            )
        )
    connection.outbox.answer(SubAck(packet.packet_id, tuple(codes)))  # MQTT-3.8.4-2, MQTT-3.9.3-1
    for request, is_new in made:
        connection.broker.send_retained(session, request, now, is_new=is_new)


def _why_not_subscribe(
    connection: Connection, session: Session, packet_id: int, request: SubscriptionRequest
) -> ReasonCode | None:
    if packet_id in connection.outbox.receiving or packet_id in session.received:
        return _R.PACKET_IDENTIFIER_IN_USE  # 2.2.1
    shared = request.topic_filter.startswith(SHARE_PREFIX)
    if shared and not connection.limits.shared_subscription_available:
        return _not_available(connection, _R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "3.2.2.3.13")
    wildcards = "+" in request.topic_filter or "#" in request.topic_filter
    if wildcards and not connection.limits.wildcard_subscription_available:
        return _not_available(connection, _R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, "3.2.2.3.11")
    authorize = connection.broker.policy.authorize_subscribe
    if authorize is not None:
        reason_code = authorize(session.client_id, request)
        if reason_code.is_failure:
            return reason_code
    return None


def _not_available(connection: Connection, reason_code: ReasonCode, statement: str) -> ReasonCode:
    """A feature that CONNACK ruled out; before MQTT 5.0 there was no telling it."""
    if connection.is_5:
        message = f"the Client was told: {reason_code.describe()}"
        raise RemoteProtocolError(message, reason_code=reason_code, statement=statement)
    return reason_code


def _unsubscribe(
    connection: Connection, session: Session, packet: Unsubscribe, _now: float
) -> None:
    codes = tuple(
        connection.broker.unsubscribe(session, topic_filter)
        for topic_filter in packet.topic_filters
    )
    # MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.11.3-1
    connection.outbox.answer(UnsubAck(packet.packet_id, codes if connection.is_5 else ()))


def _pingreq(connection: Connection, _session: Session, _packet: PingReq, _now: float) -> None:
    connection.outbox.answer(PingResp())  # MQTT-3.12.4-1


def _disconnect(connection: Connection, session: Session, packet: Disconnect, now: float) -> None:
    interval = packet.properties.session_expiry_interval
    if interval is not None:
        if interval and not session.expiry:
            message = "DISCONNECT has a Session Expiry Interval where CONNECT had none"
            raise RemoteProtocolError(message, statement="3.14.2.2.2")
        session.expiry = expiry_seconds(connection.broker.granted_expiry(interval))
    if packet.reason_code is _R.NORMAL_DISCONNECTION:
        session.will = None  # MQTT-3.14.4-3
    connection.outbox.discard()
    connection.lost(now)


def _auth(connection: Connection, _session: Session, packet: Auth, now: float) -> None:
    handle_auth(connection, packet, now)


_ANSWERS: Mapping[int, type[PubAck | PubRec]] = {
    QoS.AT_LEAST_ONCE: PubAck,
    QoS.EXACTLY_ONCE: PubRec,
}

HANDLERS: Mapping[type, Callable[..., None]] = {
    Publish: _publish,
    PubAck: _puback,
    PubRec: _pubrec,
    PubRel: _pubrel,
    PubComp: _pubcomp,
    Subscribe: _subscribe,
    Unsubscribe: _unsubscribe,
    PingReq: _pingreq,
    Disconnect: _disconnect,
    Auth: _auth,
}
"""What each packet of a connected Client does; a packet that is not here, only a Server sends."""
