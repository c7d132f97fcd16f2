"""Requests and their replies (4.10): one response subscription for all requests of a client.

The reader itself hands each reply to the request that it answers, found by its Correlation Data.
So no buffer can be full, no task stands between, and nothing has to be settled: the subscription
is one of QoS 0, for which no full window holds anything back.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._outgoing import PublishOptions, result_of
from trio_mqtt._client._requests import Grant, SubscribeOptions
from trio_mqtt._client._subscribing import SubscriptionManager
from trio_mqtt._client._subscription import Subscription
from trio_mqtt._client._waiting import Outcome
from trio_mqtt._enums import MQTT_5, ReasonCode, RetainHandling
from trio_mqtt._errors import FeatureNotSupported, LocalProtocolError, MQTTError
from trio_mqtt._topics import check_topic_name

if TYPE_CHECKING:
    from trio_mqtt._client._deliveries import Deliveries
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._outgoing import Payload, RequestOptions
    from trio_mqtt._client._supervisor import Supervisor
    from trio_mqtt._protocol.exchanges import OutgoingMessage
    from trio_mqtt._protocol.server_info import ServerInfo

_UNIQUE: Final = 12
"""So many random bytes in each Response Topic and in each Correlation Data, not to be guessed."""
_LONGEST_NAME: Final = 64
_OWN: Final = frozenset(("response_topic", "correlation_data"))
_OPTIONS: Final = SubscribeOptions(
    qos=0,
    no_local=False,
    retain_as_published=False,
    retain_handling=RetainHandling.DO_NOT_SEND,
    buffer=1,
    overflow="wait",
    ack="on_receipt",
    keep=False,
)
_logger = logging.getLogger("trio_mqtt")


def make_response_topic(server: ServerInfo) -> str:
    """A Topic Name for replies that no other Client uses or guesses (4.10.1).

    It begins with the Response Information of the Server, if that gave any, and otherwise with
    ``response/`` and the Client Identifier, so that the Server can say who may read it.
    """
    unique = secrets.token_urlsafe(_UNIQUE)
    if server.response_information:
        topic = f"{server.response_information.rstrip('/')}/{unique}"
        try:
            check_topic_name(topic)
        except LocalProtocolError as error:
            _logger.warning("the Response Information of the server is of no use: %s", error)
        else:
            return topic
    name = "".join("_" if character in "+#/" else character for character in server.client_id)
    return f"response/{name[:_LONGEST_NAME]}/{unique}"


@attrs.define(eq=False)
class Waiting:
    """A request that waits for its reply.

    Attributes:
        done: set when there is one, or there will be none.
        reply: the reply, or None.
    """

    done: Outcome = attrs.Factory(Outcome)
    reply: Message | None = None

    def published(self, message: OutgoingMessage) -> None:
        """The request itself was acknowledged, refused or given up."""
        answer = message.acknowledgement
        if message.failure is not None or (answer is not None and answer.reason_code.is_failure):
            self.done(message)


class Inbox(Subscription):
    """The response subscription, as the reader sees it.

    Attributes:
        topic: the Response Topic.
        waiting: the requests that wait, by Correlation Data.
    """

    def __init__(self, deliveries: Deliveries, topic: str) -> None:
        super().__init__(
            deliveries,
            f"response subscription to {topic!r}",
            buffer=_OPTIONS.buffer,
            overflow=_OPTIONS.overflow,
            ack=_OPTIONS.ack,
        )
        self.topic = topic
        self.waiting: dict[bytes, Waiting] = {}

    def _put(self, message: Message) -> None:
        message._holder = self
        if message.qos:  # as another subscription that matches may have it
            self._settle(message, ReasonCode.SUCCESS)
        waiting = self.waiting.pop(message.correlation_data or b"", None)
        if waiting is None:
            self._deliveries.stray_replies += 1
            _logger.debug("a reply to %r answers no request that waits", message.topic)
            return
        waiting.reply = message
        waiting.done(message)

    def _wake_all(self) -> None:
        super()._wake_all()
        for waiting in self.waiting.values():
            waiting.done(None)


class ResponseChannel:
    """A Response Topic, subscribed to once somebody asks something.

    Attributes:
        inbox: where replies arrive.
        left: whether it is not used any more.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._sending = supervisor.sending
        self._deliveries = supervisor.deliveries
        self._basis = self._sending.server.response_information
        self.inbox = Inbox(self._deliveries, make_response_topic(self._sending.server))
        self._manager = SubscriptionManager(supervisor, (self.inbox.topic,), _OPTIONS, self.inbox)
        self._grants: list[Grant] = []
        self._begun = False
        self.left = False

    @property
    def is_of_use(self) -> bool:
        """Whether replies come here, or will."""
        if self.left or self._basis != self._sending.server.response_information:
            return False
        return not self._begun or self._deliveries.routes.get(self.inbox.topic) is not None

    def begin(self) -> None:
        """Send SUBSCRIBE, if that was not done."""
        if not self._begun:
            self._manager.check(self._sending.server)
            self._begun = True
            _, self._grants = self._manager._begin()

    async def wait_subscribed(self) -> None:
        """Wait until the Server sends replies; it must, before it gets a request.

        Raises:
            SubscribeRejected: it refuses to.
        """
        grants = self._grants
        for grant in grants:
            await self._sending.await_answer(grant.done)
        try:
            self._manager._finish(self.inbox, grants)
        except MQTTError:
            self.leave()
            raise
        self._grants = []

    @enable_ki_protection
    def leave(self) -> None:
        """Unsubscribe, if it is subscribed."""
        if self.left:
            return
        self.left = True
        if self._begun:
            self._manager._leave()
            self.inbox._wake_all()  # who waits while the client closes gets no reply any more

    def leave_unless_waited_for(self) -> None:
        """Unsubscribe, or let the last of those who wait for a reply do that."""
        if not self.inbox.waiting:
            self.leave()


