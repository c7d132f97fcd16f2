"""Every property of every packet: how a caller sets it, or reads it, and what is nobody's to set.

A property that is in the standard's table and not in one of these makes the tests fail.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

import attrs
import pytest
import trio

import trio_mqtt
from tests.client.moments import PATIENCE
from trio_mqtt import (
    ConnectionLost,
    ConnectRejected,
    PublishRejected,
    ReasonCode,
    Session,
    SubscribeRejected,
    TopicFilter,
    UnsubscribeRejected,
    Will,
)
from trio_mqtt._enums import PacketType
from trio_mqtt.packets import (
    PROPERTY_TABLE,
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.packets._property_table import WILL
from trio_mqtt.testing import Expect, ScriptedPeer, Send, Server

open_client = trio_mqtt.open_client
_P: Final = PacketType
PAIRS: Final = (("a", "b"), ("a", "c"))
SENT: Final = (
    _P.CONNECT,
    WILL,
    _P.PUBLISH,
    _P.PUBACK,
    _P.PUBREC,
    _P.PUBREL,
    _P.PUBCOMP,
    _P.SUBSCRIBE,
    _P.UNSUBSCRIBE,
    _P.DISCONNECT,
    _P.AUTH,
)
RECEIVED: Final = (
    _P.CONNACK,
    _P.PUBLISH,
    _P.PUBACK,
    _P.PUBREC,
    _P.PUBREL,
    _P.PUBCOMP,
    _P.SUBACK,
    _P.UNSUBACK,
    _P.DISCONNECT,
    _P.AUTH,
)
WORDS: Final = ("reason_string", "user_properties")
AUTHENTICATION: Final = ("authentication_method", "authentication_data")
EXCHANGE: Final = "the authenticator's: tests of authentication"
NOT_SET: Final[dict[tuple[int, str], str]] = {
    (_P.PUBLISH, "subscription_identifiers"): "no Client may: MQTT-3.3.4-6",
    **{(_P.PUBREL, name): "the message was told of in PUBLISH; nothing is left" for name in WORDS},
    **{(_P.PUBCOMP, name): "what was to be said is in PUBREC" for name in WORDS},
    (_P.DISCONNECT, "server_reference"): "a Server's",
    **{(_P.CONNECT, name): EXCHANGE for name in AUTHENTICATION},
    **{(_P.AUTH, name): EXCHANGE for name in (*AUTHENTICATION, *WORDS)},
}
"""What is not the caller's to set."""
NOT_READ: Final[dict[tuple[int, str], str]] = {
    (_P.DISCONNECT, "session_expiry_interval"): "no Server may: MQTT-3.14.2-2",
    **{(_P.PUBREL, name): "the message was settled before; nobody waits" for name in WORDS},
    **{(_P.CONNACK, name): EXCHANGE for name in AUTHENTICATION},
    **{(_P.AUTH, name): EXCHANGE for name in (*AUTHENTICATION, *WORDS)},
}
"""What no caller reads."""


def in_the_standard(packets: tuple[int, ...]) -> set[tuple[int, str]]:
    return {
        (packet, row.name) for row in PROPERTY_TABLE for packet in row.packets if packet in packets
    }


MESSAGE: Final[dict[str, Any]] = {
    "message_expiry": 60,
    "content_type": "text/plain",
    "response_topic": "r",
    "correlation_data": b"1",
    "user_properties": PAIRS,
}
AS_PROPERTIES: Final = Properties(
    payload_format_indicator=1,
    message_expiry_interval=60,
    content_type="text/plain",
    response_topic="r",
    correlation_data=b"1",
    user_properties=PAIRS,
)
EXPLAINED: Final = Properties(reason_string="why", user_properties=PAIRS)
ON_THE_WIRE: Final[dict[int, Properties]] = {
    _P.CONNECT: Properties(
        session_expiry_interval=1000,
        request_problem_information=0,
        request_response_information=1,  # always
        receive_maximum=9,
        maximum_packet_size=9000,
        topic_alias_maximum=4,
        user_properties=PAIRS,
    ),
    WILL: attrs.evolve(AS_PROPERTIES, will_delay_interval=5),
    _P.PUBLISH: attrs.evolve(AS_PROPERTIES, topic_alias=1),  # by itself
    _P.PUBACK: EXPLAINED,
    _P.PUBREC: EXPLAINED,
    _P.SUBSCRIBE: Properties(subscription_identifiers=(1,), user_properties=PAIRS),
    _P.UNSUBSCRIBE: Properties(user_properties=PAIRS),
    _P.DISCONNECT: Properties(
        session_expiry_interval=7, reason_string="why", user_properties=PAIRS
    ),
}
"""What the client below sends."""


