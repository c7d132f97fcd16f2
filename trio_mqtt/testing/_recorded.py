"""One line of a recording, and how packets lose their secrets before they get into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from trio_mqtt.packets import Auth, ConnAck, Connect

if TYPE_CHECKING:
    from trio_mqtt._enums import Protocol
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing._faults import Ending

Sender = Literal["client", "server", "network"]

REDACTED: Final = "<redacted>"
"""Stands for User Name, Password and Authentication Data."""


@attrs.frozen(kw_only=True)
class Recorded:
    """One thing that passed the network: a packet, bytes that are none, or the end.

    Attributes:
        connection: its number in `FaultyNetwork.connections`.
        time: when, in seconds since the recording began.
        sender: ``"client"`` or ``"server"``; ``"network"`` if that broke the connection.
        packet: the Control Packet, or None.
        protocol: the version of MQTT, if the packet is a CONNECT.
        data: bytes in which no packet could be found, none at all if they were left out; or None.
        end: how the sender ended the connection, ``"close"`` or ``"reset"``, or None.
    """

    connection: int
    time: float
    sender: Sender
    packet: Packet | None = None
    protocol: Protocol | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    end: Ending | None = None


def redacted(packet: Packet) -> Packet:
    """The packet without User Name, Password and Authentication Data."""
    if isinstance(packet, Connect):
        packet = attrs.evolve(
            packet,
            username=None if packet.username is None else REDACTED,
            password=None if packet.password is None else REDACTED.encode(),
        )
    if isinstance(packet, Connect | ConnAck | Auth) and packet.properties.authentication_data:
        properties = attrs.evolve(packet.properties, authentication_data=REDACTED.encode())
        return attrs.evolve(packet, properties=properties)
    return packet
