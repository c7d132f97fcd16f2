"""What the exploration explores: its bounds, the messages in it, and packets in words."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from trio_mqtt._enums import MQTT_5
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt.packets import Packet, PacketReader, PubAck, PubComp, Publish, PubRec, PubRel
from trio_mqtt.packets._encoder import encode_topic

NAMES: Final = "abcdefgh"
_IDENTITY: Final = b"\x04\x09\x00\x01"  # Correlation Data of one byte: the name of the message


class Violation(Exception):
    """Something that must never happen has happened."""


@attrs.frozen(kw_only=True)
class Bounds:
    """What is explored.

    Attributes:
        qos: the messages to be published, each with its QoS.
        identifiers: how many Packet Identifiers there are.
        prepared: how many of them are given out ahead of time; all, if this is 0.
        last_identifier: the one given out last before the first message gets its own.
        window: the Receive Maximum of the consumer.
        breaks: how often the link may break; None for any number of times.
        crashes: how often each end may crash, together; None for any number of times.
        rejects: whether the consumer may refuse a message instead of settling it.
        durable: the Sessions have disks; without them nothing may crash.
        slow_disk: a commit takes time, in which other things happen, and may fail.
        hesitates: the publisher may be slow to move messages to its output.
        lazy: the consumer makes its acknowledgements when they are written, or when they matter;
            otherwise with each step.
        repeats: how often a packet may arrive twice.
        strange: how often an end may get a packet that fits nothing.
        reopens: a program may close its client and open it again with the same Session.
        drops: the publisher may drop the first message while it is under way, as a server may that
            expires: "offline" only, while the consumer has it in hand, or "online".
        works: the consumer may settle a message with work that is committed with it, or fails.
        changes_mind: the consumer may settle a message again, and otherwise.
        alike: the messages cannot be told apart by Topic Name and payload.
        strict: look at what is on the wire and on the disks, too, not only at what follows. A peer
            that repeats itself can make both look wrong although nothing wrong follows.
        receiver: what receives at the consumer.
    """

    qos: tuple[int, ...] = (2, 2)
    identifiers: int = 3
    prepared: int = 0
    last_identifier: int = 0
    window: int = 65535
    breaks: int | None = None
    crashes: int | None = None
    rejects: bool = False
    durable: bool = True
    slow_disk: bool = False
    works: bool = False
    hesitates: bool = False
    lazy: bool = False
    repeats: int = 0
    strange: int = 0
    reopens: bool = False
    drops: Literal["offline", "online"] | None = None
    changes_mind: bool = False
    alike: bool = False
    strict: bool = True
    receiver: type[Receiver] = Receiver

    def __str__(self) -> str:
        """What is unusual about them."""
        usual = Bounds()
        found = attrs.asdict(self, filter=lambda each, value: value != getattr(usual, each.name))
        return ", ".join(f"{name} {value}" for name, value in found.items())

    @property
    def names(self) -> str:
        """The messages, each a letter."""
        return NAMES[: len(self.qos)]

    def message(self, name: str) -> OutgoingMessage:
        """A message as its program makes it."""
        return OutgoingMessage(
            "t",
            encode_topic("t"),
            b"" if self.alike else name.encode(),
            self.qos[NAMES.index(name)],
            retain=False,
            properties=_IDENTITY + name.encode(),
            size=100,
        )


def name_of(message: OutgoingMessage | Publish) -> str:
    """Which message this is."""
    if isinstance(message, OutgoingMessage):
        return chr(message.properties[-1])
    assert message.properties.correlation_data is not None
    return message.properties.correlation_data.decode()


def read(data: bytes) -> Packet:
    """The one packet of these bytes."""
    reader = PacketReader(MQTT_5, publish_type=IncomingMessage)
    reader.feed(data)
    (packet,) = reader.read_packets()
    assert not reader.buffered
    return packet


def split(data: bytes) -> list[bytes]:
    """The packets of these bytes, each by itself; all of them short."""
    packets: list[bytes] = []
    while data:
        end = 2 + data[1]
        packets.append(data[:end])
        data = data[end:]
    return packets


def describe(data: bytes) -> str:
    """A packet in words."""
    packet = read(data)
    if isinstance(packet, Publish):
        dup = ", DUP" if packet.dup else ""
        return f"PUBLISH {packet.packet_id} (message {name_of(packet)}, QoS {packet.qos}{dup})"
    assert isinstance(packet, PubAck | PubRec | PubRel | PubComp)
    code = f" 0x{packet.reason_code:02X}" if packet.reason_code else ""
    return f"{type(packet).__name__.upper()} {packet.packet_id}{code}"
