"""What the tests of the ledger share."""

from __future__ import annotations

import pytest

from tests.protocol.support import Wire
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt.packets import NO_PROPERTIES, ConnAck, Connect, Properties

PATIENCE = 100
"""Longer than anything takes, in seconds of Trio's clock."""


def by_version(new: str, old: str) -> pytest.MarkDecorator:
    """Run a test in MQTT 5.0 and in 3.1.1; it shows these statements of each.

    Args:
        new: identifiers of MQTT 5.0, with spaces between them.
        old: those of MQTT 3.1.1, without `311:`.
    """
    names = {MQTT_5: new.split(), MQTT_3_1_1: [f"311:{each}" for each in old.split()]}
    return pytest.mark.parametrize(
        "protocol",
        [
            pytest.param(protocol, id=protocol.title, marks=pytest.mark.statement(*statements))
            for protocol, statements in names.items()
        ],
    )


def first_connection(protocol: Protocol = MQTT_5) -> Wire:
    """The first connection of a Session that the Server keeps."""
    return Wire(protocol, connect=Connect("c", clean_start=False))


def again(before: Wire, *, present: bool = True, receive_maximum: int | None = None) -> Wire:
    """The next connection of a Session; what is sent on it is there to be looked at.

    Args:
        before: the connection before it, which is over.
        present: whether the Server still has the Session.
        receive_maximum: what the Server grants.
    """
    before.connection.end()
    wire = Wire(
        before.protocol,
        connect=Connect("c", clean_start=False),
        connack=None,
        session=before.session,
    )
    wire.sent()
    properties = Properties(receive_maximum=receive_maximum) if receive_maximum else NO_PROPERTIES
    connack = ConnAck(session_present=present, properties=properties)
    assert wire.feed(connack) == [connack]
    wire.connection.sender.pump()
    return wire
