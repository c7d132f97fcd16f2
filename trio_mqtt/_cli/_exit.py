"""How the command line ends: exit statuses, and errors as one line."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from enum import IntEnum
from typing import IO, TYPE_CHECKING, Any, Final

import click

from trio_mqtt import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    LocalProtocolError,
    MQTTError,
    PublishRejected,
    SubscribeRejected,
    UnsubscribeRejected,
)
from trio_mqtt._cli._text import for_people

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "trio-mqtt"


class Status(IntEnum):
    """The exit statuses of all commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    REFUSED = 4
    TIMED_OUT = 27  # as that of mosquitto_sub
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


MEANINGS: Final = (
    (Status.DONE, "done"),
    (Status.FAILED, "it failed: the line on standard error says why"),
    (Status.USAGE, "the command line cannot be understood, or asks for what cannot be had"),
    (Status.NO_CONNECTION, "no connection to the server could be made"),
    (Status.REFUSED, "the server refused the client, a subscription or a message"),
    (Status.TIMED_OUT, "the time given with -W was up"),
    (Status.INTERRUPTED, "stopped by Ctrl-C (SIGINT)"),
    (Status.PIPE_CLOSED, "nobody reads the output any more"),
    (Status.TERMINATED, "stopped by SIGTERM"),
)
"""What the exit statuses mean; the help and a test of the documentation read it."""

_STATUSES: Final[Sequence[tuple[type[BaseException], Status]]] = (
    (BrokenPipeError, Status.PIPE_CLOSED),
    (ConnectFailed, Status.NO_CONNECTION),
    (ConnectRejected, Status.REFUSED),
    (AuthenticationFailed, Status.REFUSED),
    (PublishRejected, Status.REFUSED),
    (SubscribeRejected, Status.REFUSED),
    (UnsubscribeRejected, Status.REFUSED),
    (LocalProtocolError, Status.USAGE),
    (MQTTError, Status.FAILED),
    (OSError, Status.FAILED),
    (ValueError, Status.USAGE),  # an argument of the library that is out of range
    (ImportError, Status.USAGE),  # an extra that is not installed
)
"""The exit status for each error; the first that fits counts."""


class Failure(click.ClickException):
    """The command has failed, and one line says why and what to do.

    Args:
        message: that line.
        status: the exit status.
    """

    def __init__(self, message: str, status: Status = Status.FAILED) -> None:
        super().__init__(message)
        self.status: int = status

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line to standard error."""
        click.echo(f"{PROGRAM}: {for_people(self.message)}", file=file or sys.stderr, err=True)


def failure_of(error: BaseException) -> Failure | None:
    """What an error means to the user, or None for a fault of the program itself."""
    if isinstance(error, Failure):
        return error
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            notes = "; ".join(getattr(error, "__notes__", ()))
            message = " ".join(_describe(error).split())
            return Failure(f"{message}; {notes}" if notes else message, status)
    return None


def _describe(error: BaseException) -> str:
    if isinstance(error, ConnectionLost) or not isinstance(error, OSError):
        return str(error)
    if isinstance(error, MQTTError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def report(
    error: click.ClickException, *, quiet: bool = False, with_traceback: bool = False
) -> int:
    """Tell standard error why the command failed.

    Args:
        error: the failure.
        quiet: whether failures are not to be told; errors of usage are.
        with_traceback: whether to show where in the program it came from.

    Returns:
        The exit status.
    """
    if with_traceback:
        traceback.print_exception(error.__cause__ or error, file=sys.stderr)
    status = error.status if isinstance(error, Failure) else error.exit_code
    if status == Status.PIPE_CLOSED:
        _forget_output()
    elif isinstance(error, click.UsageError):
        name = error.ctx.command_path if error.ctx else PROGRAM
        text = " ".join(error.format_message().split()).rstrip(".")
        Failure(f"{text}; '{name} --help' tells more").show()
    elif not quiet:
        error.show()
    return status


def _forget_output() -> None:
    """Let the interpreter flush what is left to nowhere: nobody reads it."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError) as error:  # standard output is no file, as in tests
        if isinstance(error, OSError) and error.errno not in (None, errno.EBADF):
            raise
