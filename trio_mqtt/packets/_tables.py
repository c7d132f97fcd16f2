"""What may stand in which packet: Reason Codes, return codes, fixed-header flags.

The tables are after OASIS "MQTT Version 5.0", Tables 2-2 and 2-6, and "MQTT Version 3.1.1 Plus
Errata 01", section 3.2.2.3; see NOTICE-OASIS.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt._enums import MQTT_3_1, MQTT_5, PacketType, Protocol, ReasonCode
from trio_mqtt._errors import LocalProtocolError, MalformedPacket, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

_P = PacketType

_CODES = {
    _P.CONNACK: "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F",
    _P.PUBACK: "00 10 80 83 87 90 91 97 99",
    _P.PUBREC: "00 10 80 83 87 90 91 97 99",
    _P.PUBREL: "00 92",
    _P.PUBCOMP: "00 92",
    _P.SUBACK: "00 01 02 80 83 87 8F 91 97 9E A1 A2",
    _P.UNSUBACK: "00 11 80 83 87 8F 91",
    # Table 3-10 lacks 8C, which Table 2-6 has; a Server may send it.
    _P.DISCONNECT: "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E"
    " 9F A0 A1 A2",
    _P.AUTH: "00 18 19",
}
REASON_CODES: Mapping[PacketType, Mapping[int, ReasonCode]] = {
    packet_type: {code: ReasonCode(code) for code in bytes.fromhex(text)}
    for packet_type, text in _CODES.items()
}
"""By packet type, the Reason Codes that it may carry in MQTT 5.0."""

RETURN_CODES: Mapping[int, ReasonCode] = {
    0: ReasonCode.SUCCESS,
    1: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    2: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    3: ReasonCode.SERVER_UNAVAILABLE,
    4: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    5: ReasonCode.NOT_AUTHORIZED,
}
"""The CONNACK return codes of MQTT 3.1.1 in the terms of MQTT 5.0."""

SUBACK_RETURN_CODES: Mapping[int, ReasonCode] = {
    code: ReasonCode(code) for code in (0x00, 0x01, 0x02, 0x80)
}
"""The SUBACK return codes of MQTT 3.1.1."""

_CODE_STATEMENTS = {
    _P.CONNACK: "MQTT-3.2.2-8",
    _P.PUBACK: "MQTT-3.4.2-1",
    _P.PUBREC: "MQTT-3.5.2-1",
    _P.PUBREL: "MQTT-3.6.2-1",
    _P.PUBCOMP: "MQTT-3.7.2-1",
    _P.SUBACK: "MQTT-3.9.3-2",
    _P.UNSUBACK: "MQTT-3.11.3-2",
    _P.DISCONNECT: "MQTT-3.14.2-1",
    _P.AUTH: "MQTT-3.15.2-1",
}
_RETURN_CODE_STATEMENTS = {_P.CONNACK: "3.2.2.3", _P.SUBACK: "MQTT-3.9.3-2"}

LONGEST_3_1_CLIENT_ID = 23
"""In characters; MQTT 3.1 allows no longer Client Identifier."""

_OLDER_STATEMENTS = {
    "1.5.5": "2.2.3",
    "1.5.6": "3.1.3",
    "2.1.2": "2.2.1",
    "2.1.4": "2.2.3",
    "2.2.1": "MQTT-2.3.1-1",
    "3.8.3.1": "MQTT-3.8.3-4",
    "MQTT-1.5.4-1": "MQTT-1.5.3-1",
    "MQTT-1.5.4-2": "MQTT-1.5.3-2",
    "MQTT-2.1.3-1": "MQTT-2.2.2-1",
    "MQTT-2.2.1-2": "MQTT-2.3.1-5",
    "MQTT-2.2.1-3": "MQTT-2.3.1-1",
    "MQTT-3.1.2-11": "MQTT-3.1.2-13",
    "MQTT-3.1.2-12": "MQTT-3.1.2-14",
    "MQTT-3.1.2-13": "MQTT-3.1.2-15",
    "MQTT-3.1.2-24": None,  # no Maximum Packet Size
    "MQTT-3.2.2-1": "3.2.2.1",
    "MQTT-3.2.2-6": "MQTT-3.2.2-4",
    "MQTT-3.8.3-2": "MQTT-3.8.3-3",
    "MQTT-3.8.3-5": "MQTT-3.8.3-4",
    "MQTT-3.8.4-6": "MQTT-3.8.4-5",
    "MQTT-3.11.3-1": "3.11.3",
    "MQTT-4.7.0-1": "MQTT-4.7.1-1",
    "MQTT-4.7.1-1": "MQTT-4.7.1-2",
    "MQTT-4.7.1-2": "MQTT-4.7.1-3",
    "MQTT-4.8.2-1": None,  # no shared subscriptions
    "MQTT-4.8.2-2": None,
}

_FIXED_FLAGS = {_P.PUBREL: 0b0010, _P.SUBSCRIBE: 0b0010, _P.UNSUBSCRIBE: 0b0010}
_DUP = 0b1000


def statement_in(protocol: Protocol, statement: str | None) -> str | None:
    """What MQTT 3.1.1 calls a statement of MQTT 5.0, if the connection speaks it or MQTT 3.1.

    None says that it has no such statement. A statement that both know by one name, or that only
    MQTT 3.1.1 has, stays what it is.
    """
    if protocol is MQTT_5 or statement is None:
        return statement
    return _OLDER_STATEMENTS.get(statement, statement)


def fixed_flags(packet_type: PacketType) -> int:
    """The flags of every fixed header but that of PUBLISH (MQTT-2.1.3-1)."""
    return _FIXED_FLAGS.get(packet_type, 0)


def flags_are_right(packet_type: PacketType, flags: int, protocol: Protocol) -> bool:
    """Whether a packet other than PUBLISH may carry these fixed-header flags."""
    expected = fixed_flags(packet_type)
    if protocol is MQTT_3_1 and expected:
        return flags & ~_DUP == expected  # MQTT 3.1 sends these again with the DUP flag
    return flags == expected


def read_reason_code(packet_type: PacketType, code: int) -> ReasonCode:
    """The Reason Code that a received packet of MQTT 5.0 carries."""
    reason_code = REASON_CODES[packet_type].get(code)
    if reason_code is None:
        message = f"{packet_type.name} cannot carry the Reason Code 0x{code:02X}"
        raise RemoteProtocolError(message, statement=_CODE_STATEMENTS[packet_type])
    return reason_code


def read_return_code(packet_type: PacketType, code: int) -> ReasonCode:
    """The return code that a received CONNACK or SUBACK of MQTT 3.1.1 carries."""
    codes = RETURN_CODES if packet_type is _P.CONNACK else SUBACK_RETURN_CODES
    reason_code = codes.get(code)
    if reason_code is None:
        message = f"{packet_type.name} cannot carry the return code 0x{code:02X}"
        raise MalformedPacket(message, statement=_RETURN_CODE_STATEMENTS[packet_type])
    return reason_code


def _describe(code: int) -> str:
    known = ReasonCode.__members__.values()
    return ReasonCode(code).describe() if code in known else str(code)


def write_reason_code(packet_type: PacketType, reason_code: int) -> bytes:
    """The Reason Code as a byte, refusing one that the packet cannot carry."""
    if reason_code not in REASON_CODES[packet_type]:
        message = f"{packet_type.name} cannot carry the Reason Code {_describe(reason_code)}"
        raise LocalProtocolError(message, statement=_CODE_STATEMENTS[packet_type])
    return bytes((reason_code,))


def write_return_code(packet_type: PacketType, reason_code: int) -> bytes:
    """The return code of MQTT 3.1.1 for a Reason Code, refusing one that has none."""
    codes = RETURN_CODES if packet_type is _P.CONNACK else SUBACK_RETURN_CODES
    for code, meaning in codes.items():
        if meaning == reason_code:
            return bytes((code,))
    message = f"{packet_type.name} of MQTT 3.1.1 has no return code for {_describe(reason_code)}"
    raise LocalProtocolError(message, statement=_RETURN_CODE_STATEMENTS[packet_type])
