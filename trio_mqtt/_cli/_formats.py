"""How ``trio-mqtt sub`` prints messages: as text or as JSON lines."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._cli._template import parse_json

if TYPE_CHECKING:
    from trio_mqtt import Message
    from trio_mqtt._cli._template import Layout, Write

_MICRO: Final = 1000
_MILLION: Final = 1_000_000
_NOT_OF_THE_SENDER: Final = ("subscription_identifiers", "topic_alias")


def text_format(layout: Layout, *, verbose: bool, end: bytes) -> Write:
    """The payload, or topic and payload, as mosquitto_sub prints them."""

    def write(message: Message, _at: int) -> bytes:
        payload = layout.value(message.payload)
        if not verbose:
            return payload + end if payload else b""
        return layout.name(message.topic) + b" " + (payload or b"(null)") + end

    return write


def json_format(layout: Layout, *, parse: bool) -> Write:
    """Everything there is to know of a message, as one line of JSON.

    Args:
        layout: whether it is one line, really.
        parse: whether a payload that is JSON stands in it as JSON.
    """

    def write(message: Message, at: int) -> bytes:
        if parse:
            try:
                value = parse_json(message.payload)
                return line(message, at, {"payload": value, "encoding": "json"})
            except (ValueError, RecursionError):
                pass  # it is no JSON, or has more levels than can be written
        return line(message, at, _text_or_base64("payload", "encoding", message.payload))

    def line(message: Message, at: int, payload: dict[str, object]) -> bytes:
        record: dict[str, object] = {"topic": message.topic, **payload}
        record["qos"] = int(message.qos)
        record["retain"] = message.retain
        if properties := _properties(message):
            record["properties"] = properties
        seconds, rest = divmod(at // _MICRO, _MILLION)
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
        record["received"] = moment.astimezone().isoformat(timespec="microseconds")
        return layout.json(record) + b"\n"

    return write


def _text_or_base64(name: str, encoding: str, data: bytes) -> dict[str, object]:
    try:
        return {name: data.decode(), encoding: "utf-8"}
    except UnicodeDecodeError:
        return {name: base64.b64encode(data).decode(), encoding: "base64"}


def _properties(message: Message) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in attrs.fields(type(message.properties)):
        value = getattr(message.properties, field.name)
        if value in (None, ()) or field.name in _NOT_OF_THE_SENDER:
            continue
        if isinstance(value, bytes):
            found.update(_text_or_base64(field.name, f"{field.name}_encoding", value))
        else:
            found[field.name] = value
    return found