def present(properties: Properties) -> set[str]:
    return {row.name for row in PROPERTY_TABLE if getattr(properties, row.name) not in (None, ())}


def test_no_property_that_a_client_sends_is_forgotten() -> None:
    shown = {(packet, name) for packet, all_ in ON_THE_WIRE.items() for name in present(all_)}
    assert shown | NOT_SET.keys() == in_the_standard(SENT)
    assert not shown & NOT_SET.keys()


def test_no_property_that_a_client_receives_is_forgotten() -> None:
    assert READ.keys() | NOT_READ.keys() == in_the_standard(RECEIVED)
    assert not READ.keys() & NOT_READ.keys()


async def test_every_property_is_set(server: Server) -> None:
    async with open_client(
        connector=server.connect,
        session=Session("c", expiry=1000),
        will=Will(topic="gone", payload="x", delay=5, **MESSAGE),
        request_problem_information=False,
        receive_maximum=9,
        maximum_packet_size=9000,
        topic_alias_maximum=4,
        user_properties=PAIRS,
    ) as client:
        async with client.subscribe("a/long/topic", qos=2, user_properties=PAIRS) as messages:
            for qos in (1, 2):
                await client.publish("a/long/topic", "x", qos=qos, **MESSAGE)
                message = await messages.receive()
                message.ack(reason_string="why", user_properties=PAIRS)
            await client.unsubscribe("a/long/topic", user_properties=PAIRS)
        client.disconnect_with(session_expiry=7, reason_string="why", user_properties=PAIRS)
    await server.wait_for(Disconnect)
    last = {
        type(entry.packet): entry.packet for entry in server.log if entry.direction == "received"
    }
    connect = last[Connect]
    assert isinstance(connect, Connect)
    assert connect.will is not None
    sent: dict[int, Properties] = {_P.CONNECT: connect.properties, WILL: connect.will.properties}
    for kind in (Publish, PubAck, PubRec, Subscribe, Unsubscribe, Disconnect):
        packet = last[kind]
        assert isinstance(packet, kind)
        sent[_P[kind.__name__.upper()]] = packet.properties
    assert sent == ON_THE_WIRE


# -- reading ----------------------------------------------------------------------------------

