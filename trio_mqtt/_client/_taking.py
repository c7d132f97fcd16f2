"""Who takes what happens on a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mqtt._client._message import Message
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.runs import FinishedRun
from trio_mqtt.packets import Auth, Disconnect
from trio_mqtt.packets._runs import PublishRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mqtt._client._authenticating import Authenticating
    from trio_mqtt._client._deliveries import Deliveries
    from trio_mqtt._client._sending import Sending


@attrs.frozen
class Takers:
    """Who takes events, by their class.

    Attributes:
        one: takes an event; may raise ConnectionLost.
        run: takes as many as it can at once of a run of events, from this position on, and returns
            how many; the next one is for `one`, if that is none.
    """

    one: Mapping[type, Callable[..., object]]
    run: Mapping[type, Callable[..., int]]


def make_takers(
    deliveries: Deliveries,
    sending: Sending,
    authenticating: Authenticating,
    disconnected: Callable[[Disconnect], object],
) -> Takers:
    """The parts of a client, each with what it takes."""
    return Takers(
        one={
            Message: deliveries.deliver,
            OutgoingMessage: sending.finish,
            Request: Request.tell,
            Disconnect: disconnected,
            Auth: authenticating.received,
        },
        run={PublishRun: deliveries.deliver_run, FinishedRun: sending.finish_run},
    )
