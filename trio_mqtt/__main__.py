"""``python -m trio_mqtt``, and the ``trio-mqtt`` command."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NEEDED: Final = ("click", "rich")
_USAGE: Final = 2


def _open_what_is_closed() -> None:
    """Let no connection be what others take for standard input, output or error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    if sys.stderr is None:  # `print` would write to standard output instead
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for ever


def main() -> None:
    """Run the command line, or say what it lacks."""
    _open_what_is_closed()
    if any(find_spec(name) is None for name in _NEEDED):
        print(  # noqa: T201 - the command line is not there to do it
            "trio-mqtt: the command line needs click and rich: pip install 'trio-mqtt[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(_USAGE)
    from trio_mqtt._cli._main import main as run  # noqa: PLC0415 - it needs what was looked for

    run(prog_name="trio-mqtt")


if __name__ == "__main__":
    main()
