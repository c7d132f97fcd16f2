"""``trio-mqtt pub``: publish messages."""

from __future__ import annotations

from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import trio

from trio_mqtt import UnsubscribeRejected
from trio_mqtt._cli._command import Command, Option, run
from trio_mqtt._cli._connection import Connection, current_connection
from trio_mqtt._cli._connection_options import SERVER_OPTIONS, SESSION_OPTIONS, WILL_OPTIONS
from trio_mqtt._cli._exit import Failure, Status
from trio_mqtt._cli._progress import Progress
from trio_mqtt._cli._properties import check_properties, properties_of
from trio_mqtt._cli._receipts import Receipts
from trio_mqtt._cli._sources import Item, Source, payload_options, source_of

if TYPE_CHECKING:
    from trio_mqtt import Client

_MESSAGE: Final = "Message"
_WINDOW: Final = 1000
_POLL: Final = 0.05
_SOON_SENT: Final = 16_384
"""Bytes that any line carries within the time that closing takes."""
_NOBODYS: Final = "trio-mqtt/pub/nobody-subscribes-to-this"


@attrs.frozen(kw_only=True)
class _Job:
    """What to publish, and how.

    Attributes:
        topic: the Topic Name.
        qos: the Quality of Service.
        retain: whether the Server keeps the last message.
        text: whether payloads are marked as text.
        properties: the other arguments of `Client.publish`.
        source: where the messages come from.
        window: how many may wait for their acknowledgement.
        pause: how long to wait between two repetitions, in seconds.
        waits_for_session: whether to wait for what earlier runs have left in the session.
        show_progress: whether to show a progress bar.
    """

    topic: str
    qos: int
    retain: bool
    text: bool
    properties: dict[str, Any]
    source: Source
    window: int
    pause: float
    waits_for_session: bool
    show_progress: bool


@click.command(
    "pub",
    cls=Command,
    shared=(SERVER_OPTIONS, WILL_OPTIONS, SESSION_OPTIONS),
    params=[
        *payload_options(
            _MESSAGE,
            message="Publish this text.",
            file="Publish the content of a file; several are several messages. With -l, their "
            "lines.",
            lines="Publish each line of standard input.",
            standard_input="Publish all of standard input as one message.",
            null="Publish an empty message.",
            qos="Quality of Service: 0, 1 or 2. [0]",
        ),
        Option(
            ["-r", "--retain"],
            section=_MESSAGE,
            is_flag=True,
            help="Let the server keep the message for later subscribers.",
        ),
        Option(
            ["--repeat"],
            section=_MESSAGE,
            type=click.IntRange(min=1),
            default=1,
            metavar="N",
            help="Publish -m, -f, -n or -s so many times. [1]",
        ),
        Option(
            ["--repeat-delay"],
            section=_MESSAGE,
            type=click.FloatRange(min=0),
            default=0.0,
            metavar="SECONDS",
            help="Wait between repetitions. [0]",
        ),
        Option(
            ["-M", "--max-inflight", "window"],
            section=_MESSAGE,
            type=click.IntRange(min=1),
            default=_WINDOW,
            metavar="N",
            help="How many messages of QoS 1 and 2 may be unacknowledged. [1000]",
        ),
        Option(
            ["--progress"],
            section=_MESSAGE,
            is_flag=True,
            help="Show a progress bar, if standard error is a terminal.",
        ),
    ],
)
def command(  # noqa: PLR0913 - the options of the command line, each by name
    *,
    topic: str | None,
    messages: tuple[str, ...],
    files: tuple[str, ...],
    qos: int,
    repeat: int,
    repeat_delay: float,
    window: int,
    lines: bool,
    standard_input: bool,
    null: bool,
    retain: bool,
    progress: bool,
) -> int:
    """Publish messages to a topic.

    A message of QoS 1 or 2 counts as published once the server has acknowledged it, which it may
    do after a reconnection. If the command ends before that, it says which messages these are, and
    at which one it was stopped.
    """
    check_properties("connect", "publish", "disconnect", "will")
    connection = current_connection()
    source = source_of(messages, files, lines=lines, standard_input=standard_input, null=null)
    if lines and repeat != 1:
        raise click.UsageError("--repeat does not go with -l")
    properties = properties_of("publish")
    text = bool(properties.pop("text", False))
    job = _Job(
        topic=connection.topic_or(topic),
        qos=qos,
        retain=retain,
        text=text,
        properties=properties,
        source=source.repeated(repeat),
        window=window,
        pause=repeat_delay,
        waits_for_session="session" in connection.options,
        show_progress=progress,
    )
    return run(partial(_publish, connection, job, properties_of("disconnect")))


async def _publish(connection: Connection, job: _Job, farewell: dict[str, Any]) -> int:
    """Publish everything, then tell of what was refused or not acknowledged."""
    progress = Progress(job.source.size, shown=job.show_progress)
    receipts = Receipts(job.window, progress, job.qos)
    try:
        with progress:
            async with connection.open() as client:
                if farewell:
                    client.disconnect_with(**farewell)
                await _exchange(client, job, receipts)
                if receipts.sent_bytes > _SOON_SENT:
                    await _wait_until_read(client)
                if job.waits_for_session:
                    await _wait_for_session(client)
    except BaseException as error:
        await receipts.collect_rest()
        summary = receipts.summary(connection.session_file, stopped=True)
        if summary is None:
            raise
        if not isinstance(error, Exception):  # Cancelled, or a group of such
            raise Failure(summary) from None
        error.add_note(summary)
        raise
    summary = receipts.summary(connection.session_file)
    if summary is not None:
        raise Failure(summary, Status.FAILED if receipts.missing.count else Status.REFUSED)
    return Status.DONE


async def _exchange(client: Client, job: _Job, receipts: Receipts) -> None:
    """Send everything and wait for all acknowledgements."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receipts.collect)
        try:
            await _send_all(client, job, receipts)
        except Exception as error:  # noqa: BLE001 - raised below, outside the nursery
            failure = error
        receipts.close()
    if failure is not None:
        raise failure


async def _send_all(client: Client, job: _Job, receipts: Receipts) -> None:
    async with aclosing(job.source.items()) as items:
        async for item in items:
            if item.begins_again and job.pause:
                await trio.sleep(job.pause)
            receipts.begin(item.label)
            await _send(client, job, receipts, item)


async def _send(client: Client, job: _Job, receipts: Receipts, item: Item) -> None:
    payload = item.payload.decode() if job.text else item.payload
    size = len(item.payload) + 1
    if job.qos == 0:
        await client.publish(job.topic, payload, retain=job.retain, **job.properties)
        receipts.add_sent(size)
        return
    try:
        delivery = await client.enqueue(
            job.topic, payload, qos=job.qos, retain=job.retain, **job.properties
        )
    except trio.Cancelled:
        receipts.add_doubtful(item.label)
        raise
    await receipts.add(item.label, delivery, size)


async def _wait_for_session(client: Client) -> None:
    """Wait until nothing is left of what earlier runs could not send."""
    while client.statistics().unfinished:  # noqa: ASYNC110 - there is no event for it
        await trio.sleep(_POLL)


async def _wait_until_read(client: Client) -> None:
    """Wait until the Server has read what was sent at QoS 0, however slow the line is.

    Nobody acknowledges that, but packets are read in their order: what is answered came last.
    """
    with suppress(UnsubscribeRejected):  # an answer, too
        await client.unsubscribe(_NOBODYS)
