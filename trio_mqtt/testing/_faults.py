"""What goes wrong with a Network Connection, and where in its bytes."""

from __future__ import annotations

import math
from typing import Literal, get_args

import attrs
from attrs import validators

from trio_mqtt._enums import PacketType
from trio_mqtt.packets import Packet

Ending = Literal["reset", "close"]
"""How a connection breaks, ``"reset"`` with an error on both sides, ``"close"`` without."""

_LONGEST_LENGTH = 4
_CONTINUES = 0x80


def _check_packet_type(
    _place: object, _field: attrs.Attribute[type[Packet]], value: object
) -> None:
    if value not in get_args(Packet):
        message = f"packet_type must be the class of a Control Packet, not {value!r}"
        raise TypeError(message)


@attrs.frozen
class Before:
    """A place in one direction of a connection: in front of a Control Packet.

    Attributes:
        packet_type: the class of the packet, such as `PubRel`.
        nth: which packet of this class, from 1.
    """

    packet_type: type[Packet] = attrs.field(validator=_check_packet_type)
    nth: int = attrs.field(default=1, validator=validators.ge(1))


@attrs.frozen
class After:
    """A place in one direction of a connection: behind a Control Packet.

    Attributes:
        packet_type: the class of the packet, such as `PubRec`.
        nth: which packet of this class, from 1.
    """

    packet_type: type[Packet] = attrs.field(validator=_check_packet_type)
    nth: int = attrs.field(default=1, validator=validators.ge(1))


Place = int | Before | After
"""A place in one direction of a connection, behind so many bytes or at a Control Packet.

Packets are found in MQTT that goes straight over the stream, not inside TLS or WebSocket.
"""


def _check_place(_faults: object, field: attrs.Attribute[Place | None], value: object) -> None:
    if value is None or isinstance(value, Before | After):
        return
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{field.name} must be a number of bytes, Before or After, not {value!r}"
        raise TypeError(message)
    if value < 0:
        message = f"{field.name} must be at least 0, not {value}"
        raise ValueError(message)


@attrs.frozen(kw_only=True)
class Faults:
    """What one Network Connection suffers; each field alone, or together with others.

    Examples::

        Faults(cut_to_server=17)                # 17 bytes of the client's arrive, then it breaks
        Faults(cut_to_server=Before(PubRel))    # it breaks between PUBREC and PUBREL
        Faults(cut_to_client=Before(ConnAck))   # the server accepts, and the client never hears
        Faults(stall_to_client=After(ConnAck))  # half-open: the server falls silent
        Faults(delay=0.2, chunk=1)              # slow, and every byte comes alone

    Attributes:
        refuse: no connection is made.
        cut_to_server: how much of what the client sends passes; with its last byte the connection
            breaks in both directions. What has passed can still be read. Before(ConnAck) and its
            like hold the packet back and break the connection when it comes.
        cut_to_client: the same of what the server sends.
        ending: how a cut breaks the connection: ``"reset"`` is an error on both sides,
            ``"close"`` the end of the stream.
        stall_to_server: how much of what the client sends passes; nothing follows, not even the
            end of the stream, but the connection stays, as a half-open one does. Each direction
            takes some more bytes from its sender, then sending waits.
        stall_to_client: the same of what the server sends.
        delay: how long each byte is on its way, in seconds of Trio's clock, in both directions.
        chunk: the most bytes that arrive at once, in both directions. In memory the next ones wait
            until these were read; over TCP each chunk is sent by itself, and the receiver may find
            several together.
    """

    refuse: bool = False
    cut_to_server: Place | None = attrs.field(default=None, validator=_check_place)
    cut_to_client: Place | None = attrs.field(default=None, validator=_check_place)
    ending: Ending = attrs.field(default="reset", validator=validators.in_(("reset", "close")))
    stall_to_server: Place | None = attrs.field(default=None, validator=_check_place)
    stall_to_client: Place | None = attrs.field(default=None, validator=_check_place)
    delay: float = attrs.field(default=0.0, validator=[validators.ge(0), validators.lt(math.inf)])
    chunk: int | None = attrs.field(default=None, validator=validators.optional(validators.ge(1)))


