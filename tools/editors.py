"""What an editor makes of programs that use the library: wrong ones are errors, right ones are not.

Each line of ``WRONG`` that ends with ``# wrong`` has to be an error to both mypy and pyright, and
no other line may be. Each public class, function and method has to have a docstring to show, and
each public name a type that does not have to be inferred.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, cast

ROOT: Final = Path(__file__).resolve().parent.parent
CHECKERS: Final = {
    "mypy": ["-m", "mypy", "--strict", "--no-error-summary"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}

SECONDS: Final = 120
"""How long a checker may take."""

SYMBOLS: Final = 1000
"""It sees more than so many, or there is something wrong with it."""

WRONG: Final = """
import trio
import trio_mqtt
from trio_mqtt import Client, Reconnect, Session, SQLiteStorage, Will


async def right() -> None:
    will = Will(topic="status", payload="offline", qos=1)
    session = Session("gateway-7", expiry=3600, storage=SQLiteStorage("a.db"))
    async with trio_mqtt.open_client(
        "mqtt://localhost", will=will, session=session, reconnect=Reconnect(delay=1)
    ) as client:
        async with client.subscribe("a/#", qos=1) as messages:
            async for message in messages:
                text: str = message.topic + message.text()
                with message:
                    await client.publish("b", text, qos=1, content_type="text/plain")
        async with client.open_publisher(qos=1) as publisher, client.events() as events:
            await publisher.send("c", b"payload")
            async for event in events:
                print(event)


async def blocks(client: Client) -> None:
    await trio_mqtt.open_client()  # wrong
    with trio_mqtt.open_client() as another:  # wrong
        pass
    await trio_mqtt.open_client().publish("a")  # wrong
    await client.subscribe("a")  # wrong
    async for message in client.subscribe("a"):  # wrong
        pass
    async for event in client.events():  # wrong
        pass
    await client.open_publisher()  # wrong
    async with client.subscribe("a") as messages:
        for message in messages:  # wrong
            pass
        await messages  # wrong


async def calls(client: Client) -> None:
    await client.publish("a", {"a": 1})  # wrong
    await client.publish("a", None)  # wrong
    await client.publish("a", 21.5)  # wrong
    await client.publish(b"a", b"b")  # wrong
    await client.publish("a", qos="1")  # wrong
    await client.publish("a", ttl=5)  # wrong
    await client.publish("a", b"b", 1)  # wrong
    client.subscribe(["a", "b"])  # wrong
    client.subscribe("a", print)  # wrong
    client.subscribe("a", overflow="drop")  # wrong
    client.on_message = print  # wrong
    await client.disconnect()  # wrong
    await client.serve("a", print)  # wrong
    topic: int = (await client.request("a")).topic  # wrong
    print(topic)


def arguments() -> None:
    trio_mqtt.open_client(1883)  # wrong
    trio_mqtt.open_client("mqtt://localhost", 1883)  # wrong
    trio_mqtt.open_client(will="status")  # wrong
    trio_mqtt.open_client(reconnect=True)  # wrong
    trio_mqtt.open_client(session="gateway-7")  # wrong
    trio_mqtt.open_client(keep_alive="60")  # wrong
    trio_mqtt.open_client(clean_session=True)  # wrong
    Session("gateway-7")  # wrong
    Session("gateway-7", expiry=60, storage="a.db")  # wrong
    Will("status", "offline")  # wrong
    Reconnect(initial="always")  # wrong
    Client("localhost")  # wrong
    trio.run(right)
"""


def main() -> int:
    """Say what is not as it should be; the exit status is 1 if anything is."""
    expected = {n for n, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program.py")
        program.write_text(WRONG, encoding="utf-8")
        for name, command in CHECKERS.items():
            told = run(*command, str(program))
            found = {int(number) for number in re.findall(r"program\.py:(\d+):.*error", told)}
            problems += [f"{name} says nothing of line {n}: {line(n)}" for n in expected - found]
            problems += [f"{name} finds line {n} wrong: {line(n)}" for n in found - expected]
    symbols = public_symbols()
    problems += [f"{name} has no docstring" for name in undocumented(symbols)]
    problems += untyped(symbols)
    if len(symbols) < SYMBOLS:
        problems.append(f"pyright saw {len(symbols)} symbols only")
    for problem in problems:
        print(problem)
    return 1 if problems else 0  # their number would be 0 again at 256


def line(number: int) -> str:
    """A line of the program."""
    return WRONG.splitlines()[number - 1].strip()


def run(*command: str) -> str:
    """What a checker prints; it sees this tree, whatever is installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MYPYPATH": str(ROOT),
        # With --verifytypes pyright asks the first Python of the path where packages are.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
    }
    outcome = subprocess.run(  # noqa: S603 - the checkers of this environment
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return outcome.stdout


def public_symbols() -> list[dict[str, object]]:
    """What pyright knows of each name that a user of the library can come to."""
    command = ("-m", "pyright", "--verifytypes", "trio_mqtt", "--ignoreexternal", "--outputjson")
    report = json.loads(run(*command))["typeCompleteness"]
    return cast("list[dict[str, object]]", report["symbols"])


def undocumented(symbols: list[dict[str, object]]) -> list[str]:
    """What has no docstring; what pyright makes up of attrs itself is not ours."""
    return [
        str(symbol["name"])
        for symbol in symbols
        if "No docstring found" in str(symbol["diagnostics"])
        and "__converterDescriptor_" not in str(symbol["name"])
        and not re.search(r"\._[A-Z]", str(symbol["name"]))  # a private class
    ]


def untyped(symbols: list[dict[str, object]]) -> list[str]:
    """What has no type, or one that checkers may infer differently, and why."""
    problems: list[str] = []
    for symbol in symbols:
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]:
            diagnostics = cast("list[dict[str, str]]", symbol["diagnostics"])
            why = "; ".join(" ".join(each["message"].split()) for each in diagnostics)
            problems.append(f"{symbol['name']} has no certain type: {why or 'see the others'}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
