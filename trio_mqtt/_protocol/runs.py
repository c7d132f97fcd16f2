"""Acknowledgements that arrive one behind the other and take the same step, each of its handshake.

For a Session without storage in which nothing is unusual: `Sender.on_acknowledgements` looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.handshakes import SENDER, SenderInput, SenderState
from trio_mqtt.packets import NO_PROPERTIES, PubAck, PubComp, PubRec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trio_mqtt._protocol.session import SessionState
    from trio_mqtt.packets import Packet

    Kind = type[PubAck | PubRec | PubComp]

ACKNOWLEDGEMENTS: Final = (PubAck, PubRec, PubComp)
NEXT_STEPS: Final[Mapping[type, tuple[SenderState, SenderInput]]] = {
    PubAck: (SenderState.AWAITING_PUBACK, SenderInput.PUBACK),
    PubRec: (SenderState.AWAITING_PUBREC, SenderInput.PUBREC),
    PubComp: (SenderState.AWAITING_PUBCOMP, SenderInput.PUBCOMP),
}
"""When each comes, and what it is, if all goes well."""


def finish_each(
    session: SessionState, packets: Iterable[Packet], kind: Kind, state: SenderState
) -> list[OutgoingMessage]:
    """End exchanges that stand in this state, up to the first packet that does something else.

    Returns:
        The messages that they belong to.
    """
    in_use = session.identifiers.in_use
    after = SENDER[state, NEXT_STEPS[kind][1]].state
    size = 0
    finished: list[OutgoingMessage] = []
    for packet in packets:
        if not isinstance(packet, kind):
            break
        packet_id = packet.packet_id
        message = in_use.get(packet_id)
        if not isinstance(message, OutgoingMessage) or message.state is not state:
            break
        del in_use[packet_id]
        message.state = after
        message.acknowledgement = packet if packet.reason_code else message.verdict or packet
        size += message.size
        finished.append(message)
    session.outgoing_size -= size
    return finished


def release_each(
    session: SessionState, packets: Iterable[Packet], kind: Kind, state: SenderState
) -> list[int]:
    """Note that PUBREC has come, up to the first packet that says or does something else.

    Returns:
        The Packet Identifiers, for the PUBRELs.
    """
    in_use = session.identifiers.in_use
    after = SENDER[state, NEXT_STEPS[kind][1]].state
    released: list[int] = []
    for packet in packets:
        # PUBCOMP will not repeat what PUBREC says, so that has to be kept.
        if not isinstance(packet, kind) or packet.reason_code:
            break
        if packet.properties is not NO_PROPERTIES:
            break
        message = in_use.get(packet.packet_id)
        if not isinstance(message, OutgoingMessage) or message.state is not state:
            break
        message.state = after
        session.release(message)
        released.append(packet.packet_id)
    return released
