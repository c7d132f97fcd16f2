"""The life of a client in its log: at INFO a line for each event, and none for each message."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from trio_mqtt._enums import QoS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_mqtt._client._requests import Grant
    from trio_mqtt._protocol.server_info import ServerInfo

_MOST_TWO_BYTE: Final = 65_535
_logger = logging.getLogger("trio_mqtt")

_LIMITS: Final[tuple[tuple[Callable[[ServerInfo], object], str], ...]] = (
    (lambda server: server.maximum_qos < QoS.EXACTLY_ONCE, "Maximum QoS {0.maximum_qos:d}"),
    (lambda server: server.receive_maximum < _MOST_TWO_BYTE, "Receive Maximum {0.receive_maximum}"),
    (lambda server: server.maximum_packet_size, "Maximum Packet Size {0.maximum_packet_size}"),
    (lambda server: not server.retain_available, "no retained messages"),
    (lambda server: not server.wildcard_subscription_available, "no wildcards"),
    (lambda server: not server.shared_subscription_available, "no shared subscriptions"),
)
"""What a Server may withhold that a program could want, and how that is told."""


def tell_connected(
    name: str, server: ServerInfo, *, keep_alive: int, again: bool, after: str
) -> None:
    """There is a connection.

    Args:
        name: the address of the Server, without credentials.
        server: what it said.
        keep_alive: the Keep Alive that was asked for, in seconds.
        again: whether there was a connection before.
        after: how long that took, for people, or empty if it came at once.
    """
    if not _logger.isEnabledFor(logging.INFO):
        return
    limits = [text.format(server) for applies, text in _LIMITS if applies(server)]
    if server.keep_alive != keep_alive:
        limits.append(f"Keep Alive {server.keep_alive} s")
    _logger.info(
        "connected %sto %s%s as %r with %s and %s%s",
        "again " if again else "",
        name,
        after,
        server.client_id,
        server.protocol.title,
        "the session it had" if server.session_present else "a new session",
        f"; the server says: {', '.join(limits)}" if limits else "",
    )


def tell_subscribed(grants: Iterable[Grant]) -> None:
    """The Server has granted these subscriptions."""
    parts: list[str] = []
    for grant in grants:
        wanted, granted = grant.route.options.qos, grant.reason_code
        less = "" if granted == wanted else f" instead of {wanted:d}"
        parts.append(f"{grant.route.topic_filter!r} at QoS {granted:d}{less}")
    if parts:
        _logger.info("subscribed to %s", ", ".join(parts))


def tell_subscribed_again(topic_filter: str, granted: int) -> None:
    """The Server has granted a subscription that it had lost."""
    _logger.info("subscribed again to %r at QoS %d", topic_filter, granted)


def tell_unsubscribed(topic_filter: str) -> None:
    """The Server has ended a subscription."""
    _logger.info("unsubscribed from %r", topic_filter)


def tell_closed(name: str, *, connected: bool) -> None:
    """The client was closed, and has not failed."""
    text = "disconnected from %s" if connected else "the client of %s is closed; it was offline"
    _logger.info(text, name)
