"""The clients compared.

Each has a module whose WORK is a table from the kind of work to a function that does a `Job` and
returns the seconds it took; or of each message, if the job is to measure that. It raises if a
message did not arrive or was not acknowledged.

The clock starts when a client that is connected begins: to publish, or to subscribe. It stops when
the last message has arrived, and at QoS 1 and 2 the Server has had all acknowledgements; or when
the last acknowledgement has come. After QoS 0 messages published, one of QoS 1 tells that they have
arrived.

The modules of others run without trio_mqtt, in environments of their own; see `benchmarks.peers`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.jobs import Job

    Work = Mapping[str, Callable[[Job], float | list[float]]]
    """By kind, a function that does a job; the seconds it took, or what each message took."""


@attrs.frozen(kw_only=True)
class Client:
    """A client to compare with others.

    Attributes:
        module: its module in this package.
        distribution: what it is called where it is installed from; None if it is a program.
        requirement: how to install it in an environment of its own; "" if it is here.
        program: what has to be installed instead.
        share: how many times the messages: so that a run takes neither minutes nor a fraction of a
            second, in which the machine may do something else. The rate is the same for fewer.
        cannot: what it does not do, by the kind of work or the transport, and why.
    """

    module: str
    distribution: str | None
    requirement: str = ""
    program: str = ""
    share: float = 1.0
    cannot: Mapping[str, str] = attrs.field(factory=dict[str, str])


CPU: Final = "cpu"
"""Messages a second of processor time, which tells more than a second while others use it, too."""

DURABLE: Final = "durable"
"""Ours with a Session on disk, which can only publish; see `benchmarks.durable`."""

MOSQUITTO: Final = "mosquitto"
"""mosquitto_sub and mosquitto_pub."""

BARE: Final = "bare loop"
"""What reading and parsing cost, in Python, if nothing else is done."""

BARE_TRIO: Final = "bare, on Trio"
"""The same, and what every client on Trio has to do for a message."""

_ONLY: Final = "The bare loops only receive, at QoS 0 and over TCP"
_BARE_CANNOT: Final = {
    **dict.fromkeys(("publish", "tasks", "latency", "request", "connect"), _ONLY),
    **dict.fromkeys(("ws", "tls", "duplicates", "mosquitto", "filters"), _ONLY),
    "receive QoS 1": _ONLY,
    "receive QoS 2": _ONLY,
}

CLIENTS: Final = {
    "trio_mqtt": Client(module="ours", distribution="trio-mqtt", share=5),
    DURABLE: Client(module="ours_durable", distribution="trio-mqtt"),
    "gmqtt": Client(
        module="of_gmqtt",
        distribution="gmqtt",
        requirement="gmqtt>=0.7,<1",
        cannot={
            "tasks": "gmqtt cannot wait for one acknowledgement: its publish returns nothing",
            "ws": "gmqtt has no WebSocket",
        },
    ),
    "mqttium": Client(module="of_mqttium", distribution="mqttium", requirement="mqttium>=1.2,<1.3"),
    "aiomqtt 3": Client(
        module="of_aiomqtt3",
        distribution="aiomqtt",
        requirement="aiomqtt==3.0.0a1",
        cannot={"ws": "aiomqtt 3 has no WebSocket"},
    ),
    "paho": Client(
        module="paho", distribution="paho-mqtt", requirement="paho-mqtt>=2.1,<3", share=0.05
    ),
    "zmqtt": Client(
        module="of_zmqtt",
        distribution="zmqtt",
        requirement="zmqtt>=0.2,<0.3",
        share=0.05,
        cannot={"ws": "zmqtt has no WebSocket"},
    ),
    "aiomqtt 2": Client(
        module="of_aiomqtt2", distribution="aiomqtt", requirement="aiomqtt>=2.5,<3", share=0.05
    ),
    MOSQUITTO: Client(
        module="of_mosquitto",
        distribution=None,
        program="mosquitto_sub",
        share=0.5,
        cannot={
            "ws": "mosquitto_sub has no WebSocket",
            "filters": "mosquitto_sub does not tell when it has subscribed",
            **dict.fromkeys(
                ("tasks", "latency", "request", "connect", "duplicates"),
                "mosquitto_pub and mosquitto_sub only publish and receive",
            ),
            "mosquitto": "Mosquitto's own clients are measured by the canned server",
        },
    ),
    BARE: Client(module="bare", distribution=None, share=5, cannot=_BARE_CANNOT),
    BARE_TRIO: Client(module="bare_trio", distribution=None, share=5, cannot=_BARE_CANNOT),
}
"""The first is the one that the others are compared with."""


class MessagesLost(Exception):
    """So many of the messages that were sent to the client did not arrive."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def subscribed(job: Job, start: float) -> float:
    """Tell that the server may send; when the time begins.

    It begins before SUBSCRIBE, as messages may come with SUBACK. Where there are many Topic
    Filters, the server waits for this, and what it takes to subscribe does not count.
    """
    print("subscribed", flush=True)
    return start if job.subscriptions == 1 else perf_counter()
