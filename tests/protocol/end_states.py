"""The states of one end, each known by a number, and what every step there leads to.

What an end does depends on its own state alone. So the real code runs once for each state and
step, and the exploration looks up what came of it.
"""

from __future__ import annotations

import functools
import pickle
from collections import deque
from enum import Enum
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from tests.protocol.bounds import Violation, read
from tests.protocol.ends import End
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import Publish

if TYPE_CHECKING:
    from tests.protocol.bounds import Bounds
    from tests.protocol.ends import Facts, Step

E = TypeVar("E", bound=End)

_PLAIN: Final = {type(None), bool, int, float, str, bytes}
_SEQUENCES: Final = {list, tuple, deque}
_ORDERED: Final = {"in_use"}  # the dicts whose order means something


class Outcome(NamedTuple):
    """What a step at one end leads to.

    Attributes:
        state: of that end, by its number.
        sent: the packets that go out, by their numbers.
        fresh: identifiers in a PUBLISH that was not sent before.
        problem: what must not have happened, or None.
        refused: whether the end ends the connection because of this packet.
    """

    state: int
    sent: tuple[int, ...] = ()
    fresh: frozenset[int] = frozenset()
    problem: str | None = None
    refused: bool = False


class Packets:
    """Packets as numbers."""

    def __init__(self, bounds: Bounds) -> None:
        self._rejects = bounds.rejects
        self._numbers: dict[bytes, int] = {}
        self._packets: list[bytes] = []

    def number(self, data: bytes) -> int:
        number = self._numbers.setdefault(data, len(self._packets))
        if number == len(self._packets):
            self._packets.append(data)
        return number

    def __getitem__(self, number: int) -> bytes:
        return self._packets[number]

    def repeated(self, number: int) -> int | None:
        """The packet when it comes once more; None if that may be another delivery."""
        data = self._packets[number]
        packet = read(data)
        if not isinstance(packet, Publish):
            return number
        if packet.qos == 1 or self._rejects:
            return None
        return self.number(bytes((data[0] | 8,)) + data[1:])


class States(Generic[E]):
    """The states of one end, by number, and what each step leads to."""

    def __init__(self, first: E, bounds: Bounds, packets: Packets) -> None:
        self.facts: list[Facts] = []
        self._bounds = bounds
        self._packets = packets
        self._numbers: dict[object, int] = {}
        self._frozen: list[bytes] = []
        self._outcomes: list[dict[tuple[str, int], Outcome | None]] = []
        self._own: list[list[tuple[str, int, Outcome]] | None] = []
        self.first = self._number(first)

    def __len__(self) -> int:
        return len(self._frozen)

    def _number(self, end: E) -> int:
        key = freeze(end.__getstate__(), {})
        number = self._numbers.setdefault(key, len(self._frozen))
        if number == len(self._frozen):
            self._frozen.append(pickle.dumps(end, pickle.HIGHEST_PROTOCOL))
            self._outcomes.append({})
            self._own.append(None)
            self.facts.append(end.facts())
        return number

    def _load(self, number: int) -> E:
        end: E = pickle.loads(self._frozen[number])  # noqa: S301 - our own
        end.bounds = self._bounds
        return end

    def own(self, number: int) -> list[tuple[str, int, Outcome]]:
        """What this end can do of itself, and what that leads to."""
        known = self._own[number]
        if known is not None:
            return known
        found: list[tuple[str, int, Outcome]] = []
        for what, which in self._load(number).steps():
            assert isinstance(which, int)
            outcome = self._try(number, (what, which))
            if outcome.state != number or outcome.sent or outcome.problem:
                found.append((what, which, outcome))
        self._own[number] = found
        return found

    def outcome(self, number: int, what: str, packet: int = 0) -> Outcome:
        """What this leads to."""
        known = self._outcomes[number]
        outcome = known.get((what, packet))
        if outcome is None:
            which = self._packets[packet] if what == "receive" else 0
            outcome = known[what, packet] = self._try(number, (what, which))
        return outcome

    def _try(self, number: int, step: Step) -> Outcome:
        end = self._load(number)
        try:
            sent = end.perform(step)
        except RemoteProtocolError as error:
            return Outcome(number, problem=f"the {end.role} refuses: {error}", refused=True)
        except Violation as violation:
            return Outcome(number, problem=str(violation))
        publishes = [each for each in map(read, sent) if isinstance(each, Publish)]
        fresh = frozenset(each.packet_id for each in publishes if not each.dup)
        numbers = tuple(map(self._packets.number, sent))
        return Outcome(self._number(end), numbers, fresh)


def freeze(value: Any, seen: dict[int, int], *, ordered: bool = False) -> object:
    """All that there is to a value, for comparison.

    An object that is equal to itself alone is told from others like it by where it was seen first.
    """
    kind: Any = value.__class__
    if kind is MethodType:
        return value.__func__  # of which object, the rest of the state says
    if kind in _PLAIN or isinstance(value, Enum) or callable(value):
        return value
    if kind is dict:
        items = value.items() if ordered else sorted(value.items(), key=_first)
        return (kind, *[(key, freeze(each, seen, ordered=key in _ORDERED)) for key, each in items])
    if kind in _SEQUENCES:
        return (kind, *[freeze(each, seen) for each in value])
    if kind is set:
        return (kind, *sorted(value))
    return _freeze_object(kind, value, seen)


def _freeze_object(kind: Any, value: object, seen: dict[int, int]) -> object:
    if kind.__eq__ is object.__eq__:
        if id(value) in seen:
            return (kind, seen[id(value)])
        seen[id(value)] = len(seen)
    if hasattr(value, "__dict__"):
        return (kind, freeze(vars(value), seen))
    return (kind, *[freeze(getattr(value, name), seen) for name in _slots(kind)])


@functools.cache
def _slots(kind: type[object]) -> list[str]:
    names = (name for each in kind.__mro__ for name in getattr(each, "__slots__", ()))
    return [name for name in names if not name.startswith("__")]


def _first(item: tuple[Any, Any]) -> Any:
    return item[0]
