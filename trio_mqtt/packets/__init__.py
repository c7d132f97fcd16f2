"""MQTT Control Packets: classes, `encode`, and the incremental `PacketReader`.

All 15 packets of MQTT 5.0, 3.1.1 and 3.1, in both directions, strict in both directions. No I/O.
"""

from __future__ import annotations

from trio_mqtt.packets._classes import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    WillMessage,
)
from trio_mqtt.packets._encoder import encode
from trio_mqtt.packets._properties import NO_PROPERTIES, Properties
from trio_mqtt.packets._property_table import PROPERTY_TABLE, PropertyKind, PropertyRow
from trio_mqtt.packets._reader import PacketReader

__all__ = [
    "NO_PROPERTIES",
    "PROPERTY_TABLE",
    "Auth",
    "ConnAck",
    "Connect",
    "Disconnect",
    "Packet",
    "PacketReader",
    "PingReq",
    "PingResp",
    "Properties",
    "PropertyKind",
    "PropertyRow",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "SubAck",
    "Subscribe",
    "SubscriptionRequest",
    "UnsubAck",
    "Unsubscribe",
    "WillMessage",
    "encode",
]


def _claim_names() -> None:
    """Let classes and functions report the module that users import them from."""
    for name in __all__:
        value = globals()[name]
        if callable(value):
            value.__module__ = __name__


_claim_names()
