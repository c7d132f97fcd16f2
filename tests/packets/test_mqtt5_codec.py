"""Another codec of MQTT 5.0, `mqtt5`, written in Rust, reads and writes what ours does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mqtt5
import pytest
from hypothesis import assume, given

from tests.budget import examples
from tests.packets import strategies
from tests.packets.support import read_one
from tests.packets.test_examples import MQTT_5_ROWS
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

THEIRS: dict[type, Any] = {
    p.Connect: mqtt5.ConnectPacket,
    p.ConnAck: mqtt5.ConnAckPacket,
    p.Publish: mqtt5.PublishPacket,
    p.PubAck: mqtt5.PubAckPacket,
    p.PubRec: mqtt5.PubRecPacket,
    p.PubRel: mqtt5.PubRelPacket,
    p.PubComp: mqtt5.PubCompPacket,
    p.Subscribe: mqtt5.SubscribePacket,
    p.SubAck: mqtt5.SubAckPacket,
    p.Unsubscribe: mqtt5.UnsubscribePacket,
    p.UnsubAck: mqtt5.UnsubAckPacket,
    p.PingReq: mqtt5.PingReqPacket,
    p.PingResp: mqtt5.PingRespPacket,
    p.Disconnect: mqtt5.DisconnectPacket,
    p.Auth: mqtt5.AuthPacket,
}
# Their name of a field, and ours.
NAMES: dict[str, str] = {
    "max_packet_size": "maximum_packet_size",
    "assigned_client_id": "assigned_client_identifier",
    "response_info": "response_information",
    "reason_str": "reason_string",
    "duplicate": "dup",
    "subscription_ids": "subscription_identifiers",
    "receive_max": "receive_maximum",
    "topic_alias_max": "topic_alias_maximum",
    "max_qos": "maximum_qos",
    "subscription_id_available": "subscription_identifier_available",
    "request_problem_info": "request_problem_information",
    "request_response_info": "request_response_information",
    "patterns": "topic_filters",
    "pattern": "topic_filter",
}
DEFAULTS: dict[str, Any] = {
    "payload_format_indicator": 0,
    "receive_max": 65535,
    "topic_alias_max": 0,
    "max_qos": 2,
    "retain_available": True,
    "wildcard_subscription_available": True,
    "subscription_id_available": True,
    "shared_subscription_available": True,
    "request_problem_info": True,
    "request_response_info": False,
    "will_delay_interval": 0,
}
"""What an absent property means by the standard, which is how they give it."""


SPECIAL: dict[tuple[type, str], Callable[[Any], Any]] = {
    (p.Subscribe, "topic_filters"): lambda ours: ours.requests,
    (p.Subscribe, "subscription_id"): lambda ours: (
        *ours.properties.subscription_identifiers,
        None,
    )[0],
    (p.SubscriptionRequest, "max_qos"): lambda ours: ours.qos,
    (p.Connect, "session_expiry_interval"): lambda ours: (
        ours.properties.session_expiry_interval or 0
    ),
    (p.Publish, "packet_id"): lambda ours: ours.packet_id or None,
}


def names_of(theirs: object) -> list[str]:
    return [name for name in dir(type(theirs)) if not name.startswith("_") and name != "write"]


def ours_named(ours: Any, name: str) -> Any:
    """The field of ours that they call `name`."""
    special = SPECIAL.get((ours.__class__, name))
    if special is not None:
        return special(ours)
    own = NAMES.get(name, name)
    if hasattr(ours, own):
        return getattr(ours, own)
    value = getattr(ours.properties, own)
    return DEFAULTS.get(name) if value is None else value


def assert_same(ours: Any, theirs: Any) -> None:
    """Field for field."""
    names = names_of(theirs)
    assert names or isinstance(ours, p.PingReq | p.PingResp)
    for name in names:
        mine, other = ours_named(ours, name), getattr(theirs, name)
        if name in {"topic_filters", "will"}:
            pairs = [(mine, other)] if name == "will" else zip(mine, other, strict=True)
            for one, another in pairs:
                if one is None:
                    assert another is None
                else:
                    assert_same(one, another)
        elif isinstance(other, list):
            assert list(mine) == other, name
        elif name == "payload":
            assert mine == (other or b"")
        else:
            assert mine == other, name


def theirs_from(ours: p.Packet) -> Any:
    data = p.encode(ours, MQTT_5)
    packet, size = mqtt5.read(memoryview(data))
    assert size == len(data)
    return packet


def supported(packet: p.Packet) -> bool:
    """Whether they know all that is in it."""
    # Table 3-10 lacks this code, which Table 2-6 has.
    return not isinstance(packet, p.Disconnect) or packet.reason_code != (
        ReasonCode.BAD_AUTHENTICATION_METHOD
    )


@pytest.mark.parametrize("packet_class", THEIRS)
def test_they_read_what_we_write_and_we_what_they_write(packet_class: type) -> None:
    @examples(80)
    @given(strategies.of_type(packet_class, MQTT_5))
    def check(packet: p.Packet) -> None:
        assume(supported(packet))
        theirs = theirs_from(packet)
        assert type(theirs) is THEIRS[packet_class]
        assert_same(packet, theirs)
        back = read_one(bytes(theirs.write()))
        assert type(back) is packet_class
        assert_same(back, theirs)
        assert_same(back, theirs_from(back))

    check()


@pytest.mark.parametrize("row", MQTT_5_ROWS, ids=lambda row: row[1][:30])
def test_they_read_the_examples(row: tuple[p.Packet, str]) -> None:
    packet, size = mqtt5.read(memoryview(bytes.fromhex(row[1])))
    assert size == len(bytes.fromhex(row[1]))
    assert_same(row[0], packet)