class Requester:
    """Asks and waits for replies, on behalf of any number of tasks.

    Args:
        supervisor: of the client.

    Attributes:
        waiting: how many requests wait for their replies.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._sending = supervisor.sending
        self._deliveries = supervisor.deliveries
        self._supervisor = supervisor
        self._channels: list[ResponseChannel] = []  # the last is for new requests
        self.waiting: int = 0

    @enable_ki_protection
    async def request(
        self, topic: str, payload: Payload, *, qos: int, options: RequestOptions
    ) -> Message:
        """Publish a request and wait for its reply; see `Client.request`."""
        wrong = _OWN & options.keys()
        if wrong:
            raise TypeError(f"a request has no argument {min(wrong)!r}: it makes its own")
        server = await self._supervisor.wait_known()
        if server.protocol is not MQTT_5:
            text = (
                f"cannot send a request to {topic!r}: {server.protocol.title} has no Response "
                "Topic and no Correlation Data; agree on topics of your own, or use MQTT 5.0"
            )
            raise FeatureNotSupported(text)
        channel = self._current()
        correlation = secrets.token_bytes(_UNIQUE)
        own: PublishOptions = {
            **options,
            "response_topic": channel.inbox.topic,
            "correlation_data": correlation,
        }
        published = self._sending.make(topic, payload, qos=qos, retain=False, options=own)
        inbox = channel.inbox
        waiting = inbox.waiting[correlation] = Waiting()
        if qos:
            published.listener = waiting.published
        self.waiting += 1
        try:
            await self._subscribe(channel, published, server)
            if not self._sending.accept_at_once(published):
                await self._sending.admit(published)
            self._sending.hasten()
            await self._sending.await_answer(waiting.done)
        finally:
            self.waiting -= 1
            inbox.waiting.pop(correlation, None)
            if channel is not self._channels[-1]:
                channel.leave_unless_waited_for()
        return self._outcome(waiting, inbox, published)

    @enable_ki_protection
    async def _subscribe(
        self, channel: ResponseChannel, message: OutgoingMessage, server: ServerInfo
    ) -> None:
        """Have replies come, before a message made for this Server is sent that asks for one."""
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            channel.begin()
            await channel.wait_subscribed()
            if self._sending.server is not server:
                self._sending.check_again(message)
        except BaseException as error:
            self._sending.discard(message, error)
            raise

    def _current(self) -> ResponseChannel:
        """The channel for new requests; another one if the old one is of no use any more."""
        if self._channels:
            old = self._channels[-1]
            if old.is_of_use:
                return old
            old.leave_unless_waited_for()
        new = ResponseChannel(self._supervisor)
        self._channels = [*(each for each in self._channels if not each.left), new]
        return new

    def _outcome(self, waiting: Waiting, inbox: Inbox, message: OutgoingMessage) -> Message:
        if waiting.reply is not None:
            self._deliveries.answered(waiting.reply)
            return waiting.reply
        result_of(message, self._sending.server_name)
        self._deliveries.check_open()
        inbox._check_open()
        raise MQTTError(f"the request to {message.topic!r} was given up")  # pragma: no cover

    def close(self) -> None:
        """Unsubscribe, for the Server would keep the subscription with the Session."""
        for channel in self._channels:
            channel.leave()
