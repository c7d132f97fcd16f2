"""Every interleaving of two ends, a link that loses what is on its way, and crashes of either end.

The exploration goes breadth first from state to state. A state is that of the publisher, that of
the consumer and the packets on their way. In each state the ends are compared: what the publisher
was told must be true. And from each state a run without further faults must lead to the end, where
everything is done and forgotten.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.protocol.bounds import describe
from tests.protocol.consumer import Consumer
from tests.protocol.end_states import Packets, States
from tests.protocol.publisher import Publisher
from trio_mqtt._protocol import identifiers, session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.protocol.bounds import Bounds
    from tests.protocol.end_states import Outcome

_FAULTS: Final = {"change_mind", "drop", "fail", "reopen"}
_MOST_STATES: Final = 5_000_000
_RECEIVING: Final = {"receive", "receive one of"}
_WORDS: Final = {
    "accept": "accepts message",
    "begin": "begins to commit",
    "break": "breaks",
    "change_mind": "settles a message again, otherwise",
    "commit": "commits",
    "connect": "connects the two again",
    "crash": "crashes and restarts",
    "fail": "fails to commit",
    "drop": "drops the first message",
    "pump": "moves messages to its output",
    "receive": "receives",
    "receive one of": "receives, and will once more,",
    "reject": "rejects message",
    "reopen": "closes, and opens again with the same Session",
    "settle": "settles message",
    "work": "begins with work that settles message",
    "write": "sends",
}
"""The steps in words, for traces."""


State = tuple[int, int, tuple[int, ...], tuple[int, ...], tuple[int, int, int, int]]
"""Of the publisher, of the consumer; on their way to the consumer, to the publisher; faults left:
breaks, crashes, repeats, strange packets (-1: any number)."""


Label = tuple[str, str, int]
"""Who does what with which packet or message."""
Move = tuple[Label, bool, State, str | None]
"""What happens, whether it is a fault, what it leads to, and what is wrong about it."""


@attrs.define
class Report:
    """What was found.

    Attributes:
        states: how many.
        steps: how many, between them.
        ends: how many states each end has of its own.
        trace: how it comes to what must not happen, or None.
    """

    states: int
    steps: int
    ends: tuple[int, int]
    trace: list[str] | None

    def __str__(self) -> str:
        return (
            f"{self.states:,} states and {self.steps:,} steps; "
            f"{self.ends[0]:,} states of the client, {self.ends[1]:,} of the server"
        )


class Exploration:
    """Visits every state that can be reached within some bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._packets = packets = Packets(bounds)
        self._client = States(Publisher(bounds), bounds, packets)
        self._server = States(Consumer(bounds), bounds, packets)
        self._states: list[State] = []
        self._parents: list[tuple[int, Label]] = []
        self._edges = array("l")  # of steps that are no faults, from and to

    def run(self) -> Report:
        """Visit them all, or stop where something is wrong."""
        bounds = self._bounds
        faults = (
            -1 if bounds.breaks is None else bounds.breaks,
            -1 if bounds.crashes is None else bounds.crashes,
            bounds.repeats,
            bounds.strange,
        )
        first: State = (self._client.first, self._server.first, (), (), faults)
        states, parents, edges = self._states, self._parents, self._edges
        states.append(first)
        parents.append((-1, ("", "", 0)))
        numbers: dict[State, int] = {first: 0}
        position = count = 0
        while position < len(states):
            for label, fault, state, problem in self._moves(states[position]):
                count += 1
                number = numbers.get(state)
                if number is None or problem is not None:
                    number = numbers[state] = len(states)
                    states.append(state)
                    parents.append((position, label))
                    found = problem or self._compare(state)
                    if found is not None:
                        return self._report(count, number, found)
                if not fault:
                    edges.append(position)
                    edges.append(number)
            position += 1
            assert position < _MOST_STATES, "there is no end to it"
        stuck = self._find_stuck()
        if stuck is not None:
            return self._report(count, stuck, "nothing but a fault leads from here to the end")
        return self._report(count, None, "")

    def _moves(self, state: State) -> Iterator[Move]:
        """What can happen in a state: what it is, whether it is a fault, and what it leads to."""
        yield from self._own_moves(state)
        client, server, _, _, (breaks, crashes, repeats, strange) = state
        if self._client.facts[client].connected:
            yield from self._packets_move(state)
            down = (
                self._client.outcome(client, "end").state,
                self._server.outcome(server, "end").state,
            )
            if breaks:
                left = (breaks - (breaks > 0), crashes, repeats, strange)
                yield ("link", "break", 0), True, (*down, (), (), left), None
        else:
            up = (
                self._client.outcome(client, "connect").state,
                self._server.outcome(server, "connect").state,
            )
            yield ("link", "connect", 0), False, (*up, (), (), state[4]), None
            down = client, server
        if crashes:
            left = (breaks, crashes - (crashes > 0), repeats, strange)
            crashed = self._client.outcome(client, "crash").state
            yield ("client", "crash", 0), True, (crashed, down[1], (), (), left), None
            crashed = self._server.outcome(server, "crash").state
            yield ("server", "crash", 0), True, (down[0], crashed, (), (), left), None

    def _own_moves(self, state: State) -> Iterator[Move]:
        """What an end does of itself."""
        client, server, there, back, faults = state
        client_facts = self._client.facts[client]
        server_facts = self._server.facts[server]
        for what, which, outcome in self._client.own(client):
            if what == "drop" and not (client_facts.connected or server_facts.may_drop):
                continue
            problem = outcome.problem
            if self._bounds.strict and outcome.fresh & server_facts.knows:
                problem = problem or "the identifier of a new message stands for another one"
            after = (outcome.state, server, there + outcome.sent, back, faults)
            yield ("client", what, which), what in _FAULTS, after, problem
        for what, which, outcome in self._server.own(server):
            after = (client, outcome.state, there, back + outcome.sent, faults)
            yield ("server", what, which), what in _FAULTS, after, outcome.problem

    def _packets_move(self, state: State) -> Iterator[Move]:
        """A packet arrives."""
        client, server, there, back, faults = state
        if there:
            outcome = self._server.outcome(server, "receive", there[0])
            after = (client, outcome.state, there[1:], back, faults)
            yield self._received("server", there[0], outcome, state, after)
        if back:
            outcome = self._client.outcome(client, "receive", back[0])
            after = (outcome.state, server, there, back[1:], faults)
            yield self._received("client", back[0], outcome, state, after)
        if faults[2]:
            yield from self._repeated(state)
        if faults[3]:
            yield from self._strange(state)

    def _received(
        self, who: str, packet: int, outcome: Outcome, before: State, after: State
    ) -> Move:
        """A packet arrives; an end that refuses it ends the connection."""
        label = who, "receive", packet
        if outcome.refused and after[4][3] < self._bounds.strange:
            client = self._client.outcome(before[0], "end").state
            server = self._server.outcome(before[1], "end").state
            return label, False, (client, server, (), (), after[4]), None
        return label, False, after, outcome.problem

    def _repeated(self, state: State) -> Iterator[Move]:
        """The next packet arrives, and will once more."""
        client, server, there, back, faults = state
        left = (faults[0], faults[1], faults[2] - 1, faults[3])
        if there and (again := self._packets.repeated(there[0])) is not None:
            outcome = self._server.outcome(server, "receive", there[0])
            after = (client, outcome.state, (again, *there[1:]), back, left)
            yield ("server", "receive one of", there[0]), True, after, outcome.problem
        if back and (again := self._packets.repeated(back[0])) is not None:
            outcome = self._client.outcome(client, "receive", back[0])
            after = (outcome.state, server, there, (again, *back[1:]), left)
            yield ("client", "receive one of", back[0]), True, after, outcome.problem

    def _strange(self, state: State) -> Iterator[Move]:
        """A packet arrives that fits nothing."""
        client, server, there, back, faults = state
        left = (*faults[:3], faults[3] - 1)
        for data, bad in self._client.facts[client].strange:
            packet = self._packets.number(data)
            outcome = self._client.outcome(client, "receive", packet)
            after = (outcome.state, server, there, back, left)
            label, _, after, problem = self._received("client", packet, outcome, state, after)
            yield label, True, after, problem if bad else outcome.problem
        for data, _ in self._server.facts[server].strange:
            packet = self._packets.number(data)
            outcome = self._server.outcome(server, "receive", packet)
            after = (client, outcome.state, there, back, left)
            label, _, after, problem = self._received("server", packet, outcome, state, after)
            yield label, True, after, problem

    def _compare(self, state: State) -> str | None:
        """Whether what the publisher was told is true."""
        client, server = self._client.facts[state[0]], self._server.facts[state[1]]
        too_early = client.taken - server.taken
        if too_early:
            return f"the publisher of {', '.join(too_early)} was told of success too early"
        for_nothing = client.refused - server.refused
        if for_nothing:
            return f"the publisher of {', '.join(for_nothing)} was told of a refusal for nothing"
        return None

    def _find_stuck(self) -> int | None:
        """A state from which only a fault leads to the end, if there is one."""
        leads = bytearray(len(self._states))
        for number, (client, server, there, back, _) in enumerate(self._states):
            if self._client.facts[client].is_final and self._server.facts[server].is_final:
                leads[number] = not there and not back
        edges = self._edges
        changed = True
        while changed:
            changed = False
            for index in range(len(edges) - 2, -2, -2):
                if leads[edges[index + 1]] and not leads[edges[index]]:
                    leads[edges[index]] = changed = True
        stuck = [number for number, found in enumerate(leads) if not found]
        if not stuck:
            return None
        goes_on = {
            start for start, end in zip(edges[::2], edges[1::2], strict=True) if start != end
        }
        return next((number for number in stuck if number not in goes_on), stuck[-1])

    def _report(self, steps: int, problem_at: int | None, problem: str) -> Report:
        trace: list[str] | None = None
        if problem_at is not None:
            trace = []
            number, (before, label) = problem_at, self._parents[problem_at]
            while before >= 0:
                trace.append(self._in_words(self._states[before], label, self._states[number]))
                number, (before, label) = before, self._parents[before]
            trace.reverse()
            trace.append(problem)
        return Report(len(self._states), steps, (len(self._client), len(self._server)), trace)

    def _in_words(self, before: State, label: Label, after: State) -> str:
        who, what, which = label
        words = f"{who} {_WORDS[what]}"
        if what == "accept":
            return f"{words} {self._bounds.names[which]}"
        if what in {"settle", "reject", "work"}:
            return f"{words} {self._server.facts[before[1]].in_hand[which]}"
        packets = [which] if what in _RECEIVING else []
        if what == "write":
            packets += after[2][len(before[2]) :] if who == "client" else after[3][len(before[3]) :]
        return f"{words} {', '.join(describe(self._packets[each]) for each in packets)}".rstrip()


def explore(bounds: Bounds) -> Report:
    """Visit every state that can be reached within these bounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identifiers, "MOST_IDENTIFIERS", bounds.identifiers)
        patch.setattr(session, "MOST_PREPARED", bounds.prepared or bounds.identifiers)
        return Exploration(bounds).run()
