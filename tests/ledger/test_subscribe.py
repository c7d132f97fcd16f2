"""SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (3.8 to 3.11)."""

from __future__ import annotations

import pytest

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_once
from tests.ledger.support import by_version
from tests.packets.support import encode_refused, frame, refused, text
from tests.protocol.support import Wire, subscribe, unsubscribe
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt.testing import open_server

QOS_0, QOS_1, QOS_2 = (
    ReasonCode.GRANTED_QOS_0,
    ReasonCode.GRANTED_QOS_1,
    ReasonCode.GRANTED_QOS_2,
)


def none(protocol: Protocol) -> bytes:
    """No properties."""
    return b"\0" if protocol is MQTT_5 else b""


def to(topic_filter: str, qos: int = 0) -> p.Subscribe:
    return p.Subscribe(1, (p.SubscriptionRequest(topic_filter, qos),))


@by_version("MQTT-3.8.1-1", "MQTT-3.8.1-1")
def test_the_flags_of_subscribe(protocol: Protocol) -> None:
    assert p.encode(to("t"), protocol)[0] == 0b1000_0010


@by_version("MQTT-3.10.1-1", "MQTT-3.10.1-1")
def test_the_flags_of_unsubscribe(protocol: Protocol) -> None:
    assert p.encode(p.Unsubscribe(1, ("t",)), protocol)[0] == 0b1010_0010


@by_version("MQTT-3.8.3-1", "MQTT-3.8.3-1")
def test_topic_filters_of_subscribe_are_utf_8(protocol: Protocol) -> None:
    body = b"\0\1" + none(protocol) + text("\u20ac/+") + b"\1" + text("t") + b"\0"
    requests = (p.SubscriptionRequest("\u20ac/+", 1), p.SubscriptionRequest("t"))
    assert p.encode(p.Subscribe(1, requests), protocol) == frame(0x82, body)
    assert encode_refused(to("\ud800"), protocol) is not None


@by_version("MQTT-3.10.3-1", "MQTT-3.10.3-1")
def test_topic_filters_of_unsubscribe_are_utf_8(protocol: Protocol) -> None:
    body = b"\0\1" + none(protocol) + text("\u20ac/+") + text("t")
    packet = p.Unsubscribe(1, ("\u20ac/+", "t"))
    assert p.encode(packet, protocol) == frame(0xA2, body)
    assert encode_refused(p.Unsubscribe(1, ("\ud800",)), protocol) is not None


@by_version("MQTT-3.8.3-2 U-3.8.3-1", "MQTT-3.8.3-3")
async def test_subscribe_names_a_topic_filter(protocol: Protocol) -> None:
    assert encode_refused(p.Subscribe(1, ()), protocol) is not None
    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
    ):
        with pytest.raises(trio_mqtt.LocalProtocolError, match="at least one"):
            async with client.subscribe():
                raise AssertionError
        assert received(server, p.Subscribe) == []


@by_version("MQTT-3.10.3-2 U-3.10.3-1", "MQTT-3.10.3-2")
async def test_unsubscribe_names_a_topic_filter(protocol: Protocol) -> None:
    assert encode_refused(p.Unsubscribe(1, ()), protocol) is not None
    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
    ):
        with pytest.raises(trio_mqtt.LocalProtocolError):
            await client.unsubscribe()
        assert received(server, p.Unsubscribe) == []


@pytest.mark.statement("MQTT-3.8.3-4")
async def test_no_local_is_not_for_shared_subscriptions() -> None:
    request = p.SubscriptionRequest("$share/g/t", no_local=True)
    assert encode_refused(p.Subscribe(1, (request,))) == "MQTT-3.8.3-4"
    async with open_server() as server, open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.LocalProtocolError, match="no_local"):
            async with client.subscribe("$share/g/t", no_local=True):
                raise AssertionError
        assert received(server, p.Subscribe) == []


@pytest.mark.statement("U-3.8.3.1-1")
async def test_no_qos_3_is_asked_for() -> None:
    assert encode_refused(to("t", 3)) == "3.8.3.1"
    async with open_server() as server, open_once(connector=server.connect) as client:
        with pytest.raises(trio_mqtt.LocalProtocolError, match="qos is 3"):
            async with client.subscribe("t", qos=3):
                raise AssertionError


