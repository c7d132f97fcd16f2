"""What the Server has granted in CONNACK, and what that means (3.2.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mqtt._enums import MQTT_5, QoS
from trio_mqtt._protocol.server_info import read_server_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mqtt._cli.diagnosis.findings import Detail, Findings
    from trio_mqtt._enums import Protocol
    from trio_mqtt._protocol.server_info import ServerInfo
    from trio_mqtt.packets import ConnAck, Connect

_FOR_EVER: Final = 0xFFFF_FFFF

LIMITS: Final[Mapping[str, Callable[[ServerInfo], Detail]]] = {
    "Receive Maximum": lambda server: server.receive_maximum,
    "Maximum Packet Size": lambda server: server.maximum_packet_size,
    "Maximum QoS": lambda server: int(server.maximum_qos),
    "Retain Available": lambda server: server.retain_available,
    "Wildcard Subscription Available": lambda server: server.wildcard_subscription_available,
    "Shared Subscription Available": lambda server: server.shared_subscription_available,
    "Subscription Identifiers Available": lambda server: server.subscription_identifier_available,
    "Topic Alias Maximum": lambda server: server.topic_alias_maximum,
    "Server Keep Alive": lambda server: server.keep_alive,
    "Session Expiry Interval": lambda server: server.session_expiry_interval,
    "Assigned Client Identifier": lambda server: server.client_id,
}
"""The limits in their order here, each with what is in force."""

_MISSING: Final[Mapping[str, tuple[Callable[[ServerInfo], bool], str]]] = {
    "QoS 2": (lambda server: server.maximum_qos >= QoS.EXACTLY_ONCE, "publishing at QoS 2"),
    "QoS 1": (lambda server: server.maximum_qos >= QoS.AT_LEAST_ONCE, "publishing at QoS 1"),
    "retain": (lambda server: server.retain_available, "retained messages"),
    "wildcards": (
        lambda server: server.wildcard_subscription_available,
        "wildcards in Topic Filters",
    ),
    "shared": (lambda server: server.shared_subscription_available, "shared subscriptions"),
}
"""What a Server may do without, whether this one has it, and what then is refused."""


def check_limits(
    findings: Findings, connect: Connect, connack: ConnAck, protocol: Protocol
) -> None:
    """Tell what is granted."""
    if protocol is not MQTT_5:
        findings.skip("limits", f"{protocol.title} servers do not say what they grant")
        return
    server = read_server_info(connect, connack, protocol)
    details = {name: read(server) for name, read in LIMITS.items()}
    if connack.properties.assigned_client_identifier is None:
        del details["Assigned Client Identifier"]
    if connack.properties.session_expiry_interval is None:
        del details["Session Expiry Interval"]
    notes = [what for has_it, what in _MISSING.values() if not has_it(server)]
    if server.keep_alive != connect.keep_alive:
        notes.append(f"a keep alive of {connect.keep_alive} s (it wants {server.keep_alive} s)")
    if notes:
        findings.ok("limits", f"the server does not take {_join(notes)}", details)
    else:
        findings.ok("limits", "the server takes all that MQTT 5.0 has", details)


def _join(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
