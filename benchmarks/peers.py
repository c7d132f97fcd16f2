"""The clients of others, each in a virtual environment of its own: some exclude each other.

``python -m benchmarks.peers`` makes the environments that are missing. Where one is missing all the
same, the client takes part if this interpreter has it.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.clients import CLIENTS, Client

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent.parent
_ASK: Final = (
    "import json, sys; from importlib import metadata; found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = metadata.version(name)\n"
    "    except metadata.PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)
_BESIDE: Final = ("attrs",)
"""What the programs here need to run with any of them."""


def environment(client: Client) -> Path:
    """Where its virtual environment is, or would be."""
    return ROOT / f".venv-peers-{client.module.removeprefix('of_')}"


def interpreter(client: Client) -> str:
    """With which Python it runs."""
    python = environment(client) / "bin" / "python"
    return str(python) if client.requirement and python.exists() else sys.executable


@functools.cache
def versions(python: str, *distributions: str) -> dict[str, str]:
    """Which of these an interpreter has."""
    arguments = [python, "-c", _ASK, *distributions]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, str] = json.loads(answer.stdout)
    return found


def version(client: Client) -> str | None:
    """Of which version it is; None if it is not installed."""
    if client.distribution is None:
        return None if client.program and shutil.which(client.program) is None else ""
    return versions(interpreter(client), client.distribution).get(client.distribution)


def installed() -> list[str]:
    """The names of the clients that can run."""
    return [name for name, client in CLIENTS.items() if version(client) is not None]


def install(client: Client, requirements: Sequence[str]) -> None:
    """Make an environment, unless it has what is required already."""
    directory = environment(client)
    stamp = directory / "installed.txt"
    wanted = "\n".join(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    python = str(directory / "bin" / "python")
    quietly = ["-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    make = [str(ROOT / "tools" / "make-venv"), sys.executable, str(directory)]
    subprocess.run(make, check=True)  # noqa: S603
    subprocess.run([python, *quietly, *requirements], check=True)  # noqa: S603
    stamp.write_text(wanted)


def main() -> int:
    """Install them all; one that cannot be is left out, and told."""
    for name, client in CLIENTS.items():
        if client.requirement:
            try:
                install(client, [client.requirement, *_BESIDE])
            except subprocess.CalledProcessError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