GRANTED: Final = Properties(
    session_expiry_interval=70,
    assigned_client_identifier="given",
    server_keep_alive=33,
    response_information="responses/c",
    server_reference="other.example",
    reason_string="why",
    receive_maximum=44,
    topic_alias_maximum=5,
    maximum_qos=1,
    retain_available=0,
    user_properties=PAIRS,
    maximum_packet_size=9000,
    wildcard_subscription_available=0,
    subscription_identifier_available=0,
    shared_subscription_available=0,
)
ARRIVED: Final = attrs.evolve(AS_PROPERTIES, subscription_identifiers=(3, 4), topic_alias=2)
LEFT: Final = Properties(reason_string="why", server_reference="other", user_properties=PAIRS)
READ: Final[dict[tuple[int, str], str]] = {
    (_P.CONNACK, "session_expiry_interval"): "server.session_expiry_interval",
    (_P.CONNACK, "assigned_client_identifier"): "server.client_id",
    (_P.CONNACK, "server_keep_alive"): "server.keep_alive",
    (_P.CONNACK, "response_information"): "server.response_information",
    (_P.CONNACK, "server_reference"): "server.server_reference",
    (_P.CONNACK, "reason_string"): "server.reason_string",
    (_P.CONNACK, "receive_maximum"): "server.receive_maximum",
    (_P.CONNACK, "topic_alias_maximum"): "server.topic_alias_maximum",
    (_P.CONNACK, "maximum_qos"): "server.maximum_qos",
    (_P.CONNACK, "retain_available"): "server.retain_available",
    (_P.CONNACK, "user_properties"): "server.user_properties",
    (_P.CONNACK, "maximum_packet_size"): "server.maximum_packet_size",
    (_P.CONNACK, "wildcard_subscription_available"): "server.wildcard_subscription_available",
    (_P.CONNACK, "subscription_identifier_available"): "server.subscription_identifier_available",
    (_P.CONNACK, "shared_subscription_available"): "server.shared_subscription_available",
    (_P.PUBLISH, "payload_format_indicator"): "message.properties.payload_format_indicator",
    (_P.PUBLISH, "message_expiry_interval"): "message.message_expiry",
    (_P.PUBLISH, "content_type"): "message.content_type",
    (_P.PUBLISH, "response_topic"): "message.response_topic",
    (_P.PUBLISH, "correlation_data"): "message.correlation_data",
    (_P.PUBLISH, "user_properties"): "message.user_properties",
    (_P.PUBLISH, "subscription_identifiers"): "message.properties.subscription_identifiers",
    (_P.PUBLISH, "topic_alias"): "message.properties.topic_alias",
    **{(_P.PUBACK, name): f"of_puback.{name}" for name in WORDS},
    **{(_P.PUBREC, name): f"of_pubrec.{name}" for name in WORDS},
    **{(_P.PUBCOMP, name): f"of_pubcomp.{name}" for name in WORDS},
    **{(_P.SUBACK, name): f"of_suback.{name}" for name in WORDS},
    **{(_P.UNSUBACK, name): f"of_unsuback.{name}" for name in WORDS},
    (_P.DISCONNECT, "reason_string"): "lost.reason_string",
    (_P.DISCONNECT, "server_reference"): "lost.server_reference",
    (_P.DISCONNECT, "user_properties"): "lost.user_properties",
}
"""Where the caller of the client below finds each property."""
ARRIVES: Final[dict[int, Properties]] = {
    _P.CONNACK: GRANTED,
    _P.PUBLISH: ARRIVED,
    _P.DISCONNECT: LEFT,
    **dict.fromkeys((_P.PUBACK, _P.PUBREC, _P.PUBCOMP, _P.SUBACK, _P.UNSUBACK), EXPLAINED),
}


async def test_every_property_is_read() -> None:
    unlimited = attrs.evolve(GRANTED, maximum_qos=None)
    suback = SubAck(1, (ReasonCode.SUCCESS,), EXPLAINED)
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Send(ConnAck(properties=unlimited)),
            *[Expect(Subscribe), Send(suback)],
            Send(Publish("t", b"x", properties=ARRIVED)),
            *[Expect(Unsubscribe), Send(UnsubAck(2, (ReasonCode.SUCCESS,), EXPLAINED))],
            *[Expect(Publish), Send(PubAck(3, properties=EXPLAINED))],
            *[Expect(Publish), Send(PubRec(4, properties=EXPLAINED))],
            *[Expect(PubRel), Send(PubComp(4))],
            *[Expect(Publish), Send(PubRec(5))],
            *[Expect(PubRel), Send(PubComp(5, properties=EXPLAINED))],
            Send(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN, LEFT)),
        ],
        timeout=PATIENCE,
    )
    found: dict[str, Any] = {}
    with pytest.raises(ConnectionLost) as caught:
        async with open_client(
            connector=peer.connect, client_id="", reconnect=None, topic_alias_maximum=2
        ) as client:
            found["server"] = client.server
            async with client.subscribe("t") as messages:
                found["of_suback"] = messages.answers["t"]
                found["message"] = await messages.receive()
                found["of_unsuback"] = await client.unsubscribe("t")
            found["of_puback"] = await client.publish("t", qos=1)
            found["of_pubrec"] = await client.publish("t", qos=2)
            found["of_pubcomp"] = await client.publish("t", qos=2)
            await trio.sleep_forever()
    found["lost"] = caught.value
    for (packet, name), path in READ.items():
        expected = getattr(ARRIVES[packet], name)
        if (packet, name) == (_P.CONNACK, "maximum_qos"):
            expected = 2  # else there were no QoS 2 to read the answers of
        thing, *attributes = path.split(".")
        assert reduce(getattr, attributes, found[thing]) == expected, path


