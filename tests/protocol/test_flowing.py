"""Bytes put where they flow: the same is sent as if each had been appended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from trio_mqtt._enums import QoS
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt._protocol.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

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
            "ready": lambda: output.ready,
            "unwritten": lambda: [each.payload for each in output.take_unwritten()],
            "close": output.close,
        }
        self.found.append(ways[step]())
        self.found.append((output.size, output.closed))


@examples(500)
@given(steps)
def test_it_is_sent_as_if_it_was_appended(steps: list[Step]) -> None:
    quick, thorough = Writer(put), Writer(lambda output, data: output.append(data))
    for step, number in steps:
        quick.do(step, number)
        thorough.do(step, number)
        assert quick.found == thorough.found
