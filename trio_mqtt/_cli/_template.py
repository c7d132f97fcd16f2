"""The output formats of mosquitto_sub: ``-F '%t: %p'``."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
import click

from trio_mqtt._cli._output import note
from trio_mqtt._cli._text import for_json, for_people, for_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt import Message

_TOKEN: Final = re.compile(
    r"%(?P<flags>[-0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?(?P<field>.)"
    r"|@(?P<date>.)|\\(?P<escape>.)|(?P<text>[^%@\\]+)|(?P<rest>.)",
    re.DOTALL,
)
_ESCAPES: Final = {
    "\\": b"\\", "0": b"\0", "a": b"\a", "e": b"\x1b", "n": b"\n", "r": b"\r", "t": b"\t",
    "v": b"\v",
}  # fmt: skip
_NANOSECONDS: Final = 1_000_000_000
_WIDEST: Final = 10_000


Write = Callable[["Message", int], bytes]
"""What a message looks like, given the time at which it came: nanoseconds since 1970, in UTC."""


@attrs.frozen
class Layout:
    """How JSON is written, and whether others' text may act on what shows it.

    Attributes:
        for_terminal: whether controls in topics and payloads are shown instead of sent.
        pretty: whether JSON has several lines.
    """

    for_terminal: bool
    pretty: bool = False

    def value(self, value: bytes | str) -> bytes:
        """A value as it is, or as a terminal can bear it."""
        if self.for_terminal:
            return for_terminal(value).encode()
        return value if isinstance(value, bytes) else value.encode()

    def name(self, topic: str) -> bytes:
        """A Topic Name, likewise; on a terminal it is one line."""
        return (for_people(topic) if self.for_terminal else topic).encode()

    def json(self, value: object) -> bytes:
        """JSON in one line, or in several."""
        if self.pretty:
            text = json.dumps(value, ensure_ascii=False, indent="\t", separators=(",", ":\t"))
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return for_json(text).encode()


def parse_json(payload: bytes) -> object:
    """The value of a payload that is JSON.

    Raises:
        ValueError: it is none, or has numbers that JSON written again could not have.
        RecursionError: it has too many levels.
    """
    return json.loads(payload, parse_constant=_refuse_constant, parse_float=_finite)


def _refuse_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity, which JSON does not have


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)  # it would be written as Infinity
    return value


def compile_template(template: str, layout: Layout, end: bytes) -> Write:
    """Make a function of a format.

    Args:
        template: as that of ``mosquitto_sub -F``.
        layout: how values are written.
        end: what stands behind each message.

    Raises:
        click.BadParameter: the format has a sequence that means nothing.
    """
    parts = [_compile(match, layout) for match in _TOKEN.finditer(template)]

    def write(message: Message, at: int) -> bytes:
        return b"".join([part(message, at) for part in parts]) + end

    return write


def _compile(match: re.Match[str], layout: Layout) -> Write:
    if (field := match["field"]) is None:
        return _compile_other(match)
    if field == "%":
        return _constant(b"%")
    if field in "jJ":
        return _json_part(layout, parsed=field == "J")
    if field == "p":
        return lambda message, _at: layout.value(message.payload)
    if field not in _FIELDS:
        names = ", ".join(f"%{name}" for name in sorted([*_FIELDS, "j", "J", "p"], key=str.lower))
        raise _refusal(f"%{field} means nothing; there are {names}")
    return _padded(_FIELDS[field], match, layout)


def _compile_other(match: re.Match[str]) -> Write:
    """What does not begin with ``%``."""
    if (text := match["text"]) is not None:
        return _constant(text.encode(errors="surrogateescape"))
    if (letter := match["date"]) is not None:
        return _date(letter)
    if (escape := match["escape"]) is None:
        raise _refusal(f"nothing stands behind {match['rest']!r}; write it twice to print it")
    if escape not in _ESCAPES:
        raise _refusal(f"\\{escape} means nothing; there are \\" + ", \\".join(_ESCAPES))
    return _constant(_ESCAPES[escape])


def _refusal(text: str) -> click.BadParameter:
    return click.BadParameter(text, click.get_current_context(silent=True), param_hint="-F")


def _constant(value: bytes) -> Write:
    return lambda _message, _at: value


def _date(letter: str) -> Write:
    if letter == "@":
        return _constant(b"@")
    if letter == "N":
        return lambda _message, at: b"%09d" % (at % _NANOSECONDS)
    return lambda _message, at: time.strftime(f"%{letter}", _local(at)).encode()


def _local(at: int) -> time.struct_time:
    return time.localtime(at // _NANOSECONDS)


def iso_time(at: int) -> str:
    """A time in ISO 8601, to the second, with the zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", _local(at))


