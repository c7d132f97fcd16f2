"""What the client says as it leaves: DISCONNECT, or nothing, so that the will is published."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._client._versions import as_spoken
from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt._errors import FeatureNotSupported, LocalProtocolError
from trio_mqtt.packets import NO_PROPERTIES, Disconnect, Properties, encode
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mqtt._client._options import Will
    from trio_mqtt._client._session import Session
    from trio_mqtt._client._versions import UnsupportedProperties
    from trio_mqtt._enums import Protocol

_WITH_WILL: Final = ReasonCode.DISCONNECT_WITH_WILL_MESSAGE
_BELOW_5: Final = frozenset((None, ReasonCode.NORMAL_DISCONNECTION, _WITH_WILL))
"""What can be expressed without a Reason Code: DISCONNECT, or a close without one."""
REASON_CODES: Final = frozenset(
    (
        ReasonCode.NORMAL_DISCONNECTION,
        _WITH_WILL,
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode.TOPIC_ALIAS_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.MESSAGE_RATE_TOO_HIGH,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.ADMINISTRATIVE_ACTION,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    )
)
"""What a Client may say (3.14.2.1)."""
_ENDS: Final = Properties(session_expiry_interval=0)
"""What nearly every client says: its Session ends with the connection."""
_logger = logging.getLogger("trio_mqtt")


@attrs.frozen(kw_only=True)
class Farewell:
    """What DISCONNECT is to say; see `Client.disconnect_with`.

    Attributes:
        reason_code: or None, to let the end of the block decide.
        properties: the Session Expiry Interval among them.
    """

    reason_code: ReasonCode | None = None
    properties: Properties = NO_PROPERTIES


def make_farewell(
    reason_code: int | None,
    session_expiry: int | None,
    reason_string: str | None,
    user_properties: Iterable[tuple[str, str]],
    *,
    session: Session,
) -> Farewell:
    """Check what a caller wants DISCONNECT to say.

    Raises:
        LocalProtocolError: the standard forbids it.
    """
    if reason_code is not None and reason_code not in REASON_CODES:
        allowed = ", ".join(f"0x{code:02X}" for code in sorted(REASON_CODES))
        message = f"a client disconnects with one of {allowed}, not 0x{reason_code:02X}"
        raise LocalProtocolError(message, statement="MQTT-3.14.2-1")
    code = None if reason_code is None else ReasonCode(reason_code)
    if session_expiry and not session._expiry:
        message = (
            f"session_expiry is {session_expiry}, and CONNECT asked for none, which cannot be "
            "changed any more; give open_client a Session, whose expiry is more than 0"
        )
        raise LocalProtocolError(message, statement="3.14.2.2.2")
    properties = Properties(
        session_expiry_interval=session_expiry,
        reason_string=reason_string,
        user_properties=as_pairs(user_properties),
    )
    encode(Disconnect(code or ReasonCode.SUCCESS, properties), MQTT_5)  # it refuses the rest
    return Farewell(reason_code=code, properties=properties)


def check_spoken(
    farewell: Farewell, protocol: Protocol, unsupported: UnsupportedProperties
) -> Farewell:
    """What is left of it in this version of MQTT.

    Raises:
        FeatureNotSupported: it cannot be said below MQTT 5.0.
    """
    properties = as_spoken(farewell.properties, protocol, unsupported, "DISCONNECT")
    if protocol is not MQTT_5 and farewell.reason_code not in _BELOW_5:
        message = f"DISCONNECT of {protocol.title} has no Reason Code"
        raise FeatureNotSupported(message)
    return attrs.evolve(farewell, properties=properties)


def last_packet(
    farewell: Farewell,
    protocol: Protocol,
    session: Session,
    will: Will | None,
    *,
    failed: bool,
) -> Disconnect | None:
    """The DISCONNECT, or None for a close without one, which lets the will be published.

    Args:
        farewell: what it is to say.
        protocol: the version of MQTT spoken.
        session: the Session.
        will: what the Server publishes when this client dies, or None.
        failed: whether the body raised an error of its own.
    """
    code = farewell.reason_code
    if code is None:
        publishes = failed and will is not None and will.on_error
        code = _WITH_WILL if publishes else ReasonCode.NORMAL_DISCONNECTION
    if protocol is not MQTT_5:
        if code not in _BELOW_5 or farewell.properties != NO_PROPERTIES:
            text = "what DISCONNECT was to say is left out: %s has no such thing"
            _logger.warning(text, protocol.title)
        return None if code else Disconnect()
    expiry = farewell.properties.session_expiry_interval
    if session._discarded or (session._ephemeral and expiry is None):
        # The interval cannot be changed from 0 (3.14.2.2.2); then the Session ends anyhow.
        expiry = 0 if session._expiry else None
    if farewell.properties is NO_PROPERTIES:
        return Disconnect(code, _ENDS if expiry == 0 else NO_PROPERTIES)
    return Disconnect(code, attrs.evolve(farewell.properties, session_expiry_interval=expiry))
