"""Pictures of the command line for the documentation, from real runs of it.

Each command runs on a terminal of its own, against a Mosquitto on this machine, and what it writes
there is drawn as SVG. Run it as ``python -m tools.screenshots`` in the root of the project.
"""

from __future__ import annotations

import datetime as dt
import io
import math
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.cli.support import COMMAND, Terminal
from tests.servers import RealServer, run_mosquitto

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

TARGET: Final = Path(__file__).parent.parent / "docs" / "screenshots"

# A picture in a page loads no fonts from elsewhere.
_FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
_PIECES: Final = re.compile(r"(\x1b\[[0-?]*[ -/]*[@-~]|[\r\n])")
_UP: Final = re.compile(r"\x1b\[(\d*)A")
_COLUMNS: Final = 100
_REPORTS: Final = 40
_PAUSE: Final = 0.1


def screen_of(output: str) -> list[str]:
    """The lines on the terminal after this was written; colours stay as they are.

    It knows what rich writes: it goes up by lines, and erases a line before it is written again.
    """
    lines = [""]
    row = 0
    for piece in _PIECES.split(output):
        up = _UP.fullmatch(piece)
        if up is not None:
            row = max(0, row - int(up[1] or 1))
        elif piece == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece.endswith("m") or not piece.startswith(("\x1b", "\r")):
            lines[row] += piece
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def save(name: str, words: Sequence[str], lines: Sequence[str]) -> None:
    """Draw what a command has written, below its command line."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    command = Text("$ ", style="bold green")
    command.append("trio-mqtt " + " ".join(words), style="bold")
    console.print(command)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    svg = console.export_svg(title=f"trio-mqtt {words[0]}", unique_id=name, code_format=_FORMAT)
    text = "\n".join(line.rstrip() for line in svg.splitlines())
    (TARGET / f"{name}.svg").write_text(text.strip() + "\n")


# -- the pictures ---------------------------------------------------------------------------------


def show_doctor(url: str) -> None:
    """All is well, and a message comes back."""
    words = ("doctor", url, "-t", "greenhouse/test")
    with Terminal(*words) as child:
        child.wait()
    save("doctor", words, screen_of(child.raw.decode()))


def show_wrong_certificate(directory: Path, port: int) -> None:
    """The certificate has expired, and is for another host."""
    words = ("doctor", f"mqtts://localhost:{port}", "--cafile", "ca.pem")
    with Terminal(*words[:-1], str(directory / "ca.pem")) as child:
        child.wait()
    save("doctor-certificate", words, screen_of(child.raw.decode()))


def show_bench(url: str) -> None:
    """While it runs, and its results."""
    words = ("bench", url, "-q", "1", "--rate", "2000", "--duration", "5", "--histogram")
    with Terminal(*words) as child:
        child.wait_for("sent 8,")
        save("bench-live", words, screen_of(child.raw.decode()))
        child.wait()
    save("bench", words, screen_of(child.raw.decode()))


def show_plot(url: str) -> None:
    """The picture that it draws itself."""
    picture = TARGET / "bench-plot.svg"
    arguments = ("-q", "1", "--rate", "2000", "--duration", "5", "--plot", str(picture))
    subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "bench", url, *arguments], check=True, stdout=subprocess.DEVNULL
    )


def show_tree(url: str) -> None:
    """A greenhouse whose sensors report."""
    words = ("sub", "-L", url, "-t", "greenhouse/#", "--format", "tree")
    with Terminal(*words) as child:
        child.wait_for("0 messages")
        for number in range(_REPORTS):
            _report(url, number)
            child._read(_PAUSE)  # noqa: SLF001 - whatever has come by then
        save("sub-tree", words, screen_of(child.raw.decode()))
        child.type("\x03")
        child.wait()


def _report(url: str, number: int) -> None:
    import trio  # noqa: PLC0415 - only this picture needs a client

    import trio_mqtt  # noqa: PLC0415

    async def publish() -> None:
        async with trio_mqtt.open_client(url) as client:
            for place, base in (("north", 21), ("south", 24), ("nursery", 27)):
                value = base + math.sin(number / 5 + base)
                await client.publish(f"greenhouse/{place}/temperature", f"{value:.1f}")
                await client.publish(f"greenhouse/{place}/humidity", f"{60 + value:.0f}")
            await client.publish("greenhouse/pump/state", "on" if number % 8 < 4 else "off")  # noqa: PLR2004

    trio.run(publish)


@contextmanager
def servers() -> Generator[tuple[Path, RealServer]]:
    """Mosquitto with a plain listener, and one with a certificate that is wrong in two ways."""
    now = dt.datetime.now(dt.UTC)
    ca = trustme.CA(organization_name="Greenhouse", organization_unit_name="Own authority")
    wrong = ca.issue_cert(
        "broker.greenhouse.test",
        organization_name="Greenhouse",
        organization_unit_name="Broker",
        common_name="broker.greenhouse.test",
        not_before=now - dt.timedelta(days=400),
        not_after=now - dt.timedelta(days=3),
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ca.cert_pem.write_to_path(directory / "ca.pem")
        wrong.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
        tls = f"certfile {directory}/server.pem\nkeyfile {directory}/server.pem\n"
        with run_mosquitto(directory, [tls]) as server:
            yield directory, server


def main() -> None:
    """Draw all."""
    TARGET.mkdir(exist_ok=True)
    with servers() as (directory, server):
        url = f"mqtt://localhost:{server.port}"
        show_doctor(url)
        show_wrong_certificate(directory, server.more_ports[0])
        show_bench(url)
        show_plot(url)
        show_tree(url)
    print(*sorted(path.name for path in TARGET.glob("*.svg")), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