# -- reading of what is refused ---------------------------------------------------------------


async def test_what_is_refused_says_the_same() -> None:
    refused = ReasonCode.QUOTA_EXCEEDED
    peer = ScriptedPeer(
        [
            *[Expect(Connect), Send(ConnAck())],
            *[Expect(Subscribe), Send(SubAck(1, (refused,), EXPLAINED))],
            *[Expect(Unsubscribe), Send(UnsubAck(2, (ReasonCode.NOT_AUTHORIZED,), EXPLAINED))],
            *[Expect(Publish), Send(PubAck(3, refused, EXPLAINED))],
            *[Expect(Publish), Send(PubRec(4, refused, EXPLAINED))],
            Expect(Disconnect),
        ],
        [Expect(Connect), Send(ConnAck(reason_code=ReasonCode.SERVER_BUSY, properties=LEFT))],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect, reconnect=None) as client:
        with pytest.raises(SubscribeRejected) as of_suback:
            async with client.subscribe("t"):
                raise AssertionError("not reached")
        with pytest.raises(UnsubscribeRejected) as of_unsuback:
            await client.unsubscribe("t")
        with pytest.raises(PublishRejected) as of_puback:
            await client.publish("t", qos=1)
        with pytest.raises(PublishRejected) as of_pubrec:
            await client.publish("t", qos=2)
    with pytest.raises(ConnectRejected) as of_connack:
        async with open_client(connector=peer.connect, reconnect=None):
            raise AssertionError("not reached")
    for caught in (of_suback, of_unsuback, of_puback, of_pubrec, of_connack):
        error: Any = caught.value
        assert (error.reason_string, error.user_properties) == ("why", PAIRS)
        assert "why" in str(error)
    assert of_connack.value.server_reference == "other"
    peer.assert_done()


# -- what the type checkers would have told ---------------------------------------------------


NO_PAIRS: Final[dict[str, Any]] = {
    "a dict": {"id": "7"},
    "a str": "ab",
    "no pair": ["id"],
    "a number": [("attempt", 3)],
    "bytes": [(b"a", "b")],
}


@pytest.mark.parametrize("pairs", NO_PAIRS.values(), ids=NO_PAIRS)
async def test_what_is_no_pair_of_str_is_told_by_name(server: Server, pairs: Any) -> None:
    words = pytest.raises(TypeError, match=r"(?i)user.properties|User Property")
    async with open_client(connector=server.connect) as client:
        with words:
            await client.publish("t", user_properties=pairs)
        with words:
            await client.unsubscribe("t", user_properties=pairs)
        with words:
            async with client.subscribe("t", user_properties=pairs):
                raise AssertionError("not reached")
        with words:
            client.disconnect_with(user_properties=pairs)
    with words:
        async with open_client(
            connector=server.connect, will=Will(topic="t", user_properties=pairs)
        ):
            raise AssertionError("not reached")
    with words:
        async with open_client(connector=server.connect, user_properties=pairs):
            raise AssertionError("not reached")


@pytest.mark.parametrize("topic", [3, None, b"t", TopicFilter("t")], ids=repr)
async def test_what_is_no_topic_is_told_by_name(server: Server, topic: Any) -> None:
    async with open_client(connector=server.connect) as client:
        with pytest.raises(TypeError, match="a Topic Name is a str, not"):
            await client.publish(topic)
        with pytest.raises(TypeError, match="a Topic Filter is a str, not"):
            await client.unsubscribe(topic)
        if not isinstance(topic, TopicFilter):
            with pytest.raises(TypeError, match="a Topic Filter is a str, not"):
                async with client.subscribe(topic):
                    raise AssertionError("not reached")
