"""What Topic Aliases cost in time, and what they save in bytes.

``python -m benchmarks.aliases`` encodes messages to 1, 10, 11 and 1,000 Topic Names in turn, and to
names drawn at random of which a few come most often: without aliases, with the 10 that Mosquitto
allows, and with as many as a Server can.
"""

from __future__ import annotations

import argparse
import random
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Final

from benchmarks import report
from trio_mqtt import MQTT_5
from trio_mqtt._protocol.connection import Connection
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import ConnAck, Connect, Properties, encode
from trio_mqtt.packets._encoder import encode_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MESSAGES: Final = 50_000
ROUNDS: Final = 5
PAYLOAD: Final = b'{"t": 21.5, "h": 40}'
ALLOWED: Final = (0, 10, 65_535)
_BATCH: Final = 500


def _in_turn(count: int) -> Callable[[int], list[int]]:
    return lambda messages: [index % count for index in range(messages)]


def _skewed(messages: int) -> list[int]:
    draw = random.Random(1).paretovariate  # noqa: S311 - the same names each time
    return [min(int(draw(1.0)), 1000) for _ in range(messages)]


PATTERNS: Final[dict[str, Callable[[int], list[int]]]] = {
    "1 topic": _in_turn(1),
    "10 in turn": _in_turn(10),
    "11 in turn": _in_turn(11),
    "1,000 in turn": _in_turn(1000),
    "1,000, skewed": _skewed,
}
"""Of each pattern the numbers of the Topic Names, in order."""


def make_messages(numbers: Sequence[int]) -> list[OutgoingMessage]:
    """QoS 0 messages to Topic Names of common length, as the client makes them."""
    fields: dict[int, tuple[str, bytes]] = {}
    messages: list[OutgoingMessage] = []
    for number in numbers:
        if number not in fields:
            topic = f"site/berlin/building/3/device/{number}/state"
            fields[number] = topic, encode_topic(topic)
        topic, field = fields[number]
        messages.append(OutgoingMessage(topic, field, PAYLOAD, 0, False, b"\0", 300))  # noqa: FBT003
    return messages


def connect(allowed: int) -> Connection:
    """A connection to a Server that allows so many Topic Aliases."""
    connection = Connection(
        SessionState(), Connect("c"), MQTT_5, receive_maximum=100, use_topic_aliases=True
    )
    connack = ConnAck(properties=Properties(topic_alias_maximum=allowed or None))
    connection.receive_data(encode(connack, MQTT_5))
    connection.next_events()
    connection.output.take()
    return connection


def measure(messages: Sequence[OutgoingMessage], allowed: int) -> tuple[float, float]:
    """Seconds and bytes for each message."""
    connection = connect(allowed)
    send, output = connection.sender.send, connection.output
    size = 0
    start = perf_counter()
    for position in range(0, len(messages), _BATCH):
        for message in messages[position : position + _BATCH]:
            send(message)
        size += output.size
        output.take()
    return (perf_counter() - start) / len(messages), size / len(messages)


def table(count: int, rounds: int) -> Iterator[str]:
    """Lines to print."""
    for name, pattern in PATTERNS.items():
        messages = make_messages(pattern(count))
        best = [min(measure(messages, allowed) for _ in range(rounds)) for allowed in ALLOWED]
        columns = [f"{seconds * 1e6:>12.2f} us{size:>10.1f}" for seconds, size in best]
        yield f"  {name:16}{''.join(columns)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aliases", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(%(default)s)")
    options = parser.parse_args(arguments)
    print(f"Encoding one message, {report.load()}; time, and bytes on the wire, with so many")
    print("Topic Aliases allowed.\n")
    print(f"  {'topics':16}" + "".join(f"{allowed:>15,}{'bytes':>10}" for allowed in ALLOWED))
    for line in table(options.messages, options.rounds):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
