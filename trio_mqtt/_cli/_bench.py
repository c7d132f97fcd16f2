"""``trio-mqtt bench``: how fast messages go through a server, and whether all arrive."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import trio

from trio_mqtt._cli._command import Command, Option, run
from trio_mqtt._cli._connection import current_connection
from trio_mqtt._cli._connection_options import SERVER_OPTIONS, URL_ARGUMENT, take_url
from trio_mqtt._cli._exit import Status
from trio_mqtt._cli._output import is_terminal, make_console
from trio_mqtt._cli.measuring.run import SMALLEST, Measurement, Plan
from trio_mqtt._cli.measuring.show import as_json, live_line, print_results

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

_SECTION: Final = "Messages"
_RESULTS: Final = "Results"
_MESSAGES: Final = 100_000
_MOST_PAYLOAD: Final = 268_435_455 - 1000
_MOST_CLIENTS: Final = 10_000


def _option(section: str, *names: str, **attributes: Any) -> Option:  # noqa: ANN401 - click's
    return Option([*names], section=section, **attributes)


@attrs.frozen(kw_only=True)
class _Results:
    """What to do with the results.

    Attributes:
        histogram: whether to draw the latencies.
        plot: the file for a picture, or None.
        as_json: whether to print JSON.
    """

    histogram: bool
    plot: Path | None
    as_json: bool


@click.command(
    "bench",
    cls=Command,
    shared=(SERVER_OPTIONS,),
    params=[
        URL_ARGUMENT,
        _option(
            _SECTION, "-q", "--qos",
            type=click.IntRange(0, 2), default=0, metavar="QOS",
            help="QoS of the messages and the subscriptions. [0]",
        ),
        _option(
            _SECTION, "--size",
            type=click.IntRange(SMALLEST, _MOST_PAYLOAD), default=64, metavar="BYTES",
            help=f"Size of each payload, at least {SMALLEST}. [64]",
        ),
        _option(
            _SECTION, "--messages",
            type=click.IntRange(min=1), metavar="COUNT",
            help=f"How many to send in all. [{_MESSAGES}]",
        ),
        _option(
            _SECTION, "--duration",
            type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
            help="How long to send; instead of --messages, or whichever comes first.",
        ),
        _option(
            _SECTION, "--rate",
            type=click.FloatRange(min=0, min_open=True), metavar="PER SECOND",
            help="How many to send a second, in all. [as many as possible]",
        ),
        _option(
            _SECTION, "--publishers",
            type=click.IntRange(1, _MOST_CLIENTS), default=1, metavar="COUNT",
            help="How many clients share the sending. [1]",
        ),
        _option(
            _SECTION, "--subscribers",
            type=click.IntRange(0, _MOST_CLIENTS), default=1, metavar="COUNT",
            help="How many clients receive each message. [1]",
        ),
        _option(
            _SECTION, "-t", "--topic", "prefix",
            metavar="PREFIX",
            help="What the topics begin with. [trio-mqtt-bench/ and random digits]",
        ),
        _option(
            _SECTION, "-W", "--wait", "patience",
            type=click.FloatRange(min=0), default=5.0, metavar="SECONDS",
            help="How long to wait for what is missing, once nothing comes. [5]",
        ),
        _option(_RESULTS, "--histogram", is_flag=True, help="Draw the latencies, too."),
        _option(
            _RESULTS, "--plot",
            type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg",
            help="Write a picture of rates and latencies.",
        ),
        _option(_RESULTS, "--json", "json_wanted", is_flag=True, help="Print JSON."),
    ],
)  # fmt: skip
def command(  # noqa: PLR0913 - the options
    *,
    url_argument: str | None,
    qos: int,
    size: int,
    messages: int | None,
    duration: float | None,
    rate: float | None,
    publishers: int,
    subscribers: int,
    prefix: str | None,
    patience: float,
    histogram: bool,
    plot: Path | None,
    json_wanted: bool,
) -> int:
    """Measure how fast messages go through a server, and whether each arrives once.

    Clients of this program publish and receive; a latency counts from when a message was due to be
    sent. Without --rate the server is kept as busy as it can be, and latencies are those of its
    queues. Ctrl-C ends it early and shows what was measured. No message is retained.
    """
    take_url(url_argument)
    connection = current_connection()
    if connection.options.get("client_id") is not None:
        raise click.UsageError("several clients cannot share one -i; leave it out, and -I, too")
    if messages is None and duration is None:
        messages = _MESSAGES
    changes: dict[str, Any] = {}
    prefix = prefix if prefix is not None else connection.topic
    if prefix is not None:
        if not prefix.strip("/") or "+" in prefix or "#" in prefix:
            raise click.UsageError("-t takes the beginning of topics, without wildcards")
        changes["prefix"] = prefix.rstrip("/")
    if plot is not None:
        _check_writable(plot)
    plan = Plan(
        open=connection.open,
        qos=qos,
        size=size,
        messages=messages,
        duration=duration,
        publishers=publishers,
        subscribers=subscribers,
        rate=rate,
        patience=patience,
        **changes,
    )
    results = _Results(histogram=histogram, plot=plot, as_json=json_wanted)
    return run(partial(_bench, plan, results))


def _check_writable(path: Path) -> None:
    """Raise now, and not when all is done."""
    with path.open("a"):
        pass


async def _run_until_stopped(measured: Measurement, watch: Callable[[Measurement], None]) -> None:
    """Measure; the first Ctrl-C ends the sending, the second the waiting."""

    async def stop(signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            if measured.interrupted:
                nursery.cancel_scope.cancel()
            measured.stop()

    failure: Exception | None = None
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, signals)
            try:
                await measured.run(watch)
            except Exception as error:  # noqa: BLE001 - raised below, outside the nursery
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@contextmanager
def _live() -> Generator[Callable[[Measurement], None]]:
    """What shows how it goes, in one line of standard error, if that is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda _measured: None
        return
    with make_console(stderr=True).status("connecting") as status:
        yield lambda measured: status.update(live_line(measured))


async def _bench(plan: Plan, results: _Results) -> int:
    measured = Measurement(plan)
    with _live() as watch:
        await _run_until_stopped(measured, watch)
    if results.as_json:
        click.echo(as_json(measured))
    else:
        print_results(make_console(), measured, histogram=results.histogram)
    if results.plot is not None:
        from trio_mqtt._cli.measuring.plot import draw  # noqa: PLC0415 - only where it is asked for

        await trio.Path(results.plot).write_text(draw(measured), encoding="utf-8")
    if measured.interrupted:
        return Status.INTERRUPTED
    return Status.FAILED if measured.lost or measured.doubled or measured.rejected else Status.DONE
