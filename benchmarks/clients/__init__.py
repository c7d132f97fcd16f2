"""The clients compared.

Each has a module whose WORK is a table from the kind of work to a function that does a `Job` and
returns the seconds it took. It raises if a message did not arrive or was not acknowledged.

The clock starts when a client that is connected begins: to publish, or to subscribe. It stops when
the last message has arrived at QoS 0, was handed to application code at QoS 1, or has its last
acknowledgement. After QoS 0 messages published, one of QoS 1 tells that they have arrived.
"""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Client:
    """A client to compare with others.

    Attributes:
        module: its module in this package.
        distribution: what it is called where it is installed from.
        share: the part of the messages that is enough: a slow client would take minutes for what
            takes another a second, and its rate is the same for fewer.
    """

    module: str
    distribution: str
    share: float = 1.0


DURABLE: Final = "durable"
"""Ours with a Session on disk, which can only publish; see `benchmarks.durable`."""

CLIENTS: Final = {
    "trio_mqtt": Client(module="ours", distribution="trio-mqtt"),
    "paho-mqtt": Client(module="paho", distribution="paho-mqtt", share=0.1),
    DURABLE: Client(module="ours_durable", distribution="trio-mqtt"),
    "gmqtt": Client(module="of_gmqtt", distribution="gmqtt", share=0.5),
}
"""The first is the one that the others are compared with."""


def subscribed() -> None:
    """Tell that the server may send."""
    print("subscribed", flush=True)
