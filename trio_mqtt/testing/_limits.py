"""What the test server grants: the limits that CONNACK announces and its own bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from attrs import validators

from trio_mqtt._enums import Protocol, QoS
from trio_mqtt.packets import Properties

if TYPE_CHECKING:
    from collections.abc import Collection

_MOST_TWO_BYTE = 65_535
_MOST_FOUR_BYTE = 4_294_967_295


def _protocols(values: Collection[Protocol]) -> frozenset[Protocol]:
    return frozenset(values)


@attrs.frozen(kw_only=True)
class ServerLimits:
    """What a test server grants to its clients.

    Attributes:
        protocols: the versions of MQTT that it speaks.
        refusal: how it turns other versions down: ``"connack"`` answers in the client's own
            version, ``"connack_3_1_1"`` sends ``20 02 00 01`` even to MQTT 5.0, and ``"close"``
            closes the connection before any byte.
        receive_maximum: Receive Maximum.
        maximum_qos: Maximum QoS.
        retain_available: Retain Available.
        maximum_packet_size: Maximum Packet Size in bytes, or None.
        topic_alias_maximum: Topic Alias Maximum.
        wildcard_subscription_available: Wildcard Subscription Available.
        subscription_identifier_available: Subscription Identifier Available.
        shared_subscription_available: Shared Subscription Available.
        server_keep_alive: Server Keep Alive in seconds, or None to take the client's.
        session_expiry_maximum: the most seconds that a session is kept, or None.
        response_information: given to each client that asks for it, or None.
        connect_timeout: seconds until a connection that sends no CONNECT is closed.
        maximum_queued: how many messages wait for one session; those that come on top are dropped.
        queue_qos_0_offline: whether QoS 0 messages wait for a session that is not connected.
        overlapping: where several subscriptions of a session match, ``"merge"`` sends one PUBLISH
            with all their Subscription Identifiers, ``"copies"`` one for each (3.3.4).
        outbound_topic_aliases: whether the server uses the Topic Aliases that a client allows.
    """

    protocols: frozenset[Protocol] = attrs.field(
        default=frozenset(Protocol), converter=_protocols, validator=validators.min_len(1)
    )
    refusal: Literal["connack", "connack_3_1_1", "close"] = attrs.field(
        default="connack", validator=validators.in_(("connack", "connack_3_1_1", "close"))
    )
    receive_maximum: int = attrs.field(
        default=_MOST_TWO_BYTE, validator=[validators.ge(1), validators.le(_MOST_TWO_BYTE)]
    )
    maximum_qos: int = attrs.field(default=QoS.EXACTLY_ONCE, validator=validators.in_(tuple(QoS)))
    retain_available: bool = True
    maximum_packet_size: int | None = attrs.field(
        default=None,
        validator=validators.optional([validators.ge(1), validators.le(_MOST_FOUR_BYTE)]),
    )
    topic_alias_maximum: int = attrs.field(
        default=10, validator=[validators.ge(0), validators.le(_MOST_TWO_BYTE)]
    )
    wildcard_subscription_available: bool = True
    subscription_identifier_available: bool = True
    shared_subscription_available: bool = True
    server_keep_alive: int | None = attrs.field(
        default=None,
        validator=validators.optional([validators.ge(0), validators.le(_MOST_TWO_BYTE)]),
    )
    session_expiry_maximum: int | None = attrs.field(
        default=None,
        validator=validators.optional([validators.ge(0), validators.le(_MOST_FOUR_BYTE)]),
    )
    response_information: str | None = None
    connect_timeout: float = attrs.field(default=30, validator=validators.gt(0))
    maximum_queued: int = attrs.field(default=10_000, validator=validators.ge(0))
    queue_qos_0_offline: bool = False
    overlapping: Literal["merge", "copies"] = attrs.field(
        default="merge", validator=validators.in_(("merge", "copies"))
    )
    outbound_topic_aliases: bool = False

    def announced(self) -> Properties:
        """The properties of CONNACK that tell a client of these limits; defaults stay away."""
        return Properties(
            receive_maximum=_unless(_MOST_TWO_BYTE, self.receive_maximum),
            maximum_qos=_unless(QoS.EXACTLY_ONCE, self.maximum_qos),  # MQTT-3.2.2-9
            retain_available=_unless(1, self.retain_available),
            maximum_packet_size=self.maximum_packet_size,
            topic_alias_maximum=_unless(0, self.topic_alias_maximum),
            wildcard_subscription_available=_unless(1, self.wildcard_subscription_available),
            subscription_identifier_available=_unless(1, self.subscription_identifier_available),
            shared_subscription_available=_unless(1, self.shared_subscription_available),
            server_keep_alive=self.server_keep_alive,
        )


def _unless(default: int, value: int) -> int | None:
    """The value as it is announced: None if it says no more than its absence would."""
    return None if value == default else int(value)
