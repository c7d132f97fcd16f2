"""``trio-mqtt request``: publish a request and print the reply."""

from __future__ import annotations

import time
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from trio_mqtt import MQTT_5, FeatureNotSupported
from trio_mqtt._cli._command import Command, Option, run
from trio_mqtt._cli._connection import Connection, current_connection
from trio_mqtt._cli._connection_options import SERVER_OPTIONS, SESSION_OPTIONS, WILL_OPTIONS
from trio_mqtt._cli._exit import Status
from trio_mqtt._cli._output import Output
from trio_mqtt._cli._printing import PRINTING_OPTIONS, current_writer, sink_of, within
from trio_mqtt._cli._properties import check_properties, properties_of
from trio_mqtt._cli._sources import Source, payload_options, source_of

if TYPE_CHECKING:
    from trio_mqtt import Client, Message
    from trio_mqtt._cli._printing import Sink

_REQUEST: Final = "Request"


@attrs.frozen(kw_only=True)
class _Question:
    """What to ask.

    Attributes:
        topic: the Topic Name of the request.
        qos: its Quality of Service.
        source: where its payload comes from.
        response_topic: where the reply comes, or None to let the client choose that.
        text: whether the payload is marked as text.
        properties: the other arguments of `Client.publish`.
        no_retained: whether a retained message is no reply.
    """

    topic: str
    qos: int
    source: Source
    response_topic: str | None
    text: bool
    properties: dict[str, Any]
    no_retained: bool


@click.command(
    "request",
    cls=Command,
    shared=(PRINTING_OPTIONS, SERVER_OPTIONS, WILL_OPTIONS, SESSION_OPTIONS),
    params=[
        *payload_options(
            _REQUEST,
            message="Ask with this text.",
            file="Ask with the content of this file.",
            standard_input="Ask with all of standard input.",
            null="Ask with an empty message.",
            qos="Quality of Service of the request, and with -e of the reply: 0, 1 or 2. [0]",
        ),
        Option(
            ["-e", "--response-topic"],
            section=_REQUEST,
            metavar="TOPIC",
            help="Where the reply comes: the first message there. [a topic of this client alone, "
            "which needs MQTT 5]",
        ),
        Option(
            ["-W", "--timeout"],
            section=_REQUEST,
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="How long to wait, in all; without a reply the exit status is 27. [for ever]",
        ),
        Option(
            ["-R", "--no-retained"],
            section=_REQUEST,
            is_flag=True,
            help="With -e, take no retained message for the reply.",
        ),
    ],
)
def command(  # noqa: PLR0913 - the options of the command line, each by name
    *,
    topic: str | None,
    messages: tuple[str, ...],
    files: tuple[str, ...],
    standard_input: bool,
    null: bool,
    qos: int,
    response_topic: str | None,
    timeout: float | None,
    no_retained: bool,
) -> int:
    """Publish a request and print the reply to it.

    Requests and replies are those of MQTT 5; with -e they work below it as well, for a service
    that replies to a topic agreed upon.
    """
    check_properties("connect", "publish", "disconnect", "will")
    connection = current_connection()
    if len(messages) > 1 or len(files) > 1:
        raise click.UsageError("there is one request: give one -m or one -f")
    properties = properties_of("publish")
    text = bool(properties.pop("text", False))
    if response_topic is None:
        response_topic = properties.pop("response_topic", None)
    if response_topic is None and "correlation_data" in properties:
        raise click.UsageError(
            "-D publish correlation-data needs -e; without, the client has its own"
        )
    question = _Question(
        topic=connection.topic_or(topic),
        qos=qos,
        source=source_of(messages, files, standard_input=standard_input, null=null),
        response_topic=response_topic,
        text=text,
        properties=properties,
        no_retained=no_retained,
    )
    output = Output()
    write = current_writer(output)
    if write is None:
        raise click.UsageError("--format tree is for sub")
    main = partial(_ask, connection, question, sink_of(output, write), properties_of("disconnect"))
    return run(partial(within, timeout, main))


async def _ask(
    connection: Connection, question: _Question, sink: Sink, farewell: dict[str, Any]
) -> int:
    async with aclosing(question.source.items()) as items:
        payload = (await anext(items)).payload
    async with connection.open() as client:
        if farewell:
            client.disconnect_with(**farewell)
        body = payload.decode() if question.text else payload
        if question.response_topic is None:
            reply = await _request(client, question, body)
            await sink(reply, time.time_ns())
        else:
            await _request_at(client, question, body, question.response_topic, sink)
    return Status.DONE


async def _request(client: Client, question: _Question, payload: bytes | str) -> Message:
    """Let the client choose where the reply comes."""
    try:
        return await client.request(
            question.topic, payload, qos=question.qos, **question.properties
        )
    except FeatureNotSupported as error:
        error.add_note("-e TOPIC names a topic for the reply, which any server can do")
        raise


async def _request_at(
    client: Client, question: _Question, payload: bytes | str, response_topic: str, sink: Sink
) -> None:
    """Take the first message at a topic for the reply, and print it."""
    properties = dict(question.properties)
    if client.server.protocol is MQTT_5:
        properties["response_topic"] = response_topic
    async with client.subscribe(response_topic, qos=question.qos) as replies:
        await client.publish(question.topic, payload, qos=question.qos, **properties)
        async for reply in replies:
            if not (reply.retain and question.no_retained):
                await sink(reply, time.time_ns())
                reply.ack()  # there is no next one to settle it
                return