def _or_empty(value: object) -> str:
    return "" if value is None else str(value)


_FIELDS: Final[Mapping[str, Callable[[Message, int], bytes | str]]] = {
    "A": lambda message, _: _or_empty(message.properties.topic_alias),
    "C": lambda message, _: _or_empty(message.content_type),
    "D": lambda message, _: message.correlation_data or b"",
    "E": lambda message, _: _or_empty(message.message_expiry),
    "F": lambda message, _: _or_empty(message.properties.payload_format_indicator),
    "I": lambda _, at: iso_time(at),
    "l": lambda message, _: str(len(message.payload)),
    "m": lambda message, _: str(message.packet_id),
    "P": lambda message, _: " ".join(f"{name}:{value}" for name, value in message.user_properties),
    "q": lambda message, _: str(int(message.qos)),
    "R": lambda message, _: _or_empty(message.response_topic),
    "r": lambda message, _: str(int(message.retain)),
    "S": lambda message, _: " ".join(map(str, message.properties.subscription_identifiers)),
    "t": lambda message, _: message.topic,
    "U": lambda _, at: f"{at // _NANOSECONDS}.{at % _NANOSECONDS:09d}",
    "X": lambda message, _: message.payload.hex().upper(),
    "x": lambda message, _: message.payload.hex(),
}
"""What stands behind a ``%``, beside the payload and JSON."""


def _padded(
    get: Callable[[Message, int], bytes | str], match: re.Match[str], layout: Layout
) -> Write:
    width = int(match["width"][:9] or 0)
    if width > _WIDEST:
        raise _refusal(f"{match[0]} is too wide; a width is {_WIDEST} at the most")
    left = "-" in match["flags"]
    precision = None if match["precision"] is None else int(match["precision"][:9] or 0)

    def part(message: Message, at: int) -> bytes:
        value = get(message, at)
        if layout.for_terminal:
            value = for_people(value)
        elif isinstance(value, bytes):
            return value
        text = value if precision is None else value[:precision]
        return (text.ljust(width) if left else text.rjust(width)).encode()

    return part


def _json_part(layout: Layout, *, parsed: bool) -> Write:
    def part(message: Message, at: int) -> bytes:
        record = _mosquitto_record(message, at)
        if not parsed:
            return layout.json(record)
        try:
            record["payload"] = parse_json(message.payload)
            return layout.json(record)  # which may take more levels than to read it
        except (ValueError, RecursionError):
            note(f"the payload of a message to {message.topic!r} is no JSON, as %J wants it")
            return b""

    return part


def _mosquitto_record(message: Message, at: int) -> dict[str, object]:
    micro = f".{at % _NANOSECONDS // 1000:06d}"
    stamp = time.strftime(f"%Y-%m-%dT%H:%M:%S{micro}%z", _local(at))
    record: dict[str, object] = {
        "tst": stamp,
        "topic": message.topic,
        "qos": int(message.qos),
        "retain": int(message.retain),
        "payloadlen": len(message.payload),
    }
    if message.qos:
        record["mid"] = message.packet_id
    if properties := _mosquitto_properties(message):
        record["properties"] = properties
    record["payload"] = message.payload.decode(errors="replace")
    return record


def _mosquitto_properties(message: Message) -> dict[str, object]:
    properties = message.properties
    data = properties.correlation_data
    values = {
        "payload-format-indicator": properties.payload_format_indicator,
        "message-expiry-interval": properties.message_expiry_interval,
        "content-type": properties.content_type,
        "response-topic": properties.response_topic,
        "correlation-data": None if data is None else data.decode(errors="replace"),
        "user-properties": dict(properties.user_properties) or None,
    }
    return {name: value for name, value in values.items() if value is not None}
