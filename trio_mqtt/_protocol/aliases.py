"""Topic Aliases of what we send: a number in place of a Topic Name that comes again (3.3.2.3.4)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from trio_mqtt.packets._wire import read_varint, write_varint

MOST_ALIASES: Final = 1000
"""More are not used, whatever the Server allows: each side has to remember the Topic Names."""
_NO_TOPIC: Final = b"\0\0"
_PROPERTY: Final = b"\x23"
_PROPERTY_SIZE: Final = 3
_SHORTEST: Final = 2 + 2 * _PROPERTY_SIZE
"""Below that the first repetition does not even pay for giving the alias."""
_MOST_HEADER: Final = 5 + 2 + 1
"""Fixed header, Packet Identifier, and a byte that the property length may grow by."""
_LEAST_REMEMBERED: Final = 64
_TWO_BYTES: Final = 128


@attrs.define(eq=False)
class _Alias:
    """One number.

    Attributes:
        ending: the property, as it stands behind others.
        alone: the property length and the property, where there is no other.
        used: when it was used last, counted in messages.
    """

    ending: bytes
    alone: bytes
    used: int


class TopicAliases:
    """Decides which Topic Names get an alias, on one Network Connection (MQTT-3.3.2-7).

    A Topic Name gets a number at its second use: one that is used once would only cost three
    bytes. When all numbers are in use, it takes the one that was unused longest, if it was used
    twice itself in the meantime. So a cycle through more Topic Names than there are numbers takes
    none away from another, which would cost three bytes at each message and save nothing.

    Messages must be sent in the order in which they pass here.

    Args:
        maximum: the highest Topic Alias that the peer allows, at least 1 (MQTT-3.3.2-9).
        most_bytes: the largest packet that it takes (MQTT-3.2.2-15).

    Attributes:
        saved: how many bytes were saved, less those that giving the aliases took; but for what
            the fixed headers may be shorter.
    """

    def __init__(self, maximum: int, most_bytes: int) -> None:
        self.saved: int = 0
        self._maximum = maximum
        self._most_bytes = most_bytes
        self._most_seen = max(2 * maximum, _LEAST_REMEMBERED)
        self._count = 0
        self._aliases: OrderedDict[bytes, _Alias] = OrderedDict()  # unused longest first
        self._seen: OrderedDict[bytes, int] = OrderedDict()  # without an alias: the last use

    def apply(self, topic: bytes, properties: bytes, payload_size: int) -> tuple[bytes, bytes]:
        """What stands in the next PUBLISH.

        Args:
            topic: the Topic Name as a UTF-8 Encoded String, with its length.
            properties: the property length and the properties.
            payload_size: what the payload takes, in bytes.

        Returns:
            The Topic Name, empty if an alias stands for it, and the properties, with the alias if
            there is one.
        """
        self._count += 1
        alias = self._aliases.get(topic)
        if alias is None:
            return self._without(topic, properties, payload_size)
        alias.used = self._count
        self._aliases.move_to_end(topic)
        self.saved += len(topic) - len(_NO_TOPIC) - _PROPERTY_SIZE
        if properties == b"\0":
            return _NO_TOPIC, alias.alone
        return _NO_TOPIC, _with_ending(properties, alias.ending)

    def _without(self, topic: bytes, properties: bytes, payload_size: int) -> tuple[bytes, bytes]:
        """What stands in the PUBLISH of a Topic Name that has no alias, and may get one."""
        size = _MOST_HEADER + len(topic) + len(properties) + _PROPERTY_SIZE + payload_size
        if len(topic) < _SHORTEST or size > self._most_bytes:
            return topic, properties
        before = self._seen.pop(topic, 0)
        alias = self._take_alias(before) if before else None
        if alias is None:
            self._seen[topic] = self._count
            if len(self._seen) > self._most_seen:
                self._seen.popitem(last=False)
            return topic, properties
        alias.used = self._count
        self._aliases[topic] = alias
        self.saved -= _PROPERTY_SIZE
        return topic, _with_ending(properties, alias.ending)

    def _take_alias(self, before: int) -> _Alias | None:
        """A number for a Topic Name that was used at this time before, or None."""
        if len(self._aliases) < self._maximum:
            ending = _PROPERTY + (len(self._aliases) + 1).to_bytes(2, "big")
            return _Alias(ending, bytes((len(ending),)) + ending, 0)
        topic, alias = next(iter(self._aliases.items()))
        if alias.used > before:
            return None
        del self._aliases[topic]
        return alias


def _with_ending(properties: bytes, ending: bytes) -> bytes:
    """Properties with one more behind them."""
    length, start = properties[0] + len(ending), 1
    if length >= _TWO_BYTES:
        length, start = read_varint(properties, 0, len(properties), "the property length")
        length += len(ending)
    return write_varint(length) + properties[start:] + ending
