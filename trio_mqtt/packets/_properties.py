"""The class that holds the properties of a packet, and their bytes (2.2.2)."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from trio_mqtt._enums import PacketType
from trio_mqtt._errors import LocalProtocolError, MalformedPacket, RemoteProtocolError
from trio_mqtt._topics import why_not_a_topic_name
from trio_mqtt.packets import _wire
from trio_mqtt.packets._property_table import PROPERTY_TABLE, WILL, PropertyKind, PropertyRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trio_mqtt._errors import UserProperties

    PropertyValue = int | str | bytes | tuple[str, str]


_BY_IDENTIFIER = {row.identifier: row for row in PROPERTY_TABLE}
_LISTS = ("subscription_identifiers", "user_properties")


@attrs.frozen(kw_only=True, weakref_slot=False)
class Properties:
    """The properties of one packet; what is None (or empty, for the two lists) is absent.

    Which property may stand in which packet is checked when the packet is encoded. Intervals are
    in seconds, sizes in bytes.
    """

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = attrs.field(default=None, repr=False)
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None

    def __repr__(self) -> str:
        """Only what is present."""
        present = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in attrs.fields(type(self))
            if field.repr and getattr(self, field.name) not in (None, ())
        )
        return f"Properties({', '.join(present)})"


_Draft: Final = attrs.make_class(
    "_Draft",
    {each.name: attrs.field(default=each.default) for each in attrs.fields(Properties)},
    eq=False,
    repr=False,
    slots=True,
    weakref_slot=False,
)
"""Has the attributes of `Properties`, in the same places, and may be changed."""
NO_PROPERTIES: Final = Properties()
_VALUES: Final = attrgetter(*(row.name for row in PROPERTY_TABLE))
"""All values, in the order of the table."""


def as_pairs(pairs: Iterable[tuple[str, str]]) -> UserProperties:
    """User Properties as the packets have them.

    Raises:
        TypeError: one is no pair of str.
    """
    return tuple(map(_as_pair, pairs))


def _as_pair(pair: object) -> tuple[str, str]:
    match pair:
        case (str(name), str(value)):
            return name, value
        case _:
            text = f"a User Property is a pair of str, not {pair!r}; a dict has them in its items()"
            raise TypeError(text)


def _read_pair(data: bytes, position: int, end: int, title: str) -> tuple[tuple[str, str], int]:
    name, position = _wire.read_string(data, position, end, f"the name of a {title}")
    value, position = _wire.read_string(data, position, end, f"the value of a {title}")
    return (name, value), position


_READERS: Mapping[PropertyKind, Callable[[bytes, int, int, str], tuple[PropertyValue, int]]] = {
    PropertyKind.BYTE: _wire.read_byte,
    PropertyKind.TWO_BYTE: _wire.read_two_byte,
    PropertyKind.FOUR_BYTE: _wire.read_four_byte,
    PropertyKind.VARINT: _wire.read_varint,
    PropertyKind.STRING: _wire.read_string,
    PropertyKind.BINARY: _wire.read_binary,
    PropertyKind.STRING_PAIR: _read_pair,
}


def _why_not(row: PropertyRow, value: PropertyValue) -> tuple[str, str] | None:
    """What the standard has against this value of the property, and the statement that does."""
    if isinstance(value, int):
        most = _MOST[row.kind] if row.most is None else row.most
        if not row.least <= value <= most:
            return f"is {value}; it must be from {row.least} to {most}", row.section
    elif row.name == "response_topic" and isinstance(value, str):
        return why_not_a_topic_name(value, row.section)
    return None


def read_properties(data: bytes, position: int, end: int, where: int) -> tuple[Properties, int]:
    """Read a property length and the properties behind it, as they may stand in `where`."""
    length, position = _wire.read_varint(data, position, end, "the property length")
    if length == 0:
        return NO_PROPERTIES, position
    if position + length > end:
        message = f"the properties take {length} bytes, and {end - position} are left in the packet"
        raise MalformedPacket(message, statement="2.2.2.1")
    return read_property_block(data, position, position + length, where), position + length


def read_property_block(data: bytes, position: int, end: int, where: int) -> Properties:
    """Read properties from `position` to `end`."""
    fields: dict[str, Any] = {}  # the table gives each its type
    lists: dict[str, list[PropertyValue]] = {}
    while position < end:
        identifier = data[position]
        position += 1
        if identifier > 127:  # noqa: PLR2004 - there is none that takes more than a byte
            what = "a property identifier"
            identifier, position = _wire.read_varint(data, position - 1, end, what)
        row = _BY_IDENTIFIER.get(identifier)
        if row is None or where not in row.packets:
            title = f"property {identifier}" if row is None else row.title
            message = f"{title} cannot stand in {where_name(where)}"
            raise MalformedPacket(message, statement="2.2.2.2")
        value, position = _READERS[row.kind](data, position, end, row.title)
        problem = _why_not(row, value)
        if problem is not None:
            message = f"{row.title} {problem[0]}"
            raise RemoteProtocolError(message, reason_code=row.refusal, statement=problem[1])
        if where in row.repeated_in:
            lists.setdefault(row.name, []).append(value)
        elif row.name in fields:
            message = f"{row.title} stands twice in {where_name(where)}"
            raise RemoteProtocolError(message, statement=row.section)
        elif row.name in _LISTS:
            fields[row.name] = (value,)  # a Subscription Identifier
        else:
            fields[row.name] = value
    for name, values in lists.items():
        fields[name] = tuple(values)
    return _make(fields)


def _make(fields: dict[str, Any]) -> Properties:
    """As ``Properties(**fields)``, of which each attribute of a frozen class costs a call."""
    draft = _Draft()
    for name, value in fields.items():
        setattr(draft, name, value)
    draft.__class__ = Properties
    return cast("Properties", draft)


def write_properties(properties: Properties, where: int) -> bytes:
    """The property length and the properties, refusing what cannot stand in `where`."""
    if properties is NO_PROPERTIES:
        return b"\0"  # MQTT-2.2.2-1
    block = b"".join(
        [
            _write_one(row, value, where)
            for row, value in zip(PROPERTY_TABLE, _VALUES(properties), strict=True)
            if value is not None
        ]
    )
    return _wire.write_varint(len(block)) + block


def _write_one(row: PropertyRow, value: Any, where: int) -> bytes:  # noqa: ANN401 - as the table says
    if not value and row.name in _LISTS:
        return b""
    if where not in row.packets:
        message = f"{row.title} cannot stand in {where_name(where)}"
        raise LocalProtocolError(message, statement="2.2.2.2")
    if row.name not in _LISTS:
        return _write_value(row, value)
    if len(value) > 1 and where not in row.repeated_in:
        message = f"{row.title} can stand only once in {where_name(where)}"
        raise LocalProtocolError(message, statement=row.section)
    return b"".join(_write_value(row, item) for item in value)


def _write_value(row: PropertyRow, value: PropertyValue) -> bytes:
    if not isinstance(value, _TYPES[row.kind]):
        if row.kind is PropertyKind.STRING_PAIR:
            _as_pair(value)  # which says more
        message = f"{row.title} takes {_TYPES[row.kind].__name__}, not {type(value).__name__}"
        raise TypeError(message)
    if isinstance(value, tuple) and len(value) != 2:  # noqa: PLR2004 - a name and a value
        raise TypeError(f"{row.title} takes pairs of a name and a value, not {value!r}")
    problem = _why_not(row, value)
    if problem is not None:
        raise LocalProtocolError(f"{row.title} {problem[0]}", statement=problem[1])
    return bytes((row.identifier,)) + _encode_value(row, value)


def _encode_value(row: PropertyRow, value: PropertyValue) -> bytes:
    if isinstance(value, tuple):
        name, text = value
        try:
            return _wire.write_string(name, row.title) + _wire.write_string(text, row.title)
        except TypeError:
            raise TypeError(f"{row.title} takes pairs of str, not {value!r}") from None
    if isinstance(value, str):
        return _wire.write_string(value, row.title)
    if isinstance(value, bytes):
        return _wire.write_binary(value, row.title)
    if row.kind is PropertyKind.VARINT:
        return _wire.write_varint(value)
    return value.to_bytes(_SIZES[row.kind], "big")


_TYPES: Mapping[PropertyKind, type] = {
    PropertyKind.BYTE: int,
    PropertyKind.TWO_BYTE: int,
    PropertyKind.FOUR_BYTE: int,
    PropertyKind.VARINT: int,
    PropertyKind.STRING: str,
    PropertyKind.BINARY: bytes,
    PropertyKind.STRING_PAIR: tuple,
}
_SIZES: Mapping[PropertyKind, int] = {
    PropertyKind.BYTE: 1,
    PropertyKind.TWO_BYTE: 2,
    PropertyKind.FOUR_BYTE: 4,
}
_MOST: Mapping[PropertyKind, int] = {
    PropertyKind.BYTE: 255,
    PropertyKind.TWO_BYTE: _wire.MAXIMUM_TWO_BYTE,
    PropertyKind.FOUR_BYTE: _wire.MAXIMUM_FOUR_BYTE,
    PropertyKind.VARINT: _wire.MAXIMUM_VARINT,
}
"""The largest number that each data type holds."""


def where_name(where: int) -> str:
    """The standard's name for a place where properties stand."""
    return "the Will Properties" if where == WILL else PacketType(where).name
