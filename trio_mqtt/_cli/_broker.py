"""``trio-mqtt broker``: a small server on this machine, for development."""

from __future__ import annotations

import errno
import hmac
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import click
import trio

from trio_mqtt import ReasonCode
from trio_mqtt._cli._command import Command, Option, run
from trio_mqtt._cli._exit import Failure
from trio_mqtt._cli._output import Output, note
from trio_mqtt._cli._text import for_people
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.packets import Connect
    from trio_mqtt.testing import LogEntry, Server

_DEFAULT_PORT: Final = 1883
_ARROWS: Final = {"received": ">", "sent": "<"}


def _accounts(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, bytes]:
    accounts: dict[str, bytes] = {}
    for value in values:
        name, colon, password = value.partition(":")
        if not colon or not name:
            raise click.BadParameter("it has to be NAME:PASSWORD", context, parameter)
        accounts[name] = password.encode()
    return accounts


@click.command(
    "broker",
    cls=Command,
    params=[
        Option(
            ["-p", "--port"],
            type=click.IntRange(0, 65535),
            default=_DEFAULT_PORT,
            metavar="PORT",
            help="Port of 127.0.0.1; 0 for any that is free. [1883]",
        ),
        Option(
            ["--account", "accounts"],
            multiple=True,
            metavar="NAME:PASSWORD",
            callback=_accounts,
            help="Let in only who knows this, or another one given so.",
        ),
        Option(["--log"], is_flag=True, help="Print every packet, without payloads."),
    ],
)
def command(port: int, accounts: dict[str, bytes], *, log: bool) -> int:
    """Run a small server on 127.0.0.1, for development.

    The first line of its output is its URL; from then on it takes connections, until Ctrl-C. It
    speaks MQTT 5.0, 3.1.1 and 3.1 and forgets everything when it ends: do not rely on it for more.
    """
    return run(partial(_serve, port, accounts, log=log), stop_is_success=True)


async def _serve(port: int, accounts: dict[str, bytes], *, log: bool) -> NoReturn:
    output = Output()
    try:
        async with open_server(port=port) as server:
            if accounts:
                server.authenticate = _authenticator(accounts)
            await output.write(f"{server.url}\n".encode())
            note("a server for development: it keeps nothing, and listens on this machine only")
            if log:
                await _log(server, output)
            await trio.sleep_forever()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = (
                f"port {port} is taken: end the server there, or give another port; -p 0 finds one"
            )
            raise Failure(text) from error
        if error.errno == errno.EACCES:
            raise Failure(f"port {port} is for root; give one above 1023") from error
        raise


def _authenticator(accounts: dict[str, bytes]) -> Callable[[Connect], ReasonCode]:
    def authenticate(connect: Connect) -> ReasonCode:
        expected = accounts.get(connect.username or "")
        if expected is not None and hmac.compare_digest(expected, connect.password or b""):
            return ReasonCode.SUCCESS
        return ReasonCode.BAD_USER_NAME_OR_PASSWORD

    return authenticate


async def _log(server: Server, output: Output) -> None:
    """Print packets as they pass, until cancelled."""
    last: LogEntry | None = None
    while True:
        entry = await server.wait_for(lambda _entry: True, after=last)
        if last is not None and entry.number != last.number + 1:
            await output.write(f"... {entry.number - last.number - 1} packets\n".encode())
        last = entry
        line = f"{entry.client_id or '-'} {_ARROWS[entry.direction]} {entry.packet!r}"
        await output.write(f"{for_people(line)}\n".encode(errors="backslashreplace"))
