"""The client that application code holds in its hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

import trio
from trio.lowlevel import checkpoint_if_cancelled, enable_ki_protection

from trio_mqtt._checks import check_callable, check_whole, to_retain_handling
from trio_mqtt._client._farewell import check_spoken, make_farewell
from trio_mqtt._client._managing import manager
from trio_mqtt._client._misuse import MadeByOpenClient
from trio_mqtt._client._outgoing import (
    ACCEPTED,
    Delivery,
    Payload,
    PublishOptions,
    PublishResult,
    RequestOptions,
    result_of,
)
from trio_mqtt._client._publisher import Publisher
from trio_mqtt._client._requests import SubscribeOptions
from trio_mqtt._client._serving import serve
from trio_mqtt._client._statistics import statistics_of
from trio_mqtt._client._subscribing import SubscriptionManager
from trio_mqtt._client._unsubscribing import Unsubscription
from trio_mqtt._client._versions import as_spoken
from trio_mqtt._client._waiting import Outcome
from trio_mqtt._enums import MQTT_5, RetainHandling, is_qos
from trio_mqtt._errors import FeatureNotSupported, LocalProtocolError
from trio_mqtt._topics import check_topic_filter
from trio_mqtt.packets import Properties, Unsubscribe
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from trio_mqtt._client._event_stream import EventStream
    from trio_mqtt._client._filters import TopicFilter
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._statistics import ClientStatistics
    from trio_mqtt._client._subscription import Subscription
    from trio_mqtt._client._supervisor import Supervisor
    from trio_mqtt._client._unsubscribing import UnsubscribeResult
    from trio_mqtt._protocol.server_info import ServerInfo


class Client(MadeByOpenClient):
    """A connection to an MQTT Server; made by `open_client`.

    Its methods may be called from any task, inside the block of `open_client`; `statistics` also
    from any thread.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._sending = supervisor.sending
        self._deliveries = supervisor.deliveries
        self._deliveries.publish = self.publish

    def __repr__(self) -> str:
        """The Server and the Client Identifier."""
        server = self.server
        name = self._sending.server_name
        return f"<trio_mqtt.Client {server.client_id!r} at {name}, {server.protocol.title}>"

    @property
    def server(self) -> ServerInfo:
        """What the Server granted in CONNACK (3.2.2.3)."""
        return self._sending.server

    def statistics(self) -> ClientStatistics:
        """Counters and gauges, as of now.

        In a thread that is not Trio's each is right, and they may be of different moments.
        """
        return statistics_of(self._supervisor)

    async def wait_connected(self) -> ServerInfo:
        """Wait until there is a connection, and return what the Server granted.

        Returns at once, after a checkpoint, if there is one now. Cancelled, nothing has happened.

        Raises:
            MQTTError: the client has failed: there will be none.
            trio.ClosedResourceError: the client is closed.
        """
        await self._supervisor.wait_link()
        return self.server

    async def reauthenticate(self) -> None:
        """Prove anew who this client is, without a new connection (4.12.1).

        It takes a new exchange of the `auth` of `open_client`, and returns when the Server is
        content; other traffic goes on meanwhile. A call waits for an exchange that is under way,
        and then has its own. Without a connection, or if that is lost meanwhile, it waits for the
        next one, which begins with an exchange of its own.

        Cancelled before AUTH is sent, nothing has happened; afterwards, only the waiting ends. What
        the `auth` raises before that leaves this method as it is.

        Raises:
            LocalProtocolError: `open_client` was given no `auth`.
            PacketTooLarge: the Server does not take so much.
            AuthenticationFailed: the client has failed, since the Server did not prove who it is,
                or asked what cannot be answered.
            ConnectionLost: the client has failed, since the Server refused it.
            trio.ClosedResourceError: the client is closed.
        """
        await self._supervisor.authenticating.reauthenticate()

    @manager("client.events()", "events")
    async def events(self) -> AsyncGenerator[EventStream]:
        """Watch what happens to the client, beside messages, for the time of a block.

        The block gets an asynchronous iterator over `trio_mqtt.events`. It never holds the client
        up: of events that nobody takes, the oldest are dropped.
        """
        self._deliveries.check_open()
        with self._deliveries.events.open() as stream:
            yield stream

    def disconnect_with(
        self,
        *,
        reason_code: int | None = None,
        session_expiry: int | None = None,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Decide what DISCONNECT says when the block of `open_client` ends (3.14).

        It ends nothing. What was decided before is replaced.

        Args:
            reason_code: why; with any other than 0 the Server publishes the will. It holds however
                the block ends. By default it is 0, or 4 if there is a will and the block raised an
                error. Below MQTT 5.0 only these two can be expressed: 4 by closing without
                DISCONNECT.
            session_expiry: how long the Server keeps the Session from then on, in seconds; by
                default as long as it has granted, or no longer if the client was given no
                `Session` (MQTT 5.0).
            reason_string: words for people (MQTT 5.0); left out where the Server takes no packet
                of that size.
            user_properties: name and value pairs (MQTT 5.0), likewise.

        Raises:
            LocalProtocolError: the standard forbids that, such as a `session_expiry` after CONNECT
                had none.
            FeatureNotSupported: the version of MQTT spoken cannot say it.
            trio.ClosedResourceError: the client is closed.
            MQTTError: it has failed, with this error.
        """
        supervisor = self._supervisor
        supervisor.check_open()
        farewell = make_farewell(
            reason_code, session_expiry, reason_string, user_properties, session=supervisor.session
        )
        if supervisor.connections:  # else the version is not known yet
            unsupported = self._deliveries.unsupported
            farewell = check_spoken(farewell, self.server.protocol, unsupported)
        supervisor.farewell = farewell

    # -- publishing ---------------------------------------------------------------------------

    @enable_ki_protection
    async def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **options: Unpack[PublishOptions],
    ) -> PublishResult:
        """Publish an Application Message and wait until the exchange is complete.

        At QoS 0 that is when the outgoing buffer has taken it, at QoS 1 with PUBACK, at QoS 2 with
        PUBCOMP (4.3).

        Cancelled before the client has accepted the message, nothing has happened; afterwards,
        only the waiting ends: the message is sent and acknowledged in the background.

        Args:
            topic: the Topic Name.
            payload: bytes, a bytes-like object, or a str, which is sent as UTF-8 and, on MQTT 5.0,
                marked as text.
            qos: 0, 1 or 2.
            retain: whether the Server keeps the message for later subscribers (3.3.1.3).
            **options: `message_expiry` in seconds, `content_type`, `response_topic`,
                `correlation_data` and `user_properties`; MQTT 5.0 only.

        Raises:
            PublishRejected: the Server answered with a Reason Code of 0x80 or above.
            LocalProtocolError: the standard forbids the message.
            FeatureNotSupported: this Server or version of MQTT does not have what it needs.
            PacketTooLarge: the Server does not take so much.
            TypeError: the payload is neither bytes-like nor str.
            MessageDropped: it expired before it could be sent, or had to make room for another.
            QueueFull: there is no room for it, and the Session does not want to wait for any.
            StorageError: the Session could not store it, and does not have it.
            SessionLost: the Server lost the Session meanwhile, and may or may not have it.
            ConnectionLost: the client failed before the exchange was complete.
            trio.ClosedResourceError: the client is closed.
        """
        sending = self._sending
        plain = not retain and not options and is_qos(qos)
        if qos == 0:
            await sending.pacer.checkpoint()
            if not plain or not sending.send_plain(topic, payload):
                message = sending.make(topic, payload, qos, retain, options)
                if not sending.accept_at_once(message):
                    await sending.admit(message)
            return ACCEPTED
        await checkpoint_if_cancelled()  # waiting for the outcome lets others run
        outcome = Outcome()
        sent = sending.publish_plain(topic, payload, qos, outcome) if plain else None
        if sent is None:
            sent = sending.make(topic, payload, qos, retain, options)
            sent.listener = outcome
            if not sending.accept_at_once(sent):
                await sending.admit(sent)
        sending.hasten()
        valve = sending.valve
        valve.begin()
        try:
            await outcome.wait()
        finally:
            valve.awaited -= 1
        return result_of(sent, sending.server_name)

    @enable_ki_protection
    async def enqueue(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        **options: Unpack[PublishOptions],
    ) -> Delivery:
        """Hand a message to the session, to be sent and acknowledged in the background.

        Waits for room in the outgoing queue, and with durable storage until the message is on
        disk; for a connection only at QoS 0. Cancelled before the session has it, nothing has
        happened; while it is being stored, only the waiting ends. The arguments and errors are
        those of `publish`, except that the Server's answer is told by `Delivery.wait`.

        Raises:
            QueueFull: there is no room, and the Session does not want to wait for any.
            StorageError: it could not be stored; the session does not have it.
        """
        sending = self._sending
        await sending.pacer.checkpoint()
        message = sending.make(topic, payload, qos=qos, retain=retain, options=options)
        delivery = Delivery(message, self._sending)
        if not sending.accept_at_once(message):
            await sending.admit(message)
        if message.accepted_in:
            await self._supervisor.committer.wait_for_storing(message)
        return delivery

    @enable_ki_protection
    def publish_nowait(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **options: Unpack[PublishOptions],
    ) -> Delivery:
        """Hand a message to the session without waiting; the synchronous twin of `enqueue`.

        Raises:
            trio.WouldBlock: there is no room for it now, or, at QoS 0, no connection.
            QueueFull: there is no room for it, and the Session says so.
        """
        message = self._sending.make(topic, payload, qos=qos, retain=retain, options=options)
        delivery = Delivery(message, self._sending)
        self._sending.admit_nowait(message)
        return delivery

    @manager("client.open_publisher(...)", "publisher")
    async def open_publisher(self, *, qos: int = 1) -> AsyncGenerator[Publisher]:
        """Open a publisher that does not wait for each acknowledgement.

        Below MQTT 5.0, where the Server names no Receive Maximum, at most 19 messages of QoS 2 are
        under way at once: some Servers close the connection of a Client that has more.

        Leaving the block waits for all of them; if the block failed or was cancelled, the messages
        are completed in the background instead.

        Args:
            qos: 0, 1 or 2.

        Raises:
            PublishRejected: on leaving; the Server refused one of the messages. A note on it tells
                how many more, `Publisher.rejections` holds them.
            MQTTError: on leaving; the client failed.
        """
        publisher = Publisher(self._sending, qos)
        try:
            yield publisher
        except BaseException:
            publisher._closed = True
            raise
        await publisher._settle()

    # -- subscribing --------------------------------------------------------------------------

    def subscribe(  # noqa: PLR0913 - the options of the standard and of the buffer
        self,
        *topic_filters: str | TopicFilter,
        qos: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = RetainHandling.SEND_ON_SUBSCRIBE,
        buffer: int = 1000,
        overflow: Literal["wait", "drop_oldest", "drop_newest"] = "wait",
        ack: Literal["when_done", "manual", "on_receipt"] = "when_done",
        keep: bool | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe for the time of an ``async with`` block, which gets a `Subscription`.

        Entering sends SUBSCRIBE and waits for SUBACK. Leaving sends UNSUBSCRIBE, unless another
        block holds the Topic Filter or it is kept; it waits for UNSUBACK if the block ended
        normally. An entry that is cancelled or partly refused unsubscribes what was granted.

        Args:
            *topic_filters: one or more Topic Filters; a `TopicFilter` has options of its own.
            qos: the highest QoS with which messages are to come.
            no_local: leave out messages that this client published (MQTT 5.0).
            retain_as_published: keep the RETAIN flag as the publisher set it (MQTT 5.0).
            retain_handling: when retained messages are sent (MQTT 5.0); a `RetainHandling`. None
                are if another block has the Topic Filter subscribed already.
            buffer: how many QoS 0 messages wait for the loop; beside it, 1 MiB is a bound.
            overflow: what happens to more: ``"wait"`` stops reading from the Server where that
                cannot lock up the program, ``"drop_oldest"``, ``"drop_newest"``.
            ack: when a QoS 1 or 2 message is settled: ``"when_done"``, as the loop asks for the
                next, by a call or by a ``with`` block; ``"manual"``, by these two only;
                ``"on_receipt"``, once it is in the buffer.
            keep: whether the Topic Filter stays subscribed on exit, so that the Server queues for
                it; by default if the caller has given the client a `Session`.
            user_properties: name and value pairs for SUBSCRIBE (MQTT 5.0).

        Raises:
            SubscribeRejected: on entry; the Server refused a Topic Filter.
            ValueError: an argument is none of those that it can be.
            LocalProtocolError: on entry; the standard forbids the subscription.
            FeatureNotSupported: on entry; the Server does not have what it needs.
            ConnectionLost: on entry; the client failed.
        """
        options = SubscribeOptions(
            qos=qos,
            no_local=no_local,
            retain_as_published=retain_as_published,
            retain_handling=to_retain_handling(retain_handling),
            buffer=buffer,
            overflow=overflow,
            ack=ack,
            keep=keep,
            user_properties=user_properties,
        )
        return SubscriptionManager(self._supervisor, topic_filters, options)

    @enable_ki_protection
    async def unsubscribe(
        self, *topic_filters: str, user_properties: Iterable[tuple[str, str]] = ()
    ) -> UnsubscribeResult:
        """Send UNSUBSCRIBE and wait for UNSUBACK, whoever subscribed to these Topic Filters.

        A subscription that holds one gets nothing more for it. Cancelled, only the waiting ends.

        Args:
            *topic_filters: one or more Topic Filters.
            user_properties: name and value pairs for UNSUBSCRIBE (MQTT 5.0).

        Returns:
            What the Server said.

        Raises:
            UnsubscribeRejected: the Server refused one.
            LocalProtocolError: one is no Topic Filter, or the standard forbids something else.
            FeatureNotSupported: below MQTT 5.0 there are no `user_properties`.
            PacketTooLarge: the Server takes no UNSUBSCRIBE with so many.
            ConnectionLost: the client failed.
        """
        for topic_filter in topic_filters:
            check_topic_filter(topic_filter)
        if not topic_filters:
            message = "unsubscribe needs at least one Topic Filter"
            raise LocalProtocolError(message, statement="MQTT-3.10.3-2")
        self._deliveries.check_open()
        subscriptions = self._supervisor.session._subscriptions
        routes = self._deliveries.routes
        properties = as_spoken(
            Properties(user_properties=as_pairs(user_properties)),
            self.server.protocol,
            self._deliveries.unsupported,
            "UNSUBSCRIBE",
        )
        packet = Unsubscribe(0, topic_filters, properties)
        return await Unsubscription(self._sending, routes, subscriptions, packet).run()

    # -- request and response -----------------------------------------------------------------

    async def request(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        **options: Unpack[RequestOptions],
    ) -> Message:
        """Publish a request and wait for the reply to it (4.10; MQTT 5.0).

        Response Topic and Correlation Data are the client's. The first request subscribes to the
        Response Topic, once for all requests and reconnections. There is no timeout: bring one, as
        with ``trio.fail_after(5)``, for a reply may never come.

        Cancelled, it is as `publish` is, and the request is forgotten: a reply to it is counted
        and does no harm.

        Args:
            topic: the Topic Name of the request.
            payload: as that of `publish`.
            qos: that of the request: 0, 1 or 2. The reply comes at QoS 0.
            **options: `message_expiry`, `content_type` and `user_properties`.

        Returns:
            The reply; there is nothing to settle.

        Raises:
            FeatureNotSupported: the Server does not speak MQTT 5.0, or lacks something else.
            SubscribeRejected: the Server refused the subscription to the Response Topic.
            PublishRejected: the Server refused the request.
            MQTTError: the request failed in another way; see `publish`.
            ConnectionLost: the client failed before there was a reply.
            trio.ClosedResourceError: the client is closed.
        """
        return await self._supervisor.requester.request(topic, payload, qos=qos, options=options)

    async def serve(  # noqa: PLR0913 - each by name
        self,
        topic_filter: str,
        handler: Callable[[Message], Awaitable[Payload | None]],
        *,
        qos: int = 1,
        limit: int = 100,
        keep: bool | None = None,
        task_status: trio.TaskStatus[Subscription] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer requests until cancelled, each in a task of its own (4.10; MQTT 5.0).

        A request is settled once its handler has returned and its reply is accepted. An exception
        of a handler, like one of any task, cancels the other handlers and leaves `serve`, in an
        ``ExceptionGroup``; the requests that they had in hand are left unsettled, for who serves
        next. A handler that is to survive what it is sent catches its own exceptions.

        A request without a Response Topic is handled and gets no reply. A reply that the Server
        does not take is logged.

        Cancelled, it cancels the handlers, whose requests are left unsettled, and unsubscribes as
        the end of a `subscribe` block does.

        Args:
            topic_filter: what to subscribe to. With ``$share/NAME/`` before it, the programs that
                serve under one name share the requests.
            handler: an asynchronous function that gets the request, a `Message`, and returns the
                payload of the reply, or None for no reply or one that it has made itself, with
                `Message.reply`.
            qos: the highest QoS with which requests are to come; a reply has that of its request.
            limit: how many handlers run at once; more requests wait.
            keep: whether the Topic Filter stays subscribed; see `subscribe`.
            task_status: what ``nursery.start`` passes; it gets the `Subscription`, for its
                statistics.

        Raises:
            ValueError: `limit` is less than 1.
            FeatureNotSupported: the Server does not speak MQTT 5.0, or lacks something else.
            SubscribeRejected: the Server refused the Topic Filter.
            MQTTError: the client failed.
            trio.ClosedResourceError: the client is closed.
        """
        check_callable("handler", handler, "an asynchronous function", or_none=False)
        check_whole("limit", limit, 1)
        server = await self._supervisor.wait_known()
        if server.protocol is not MQTT_5:
            text = (
                f"cannot serve requests to {topic_filter!r}: {server.protocol.title} has no "
                "Response Topic; subscribe, and agree on topics for replies, or use MQTT 5.0"
            )
            raise FeatureNotSupported(text)
        subscribing = self.subscribe(topic_filter, qos=qos, ack="manual", keep=keep)
        await serve(subscribing, handler, limit=limit, task_status=task_status)