NO_FAULTS = Faults()


def check_midway(faults: Faults) -> None:
    """Raise ValueError for faults that cannot begin on a connection that is open."""
    if faults.refuse or faults.delay or faults.chunk is not None:
        message = (
            "an open connection can be cut or stalled; refuse, delay and chunk are for one that is "
            "yet to be made: give them to add_faults"
        )
        raise ValueError(message)


class _ByteMark:
    """Behind so many bytes."""

    def __init__(self, left: int) -> None:
        self._left = left

    def find(self, data: bytes) -> int | None:
        """Where in the next bytes the place is; None if it comes later."""
        if self._left <= len(data):
            return self._left
        self._left -= len(data)
        return None


class _PacketMark:
    """At a Control Packet, found by fixed headers alone (2.1): nothing has to be held back.

    Args:
        place: where; None only follows the packets.
    """

    def __init__(self, place: Before | After | None) -> None:
        self._wanted = 0 if place is None else PacketType[place.packet_type.__name__.upper()]
        self._left = 0 if place is None else place.nth
        self._before = isinstance(place, Before)
        self._is_wanted = False  # the packet that is passing
        self._length = 0  # of its body, as far as known
        self._length_bytes: int | None = None  # how many came; None between packets
        self._body = 0  # bytes of it that are still to come

    def join(self, other: _PacketMark) -> None:
        """Go on where another one is, which may be inside a packet; that does not count."""
        self._length = other._length
        self._length_bytes = other._length_bytes
        self._body = other._body

    def find(self, data: bytes) -> int | None:
        """Where in the next bytes the place is; None if it comes later."""
        position = 0
        while position < len(data):
            if self._body:
                step = min(self._body, len(data) - position)
                self._body -= step
                position += step
                ended = not self._body
            elif self._length_bytes is None:
                self._begin(data[position])
                if self._is_wanted and self._before and not self._left:
                    return position
                position += 1
                ended = False
            elif self._length_bytes == _LONGEST_LENGTH:
                return None  # this is no MQTT, and no packet follows
            else:
                ended = self._measure(data[position])
                position += 1
            if ended:
                self._length_bytes = None
                if self._is_wanted and not self._left:
                    return position
        return None

    def _begin(self, first: int) -> None:
        self._is_wanted = first >> 4 == self._wanted
        self._left -= self._is_wanted
        self._length = self._length_bytes = 0

    def _measure(self, byte: int) -> bool:
        """Take a byte of the Remaining Length; whether the packet ends with it."""
        count = self._length_bytes or 0
        self._length |= (byte & ~_CONTINUES) << 7 * count
        self._length_bytes = count + 1
        if byte >= _CONTINUES:
            return False
        self._body = self._length
        return not self._body


Action = Literal["cut", "stall"]


class Trap:
    """The places in one direction at which something happens.

    Args:
        cut: where the connection breaks.
        stall: where nothing passes any more.
    """

    def __init__(self, *, cut: Place | None, stall: Place | None) -> None:
        self._follower = _PacketMark(None)
        self._marks: list[tuple[Action, _ByteMark | _PacketMark]] = []
        self.set(cut=cut, stall=stall)

    def set(self, *, cut: Place | None, stall: Place | None) -> None:
        """Other places, counted from here on, take the place of those it has."""
        self._marks.clear()
        places: tuple[tuple[Action, Place | None], ...] = (("cut", cut), ("stall", stall))
        for action, place in places:
            if isinstance(place, int):
                self._marks.append((action, _ByteMark(place)))
            elif place is not None:
                mark = _PacketMark(place)
                mark.join(self._follower)
                self._marks.append((action, mark))

    def spring(self, data: bytes) -> tuple[int, Action | None]:
        """How many of the next bytes pass, and what happens behind them."""
        self._follower.find(data)
        size = len(data)
        happens: Action | None = None
        for action, mark in self._marks:
            position = mark.find(data)
            if position is not None and (happens is None or position < size):
                size, happens = position, action
        return size, happens
