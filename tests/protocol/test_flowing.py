"""Bytes put where they flow: the same is sent as if each had been appended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from trio_mqtt._enums import QoS
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt._protocol.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Step = tuple[str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("put",) * 4,
                "append",
                "after",
                "ahead",
                "ask",
                "pubacks",
                "commit",
                "take",
                "take a part",
                "ready",
                "unwritten",
                "close",
            )
        ),
        st.integers(1, 3),
    ),
    max_size=30,
)


def put(output: Output, data: bytes) -> None:
    """As the sender does where it is sure that nothing was closed."""
    if output.flowing is None:
        output.append(data)
    else:
        output.flowing.append(data)
        output.size += len(data)


class Writer:
    """One output, and what came of it."""

    def __init__(self, put: Callable[[Output, bytes], None]) -> None:
        self.found: list[object] = []
        self.output = Output()
        self.output.on_ready = lambda: self.found.append("ready")
        self._put = put
        self._number = 0

    def do(self, step: str, number: int) -> None:
        self._number += 1
        output, data = self.output, bytes((self._number,)) * number
        settled = IncomingMessage("t", data, QoS.AT_LEAST_ONCE, packet_id=self._number)
        ways: dict[str, Callable[[], object]] = {
            "put": lambda: self._put(output, data),
            "append": lambda: output.append(data, 0, settled),
            "after": lambda: output.append(data, number),
            "ahead": lambda: output.append_ahead(data),
            "ask": lambda: output.ask_for_more(lambda: output.append(data, 0, settled)),
            "pubacks": lambda: output.append_pubacks([settled]),
            "commit": lambda: output.commit(number),
            "take": lambda: b"".join(output.take()),
            "take a part": lambda: self._take_part(number),
            "ready": lambda: output.ready,
            "unwritten": lambda: [each.payload for each in output.take_unwritten()],
            "close": output.close,
        }
        self.found.append(ways[step]())
        self.found.append((output.size, output.closed))

    def _take_part(self, size: int) -> bytes:
        data = b"".join(self.output.take())
        if data[size:]:
            self.output.put_back(data[size:])
        return data[:size]


@examples(500)
@given(steps)
def test_it_is_sent_as_if_it_was_appended(steps: list[Step]) -> None:
    quick, thorough = Writer(put), Writer(lambda output, data: output.append(data))
    for step, number in steps:
        quick.do(step, number)
        thorough.do(step, number)
        assert quick.found == thorough.found


@examples(500)
@given(st.lists(st.tuples(st.sampled_from(("append", "ahead", "close")), st.integers(0, 9))))
def test_what_is_put_back_comes_first(steps: list[Step]) -> None:
    output = Output()
    expected, sent = b"", b""
    for number, (step, part) in enumerate(steps):
        data = bytes((number % 256,)) * 3
        if step == "close":
            output.close()
        elif not output.closed:
            expected += data
        {"append": output.append, "ahead": output.append_ahead}.get(step, do_nothing)(data)
        taken = b"".join(output.take())
        sent += taken[:part]
        if not output.closed:
            output.append(b"later")
            expected += b"later"
        before = output.ready
        output.put_back(taken[part:])
        assert output.ready == before + len(taken[part:])
    assert sent + b"".join(output.take()) == expected


def test_what_is_asked_for_stands_before_what_was_added_later() -> None:
    output = Output()
    output.append(b"1")
    output.ask_for_more(lambda: output.append(b"2"))
    output.append(b"3")
    assert b"".join(output.take()) == b"123"


def test_what_is_asked_for_is_sent_before_the_end() -> None:
    output = Output()
    output.ask_for_more(lambda: output.append(b"1"))
    output.close()
    output.append(b"2")
    assert b"".join(output.take()) == b"1"


def test_what_is_asked_for_was_not_written_either() -> None:
    output = Output()
    settled = IncomingMessage("t", b"", QoS.AT_LEAST_ONCE, packet_id=1)
    output.ask_for_more(lambda: output.append(b"1", 0, settled))
    assert output.take_unwritten() == [settled]
    assert output.size == 0


WAYS: Final[Mapping[str, Callable[[Output], object]]] = {
    "append": lambda output: output.append(b"a"),
    "append ahead": lambda output: output.append_ahead(b"a"),
    "ask for more": lambda output: output.ask_for_more(lambda: output.append(b"a")),
    "put back": lambda output: output.put_back(b"a"),
    "commit": lambda output: output.commit(1),
}


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_it_is_told_once_that_there_is_something_to_send(first: str, second: str) -> None:
    output = Output()
    told: list[str] = []
    output.on_ready = lambda: told.append("ready")
    if "commit" in {first, second}:
        output.append(b"b", after=1)
        assert told == []
    WAYS[first](output)
    if first != "ask for more":  # what is asked for tells again
        WAYS[second](output)
    assert told == ["ready"]
    output.take()
    told.clear()
    output.append_ahead(b"a")
    assert told == ["ready"]


def do_nothing(_data: bytes) -> None:
    """Add nothing."""
