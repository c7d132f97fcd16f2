"""From what a caller wants to publish to a message that is ready to be sent, and to its result."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final, Protocol, TypedDict, Unpack

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._refusals import hint_for
from trio_mqtt._client._versions import as_spoken
from trio_mqtt._enums import MQTT_5, PacketType, QoS, ReasonCode, is_qos
from trio_mqtt._errors import (
    FeatureNotSupported,
    LocalProtocolError,
    MQTTError,
    PacketTooLarge,
    PublishRejected,
    UserProperties,
)
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt.packets import NO_PROPERTIES, Properties
from trio_mqtt.packets._encoder import encode_publish_properties, encode_topic
from trio_mqtt.packets._properties import read_properties
from trio_mqtt.packets._wire import LARGEST_PACKET, MAXIMUM_TWO_BYTE, write_varint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trio_mqtt._client._sending import Sending
    from trio_mqtt._client._versions import UnsupportedProperties
    from trio_mqtt._protocol.server_info import ServerInfo

Payload = bytes | bytearray | memoryview | str
"""What can be published; a str is sent as UTF-8 and marked as text (3.3.2.3.2)."""

OVERHEAD: Final = 256
"""What a message takes in memory beside its payload, about."""
_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 256
_LONGEST_TOPIC: Final = 2 + 65_535
_TEXT: Final = b"\x02\x01\x01"  # Payload Format Indicator 1, alone
_OF_A_REQUEST: Final = {"response_topic", "correlation_data"}
_CONTINUES: Final = 0x80
_FORMAT_INDICATOR: Final = 0x01
_FIXED: Final = 5 + 2  # the longest fixed header, and a Packet Identifier


@attrs.frozen(kw_only=True)
class PublishResult:
    """What the Server said to a message that it accepted.

    Attributes:
        reason_code: SUCCESS, or NO_MATCHING_SUBSCRIBERS; always SUCCESS at QoS 0 and below
            MQTT 5.0, where the Server says nothing.
        reason_string: the Server's own words, or None.
        user_properties: those of the acknowledgement.
    """

    reason_code: ReasonCode = ReasonCode.SUCCESS
    reason_string: str | None = None
    user_properties: UserProperties = ()


ACCEPTED: Final = PublishResult()


class RequestOptions(TypedDict, total=False):
    """The rarer arguments of a request (MQTT 5.0).

    Attributes:
        message_expiry: how long the message is of use, in seconds (3.3.2.3.3).
        content_type: what the payload is, such as ``application/json`` (3.3.2.3.9).
        user_properties: name and value pairs, in order (3.3.2.3.7).
    """

    message_expiry: int | None
    content_type: str | None
    user_properties: Iterable[tuple[str, str]]


class PublishOptions(RequestOptions, total=False):
    """The rarer arguments of publishing (MQTT 5.0): those of `RequestOptions`, and these.

    Attributes:
        response_topic: where to answer (3.3.2.3.5).
        correlation_data: what the answer is to carry (3.3.2.3.6).
    """

    response_topic: str | None
    correlation_data: bytes | None


class Publish(Protocol):
    """How a message is published; see `Client.publish`."""

    def __call__(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **options: Unpack[PublishOptions],
    ) -> Awaitable[PublishResult]: ...


class Make(Protocol):
    """How a message is checked and prepared; see `MessageMaker.make`."""

    def __call__(
        self,
        topic: str,
        payload: Payload,
        qos: int,
        retain: bool,  # noqa: FBT001 - as in `MessageMaker.make`
        options: PublishOptions,
    ) -> OutgoingMessage: ...


def _request_properties(topic_field: bytes, correlation_data: bytes, *, text: bool) -> bytes:
    """What `encode_publish_properties` makes of a Response Topic and Correlation Data."""
    begin = b"\x01\x01\x08" if text else b"\x08"
    block = b"%b%b\x09%b%b" % (
        begin,
        topic_field,
        len(correlation_data).to_bytes(2, "big"),
        correlation_data,
    )
    return write_varint(len(block)) + block


class MessageMaker:
    """Checks what a caller wants to publish against the standard and the Server's limits.

    Attributes:
        server: what the Server granted.
        server_name: its address, for messages.
        unsupported: what becomes of properties where the Server has none.
        qos_granted: each QoS that the Server takes.
        topic_fields: Topic Names that were found good, as UTF-8 Encoded Strings.
        surely_fits: a Topic Name, with its length, and a payload that take so much together are not
            too large for the Server where there are no properties.
    """

    def __init__(self, server: ServerInfo, server_name: str) -> None:
        self.unsupported: UnsupportedProperties = "refuse"
        self.topic_fields: dict[str, bytes] = {}
        self.serve(server, server_name)

    def serve(self, server: ServerInfo, server_name: str) -> None:
        """Make messages for this Server from now on."""
        self.server = server
        self.server_name = server_name
        # What is looked at for every message.
        self._no_properties = b"\0" if server.protocol is MQTT_5 else b""
        self.qos_granted = (0, 1, 2)[: server.maximum_qos + 1]
        self.surely_fits = (server.maximum_packet_size or LARGEST_PACKET) - _FIXED - 1
        self._surely_small = self.surely_fits - _LONGEST_TOPIC - len(_TEXT)

    def make(
        self,
        topic: str,
        payload: Payload,
        qos: int,
        retain: bool,  # noqa: FBT001 - a call by keyword is too slow for every message
        options: PublishOptions,
    ) -> OutgoingMessage:
        """Check and prepare one message; nothing is sent or kept.

        Raises:
            LocalProtocolError: the standard forbids it.
            FeatureNotSupported: this Server, or this version of MQTT, does not have it.
            PacketTooLarge: the Server does not take so much.
            TypeError: the payload is neither bytes-like nor str.
        """
        try:
            topic_field = self.topic_fields.get(topic)
        except TypeError:  # a list, say, which `_new_topic` refuses in other words
            topic_field = None
        topic_field = topic_field or self._new_topic(topic)
        properties = self._no_properties
        if isinstance(payload, bytes):
            data = payload
        else:
            data = to_bytes(payload)
            if properties and isinstance(payload, str):
                properties = _TEXT
        if options:
            properties = self._properties(options, text=properties is _TEXT)
        size = len(data)
        is_granted = is_qos(qos) and qos in self.qos_granted
        if options or retain or not is_granted or size > self._surely_small:
            length = size + len(topic_field) + len(properties)
            self._check_limits(qos, retain=retain, size=length)
        message = OutgoingMessage(
            topic,
            topic_field,
            data,
            qos,
            retain,
            properties,
            size + OVERHEAD,
        )
        if options and (expiry := options.get("message_expiry")) is not None:
            message.expires_at = trio.current_time() + expiry
            message.expiry_at = _expiry_position(properties)
        return message

    def check_again(self, message: OutgoingMessage) -> MQTTError | None:
        """Why a message made for an earlier connection cannot be sent on this one, or None."""
        if self.server.protocol is not MQTT_5 and message.properties:
            data = message.properties
            properties, _ = read_properties(data, 0, len(data), PacketType.PUBLISH)
            try:
                self._as_spoken(properties)
            except FeatureNotSupported as error:
                return error
            message.properties = b""
        elif self.server.protocol is MQTT_5 and not message.properties:
            message.properties = b"\0"  # it was made for an older version
        size = len(message.payload) + len(message.topic_field) + len(message.properties)
        try:
            self._check_limits(message.qos, retain=message.retain, size=size)
        except MQTTError as error:
            return error
        return None

    def _new_topic(self, topic: str) -> bytes:
        topic_field = encode_topic(topic)
        if len(topic_field) <= _LONGEST_REMEMBERED:
            if len(self.topic_fields) >= _REMEMBERED:
                self.topic_fields.clear()
            self.topic_fields[topic] = topic_field
        return topic_field

    def _properties(self, options: PublishOptions, *, text: bool) -> bytes:
        if options.keys() == _OF_A_REQUEST and self.server.protocol is MQTT_5:
            topic, data = options.get("response_topic"), options.get("correlation_data")
            if isinstance(topic, str) and isinstance(data, bytes) and len(data) <= MAXIMUM_TWO_BYTE:
                # One request after the other has the same Response Topic. Its bytes, once found
                # good, are those of a Topic Name, and to write them out takes a tenth of the time.
                topic_field = self.topic_fields.get(topic)
                if topic_field is not None:
                    return _request_properties(topic_field, data, text=text)
                properties = self._any_properties(options, text=text)
                self._new_topic(topic)
                return properties
        return self._any_properties(options, text=text)

    def _any_properties(self, options: PublishOptions, *, text: bool) -> bytes:
        unknown = options.keys() - PublishOptions.__annotations__.keys()
        if unknown:
            known = ", ".join(PublishOptions.__annotations__)
            message = f"publishing has no argument {min(unknown)!r}; beside qos and retain: {known}"
            raise TypeError(message)
        properties = Properties(
            payload_format_indicator=1 if text else None,
            message_expiry_interval=options.get("message_expiry"),
            content_type=options.get("content_type"),
            response_topic=options.get("response_topic"),
            correlation_data=options.get("correlation_data"),
            user_properties=tuple(options.get("user_properties", ())),
        )
        properties = self._as_spoken(properties)
        return encode_publish_properties(properties) if self.server.protocol is MQTT_5 else b""

    def _as_spoken(self, properties: Properties) -> Properties:
        return as_spoken(properties, self.server.protocol, self.unsupported, "a message")

    def _check_limits(self, qos: int, *, retain: bool, size: int) -> None:
        server = self.server
        if not is_qos(qos):
            message = f"qos is {qos!r}; it must be 0, 1 or 2"
            raise LocalProtocolError(message, statement="MQTT-3.3.1-4")
        if qos > server.maximum_qos:  # MQTT-3.2.2-11
            message = (
                f"cannot publish at QoS {qos}: {self.server_name} granted a Maximum QoS of "
                f"{int(server.maximum_qos)}; use that"
            )
            raise FeatureNotSupported(message)
        if retain and not server.retain_available:  # MQTT-3.2.2-14
            message = (
                f"cannot publish with retain: {self.server_name} has no retained messages "
                "(Retain Available is 0); leave out retain"
            )
            raise FeatureNotSupported(message)
        limit = server.maximum_packet_size or LARGEST_PACKET
        if size + _FIXED > limit:  # MQTT-3.2.2-15
            exact = _packet_size(size + (2 if qos else 0))
            if exact > limit:
                whose = (
                    "and MQTT has packets of at most"
                    if server.maximum_packet_size is None
                    else f"and {self.server_name} granted a Maximum Packet Size of"
                )
                message = (
                    f"cannot publish: the packet would take {exact} bytes, {whose} {limit}; "
                    "publish less at once, or let the server take more"
                )
                raise PacketTooLarge(message, size=exact, limit=limit)


def _expiry_position(properties: bytes) -> int:
    """Where the value of the Message Expiry Interval stands in what the encoder made."""
    position = 1
    while properties[position - 1] >= _CONTINUES:  # the length
        position += 1
    if properties[position] == _FORMAT_INDICATOR:  # it alone can stand before
        position += 2
    return position + 1


def _packet_size(remaining: int) -> int:
    """A packet with its fixed header."""
    return 2 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151) + remaining  # noqa: PLR2004


def to_bytes(payload: object) -> bytes:
    """The bytes of a payload.

    Raises:
        LocalProtocolError: it is a str that UTF-8 cannot carry.
        TypeError: it is neither bytes-like nor a str.
    """
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, bytearray):
        return bytes(payload)
    if isinstance(payload, memoryview):
        return payload.tobytes()
    if isinstance(payload, str):
        try:
            return payload.encode()
        except UnicodeEncodeError as error:
            message = f"the payload cannot be sent as UTF-8: {error.reason} at {error.start}"
            raise LocalProtocolError(message, statement="MQTT-1.5.4-1") from None
    kind = type(payload).__name__
    hint = next((hint for kinds, hint in _PAYLOAD_HINTS if isinstance(payload, kinds)), "")
    message = f"a payload is bytes, bytearray, memoryview or str, not {kind}{hint}"
    raise TypeError(message)


_PAYLOAD_HINTS: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((dict, list, tuple, bool), "; json.dumps(...) makes a str of it"),
    ((int, float), "; str(...) makes one of it"),
    ((type(None),), '; an empty one is b""'),
)


def result_of(message: OutgoingMessage, server_name: str) -> PublishResult:
    """What a finished exchange came to.

    Raises:
        PublishRejected: the Server refused the message.
        MQTTError: the exchange failed, with an instance of the error for this caller alone.
    """
    if message.failure is not None:
        raise own_instance(message.failure)
    acknowledgement = message.acknowledgement
    if acknowledgement is None or (
        not acknowledgement.reason_code and acknowledgement.properties is NO_PROPERTIES
    ):
        return ACCEPTED
    refusal = refusal_of(message, server_name)
    if refusal is not None:
        raise refusal
    properties = acknowledgement.properties
    return PublishResult(
        reason_code=acknowledgement.reason_code,
        reason_string=properties.reason_string,
        user_properties=properties.user_properties,
    )


def refusal_of(message: OutgoingMessage, server_name: str) -> PublishRejected | None:
    """The error that says why the Server has refused a message, or None if it has not."""
    acknowledgement = message.acknowledgement
    if acknowledgement is None or not acknowledgement.reason_code.is_failure:
        return None
    reason_code = acknowledgement.reason_code
    properties = acknowledgement.properties
    words = f": {properties.reason_string}" if properties.reason_string else ""
    text = (
        f"{server_name} refused the message to {message.topic!r} with "
        f"{reason_code.describe()}{words}{hint_for(reason_code)}"
    )
    return PublishRejected(
        text,
        topic=message.topic,
        reason_code=reason_code,
        reason_string=properties.reason_string,
        user_properties=properties.user_properties,
    )


def own_instance(error: Exception) -> Exception:
    """The same error once more: each task that raises one needs a traceback of its own."""
    instance = copy.copy(error)
    instance.__cause__ = error.__cause__
    if hasattr(error, "__notes__"):
        instance.__notes__ = list(error.__notes__)  # its own, too
    return instance


@attrs.frozen(eq=False)
class Tally:
    """The listener of many messages, whose publisher wants to know how many the Server accepted.

    Attributes:
        accepted: called with a number of messages.
        finish: called with a message that was sent, or given up, by itself.
    """

    accepted: Callable[[int], None]
    finish: Callable[[OutgoingMessage], None]

    def __call__(self, message: OutgoingMessage) -> None:
        """The exchange of one message is over."""
        self.finish(message)


class Delivery:
    """A message that the session has accepted, on its way to the Server.

    It is completed in the background, whether or not anybody waits.
    """

    def __init__(self, message: OutgoingMessage, sending: Sending) -> None:
        self._message = message
        self._sending = sending
        self._done = trio.Event()
        if message.qos == QoS.AT_MOST_ONCE:
            self._done.set()
        else:
            message.listener = self._finish

    def _finish(self, _message: OutgoingMessage) -> None:
        self._done.set()

    @enable_ki_protection
    async def wait(self) -> PublishResult:
        """Wait until the exchange is over; any number of tasks may, any number of times.

        Cancelled, only the waiting ends: the exchange goes on.

        Raises:
            PublishRejected: the Server refused the message.
            MQTTError: the client failed or was closed before the exchange was over.
        """
        await self._sending.await_answer(self._done)
        return result_of(self._message, self._sending.server_name)
