"""Properties below MQTT 5.0, which has none: refused, or left out where that does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import FeatureNotSupported
from trio_mqtt.packets import NO_PROPERTIES, PROPERTY_TABLE, Properties

if TYPE_CHECKING:
    from collections.abc import Mapping

UnsupportedProperties = Literal["refuse", "leave_out"]
"""What becomes of properties where the version of MQTT spoken has none."""

_ALWAYS: Final[Mapping[str, Any]] = {
    "payload_format_indicator": None,  # nobody asked for it by name: a str as payload sets it
    "request_problem_information": None,  # what it declines, there is not
}
"""What is left out in any case: nothing is missing without it."""
HARMLESS: Final[Mapping[str, Any]] = {
    "content_type": None,
    "reason_string": None,
    "user_properties": (),
}
"""What only informs whoever reads it. All else changes what the Server or the receiver does."""
_ABSENT: Final[tuple[object, ...]] = (None, ())


def as_spoken(
    properties: Properties, protocol: Protocol, unsupported: UnsupportedProperties, what: str
) -> Properties:
    """Properties as this version has them, which is none below MQTT 5.0.

    Args:
        properties: what was asked for.
        protocol: the version of MQTT spoken.
        unsupported: whether the harmless ones are left out; the others never are.
        what: what the properties are of, for the message.

    Raises:
        FeatureNotSupported: there are some that cannot be left out, or shall not be.
    """
    if protocol is MQTT_5 or properties == NO_PROPERTIES:
        return properties
    left = attrs.evolve(properties, **_ALWAYS)
    if unsupported == "leave_out":
        left = attrs.evolve(left, **HARMLESS)
    if left == NO_PROPERTIES:
        return NO_PROPERTIES
    names = ", ".join(row.title for row in PROPERTY_TABLE if getattr(left, row.name) not in _ABSENT)
    message = f"{protocol.title} has no properties, so {what} cannot have {names}; leave that out"
    if attrs.evolve(left, **HARMLESS) == NO_PROPERTIES:
        message += ', or open the client with unsupported_properties="leave_out"'
    raise FeatureNotSupported(message)
