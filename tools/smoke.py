"""What tools/release.py runs wherever it has installed trio_mqtt.

    python -I -W error tools/smoke.py README.md          # nothing but the package
    python -I -W error tools/smoke.py README.md scram    # with an extra

The programs of README.md have to print what it says, with the in-process server in the place of
localhost. An extra has to work where it is installed and, where none is, has to say how to get it.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

import trio_mqtt
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_RUN: Final = 20.0
PROGRAM: Final = re.compile(
    r"```python\n([^`]*)trio\.run\(main\)\n```\n\nIt prints\n\n```text\n([^`]*)```\n"
)


async def run_program(source: str, expected: list[str]) -> None:
    """Run a program until it has printed what is expected."""
    printed: list[str] = []
    running = trio.CancelScope()

    def print_line(*values: object) -> None:
        printed.append(" ".join(map(str, values)))
        if printed == expected:
            running.cancel()

    with trio.fail_after(LONGEST_RUN):
        async with open_server(port=0) as server:
            names: dict[str, Any] = {"print": print_line}
            with running:
                exec(source.replace("mqtt://localhost", str(server.url)), names)  # noqa: S102 - ours
                await names["main"]()
    if printed != expected:
        raise SystemExit(f"README.md prints {printed}, not {expected}")


def run_command() -> None:
    """``trio-mqtt --help``, as it was installed."""
    command = [str(Path(sys.executable).with_name("trio-mqtt")), "--help"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, check=False, capture_output=True, text=True, timeout=LONGEST_RUN
    )
    if done.returncode:
        raise ModuleNotFoundError(done.stderr)
    if "publish" not in done.stdout.lower():
        raise SystemExit(f"trio-mqtt --help prints {done.stdout!r}")


async def connect_through_proxy() -> None:
    """A proxy that is not there is a failure to connect."""
    address = "127.0.0.1:1"
    try:
        async with trio_mqtt.open_client(f"mqtt://{address}", proxy=f"socks5://{address}"):
            raise SystemExit(f"a server and a proxy answer at {address}")
    except trio_mqtt.ConnectFailed:
        return


CHECKS: Final[dict[str, Callable[[], object]]] = {
    "cli": run_command,
    "opentelemetry": lambda: importlib.import_module("trio_mqtt.opentelemetry"),
    "proxy": lambda: trio.run(connect_through_proxy),
    "scram": lambda: importlib.import_module("trio_mqtt.scram"),
}
"""For each extra, what raises ModuleNotFoundError where it is not installed."""


def must_be_missed(extra: str) -> None:
    """See that an extra which is not installed says how it would be."""
    try:
        CHECKS[extra]()
    except ModuleNotFoundError as error:
        if f"pip install 'trio-mqtt[{extra}]'" not in str(error):
            raise SystemExit(f"without the extra {extra} it says: {error}") from error
    else:
        raise SystemExit(f"the extra {extra} is there, and was not installed")


def main(readme: str, extra: str | None = None) -> None:
    """Run the programs of a README.md, and what belongs to the extra."""
    programs = PROGRAM.findall(Path(readme).read_text(encoding="utf-8"))
    if not programs:
        raise SystemExit(f"{readme} has no program with what it prints")
    for source, expected in programs:
        trio.run(run_program, source, expected.splitlines())
    if extra is not None:
        CHECKS[extra]()
        return
    for name in CHECKS:
        must_be_missed(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
