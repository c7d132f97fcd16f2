"""Acknowledgements that arrive one behind the other and take the same step, each of its handshake.

For a Session without storage in which nothing is unusual: `Sender.on_acknowledgements` looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.handshakes import SENDER, SenderInput, SenderState
from trio_mqtt.packets import PubAck, PubComp, PubRec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt._protocol.session import SessionState
    from trio_mqtt.packets._runs import AcknowledgementRun

NEXT_STEPS: Final[Mapping[type, tuple[SenderState, SenderInput]]] = {
    PubAck: (SenderState.AWAITING_PUBACK, SenderInput.PUBACK),
    PubRec: (SenderState.AWAITING_PUBREC, SenderInput.PUBREC),
    PubComp: (SenderState.AWAITING_PUBCOMP, SenderInput.PUBCOMP),
}
"""When each comes, and what it is, if all goes well."""


class FinishedRun(list[OutgoingMessage]):
    """Messages whose exchanges are over, by packets in a row that say the same."""

    __slots__ = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the Server has accepted them; it has all of them or none."""
        acknowledgement = self[0].acknowledgement
        return acknowledgement is not None and not acknowledgement.reason_code.is_failure


def finish_each(session: SessionState, run: AcknowledgementRun, state: SenderState) -> FinishedRun:
    """End exchanges that stand in this state, up to the first that does not.

    Returns:
        The messages that they belong to. One packet stands for what all of them were told.
    """
    in_use = session.identifiers.in_use
    packet = cast("PubAck | PubRec | PubComp", run.first)
    after = SENDER[state, NEXT_STEPS[packet.__class__][1]].state
    says_more = bool(packet.reason_code)
    size = 0
    finished = FinishedRun()
    for packet_id in run:
        message = in_use.get(packet_id)
        if not isinstance(message, OutgoingMessage) or message.state is not state:
            break
        del in_use[packet_id]
        message.state = after
        message.acknowledgement = packet if says_more else message.verdict or packet
        size += message.size
        finished.append(message)
    session.outgoing_size -= size
    return finished


def release_each(session: SessionState, run: AcknowledgementRun, state: SenderState) -> list[int]:
    """Note that PUBREC has come, up to the first message for which it does something else.

    Returns:
        The Packet Identifiers, for the PUBRELs.
    """
    in_use = session.identifiers.in_use
    after = SENDER[state, NEXT_STEPS[run.first.__class__][1]].state
    number = session.last_release
    released: list[int] = []
    for packet_id in run:
        message = in_use.get(packet_id)
        if not isinstance(message, OutgoingMessage) or message.state is not state:
            break
        message.state = after
        number += 1
        message.released = number
        released.append(packet_id)
    session.last_release = number
    return released
