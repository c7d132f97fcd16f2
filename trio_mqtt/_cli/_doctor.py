"""``trio-mqtt doctor``: what is wrong with a connection, step by step."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from trio_mqtt._cli._command import Command, Option, kept_options, run
from trio_mqtt._cli._connection import current_connection, make_context
from trio_mqtt._cli._connection_options import SERVER_OPTIONS, URL_ARGUMENT, take_url
from trio_mqtt._cli._exit import Status
from trio_mqtt._cli._output import make_console
from trio_mqtt._cli.diagnosis.run import diagnose
from trio_mqtt._cli.diagnosis.show import Printer, as_json
from trio_mqtt._cli.diagnosis.target import Target
from trio_mqtt._topics import check_topic_name
from trio_mqtt._transports.url import parse_url

if TYPE_CHECKING:
    from trio_mqtt._cli.diagnosis.findings import Findings, Step

_OF_A_CONNECTION: Final = frozenset({"limits", "PINGREQ", "round trip"})
"""The steps after which there was a connection."""


@click.command(
    "doctor",
    cls=Command,
    shared=(SERVER_OPTIONS,),
    params=[
        URL_ARGUMENT,
        Option(
            ["-t", "--topic"],
            metavar="TOPIC",
            help="Publish a message to this topic, too, and see that it comes back.",
        ),
        Option(
            ["-q", "--qos"],
            type=click.IntRange(0, 2),
            default=1,
            metavar="QOS",
            help="QoS of that message. [1]",
        ),
        Option(
            ["-W", "--timeout"],
            type=click.FloatRange(min=0, min_open=True),
            default=10.0,
            metavar="SECONDS",
            help="How long each step may take. [10]",
        ),
        Option(["--json", "json_wanted"], is_flag=True, help="Print JSON."),
    ],
)
def command(
    url_argument: str | None,
    topic: str | None,
    qos: int,
    timeout: float,
    *,
    json_wanted: bool,
) -> int:
    """Look for what is wrong with a connection, and say how to mend it.

    It connects step by step: URL, name, TCP, proxy, TLS with certificate, dates and host name,
    WebSocket, CONNACK with what the server grants, PINGREQ; with -t a message to itself. It has a
    client identifier of its own, so that no running client loses its connection, and leaves
    nothing behind.
    """
    kept = kept_options()
    take_url(url_argument)
    connection = current_connection()
    options: dict[str, Any] = dict(connection.options)
    topic = topic if topic is not None else connection.topic
    if topic is not None:
        check_topic_name(topic)
    try:
        address = parse_url(connection.url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    def context_anew() -> ssl.SSLContext:
        if options.get("ssl_context") is None:
            return ssl.create_default_context()
        return make_context(kept)

    target = Target(
        address=address,
        make_context=context_anew,
        proxy=options["proxy"],
        username=options["username"],
        password=options["password"],
        client_id=options.get("client_id"),
        protocol=options["protocol"],
        keep_alive=options["keep_alive"],
        topic=topic,
        qos=qos,
        timeout=timeout,
    )
    target.find_proxy()  # an error now, if the environment names none
    return run(partial(_look, target, json_wanted=json_wanted))


async def _look(target: Target, *, json_wanted: bool) -> int:
    console = make_console()
    if json_wanted:
        findings = await diagnose(target, _say_nothing)
        click.echo(as_json(findings))
    else:
        printer = Printer(console)
        findings = await diagnose(target, printer.step)
        printer.end(findings)
    return _status(findings)


def _say_nothing(_step: Step) -> None:
    """JSON comes at the end, in one piece."""


def _status(findings: Findings) -> Status:
    """The exit status: that which the other commands would have."""
    failed = next((step for step in findings.steps if step.status.value == "failed"), None)
    if failed is None:
        return Status.DONE
    if failed.name in _OF_A_CONNECTION:
        return Status.FAILED
    return Status.REFUSED if "reason code" in failed.details else Status.NO_CONNECTION
