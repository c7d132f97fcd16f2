"""Hypothesis strategies for every Control Packet that a version of MQTT can carry.

Whatever they draw is valid: `encode` takes it and the reader gives it back. `packets(protocol)` is
any of them; `of_type(packet_class, protocol)` one sort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st

from trio_mqtt import packets as p
from trio_mqtt._enums import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    PacketType,
    Protocol,
    QoS,
    ReasonCode,
    RetainHandling,
)
from trio_mqtt.packets._tables import REASON_CODES, RETURN_CODES, SUBACK_RETURN_CODES

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Every character but surrogates and U+0000, few of them: what is long is tried by name elsewhere.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
PLAIN = st.characters(exclude_categories=["Cs"], exclude_characters="\0+#/$")


def texts(most: int = 12) -> st.SearchStrategy[str]:
    return st.text(CHARACTERS, max_size=most)


def blobs(most: int = 20) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=most)


LEVELS = st.text(PLAIN, max_size=5)
PACKET_IDS = st.integers(1, 65535)
TWO_BYTE = st.integers(0, 65535)
FOUR_BYTE = st.integers(0, 2**32 - 1)
QOS = st.sampled_from(QoS)


def _topic(levels: list[str]) -> str:
    return "/".join(levels) or "/"


topic_names = st.lists(LEVELS, min_size=1, max_size=4).map(_topic)
_levels_of_filters = st.lists(LEVELS | st.just("+"), min_size=1, max_size=4)
_plain_filters = _levels_of_filters.map(_topic) | _levels_of_filters.map(
    lambda levels: _topic([*levels, "#"])
)
_shared_filters = st.builds(
    "$share/{}/{}".format, st.text(PLAIN, min_size=1, max_size=5), _plain_filters
)
topic_filters = st.one_of(_plain_filters, st.just("#"), _shared_filters)

_FLAG = st.integers(0, 1)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "payload_format_indicator": _FLAG,
    "message_expiry_interval": FOUR_BYTE,
    "content_type": texts(),
    "response_topic": topic_names,
    "correlation_data": blobs(),
    "session_expiry_interval": FOUR_BYTE,
    "assigned_client_identifier": texts(),
    "server_keep_alive": TWO_BYTE,
    "authentication_method": texts(),
    "authentication_data": blobs(),
    "request_problem_information": _FLAG,
    "will_delay_interval": FOUR_BYTE,
    "request_response_information": _FLAG,
    "response_information": texts(),
    "server_reference": texts(),
    "reason_string": texts(),
    "receive_maximum": st.integers(1, 65535),
    "topic_alias_maximum": TWO_BYTE,
    "topic_alias": st.integers(1, 65535),
    "maximum_qos": _FLAG,
    "retain_available": _FLAG,
    "user_properties": st.lists(st.tuples(texts(5), texts(5)), max_size=3).map(tuple),
    "maximum_packet_size": st.integers(1, 2**32 - 1),
    "wildcard_subscription_available": _FLAG,
    "subscription_identifier_available": _FLAG,
    "shared_subscription_available": _FLAG,
}
_IDENTIFIERS = st.integers(1, 268_435_455)
_MESSAGE = (
    "payload_format_indicator message_expiry_interval content_type response_topic correlation_data"
)
_PLACES = {
    p.Connect: "session_expiry_interval authentication_method authentication_data receive_maximum"
    " request_problem_information request_response_information topic_alias_maximum"
    " maximum_packet_size",
    p.WillMessage: f"{_MESSAGE} will_delay_interval",
    p.ConnAck: "session_expiry_interval assigned_client_identifier server_keep_alive"
    " authentication_method authentication_data response_information server_reference"
    " reason_string receive_maximum topic_alias_maximum maximum_qos retain_available"
    " maximum_packet_size wildcard_subscription_available subscription_identifier_available"
    " shared_subscription_available",
    p.Publish: f"{_MESSAGE} topic_alias",
    p.PubAck: "reason_string",
    p.PubRec: "reason_string",
    p.PubRel: "reason_string",
    p.PubComp: "reason_string",
    p.Subscribe: "",
    p.SubAck: "reason_string",
    p.Unsubscribe: "",
    p.UnsubAck: "reason_string",
    p.Disconnect: "session_expiry_interval server_reference reason_string",
    p.Auth: "authentication_data reason_string",
}


def _made(values: dict[str, Any]) -> p.Properties:
    if "authentication_data" in values:
        values.setdefault("authentication_method", "")
    made = p.Properties(**values)
    return p.NO_PROPERTIES if made == p.NO_PROPERTIES else made


def _properties(packet_class: type, protocol: Protocol) -> st.SearchStrategy[p.Properties]:
    """Those that a packet may carry, each present or not."""
    if protocol is not MQTT_5:
        return st.just(p.NO_PROPERTIES)
    optional = {name: _VALUES[name] for name in _PLACES[packet_class].split()}
    optional["user_properties"] = _VALUES["user_properties"]
    if packet_class is p.Publish:
        optional["subscription_identifiers"] = st.lists(_IDENTIFIERS, max_size=3).map(tuple)
    if packet_class is p.Subscribe:
        optional["subscription_identifiers"] = st.tuples(_IDENTIFIERS)
    required = {"authentication_method": texts()} if packet_class is p.Auth else {}
    some = st.fixed_dictionaries(required, optional=optional).map(_made)
    return some if required else st.one_of(st.just(p.NO_PROPERTIES), some)


def _wills(protocol: Protocol) -> st.SearchStrategy[p.WillMessage]:
    return st.builds(
        p.WillMessage,
        topic_names,
        blobs(),
        QOS,
        st.booleans(),
        _properties(p.WillMessage, protocol),
    )


def _allowed_connect(packet: p.Connect, protocol: Protocol) -> p.Connect:
    """What the version asks for, made of whatever was drawn."""
    if protocol is not MQTT_5 and packet.username is None:
        packet.password = None
    if protocol is MQTT_3_1:
        packet.client_id = packet.client_id or "c"
    if protocol is MQTT_3_1_1 and not packet.client_id:
        packet.clean_start = True
    return packet


def _connects(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    return st.builds(
        p.Connect,
        texts(23),
        st.booleans(),
        TWO_BYTE,
        st.none() | texts(),
        st.none() | blobs(),
        st.none() | _wills(protocol),
        _properties(p.Connect, protocol),
    ).map(lambda packet: _allowed_connect(packet, protocol))


def _connacks(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    codes = RETURN_CODES if protocol is not MQTT_5 else REASON_CODES[PacketType.CONNACK]
    properties = _properties(p.ConnAck, protocol)
    refused = st.builds(
        p.ConnAck, st.just(value=False), st.sampled_from(sorted(codes.values())), properties
    )
    if protocol is MQTT_3_1:
        return refused
    accepted = st.builds(p.ConnAck, st.booleans(), st.just(ReasonCode.SUCCESS), properties)
    return st.one_of(accepted, refused)


def _allowed_publish(packet: p.Publish) -> p.Publish:
    if packet.properties.topic_alias is not None and packet.properties.topic_alias % 2:
        packet.topic = ""
    if not packet.qos:
        packet.dup = False
        packet.packet_id = 0
    return packet


def _publishes(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    return st.builds(
        p.Publish,
        topic_names,
        st.one_of(blobs(), blobs(300)),
        QOS,
        st.booleans(),
        st.booleans(),
        PACKET_IDS,
        _properties(p.Publish, protocol),
    ).map(_allowed_publish)


def _acknowledgements(
    packet_class: Callable[..., p.Packet], packet_type: PacketType
) -> Callable[[Protocol], st.SearchStrategy[p.Packet]]:
    def draw(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
        if protocol is not MQTT_5:
            return st.builds(packet_class, PACKET_IDS)
        return st.builds(
            packet_class,
            PACKET_IDS,
            st.sampled_from(sorted(REASON_CODES[packet_type].values())),
            _properties(p.PubAck, protocol),
        )

    return draw


def _allowed_request(request: p.SubscriptionRequest) -> p.SubscriptionRequest:
    if request.topic_filter.startswith("$share/"):
        request.no_local = False
    return request


def _requests(protocol: Protocol) -> st.SearchStrategy[p.SubscriptionRequest]:
    if protocol is not MQTT_5:
        return st.builds(p.SubscriptionRequest, topic_filters, QOS)
    return st.builds(
        p.SubscriptionRequest,
        topic_filters,
        QOS,
        st.booleans(),
        st.booleans(),
        st.sampled_from(RetainHandling),
    ).map(_allowed_request)


def _several(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, min_size=1, max_size=4).map(tuple)


def _subscribes(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    requests = _several(_requests(protocol))
    return st.builds(p.Subscribe, PACKET_IDS, requests, _properties(p.Subscribe, protocol))


def _subacks(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    table = SUBACK_RETURN_CODES if protocol is not MQTT_5 else REASON_CODES[PacketType.SUBACK]
    codes = _several(st.sampled_from(sorted(table.values())))
    return st.builds(p.SubAck, PACKET_IDS, codes, _properties(p.SubAck, protocol))


def _unsubscribes(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    return st.builds(
        p.Unsubscribe, PACKET_IDS, _several(topic_filters), _properties(p.Unsubscribe, protocol)
    )


def _unsubacks(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    if protocol is not MQTT_5:
        return st.builds(p.UnsubAck, PACKET_IDS)
    codes = _several(st.sampled_from(sorted(REASON_CODES[PacketType.UNSUBACK].values())))
    return st.builds(p.UnsubAck, PACKET_IDS, codes, _properties(p.UnsubAck, protocol))


def _disconnects(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    if protocol is not MQTT_5:
        return st.builds(p.Disconnect)
    codes = st.sampled_from(sorted(REASON_CODES[PacketType.DISCONNECT].values()))
    return st.builds(p.Disconnect, codes, _properties(p.Disconnect, protocol))


def _auths(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    codes = st.sampled_from(sorted(REASON_CODES[PacketType.AUTH].values()))
    return st.builds(p.Auth, codes, _properties(p.Auth, protocol))


_BY_CLASS: dict[type, Callable[[Protocol], st.SearchStrategy[p.Packet]]] = {
    p.Connect: _connects,
    p.ConnAck: _connacks,
    p.Publish: _publishes,
    p.PubAck: _acknowledgements(p.PubAck, PacketType.PUBACK),
    p.PubRec: _acknowledgements(p.PubRec, PacketType.PUBREC),
    p.PubRel: _acknowledgements(p.PubRel, PacketType.PUBREL),
    p.PubComp: _acknowledgements(p.PubComp, PacketType.PUBCOMP),
    p.Subscribe: _subscribes,
    p.SubAck: _subacks,
    p.Unsubscribe: _unsubscribes,
    p.UnsubAck: _unsubacks,
    p.PingReq: lambda _protocol: st.builds(p.PingReq),
    p.PingResp: lambda _protocol: st.builds(p.PingResp),
    p.Disconnect: _disconnects,
    p.Auth: _auths,
}


def classes(protocol: Protocol) -> list[type]:
    """The packets that a version has."""
    return [one for one in _BY_CLASS if one is not p.Auth or protocol is MQTT_5]


def of_type(packet_class: type, protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    """Valid packets of one sort."""
    return _BY_CLASS[packet_class](protocol)


def packets(protocol: Protocol) -> st.SearchStrategy[p.Packet]:
    """Valid packets of every sort."""
    return st.one_of(*(of_type(one, protocol) for one in classes(protocol)))
