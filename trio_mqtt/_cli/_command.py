"""What all commands share: options in sections, properties, errors, signals."""

from __future__ import annotations

import logging
import re
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from trio_mqtt._cli._exit import MEANINGS, PROGRAM, Failure, Status, failure_of, report
from trio_mqtt._cli._text import for_people

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence

_KEPT: Final = "trio_mqtt.options"
_USER_PROPERTY: Final = "user-property"
_RANGE: Final = re.compile(r"\s+\[[^][]*\bx\b[^][]*\]$")
_SEPARATOR: Final = "\0"  # no argument of a program can hold one


class Option(click.Option):
    """An option that stands in a section of the help.

    Args:
        declarations: its names.
        section: the title of the section.
        shared: whether the command's function does not get it as an argument; it finds it with
            `kept_options`.
        **attributes: those of `click.Option`.
    """

    def __init__(
        self,
        declarations: Sequence[str],
        *,
        section: str = "Options",
        shared: bool = False,
        **attributes: Any,  # noqa: ANN401 - click's
    ) -> None:
        if shared:
            attributes = {"expose_value": False, "callback": _keep, **attributes}
        super().__init__(declarations, **attributes)
        self.section = section

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Its line of the help, without the range that click writes in the way of programmers."""
        record = super().get_help_record(ctx)
        return None if record is None else (record[0], _RANGE.sub("", record[1]))


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> object:
    assert parameter.name is not None  # noqa: S101 - every option has a name
    context.meta.setdefault(_KEPT, {})[parameter.name] = value
    return value


def kept_options() -> dict[str, Any]:
    """The values of the shared options of the command that runs, by name."""
    kept: dict[str, Any] = click.get_current_context().meta.setdefault(_KEPT, {})
    return kept


REPORTING: Final = "Reporting"

REPORTING_OPTIONS: Final = (
    Option(
        ["-d", "--debug"],
        is_flag=True,
        shared=True,
        section=REPORTING,
        help="Log what the client does to standard error.",
    ),
    Option(
        ["--quiet"],
        is_flag=True,
        shared=True,
        section=REPORTING,
        help="Print no error messages; the exit status tells.",
    ),
    Option(
        ["--traceback"],
        is_flag=True,
        shared=True,
        section=REPORTING,
        help="Show where in the program an error came from.",
    ),
)
"""What every command takes."""


class Command(click.Command):
    """A command whose help has sections, and whose errors are one line.

    Args:
        *args: those of `click.Command`.
        shared: more options than the command's own, one tuple after the other.
        **attributes: those of `click.Command`.
    """

    allow_extra_args = True  # `parse_args` refuses them, and shows no password

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's
        shared: Iterable[Sequence[click.Option]] = (),
        **attributes: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **attributes)
        for options in (*shared, REPORTING_OPTIONS):
            self.params.extend(options)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section, and what the exit statuses mean."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = getattr(parameter, "section", "Options")
                sections.setdefault(section, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(status)), meaning) for status, meaning in MEANINGS])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, after properties became one argument each."""
        rest = super().parse_args(ctx, _join_properties(args, self.params))
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(_superfluous(rest), ctx)
        return rest

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's method
        """Run the command; an error that is expected becomes a line and an exit status."""
        kept = ctx.meta.setdefault(_KEPT, {})
        try:
            with _logging(debug=bool(kept.get("debug")), quiet=bool(kept.get("quiet"))):
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort) as error:
            if not isinstance(error, Failure):
                raise
            failure = error
        except Exception as error:
            known = failure_of(error)
            if known is None:
                raise
            known.__cause__ = error
            failure = known
        return report(
            failure,
            quiet=bool(kept.get("quiet")),
            with_traceback=bool(kept.get("traceback")),
        )


def _superfluous(words: Sequence[str]) -> str:
    """What is wrong with words that belong to nothing; a URL may hold a password."""
    if any("://" in word for word in words):
        return "a URL stands where none belongs; name the server by -L URL, and once"
    return f"{words[0]!r} belongs to no option; quote what has spaces"


def _join_properties(args: Sequence[str], params: Iterable[click.Parameter]) -> list[str]:
    """Make one argument of the two or three that follow ``-D``: click knows no such option.

    ``-D publish content-type text`` has two values behind the packet, and one more for a User
    Property, which is a pair.
    """
    options = [each for each in params if isinstance(each, click.Option)]
    valued = {
        name: each.nargs
        for each in options
        if not each.is_flag and not each.count
        for name in each.opts
    }
    joined: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word == "--":
            return joined + rest
        if word in ("-D", "--property") and word in valued:
            count = 4 if rest[1:2] == [_USER_PROPERTY] else 3
            if len(rest) < count:
                text = (
                    f"{word} needs a packet, the name of a property and its value, as in "
                    f"'{word} publish content-type text/plain'; a user-property has a name, too"
                )
                raise click.UsageError(text)
            joined.append(_SEPARATOR.join(rest[:count]))
            del rest[:count]
        elif word in valued:
            joined += rest[: valued[word]]
            del rest[: valued[word]]
    return joined


def split_property(joined: str) -> list[str]:
    """The words behind ``-D``: the packet, the property and its value or its two."""
    return joined.split(_SEPARATOR)


class _OneLine(logging.Formatter):
    """A log record as one line in which nothing acts on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return for_people(super().format(record))


@contextmanager
def _logging(*, debug: bool, quiet: bool) -> Generator[None]:
    """Let the client's log go to standard error: warnings, or everything with ``-d``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _OneLine("%(asctime)s %(levelname)s %(message)s" if debug else f"{PROGRAM}: %(message)s")
    )
    logger = logging.getLogger("trio_mqtt")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


# -- running -----------------------------------------------------------------------------------

_STOPPING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)
)
_SIGNALLED: Final = 128


def run(main: Callable[[], Awaitable[int]], *, stop_is_success: bool = False) -> int:
    """Run an asynchronous function under Trio; the first SIGINT or SIGTERM cancels it.

    It then closes what it has open. A second signal ends the program at once.

    Args:
        main: the function; it returns the exit status.
        stop_is_success: whether being stopped is how the command is meant to end.

    Returns:
        The exit status.
    """
    return trio.run(_run, main, stop_is_success)


async def _run(main: Callable[[], Awaitable[int]], stop_is_success: bool) -> int:  # noqa: FBT001
    stopped_by = 0
    failure: Exception | None = None
    status: int = Status.FAILED

    async def watch(signals: Any, scope: trio.CancelScope) -> None:  # noqa: ANN401 - trio's
        nonlocal stopped_by
        async for number in signals:
            if stopped_by:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            stopped_by = number
            scope.cancel()

    with trio.open_signal_receiver(*_STOPPING) as signals:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(watch, signals, scope)
            with scope:
                try:
                    status = await main()
                except Exception as error:  # noqa: BLE001 - raised below, outside the nursery
                    failure = error
            nursery.cancel_scope.cancel()
    if stopped_by and failure is not None and (known := failure_of(failure)) is not None:
        known.status = _SIGNALLED + stopped_by
        raise known from failure
    if failure is not None:
        raise failure
    if stopped_by:
        return Status.DONE if stop_is_success else _SIGNALLED + stopped_by
    return status
