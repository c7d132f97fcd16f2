"""``trio-mqtt sub``: subscribe and print."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from trio_mqtt import RetainHandling, SubscribeRejected, topic_matches
from trio_mqtt._cli._command import Command, Option, run
from trio_mqtt._cli._connection import Connection, current_connection
from trio_mqtt._cli._connection_options import SERVER_OPTIONS, SESSION_OPTIONS, WILL_OPTIONS
from trio_mqtt._cli._exit import Status
from trio_mqtt._cli._output import Output, note
from trio_mqtt._cli._printing import PRINTING_OPTIONS, current_writer, sink_of, within
from trio_mqtt._cli._properties import check_properties, properties_of

if TYPE_CHECKING:
    from trio_mqtt import Client, Message, Subscription
    from trio_mqtt._cli._printing import Sink

_WHAT: Final = "Subscription"
_WHICH: Final = "Messages"
_RETAIN_HANDLING: Final = {
    "always": RetainHandling.SEND_ON_SUBSCRIBE,
    "new": RetainHandling.SEND_IF_NEW,
    "never": RetainHandling.DO_NOT_SEND,
}
_PERCENT: Final = 100.0


@attrs.frozen(kw_only=True)
class _Choice:
    """Which messages are printed, and when it is enough.

    Attributes:
        count: how many messages are enough, or None.
        filtered_out: Topic Filters of messages that are not printed.
        no_retained: whether retained messages are not printed.
        retained_only: whether the first message that is not retained ends it.
        remove_retained: whether retained messages are removed at the Server.
        share: how many of a hundred messages are printed, by chance.
    """

    count: int | None
    filtered_out: tuple[str, ...]
    no_retained: bool
    retained_only: bool
    remove_retained: bool
    share: float

    def takes(self, message: Message) -> bool:
        """Whether a message is one of those."""
        if message.retain and self.no_retained:
            return False
        if any(topic_matches(each, message.topic) for each in self.filtered_out):
            return False
        return self.share >= _PERCENT or random.uniform(0, _PERCENT) < self.share  # noqa: S311


def _flag(section: str, *names: str, help: str) -> Option:  # noqa: A002 - click's name
    return Option([*names], section=section, is_flag=True, help=help)


@click.command(
    "sub",
    cls=Command,
    shared=(PRINTING_OPTIONS, SERVER_OPTIONS, WILL_OPTIONS, SESSION_OPTIONS),
    params=[
        Option(
            ["-t", "--topic", "topics"],
            section=_WHAT,
            multiple=True,
            metavar="FILTER",
            help="Topic filter to subscribe to; may be given again.",
        ),
        Option(
            ["-q", "--qos"],
            section=_WHAT,
            type=click.IntRange(0, 2),
            default=0,
            metavar="QOS",
            help="The highest QoS with which messages come: 0, 1 or 2. [0]",
        ),
        Option(
            ["-U", "--unsubscribe", "unsubscribed"],
            section=_WHAT,
            multiple=True,
            metavar="FILTER",
            help="Unsubscribe from this, in a session that goes on with -c.",
        ),
        _flag(_WHAT, "--no-local", help="Leave out what this client publishes."),
        _flag(
            _WHAT,
            "--retain-as-published",
            help="Keep the retain flag as the publisher set it.",
        ),
        Option(
            ["--retain-handling"],
            section=_WHAT,
            type=click.Choice(tuple(_RETAIN_HANDLING)),
            default="always",
            metavar="WHEN",
            help="When retained messages are sent: always, new (subscriptions only) or never. "
            "[always]",
        ),
        Option(
            ["-C", "--count", "count"],
            section=_WHICH,
            type=click.IntRange(min=1),
            metavar="N",
            help="End after so many messages.",
        ),
        Option(
            ["-W", "--timeout"],
            section=_WHICH,
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="End after this time, with exit status 27.",
        ),
        _flag(_WHICH, "-E", "--exit-when-subscribed", help="End once all is subscribed."),
        Option(
            ["-T", "--filter-out", "filtered_out"],
            section=_WHICH,
            multiple=True,
            metavar="FILTER",
            help="Do not print messages to these topics.",
        ),
        _flag(_WHICH, "-R", "--no-retained", help="Do not print retained messages."),
        _flag(
            _WHICH,
            "--retained-only",
            help="Print only retained messages, and end with the first other one.",
        ),
        _flag(_WHICH, "--remove-retained", help="Remove the retained messages that come."),
        Option(
            ["--random-filter", "share"],
            section=_WHICH,
            type=click.FloatRange(min=0, max=_PERCENT),
            default=_PERCENT,
            metavar="PERCENT",
            help="Print only so many of a hundred messages, by chance.",
        ),
    ],
)
def command(  # noqa: PLR0913 - the options of the command line, each by name
    *,
    topics: tuple[str, ...],
    qos: int,
    unsubscribed: tuple[str, ...],
    no_local: bool,
    retain_as_published: bool,
    retain_handling: str,
    count: int | None,
    timeout: float | None,
    exit_when_subscribed: bool,
    filtered_out: tuple[str, ...],
    no_retained: bool,
    retained_only: bool,
    remove_retained: bool,
    share: float,
) -> int:
    """Subscribe to topics and print what comes.

    A message of QoS 1 or 2 is acknowledged once it is written to standard output. In a pipe
    payloads are written as they are; on a terminal, controls in them are shown, not sent.
    """
    check_properties("connect", "subscribe", "unsubscribe", "disconnect", "will")
    connection = current_connection()
    if connection.topic is not None:
        topics = (connection.topic, *topics)
    if not topics and not unsubscribed:
        raise click.UsageError("give a topic filter with -t, or in the URL")
    if no_retained and retained_only:
        raise click.UsageError("-R and --retained-only leave nothing to print")
    choice = _Choice(
        count=count,
        filtered_out=filtered_out,
        no_retained=no_retained,
        retained_only=retained_only,
        remove_retained=remove_retained,
        share=share,
    )
    options = {
        "qos": qos,
        "no_local": no_local,
        "retain_as_published": retain_as_published,
        "retain_handling": _RETAIN_HANDLING[retain_handling],
        **properties_of("subscribe"),
    }
    output = Output()
    write = current_writer(output)
    subscriber = _Subscriber(
        connection=connection,
        topics=topics,
        options=options,
        unsubscribed=unsubscribed,
        unsubscribe_options=properties_of("unsubscribe"),
        farewell=properties_of("disconnect"),
        choice=choice,
        only_subscribes=exit_when_subscribed or not topics,
    )
    if write is None:
        from trio_mqtt._cli._tree import show_tree  # noqa: PLC0415 - it needs rich

        main = partial(show_tree, subscriber.run)
    else:
        main = partial(subscriber.run, sink_of(output, write))
    return run(partial(within, timeout, main), stop_is_success=count is None)


@attrs.frozen(kw_only=True)
class _Subscriber:
    """Subscribes, and hands each chosen message to a sink.

    Attributes:
        connection: how to connect.
        topics: the Topic Filters.
        options: the other arguments of `Client.subscribe`.
        unsubscribed: the Topic Filters to unsubscribe from.
        unsubscribe_options: the other arguments of `Client.unsubscribe`.
        farewell: what DISCONNECT says.
        choice: which messages are wanted.
        only_subscribes: whether to end once that is done.
    """

    connection: Connection
    topics: tuple[str, ...]
    options: dict[str, Any]
    unsubscribed: tuple[str, ...]
    unsubscribe_options: dict[str, Any]
    farewell: dict[str, Any]
    choice: _Choice
    only_subscribes: bool

    async def run(self, sink: Sink) -> int:
        """Do it all; returns the exit status."""
        async with self.connection.open() as client:
            if self.farewell:
                client.disconnect_with(**self.farewell)
            if not self.topics:
                await self._unsubscribe(client)
                return Status.DONE
            try:
                return await self._receive(client, self.topics, sink)
            except SubscribeRejected as error:
                granted = tuple(each for each in self.topics if each not in error.reasons)
                if not granted or not error.reasons:
                    raise
                note(f"{error}; going on with the others")
            return await self._receive(client, granted, sink)

    async def _unsubscribe(self, client: Client) -> None:
        if self.unsubscribed:
            await client.unsubscribe(*self.unsubscribed, **self.unsubscribe_options)

    async def _receive(self, client: Client, topics: tuple[str, ...], sink: Sink) -> int:
        async with client.subscribe(*topics, **self.options) as messages:
            await self._unsubscribe(client)
            if not self.only_subscribes:
                await self._hand_over(client, messages, sink)
        return Status.DONE

    async def _hand_over(self, client: Client, messages: Subscription, sink: Sink) -> None:
        left = self.choice.count
        async for message in messages:
            if self.choice.retained_only and not message.retain:
                return
            if not self.choice.takes(message):
                continue
            if message.retain and self.choice.remove_retained:
                await client.publish(message.topic, b"", qos=1, retain=True)
            await sink(message, time.time_ns())
            if left is not None:
                left -= 1
                if not left:
                    message.ack()  # it is written, and there is no next one to settle it
                    return
