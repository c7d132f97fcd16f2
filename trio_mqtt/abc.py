"""Interfaces that a caller may implement, as in `trio.abc`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from trio_mqtt._errors import AuthenticationFailed
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    import trio

    from trio_mqtt._enums import PacketType, ReasonCode
    from trio_mqtt._errors import UserProperties
    from trio_mqtt._protocol.server_info import ServerInfo
    from trio_mqtt.events import ReceivedMessage, SentMessage

RecordKey = tuple[str, int | str]
"""The key of a record; it has a kind, such as ``outgoing``, and a number or text."""

Changes = Mapping[RecordKey, bytes | None]
"""Records to write, and with None those to delete, whether or not they exist."""

DropReason = Literal["buffer_full", "block_left", "no_subscription"]
"""Why the program does not get a message; see `Instrument.message_dropped`."""


class Connector(Protocol):
    """Makes the byte stream of a Network Connection; asked anew at each attempt.

    A function without arguments that returns an async context manager yielding a
    `trio.abc.Stream` is one. Leaving the context manager closes the stream, or leaves that to
    whoever made it.
    """

    def __call__(self) -> AbstractAsyncContextManager[trio.abc.Stream]:
        """Connect when entered; on failure raise `OSError` or `ConnectFailed`."""
        ...


@attrs.frozen
class AuthData:
    """What one packet of an authentication exchange carries (3.15.2.2).

    Attributes:
        data: the Authentication Data, which only the method understands, or None.
        reason_string: words for people, or None. CONNECT has none.
        user_properties: name and value pairs.
    """

    data: bytes | None = attrs.field(default=None, repr=False)
    reason_string: str | None = attrs.field(default=None, kw_only=True)
    user_properties: UserProperties = attrs.field(default=(), converter=as_pairs, kw_only=True)


class AuthExchange(ABC):
    """One exchange of enhanced authentication, from its beginning to its end (4.12).

    `Authenticator.begin` makes one for each attempt. Its methods are called in this order: `start`
    once, `answer` for each challenge, `finish` once if the Server is content. They may wait, for a
    token perhaps; on a connection that was accepted before, messages go on meanwhile. Before
    CONNACK all of it has to be done within the `connect_timeout` of the client; later on each step,
    but for `start`, whose time is that of the caller of `Client.reauthenticate`.

    An `OSError` in one of them counts as a lost connection, which is made again; an `MQTTError`,
    such as `AuthenticationFailed`, ends the client. What `start` raises later on is the caller's.
    """

    @abstractmethod
    async def start(self) -> AuthData | bytes | None:
        """What the Client says first, in CONNECT or in the AUTH that begins a new exchange.

        Returns:
            The Authentication Data, perhaps with more; None if the Server speaks first.
        """

    async def answer(self, challenge: AuthData) -> AuthData | bytes | None:
        """The answer to an AUTH in which the Server asks for more; by default there is none.

        Raises:
            AuthenticationFailed: the Server may not ask for that, or is not the right one.
        """
        del challenge
        raise AuthenticationFailed("the server asks for more, and the method has no more to say")

    async def finish(self, outcome: AuthData) -> None:
        """Check what the Server says last, as it accepts the Client; by default nothing.

        The connection does not count before this returns: where the Server has to prove something,
        too, it has to be checked here that it did.

        Args:
            outcome: what came with CONNACK or, in a later exchange, with the last AUTH.

        Raises:
            AuthenticationFailed: the Server is not the right one.
        """
        del outcome


class Authenticator(ABC):
    """Proves to the Server who the client is, in as many steps as that takes (4.12).

    It is the argument `auth` of `open_client`, and needs MQTT 5.0.

    Attributes:
        method: the Authentication Method, such as ``SCRAM-SHA-256``; both sides have to know it.
        retry_refused: whether a refusal (0x86 or 0x87) is worth another attempt, since that will
            say something else: a new token, say. Otherwise a refusal ends the client.
    """

    method: str
    retry_refused: bool = False

    @abstractmethod
    def begin(self) -> AuthExchange:
        """Begin an exchange, for a connection or on one; it shares nothing with earlier ones."""


class Storage(ABC):
    """Keeps what a `Session` must not forget: small records, by key.

    Its methods may block: they are called in worker threads, one at a time. What the bytes of a
    record mean is the Session's business.
    """

    @abstractmethod
    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        """Take possession of the record of a Session, and make it if there is none.

        Args:
            client_id: whose Session it is.

        Returns:
            All records, each kind in the order of its keys.

        Raises:
            StorageBusy: somebody else has it open.
            StorageError: it cannot be read, or is not ours; it is left as it is.
        """

    @abstractmethod
    def commit(self, changes: Changes) -> None:
        """Make all changes, or none; on return they have to survive a crash and a loss of power.

        Raises:
            StorageError: nothing was changed; it may be tried again.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the record back. Closing what is not open does nothing."""


class Instrument:
    """Is told what a client does: for traces, metrics and debugging, like `trio.abc.Instrument`.

    Override what you need and give an instance to `open_client`; what nobody overrides is never
    called and costs nothing. The methods are called synchronously, in the middle of what they tell
    of: they must be quick, must not block, and must not call the client. One that raises is
    logged, its instrument is called no more, and the client goes on.

    A message is the same object in each call that tells of it, hashable by identity, so that a
    ``weakref.WeakKeyDictionary`` can keep what belongs to it. Change nothing in it.
    """

    # -- connections --------------------------------------------------------------------------

    def connection_attempted(self, server: str) -> None:
        """The client begins to connect to a Server, given by its URL without credentials.

        Of an attempt that is given up, since the client is closed, nothing more is told.
        """

    def connection_failed(self, server: str, error: Exception) -> None:
        """An attempt has failed: there is no connection, or the Server refused it."""

    def connection_made(self, server: str, granted: ServerInfo) -> None:
        """The Server has accepted the connection with CONNACK, which granted this."""

    def connection_ended(self, server: str, error: Exception | None) -> None:
        """A connection that was made is over: lost, or, if there is no error, ended by us."""

    # -- packets ------------------------------------------------------------------------------

    def packet_sent(
        self, packet_type: PacketType, size: int, reason_code: ReasonCode | None
    ) -> None:
        """A Control Packet is handed to the byte stream.

        Args:
            packet_type: what it is.
            size: all of its bytes.
            reason_code: its Reason Code; None if its type has none, or one for each Topic Filter.
        """

    def packet_received(
        self, packet_type: PacketType, size: int, reason_code: ReasonCode | None
    ) -> None:
        """A Control Packet has come, whole; the client has not looked at it yet.

        Args:
            packet_type: what it is.
            size: all of its bytes.
            reason_code: its Reason Code; None if its type has none, or one for each Topic Filter.
        """

    # -- messages that the program publishes --------------------------------------------------

    def message_publishing(
        self,
        message: SentMessage,  # noqa: ARG002 - for those who override it
        user_properties: UserProperties,
    ) -> UserProperties:
        """The program publishes a message, which is in order; it is called in the program's task.

        The one method whose result matters: the User Properties that the message is to have. Below
        MQTT 5.0 there are none, and if the message gets too large for the Server with others than
        the program's, it goes with the program's.

        Args:
            message: the message.
            user_properties: what it has now: the program's, and what the instrument before has
                made of them.
        """
        return user_properties

    def message_published(self, message: SentMessage) -> None:
        """The client has accepted the message: from here on it is the client's to send."""

    def message_completed(
        self,
        message: SentMessage,
        reason_code: ReasonCode | None,
        error: BaseException | None,
    ) -> None:
        """The publishing of a message is over, with the error that its publisher gets, or None.

        At QoS 0 that is when it is accepted; at QoS 1 and 2 when the Server has acknowledged or
        refused it, or the client gives it up, or lets it be the Session's. It may never have been
        accepted, if its publisher was cancelled, say. Messages that an earlier program has left in
        the Session are not told of.

        Args:
            message: the message.
            reason_code: the Server's, or SUCCESS at QoS 0; None if the Server said nothing.
            error: what went wrong, such as `trio_mqtt.PublishRejected` or
                `trio_mqtt.MessageDropped`.
        """

    # -- messages that the program receives ---------------------------------------------------

    def message_delivered(self, message: ReceivedMessage) -> None:
        """A loop, or another call that receives, is about to get a message, a `trio_mqtt.Message`.

        A message for several subscriptions is another object for each, and one that was left
        unsettled is another when it is delivered again.
        """

    def message_settled(
        self, message: ReceivedMessage, reason_code: ReasonCode, *, released: bool
    ) -> None:
        """A QoS 1 or 2 message was settled.

        Args:
            message: the message.
            reason_code: SUCCESS, or what the program rejected it with.
            released: whether the client has settled it since the program did not: it lay in the
                buffer of a subscription that was left, or was not claimed in time.
        """

    def message_dropped(self, message: ReceivedMessage, why: DropReason) -> None:
        """The program will not get a message that has come, or not for one of its subscriptions.

        Args:
            message: the message.
            why: ``"buffer_full"``; ``"block_left"``, for what was in the buffer then, at QoS 0 or
                settled on receipt; ``"no_subscription"``, also for a reply to no request that
                waits.
        """
