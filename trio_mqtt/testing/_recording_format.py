"""Recordings as text: JSON lines, the first of which names the format and its version.

Each line behind it is a `Recorded`. A packet stands under its name in the standard, with those of
its fields that differ from their defaults. Bytes are a string where they are UTF-8, else
``{"hex": "00ff"}``. A Reason Code is its name.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_args

import attrs

from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt.packets import Connect, Packet, Properties, SubscriptionRequest, WillMessage
from trio_mqtt.packets._properties import as_pairs
from trio_mqtt.testing._recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

FORMAT: Final = "trio_mqtt recording"
VERSION: Final = 1

_PACKETS: Final[Mapping[str, type[Packet]]] = {
    packet_type.__name__.upper(): packet_type for packet_type in get_args(Packet)
}
_PROTOCOLS: Final[Mapping[str, Protocol]] = {protocol.title: protocol for protocol in Protocol}

P = TypeVar("P")


def dump(entries: Iterable[Recorded]) -> Iterator[str]:
    """The lines of a file, each with its newline."""
    yield _line({"format": FORMAT, "version": VERSION})
    for entry in entries:
        record: dict[str, object] = {
            "connection": entry.connection,
            "time": round(entry.time, 6),
            "from": entry.sender,
        }
        if entry.packet is not None:
            fields: dict[str, object] = {}
            if entry.protocol is not None:
                fields["protocol"] = entry.protocol.title
            record[type(entry.packet).__name__.upper()] = fields | _fields(entry.packet)
        if entry.data is not None:
            record["bytes"] = entry.data.hex(" ")
        if entry.end is not None:
            record["end"] = entry.end
        yield _line(record)


def parse(lines: Iterable[str]) -> Iterator[Recorded]:
    """The entries of a file.

    Raises:
        ValueError: it is no recording, or of another version; it names the line.
    """
    number = 0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if number == 1:
                _check_header(record)
            else:
                yield _entry(record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"line {number} of the recording: {_why(error)}") from error

    if not number:
        raise ValueError("line 1 of the recording: nothing stands in it")


def _why(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _check_header(record: Mapping[str, object]) -> None:
    if record["format"] != FORMAT:
        raise ValueError(f"this is not {FORMAT!r}, but {record['format']!r}")
    if record["version"] != VERSION:
        raise ValueError(f"this is version {record['version']}, and only {VERSION} can be read")


# Writing


def _fields(value: object) -> dict[str, object]:
    """The fields of a packet, or of a part of one, that differ from their defaults."""
    return {
        field.name: _plain(content)
        for field in attrs.fields(type(value))  # type: ignore[arg-type]
        if (content := getattr(value, field.name)) != field.default
    }


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex(" ")}
    if isinstance(value, ReasonCode):
        return value.name
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return _fields(value) if attrs.has(type(value)) else value


# Reading


def _entry(record: dict[str, Any]) -> Recorded:
    connection, time, sender = (record.pop(name) for name in ("connection", "time", "from"))
    _check(type(connection) is int and connection > 0, "connection has to be a number from 1")
    _check(isinstance(time, int | float) and time >= 0, "time has to be a number from 0")
    _check(sender in {"client", "server", "network"}, f"nobody is called {sender!r}")
    _check(len(record) == 1, "a line has one packet, or bytes, or an end")
    (name, content), *_ = record.items()
    entry = Recorded(connection=connection, time=time, sender=sender)
    if name == "bytes":
        return attrs.evolve(entry, data=bytes.fromhex(content))
    if name == "end":
        _check(content in {"close", "reset"}, f"there is no end {content!r}")
        return attrs.evolve(entry, end=content)
    _check(name in _PACKETS, f"there is no packet {name!r}")
    title = content.pop("protocol", None)
    packet = _made(_PACKETS[name], content)
    _check(title is None or title in _PROTOCOLS, f"there is no protocol {title!r}")
    protocol = None if title is None else _PROTOCOLS[title]
    _check((protocol is None) is not isinstance(packet, Connect), "CONNECT alone has a protocol")
    return attrs.evolve(entry, packet=packet, protocol=protocol)


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - it is what is checked
    if not holds:
        raise ValueError(message)


def _made(kind: type[P], content: Mapping[str, Any]) -> P:
    """A packet, or a part of one, of its fields."""
    return kind(**{name: _READERS.get(name, _same)(value) for name, value in content.items()})


def _same(value: object) -> object:
    return value


def _bytes(value: str | Mapping[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])


def _code(name: str) -> ReasonCode:
    _check(name in ReasonCode.__members__, f"there is no Reason Code {name!r}")
    return ReasonCode[name]


def _codes(names: Iterable[str]) -> tuple[ReasonCode, ...]:
    return tuple(map(_code, names))


def _requests(requests: Iterable[Mapping[str, Any]]) -> tuple[SubscriptionRequest, ...]:
    return tuple(_made(SubscriptionRequest, request) for request in requests)


_READERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "payload": _bytes,
    "password": _bytes,
    "correlation_data": _bytes,
    "authentication_data": _bytes,
    "reason_code": _code,
    "reason_codes": _codes,
    "requests": _requests,
    "topic_filters": tuple,
    "subscription_identifiers": tuple,
    "user_properties": as_pairs,
    "will": partial(_made, WillMessage),
    "properties": partial(_made, Properties),
}
"""How fields are read that are not in JSON what they are in a packet."""
