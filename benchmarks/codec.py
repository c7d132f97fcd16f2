"""The codec alone, packet by packet, beside `mqtt5`, whose codec is written in Rust.

Encoding starts from packets that exist; decoding from many of them in one piece of bytes. paho-mqtt
and gmqtt have no codec apart from their clients.
"""

from __future__ import annotations

import importlib
import importlib.util
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt import packets as p

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER: Final = "mqtt5"
_TOPIC: Final = "site/berlin/device/17/state"
_PAYLOAD: Final = b"x" * 64
_PROPERTIES: Final = p.Properties(
    message_expiry_interval=60, content_type="application/json", user_properties=(("a", "b"),)
)
_ONES: Final = 200
"""How many packets are decoded in a row."""

PACKETS: Final[dict[str, p.Packet]] = {
    "CONNECT": p.Connect("client", username="name", password=b"secret"),
    "CONNACK": p.ConnAck(properties=p.Properties(receive_maximum=20, topic_alias_maximum=10)),
    "PUBLISH QoS 0": p.Publish(_TOPIC, _PAYLOAD),
    "PUBLISH QoS 1": p.Publish(_TOPIC, _PAYLOAD, 1, packet_id=7),
    "PUBLISH with properties": p.Publish(_TOPIC, _PAYLOAD, 1, packet_id=7, properties=_PROPERTIES),
    "PUBACK": p.PubAck(7),
    "PUBREC": p.PubRec(7),
    "PUBREL": p.PubRel(7),
    "PUBCOMP": p.PubComp(7),
    "SUBSCRIBE": p.Subscribe(7, (p.SubscriptionRequest(_TOPIC, 1),)),
    "SUBACK": p.SubAck(7, (ReasonCode.GRANTED_QOS_1,)),
    "UNSUBSCRIBE": p.Unsubscribe(7, (_TOPIC,)),
    "UNSUBACK": p.UnsubAck(7, (ReasonCode.SUCCESS,)),
    "PINGREQ": p.PingReq(),
    "DISCONNECT": p.Disconnect(),
}


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Packets a second: by packet, by "encode" and "decode" of each codec, in each round."""
    other: Any = importlib.import_module(OTHER) if importlib.util.find_spec(OTHER) else None
    measured: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, packet in PACKETS.items():
            row = measured.setdefault(name, {})
            for figure, run in works(packet, other).items():
                row.setdefault(figure, []).append(round(_rate(run)))
    return measured


def works(packet: p.Packet, other: Any) -> dict[str, Callable[[], None]]:  # noqa: ANN401
    """What is timed, each for `_ONES` packets."""
    data = p.encode(packet, MQTT_5)
    stream = data * _ONES

    def encode_ours() -> None:
        encode = p.encode
        for _ in range(_ONES):
            encode(packet, MQTT_5)

    def decode_ours() -> None:
        reader = p.PacketReader(None if isinstance(packet, p.Connect) else MQTT_5)
        reader.feed(stream)
        if len(reader.read_packets(_ONES)) != _ONES:
            raise ValueError("packets are missing")

    found = {"encode": encode_ours, "decode": decode_ours}
    if other is None:
        return found

    theirs, size = other.read(data)

    def encode_theirs() -> None:
        write = theirs.write
        for _ in range(_ONES):
            write()

    def decode_theirs() -> None:
        read, view = other.read, memoryview(stream)
        for start in range(0, len(stream), size):
            read(view[start:])

    return {**found, f"encode {OTHER}": encode_theirs, f"decode {OTHER}": decode_theirs}


def _rate(run: Callable[[], None]) -> float:
    run()
    start = perf_counter()
    count = 0
    while perf_counter() - start < 0.005:  # noqa: PLR2004 - seconds
        run()
        count += _ONES
    return count / (perf_counter() - start)
