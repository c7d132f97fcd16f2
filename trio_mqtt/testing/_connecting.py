"""How the Server answers CONNECT (3.1.4, 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import NO_PROPERTIES, Auth, ConnAck, Connect, Properties
from trio_mqtt.testing._broker import expiry_seconds
from trio_mqtt.testing._history import Connected

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.testing._connection import Connection
    from trio_mqtt.testing._limits import ServerLimits
    from trio_mqtt.testing._policy import AuthenticationStep

_NEVER = 0xFFFF_FFFF
_R = ReasonCode

_CHECKS: tuple[tuple[ReasonCode, Callable[[Connect, ServerLimits], bool]], ...] = (
    (
        _R.QOS_NOT_SUPPORTED,  # MQTT-3.2.2-12
        lambda connect, limits: connect.will is not None and connect.will.qos > limits.maximum_qos,
    ),
    (
        _R.RETAIN_NOT_SUPPORTED,  # MQTT-3.2.2-13
        lambda connect, limits: (
            connect.will is not None and connect.will.retain and not limits.retain_available
        ),
    ),
)
"""Why a CONNECT is refused, first reason first."""

_RETURN_CODES = {
    _R.UNSUPPORTED_PROTOCOL_VERSION: _R.UNSUPPORTED_PROTOCOL_VERSION,
    _R.CLIENT_IDENTIFIER_NOT_VALID: _R.CLIENT_IDENTIFIER_NOT_VALID,
    _R.SERVER_UNAVAILABLE: _R.SERVER_UNAVAILABLE,
    _R.SERVER_BUSY: _R.SERVER_UNAVAILABLE,
    _R.BAD_USER_NAME_OR_PASSWORD: _R.BAD_USER_NAME_OR_PASSWORD,
    _R.NOT_AUTHORIZED: _R.NOT_AUTHORIZED,
    _R.BANNED: _R.NOT_AUTHORIZED,
}
"""Refusals that a CONNACK of MQTT 3.1.1 can express."""


@attrs.define
class Authentication:
    """The enhanced authentication of a connection.

    Attributes:
        method: the Authentication Method.
        connect: the CONNECT that had it.
        step: takes the next Authentication Data; None if no exchange is under way.
    """

    method: str
    connect: Connect
    step: AuthenticationStep | None = None


def refuse(connection: Connection, reason_code: ReasonCode, protocol: Protocol) -> None:
    """Answer with a failure if this version can express it, and close (MQTT-3.2.2-7)."""
    connection.broker.history.add(
        Connected(client_id=connection.outbox.client_id, reason_code=reason_code)
    )
    code = reason_code if protocol is MQTT_5 else _RETURN_CODES.get(reason_code)
    if code is not None:  # else MQTT-3.2.2-6 of MQTT 3.1.1: close without CONNACK
        connection.outbox.protocol = protocol
        connection.outbox.answer(ConnAck(reason_code=code))
    connection.close()


def refuse_version(connection: Connection, protocol: Protocol) -> None:
    """Turn down a version that is not spoken here (MQTT-3.1.2-1, MQTT-3.1.2-2)."""
    refusal = connection.limits.refusal
    if refusal == "close":
        connection.close()
    else:
        protocol = MQTT_3_1_1 if refusal == "connack_3_1_1" else protocol
        refuse(connection, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, protocol)


def handle_connect(
    connection: Connection, connect: Connect, protocol: Protocol, now: float
) -> None:
    """Accept or refuse a Client (3.1.4)."""
    limits = connection.limits
    connection.outbox.client_id = connect.client_id
    if protocol not in limits.protocols:
        refuse_version(connection, protocol)
        return
    reason_code = _judge(connection, connect)
    method = connect.properties.authentication_method
    if reason_code is not ReasonCode.SUCCESS:
        refuse(connection, reason_code, protocol)
    elif method is None:
        _accept(connection, connect, protocol, NO_PROPERTIES, now)
    elif method not in connection.broker.policy.authentication_methods:
        refuse(connection, _R.BAD_AUTHENTICATION_METHOD, protocol)  # MQTT-4.12.0-1
    else:
        connection.authentication = Authentication(method, connect)
        _begin(connection, connection.authentication, connect.properties, now)


def _begin(
    connection: Connection, authentication: Authentication, properties: Properties, now: float
) -> None:
    begin = connection.broker.policy.authentication_methods.get(authentication.method)
    if begin is None:  # it was taken away since the Client connected
        connection.disconnect(_R.BAD_AUTHENTICATION_METHOD, now)
        return
    authentication.step = begin(authentication.connect)
    _take_step(connection, authentication, properties, now)


def _take_step(
    connection: Connection, authentication: Authentication, properties: Properties, now: float
) -> None:
    if authentication.step is None:
        message = "AUTH continues what was not begun"
        raise RemoteProtocolError(message, statement="4.12.1")
    code, data = authentication.step(properties.authentication_data)
    proof = Properties(authentication_method=authentication.method, authentication_data=data)
    if code is _R.CONTINUE_AUTHENTICATION:
        connection.outbox.answer(Auth(code, proof))  # MQTT-4.12.0-2
        return
    authentication.step = None
    if connection.client_id:
        if code.is_failure:
            connection.disconnect(code, now)  # MQTT-4.12.1-2
        else:
            connection.outbox.answer(Auth(code, proof))
    elif code.is_failure:
        refuse(connection, code, MQTT_5)  # MQTT-4.12.0-4
    else:
        _accept(connection, authentication.connect, MQTT_5, proof, now)


def handle_auth(connection: Connection, packet: Auth, now: float) -> None:
    """Go on with enhanced authentication, or begin it anew (4.12, 4.12.1)."""
    authentication, properties = connection.authentication, packet.properties
    if authentication is None:
        message = "the Client sent AUTH, and CONNECT had no Authentication Method"
        raise RemoteProtocolError(message, statement="MQTT-4.12.0-7")
    if properties.authentication_method != authentication.method:
        message = "AUTH has another Authentication Method than CONNECT had"
        raise RemoteProtocolError(message, statement="MQTT-4.12.0-5")
    if packet.reason_code is _R.CONTINUE_AUTHENTICATION:
        _take_step(connection, authentication, properties, now)
    elif packet.reason_code is _R.RE_AUTHENTICATE and authentication.step is None:
        _begin(connection, authentication, properties, now)
    else:
        message = f"a Client cannot send AUTH {packet.reason_code.describe()} here"
        raise RemoteProtocolError(message, statement="MQTT-4.12.0-3")


def _accept(
    connection: Connection, connect: Connect, protocol: Protocol, proof: Properties, now: float
) -> None:
    """Let a Client in; `proof` is what enhanced authentication ends with."""
    limits = connection.limits
    broker = connection.broker
    client_id = connect.client_id or broker.unused_client_id()  # MQTT-3.1.3-6
    session, present = broker.open_session(
        connection, client_id, now, clean_start=connect.clean_start
    )
    if protocol is MQTT_5:
        asked = connect.properties.session_expiry_interval or 0
        granted = broker.granted_expiry(asked)
    else:
        asked = granted = 0 if connect.clean_start else _NEVER
    session.expiry = expiry_seconds(granted)
    session.will = connect.will  # MQTT-3.1.2-7
    properties = NO_PROPERTIES
    if protocol is MQTT_5:
        properties = attrs.evolve(
            limits.announced(),
            assigned_client_identifier=None if connect.client_id else client_id,  # MQTT-3.1.3-7
            session_expiry_interval=None if granted == asked else granted,
            response_information=(  # MQTT-3.1.2-28
                limits.response_information
                if connect.properties.request_response_information
                else None
            ),
            authentication_method=proof.authentication_method,  # MQTT-4.12.0-5
            authentication_data=proof.authentication_data,
        )
    connection.open(session, connect, protocol, properties.server_keep_alive, now)
    broker.history.add(Connected(client_id=client_id, session_present=present))
    connection.outbox.answer(ConnAck(present, properties=properties))  # MQTT-3.2.2-2, -3


def _judge(connection: Connection, connect: Connect) -> ReasonCode:
    for reason_code, is_wrong in _CHECKS:
        if is_wrong(connect, connection.limits):
            return reason_code
    authenticate = connection.broker.policy.authenticate
    return ReasonCode.SUCCESS if authenticate is None else authenticate(connect)


def client_limits(properties: Properties) -> tuple[int, int | None, int]:
    """Receive Maximum, Maximum Packet Size and Topic Alias Maximum of a Client."""
    return (
        properties.receive_maximum or 65_535,
        properties.maximum_packet_size,
        properties.topic_alias_maximum or 0,
    )
