"""``-D PACKET NAME VALUE``: the properties of MQTT 5.0 as arguments of the client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from trio_mqtt._cli._command import kept_options, split_property

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PAIRS: Final = "user_properties"


def _number(value: str) -> int:
    return int(value)


def _flag(value: str) -> bool:
    return bool(("0", "1").index(value))


_MESSAGE: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "content-type": ("content_type", str),
    "correlation-data": ("correlation_data", os.fsencode),
    "message-expiry-interval": ("message_expiry", _number),
    "payload-format-indicator": ("text", _flag),
    "response-topic": ("response_topic", str),
}
_TABLE: Final[Mapping[str, Mapping[str, tuple[str, Callable[[str], object]]]]] = {
    "connect": {
        "maximum-packet-size": ("maximum_packet_size", _number),
        "receive-maximum": ("receive_maximum", _number),
        "request-problem-information": ("request_problem_information", _flag),
        "session-expiry-interval": ("session_expiry", _number),
        "topic-alias-maximum": ("topic_alias_maximum", _number),
    },
    "publish": _MESSAGE,
    "subscribe": {},
    "unsubscribe": {},
    "disconnect": {
        "reason-string": ("reason_string", str),
        "session-expiry-interval": ("session_expiry", _number),
    },
    "will": {**_MESSAGE, "will-delay-interval": ("delay", _number)},
}
"""For each packet, the properties that can be given, and the arguments that they become."""

_OURS: Final[Mapping[str, str]] = {
    "authentication-data": "enhanced authentication is not offered by this command",
    "authentication-method": "enhanced authentication is not offered by this command",
    "request-response-information": "it is always asked for",
    "subscription-identifier": "Subscription Identifiers are chosen by the client",
    "topic-alias": "Topic Aliases are chosen by the client where they save bytes",
}
"""Properties that the client sets as it needs them."""


def properties_of(packet: str) -> dict[str, Any]:
    """What ``-D`` says of one packet, as arguments.

    Raises:
        click.BadParameter: a property is unknown, or its value is none.
    """
    found: dict[str, Any] = {}
    for joined in kept_options().get("properties", ()):
        name, *rest = split_property(joined)
        if name.lower() == packet:
            _add(found, packet, rest)
    return found


def check_properties(*packets: str) -> None:
    """Raise click.BadParameter if there is a property of a packet that this command never sends."""
    for joined in kept_options().get("properties", ()):
        packet = split_property(joined)[0].lower()
        if packet not in packets:
            raise _refusal(
                f"{packet!r} is no packet whose properties this command can set; it can be "
                + ", ".join(packets)
            )
        properties_of(packet)


def _add(found: dict[str, Any], packet: str, words: list[str]) -> None:
    name = words[0].lower()
    if name == "user-property":
        found.setdefault(_PAIRS, []).append((words[1], words[2]))
        return
    if name in _OURS:
        raise _refusal(f"{name} cannot be given: {_OURS[name]}")
    known = _TABLE[packet]
    if name not in known:
        names = ", ".join(sorted([*known, "user-property"]))
        raise _refusal(f"{name!r} is no property of {packet}; it can be {names}")
    argument, convert = known[name]
    try:
        found[argument] = convert(words[1])
    except ValueError:
        raise _refusal(f"{words[1]!r} is no value of {name}: it has to be a number") from None


def _refusal(text: str) -> click.BadParameter:
    return click.BadParameter(text, click.get_current_context(), param_hint="-D")