@pytest.mark.statement("U-3.8.3.1-2")
def test_there_is_no_retain_handling_3() -> None:
    request = p.SubscriptionRequest("t", retain_handling=3)
    assert encode_refused(p.Subscribe(1, (request,))) == "3.8.3.1"


# -- answers -----------------------------------------------------------------------------------


@by_version("MQTT-3.8.4-2", "MQTT-3.8.4-2")
def test_suback_belongs_to_the_subscribe_with_its_identifier(protocol: Protocol) -> None:
    wire = Wire(protocol)
    first, second = wire.request(subscribe()), wire.request(subscribe())
    assert wire.feed(p.SubAck(9, (QOS_1,))) == []  # of nothing
    assert wire.feed(p.SubAck(2, (QOS_1,))) == [second]
    assert (first.answer, second.answer) == (None, p.SubAck(2, (QOS_1,)))


@pytest.mark.statement("311:MQTT-3.10.4-4")
def test_unsuback_belongs_to_the_unsubscribe_with_its_identifier() -> None:
    wire = Wire(MQTT_3_1_1)
    first, second = wire.request(unsubscribe()), wire.request(unsubscribe())
    assert wire.feed(p.UnsubAck(9)) == []  # of nothing
    assert wire.feed(p.UnsubAck(2)) == [second]
    assert (first.answer, second.answer) == (None, p.UnsubAck(2))


@by_version("MQTT-3.8.4-6", "MQTT-3.8.4-5")
def test_suback_has_a_reason_code_for_each_topic_filter(protocol: Protocol) -> None:
    for count in (1, 3):
        wire = Wire(protocol)
        wire.request(subscribe(2))
        error = wire.refuses(p.SubAck(1, (QOS_0,) * count))
        assert error.statement == ("MQTT-3.8.4-6" if protocol is MQTT_5 else "MQTT-3.8.4-5")


@pytest.mark.statement("MQTT-3.11.3-1")
def test_unsuback_has_a_reason_code_for_each_topic_filter_in_order() -> None:
    for count in (1, 3):
        wire = Wire()
        wire.request(unsubscribe(2))
        error = wire.refuses(p.UnsubAck(1, (ReasonCode.SUCCESS,) * count))
        assert error.statement == "MQTT-3.11.3-1"


@by_version("MQTT-3.9.3-1", "MQTT-3.9.3-1")
async def test_the_reason_codes_of_suback_are_in_the_order_of_the_topic_filters(
    protocol: Protocol,
) -> None:
    wire = Wire(protocol)
    request = wire.request(subscribe(3))
    wire.feed_bytes(frame(0x90, b"\0\1" + none(protocol) + b"\1\x80\2"))
    assert request.answer is not None
    refused_code = ReasonCode.UNSPECIFIED_ERROR
    assert request.answer.reason_codes == (QOS_1, refused_code, QOS_2)

    def authorize(_client_id: str, request: p.SubscriptionRequest) -> ReasonCode:
        return refused_code if request.topic_filter == "b" else ReasonCode.SUCCESS

    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
    ):
        server.authorize_subscribe = authorize
        with pytest.raises(trio_mqtt.SubscribeRejected) as caught:
            async with client.subscribe("a", "b", "c", qos=2):
                raise AssertionError
    assert caught.value.reasons == {"b": refused_code}


@by_version("MQTT-3.9.3-2", "MQTT-3.9.3-2")
def test_the_reason_codes_of_suback(protocol: Protocol) -> None:
    text_of = "000102 80 83 87 8F 91 97 9E A1 A2" if protocol is MQTT_5 else "000102 80"
    allowed = set(bytes.fromhex(text_of))
    for code in set(range(256)) - allowed:
        body = b"\0\1" + none(protocol) + bytes((code,))
        assert refused(frame(0x90, body), protocol).statement == "MQTT-3.9.3-2", code


@pytest.mark.statement("MQTT-3.11.3-2")
def test_the_reason_codes_of_unsuback() -> None:
    allowed = set(bytes.fromhex("00 11 80 83 87 8F 91"))
    for code in set(range(256)) - allowed:
        assert refused(bytes((0xB0, 4, 0, 1, 0, code))).statement == "MQTT-3.11.3-2", code
