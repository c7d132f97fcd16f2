"""What a caller says when opening a client."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt import _checks
from trio_mqtt._client._outgoing import to_bytes
from trio_mqtt._client._versions import UnsupportedProperties, as_spoken
from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import FeatureNotSupported, LocalProtocolError
from trio_mqtt._topics import check_topic_name
from trio_mqtt.abc import AuthData, Authenticator
from trio_mqtt.packets import Connect, Properties, WillMessage
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from trio_mqtt._errors import UserProperties

Credentials = tuple[str | None, str | bytes | None]
"""User Name and Password."""

_MOST_TWO_BYTE: Final = 65_535
_MOST_FOUR_BYTE: Final = 4_294_967_295


def _check_topic(_will: object, _attribute: object, topic: str) -> None:
    check_topic_name(topic)


def _check_payload(_will: object, _attribute: object, payload: object) -> None:
    to_bytes(payload)


def _password_bytes(password: str | bytes | None) -> bytes | None:
    if not isinstance(password, str):
        return password
    with suppress(UnicodeEncodeError):  # which quotes it; not to be seen as the context, either
        return password.encode()
    message = "the Password contains a surrogate, which UTF-8 cannot carry"
    raise LocalProtocolError(message, statement="MQTT-1.5.4-1")


def _is_text(payload: object) -> bool:
    return isinstance(payload, str)


def _check_auth(auth: object) -> None:
    if not isinstance(auth, Authenticator) or not isinstance(getattr(auth, "method", None), str):
        message = "auth has to be an abc.Authenticator with a method, such as 'SCRAM-SHA-256'"
        raise TypeError(message)


def check_auth_protocol(protocol: Protocol) -> None:
    """Raise FeatureNotSupported if this version has no enhanced authentication."""
    if protocol is not MQTT_5:
        message = (
            f"{protocol.title} has no enhanced authentication; leave out auth, or protocol, or a "
            "Session that has spoken it"
        )
        raise FeatureNotSupported(message)


_FOUR_BYTE: Final = _checks.whole(0, _MOST_FOUR_BYTE, unit=" seconds")


@attrs.frozen(kw_only=True)
class Will:
    """The message that the Server publishes when this client dies (3.1.2.5).

    Attributes:
        topic: the Topic Name to publish to.
        payload: bytes, or a str, which is sent as UTF-8.
        qos: the Quality of Service.
        retain: whether the Server keeps it as a retained message.
        delay: how long the Server waits before it publishes, in seconds, at most until the
            Session ends (MQTT 5.0).
        message_expiry: how long the message is of use, in seconds, or None (MQTT 5.0).
        content_type: what the payload is, or None (MQTT 5.0).
        response_topic: where to answer, or None (MQTT 5.0).
        correlation_data: what the answer is to carry, or None (MQTT 5.0).
        user_properties: name and value pairs (MQTT 5.0).
        on_error: whether a body that raised lets the will be published, too; otherwise only a
            lost connection does.

    Raises:
        LocalProtocolError: the topic is no Topic Name, or the payload no text of UTF-8.
        TypeError: the payload is neither bytes nor a str.
        ValueError: a number is out of range.
    """

    topic: str = attrs.field(validator=_check_topic)
    payload: bytes | str = attrs.field(default=b"", repr=False, validator=_check_payload)
    qos: int = attrs.field(default=0, converter=_checks.to_qos)
    retain: bool = False
    delay: int = attrs.field(default=0, validator=_FOUR_BYTE)
    message_expiry: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_FOUR_BYTE)
    )
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = attrs.field(default=None, repr=False)
    user_properties: UserProperties = attrs.field(default=(), converter=as_pairs)
    on_error: bool = True

    def _as_packet(
        self, protocol: Protocol, unsupported: UnsupportedProperties = "refuse"
    ) -> WillMessage:
        properties = Properties(
            payload_format_indicator=1 if _is_text(self.payload) else None,
            will_delay_interval=self.delay or None,
            message_expiry_interval=self.message_expiry,
            content_type=self.content_type,
            response_topic=self.response_topic,
            correlation_data=self.correlation_data,
            user_properties=self.user_properties,
        )
        properties = as_spoken(properties, protocol, unsupported, "a will")
        payload = to_bytes(self.payload)
        return WillMessage(self.topic, payload, self.qos, self.retain, properties)


@attrs.frozen(kw_only=True)
class SessionTerms:
    """What CONNECT says of the Session.

    Attributes:
        client_id: the Client Identifier.
        clean_start: whether the Server is to forget what it has of it (3.1.2.4).
        expiry: how long the Server is to keep it after the connection, in seconds.
    """

    client_id: str
    clean_start: bool
    expiry: int


@attrs.frozen(kw_only=True)
class ConnectOptions:
    """Everything that goes into CONNECT and the life of a connection; see `open_client`."""

    protocol: Protocol | None
    will: Will | None
    keep_alive: int = attrs.field(validator=_checks.whole(0, _MOST_TWO_BYTE, unit=" seconds"))
    connect_timeout: float = attrs.field(validator=_checks.seconds())
    close_timeout: float = attrs.field(validator=_checks.seconds())
    ping_timeout: float = attrs.field(validator=_checks.seconds())
    ack_timeout: float | None = attrs.field(validator=_checks.seconds(or_none=True))
    unclaimed_timeout: float = attrs.field(validator=_checks.seconds())
    receive_maximum: int = attrs.field(validator=_checks.whole(1, _MOST_TWO_BYTE))
    maximum_packet_size: int | None = attrs.field(
        validator=_checks.whole(1, _MOST_FOUR_BYTE, unit=" bytes", or_none=True)
    )
    topic_alias_maximum: int = attrs.field(validator=_checks.whole(0, _MOST_TWO_BYTE))
    use_topic_aliases: bool
    user_properties: UserProperties = attrs.field(converter=as_pairs)
    request_problem_information: bool
    unsupported_properties: UnsupportedProperties = attrs.field(
        validator=_checks.choice("refuse", "leave_out")
    )
    auth: Authenticator | None = None

    def __attrs_post_init__(self) -> None:
        if self.auth is not None:
            _check_auth(self.auth)
            check_auth_protocol(self.protocol or MQTT_5)

    def connect_packet(
        self,
        protocol: Protocol,
        session: SessionTerms,
        credentials: Credentials,
        proof: AuthData | None = None,
    ) -> Connect:
        """The CONNECT for one attempt.

        Args:
            protocol: the version of MQTT.
            session: what it says of the Session.
            credentials: User Name and Password.
            proof: what enhanced authentication begins with, if there is such.

        Raises:
            FeatureNotSupported: this version of MQTT does not have what was asked for.
            LocalProtocolError: it forbids that.
        """
        if protocol is MQTT_5:
            properties = self._properties(session, proof)
        else:
            properties = as_spoken(
                Properties(
                    request_problem_information=self._declines_explanations,
                    user_properties=self.user_properties,
                ),
                protocol,
                self.unsupported_properties,
                "CONNECT",
            )
        will = self.will
        username, password = credentials
        if password is not None and username is None and protocol is not MQTT_5:
            message = f"{protocol.title} has no password without a user name; give both"
            raise LocalProtocolError(message, statement="MQTT-3.1.2-22")
        return Connect(
            client_id=session.client_id,
            clean_start=session.clean_start,
            keep_alive=self.keep_alive,
            username=username,
            password=_password_bytes(password),
            will=None if will is None else will._as_packet(protocol, self.unsupported_properties),
            properties=properties,
        )

    @property
    def _declines_explanations(self) -> int | None:
        return None if self.request_problem_information else 0

    def _properties(self, session: SessionTerms, proof: AuthData | None) -> Properties:
        """What CONNECT has of them on MQTT 5.0."""
        properties = Properties(
            session_expiry_interval=session.expiry or None,
            receive_maximum=self.receive_maximum,
            maximum_packet_size=self.maximum_packet_size,
            topic_alias_maximum=self.topic_alias_maximum or None,
            request_response_information=1,  # in case there will be requests: it is cheap
            request_problem_information=self._declines_explanations,
            user_properties=self.user_properties,
        )
        if proof is None or self.auth is None:
            return properties
        return attrs.evolve(
            properties,
            authentication_method=self.auth.method,
            authentication_data=proof.data,
            reason_string=proof.reason_string,
            user_properties=self.user_properties + proof.user_properties,
        )
