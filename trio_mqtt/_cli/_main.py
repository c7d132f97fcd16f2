"""The group of commands; each is imported when it is asked for, so that none waits for others."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "pub": "Publish messages: from the command line, files, or lines of standard input.",
    "sub": "Subscribe, and print what comes as text, JSON lines or a live tree.",
    "request": "Publish a request and print the reply to it.",
    "bench": "Measure how fast messages go through a server, and whether all arrive.",
    "doctor": "Look for what is wrong with a connection, and say how to mend it.",
    "broker": "Run a small server on this machine, for development.",
}
"""Each command and its line in the help; it is `command` in the module named after it."""

_INTERRUPTED: Final = 130


class Group(click.Group):
    """The ``trio-mqtt`` command, which knows the names of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's method
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"trio_mqtt._cli._{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's method
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002
        **extra: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run a command, and exit with its status; errors are one line on standard error."""
        try:
            result = super().main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
            status = result if isinstance(result, int) else 0
        except click.ClickException as error:
            if not standalone_mode:
                raise
            from trio_mqtt._cli._exit import report  # noqa: PLC0415 - not for --help

            status = report(error)
        except OSError as error:  # of writing the help
            from trio_mqtt._cli._exit import failure_of  # noqa: PLC0415
            from trio_mqtt._cli._exit import report as tell  # noqa: PLC0415

            failure = failure_of(error)
            if failure is None or not standalone_mode:
                raise
            status = tell(failure)
        except click.Abort:
            status = _INTERRUPTED
        if not standalone_mode:
            return status
        sys.exit(status)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
)
@click.version_option(package_name="trio-mqtt", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> int:
    """Publish, subscribe, ask and look, at any MQTT server.

    Its options are those of mosquitto_pub, mosquitto_sub and mosquitto_rr, so that -h is the host;
    'trio-mqtt COMMAND --help' lists them.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0
