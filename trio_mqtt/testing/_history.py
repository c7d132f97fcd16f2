"""What clients have done at the test server, as facts rather than packets."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import attrs

from trio_mqtt._enums import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trio_mqtt.packets import Properties

_SIZE = 10_000
_MOST_BYTES = 60


def show_payload(payload: bytes) -> str:
    """A payload as Python writes it, cut off where it gets long."""
    if len(payload) <= _MOST_BYTES:
        return repr(payload)
    return f"{payload[:_MOST_BYTES]!r}... ({len(payload)} bytes)"


@attrs.frozen(kw_only=True)
class Connected:
    """A CONNECT that the server answered.

    Attributes:
        client_id: the Client Identifier; empty if the client left it to a server that refused.
        reason_code: the answer; SUCCESS let the client in.
        session_present: whether there was a Session.
    """

    client_id: str
    reason_code: ReasonCode = ReasonCode.SUCCESS
    session_present: bool = False

    def __str__(self) -> str:
        """In one line, for failures."""
        if self.reason_code.is_failure:
            return f"{self.client_id!r}, refused with {self.reason_code.describe()}"
        return f"{self.client_id!r}, {'with its' if self.session_present else 'without a'} Session"


@attrs.frozen(kw_only=True)
class Subscribed:
    """A Topic Filter in a SUBSCRIBE, and how the server answered it.

    Attributes:
        client_id: who asked for it.
        topic_filter: the Topic Filter.
        qos: the Maximum QoS that the client asked for.
        reason_code: the answer; up to 0x02 it is the QoS granted.
    """

    client_id: str
    topic_filter: str
    qos: int
    reason_code: ReasonCode

    def __str__(self) -> str:
        """In one line, for failures."""
        if self.reason_code.is_failure:
            answer = f"refused with {self.reason_code.describe()}"
        else:
            answer = f"granted QoS {self.reason_code.value}"
        return f"{self.client_id!r}: {self.topic_filter!r} at QoS {self.qos}, {answer}"


@attrs.frozen(kw_only=True)
class Published:
    """An Application Message that a client, or its Will, has given to the server.

    A QoS 2 PUBLISH that is sent again is the same message, a QoS 1 PUBLISH another one.

    Attributes:
        client_id: whose message it is.
        topic: the Topic Name, in full where the packet had a Topic Alias.
        payload: the payload.
        qos: the QoS.
        retain: the RETAIN flag.
        will: whether the server published it as the Will of the client.
        reason_code: what the server makes of it; a failure refuses it.
        properties: those of the PUBLISH or the Will.
    """

    client_id: str
    topic: str
    payload: bytes
    qos: int
    retain: bool
    will: bool
    reason_code: ReasonCode
    properties: Properties

    def __str__(self) -> str:
        """In one line, for failures."""
        text = f"{self.client_id!r}: {self.topic!r} {show_payload(self.payload)} at QoS {self.qos}"
        if self.retain:
            text += ", retained"
        if self.will:
            text += ", its Will"
        if self.reason_code.is_failure:
            text += f", refused with {self.reason_code.describe()}"
        return text


@attrs.frozen(kw_only=True)
class Acknowledged:
    """A message from the server that a client has acknowledged, with PUBACK or PUBREC.

    Attributes:
        client_id: who has acknowledged it.
        topic: the Topic Name.
        payload: the payload.
        qos: the QoS it was delivered with, 1 or 2.
        reason_code: that of the acknowledgement; a failure rejects the message.
    """

    client_id: str
    topic: str
    payload: bytes
    qos: int
    reason_code: ReasonCode

    def __str__(self) -> str:
        """In one line, for failures."""
        text = f"{self.client_id!r}: {self.topic!r} {show_payload(self.payload)} at QoS {self.qos}"
        if self.reason_code.is_failure:
            text += f", rejected with {self.reason_code.describe()}"
        return text


Fact = Connected | Subscribed | Published | Acknowledged
F = TypeVar("F", bound=Fact)


class History:
    """The last facts of each kind, 10,000 at the most.

    Args:
        on_fact: called after each.
    """

    def __init__(self, on_fact: Callable[[], None]) -> None:
        self._on_fact = on_fact
        kinds = (Connected, Subscribed, Published, Acknowledged)
        self._facts: Mapping[type, deque[Fact]] = {kind: deque(maxlen=_SIZE) for kind in kinds}
        self._totals: dict[type, int] = dict.fromkeys(kinds, 0)

    def add(self, fact: Fact) -> None:
        """Note a fact."""
        self._facts[type(fact)].append(fact)
        self._totals[type(fact)] += 1
        self._on_fact()

    def total(self, kind: type) -> int:
        """How many facts of a kind there were."""
        return self._totals[kind]

    def knows_since(self, kind: type, number: int = 0) -> bool:
        """Whether all facts of a kind behind the first so many are kept."""
        return number >= self._totals[kind] - len(self._facts[kind])

    def since(self, kind: type[F], number: int = 0) -> Iterator[F]:
        """The facts of a kind behind the first so many, as far as they are kept."""
        facts = self._facts[kind]
        first_kept = self._totals[kind] - len(facts)
        for fact in islice(facts, max(number - first_kept, 0), None):
            if isinstance(fact, kind):
                yield fact
