"""How messages are printed: the options, and what writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from trio_mqtt._cli._command import Option, kept_options
from trio_mqtt._cli._exit import Failure, Status
from trio_mqtt._cli._formats import json_format, text_format
from trio_mqtt._cli._template import Layout, compile_template

if TYPE_CHECKING:
    from trio_mqtt import Message
    from trio_mqtt._cli._output import Output
    from trio_mqtt._cli._template import Write

Sink = Callable[["Message", int], Awaitable[None]]
"""Takes a message, and when it came: nanoseconds since 1970, in UTC."""


def _option(*names: str, **attributes: Any) -> Option:  # noqa: ANN401 - click's
    return Option([*names], section="Output", shared=True, **attributes)


PRINTING_OPTIONS: Final = (
    _option(
        "--format", "style",
        type=click.Choice(("text", "json", "tree")),
        default="text",
        metavar="STYLE",
        help="text, json (a line for each message) or, of sub on a terminal, tree. [text]",
    ),
    _option("-v", "--verbose", is_flag=True, help="Print the topic before the payload."),
    _option("-N", "--no-eol", is_flag=True, help="Print no line feed behind a message."),
    _option("-F", "template", metavar="FORMAT",
            help="Print messages so: '%t' is the topic, '%p' the payload; see the documentation."),
    _option("--pretty", is_flag=True, help="Write JSON in several lines."),
    _option("--parse", is_flag=True,
            help="With --format json, let a payload that is JSON stand there as JSON."),
)  # fmt: skip
"""For the commands that print messages."""


def current_writer(output: Output) -> Write | None:
    """What makes bytes of a message, as the options say; None for a tree.

    Raises:
        click.UsageError: the options contradict each other.
    """
    kept = kept_options()
    style, template = kept["style"], kept.get("template")
    if style != "text" and (template is not None or kept["verbose"] or kept["no_eol"]):
        raise click.UsageError("-F, -v and -N go with --format text only")
    if style == "tree":
        if output.is_terminal:
            return None
        text = "--format tree needs a terminal to draw on; in a pipe, use text or json"
        raise click.UsageError(text)
    layout = Layout(output.is_terminal, kept["pretty"])
    if style == "json":
        return json_format(layout, parse=kept["parse"])
    end = b"" if kept["no_eol"] else b"\n"
    if template is not None:
        return compile_template(template, layout, end)
    return text_format(layout, verbose=kept["verbose"], end=end)


def sink_of(output: Output, write: Write) -> Sink:
    """What writes messages to the output."""

    async def sink(message: Message, at: int) -> None:
        if data := write(message, at):
            await output.write(data)

    return sink


async def within(seconds: float | None, main: Callable[[], Awaitable[int]]) -> int:
    """Run it, within the time of ``-W``.

    Raises:
        Failure: the time was up.
    """
    if seconds is None:
        return await main()
    with trio.move_on_after(seconds):
        return await main()
    raise Failure(f"timed out: the {seconds:g} s of -W are up", Status.TIMED_OUT)
