"""The documentation is complete, and what it shows works.

What stands at a Python prompt is compared with what happens. A block of Python code is run against
the in-process server, with ``mqtt://localhost`` standing for its address, and ``mqtts://localhost``
for one with TLS, whose files are in the current directory, and the port 1080 for a proxy:

- a program, which ends with ``trio.run(main)``, by itself;
- a fragment as the body of an asynchronous function that has a connected ``client``.

A text block behind it, after "It prints" or nothing, is what it prints. It is stopped once it has
printed that, so that it may be one that runs for ever; without a text block it has to end. Files
that it makes are in a directory of its own.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import runpy
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import trio_mqtt
from tests.transports.proxies import Proxy, open_test_proxy
from tests.transports.support import CA, demanding_context, encrypted_key, open_tls_server
from trio_mqtt.testing import open_server

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.rst")])
PUBLIC_MODULES: Final = (
    "trio_mqtt",
    "trio_mqtt.events",
    "trio_mqtt.opentelemetry",
    "trio_mqtt.packets",
    "trio_mqtt.scram",
    "trio_mqtt.testing",
)
LONGEST_RUN: Final = 20.0
FROM_AN_INDEX: Final = re.compile(r"pip install [^\n`]*\btrio-mqtt\b(?!\[)")

INTRODUCTION: Final = re.compile(r"\s*(It prints:?|输出：)?\s*")  # noqa: RUF001 - Chinese
LOCALHOST: Final = re.compile(r"mqtt://localhost(:1883)?\b")
RST_BLOCK: Final = re.compile(r"\.\. code-block:: (\w+)\n\n((?:   .*\n|\n)+)")
MARKDOWN_BLOCK: Final = re.compile(r"```(\w+)\n(.*?\n)```\n", re.DOTALL)
DIRECTIVE: Final = re.compile(r"^\.\. (?:auto|py:)\w+:: ([\w.]+)((?:\n {5,}\w+$)*)", re.MULTILINE)

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


def blocks_of(text: str, suffix: str) -> list[tuple[str, list[str] | None]]:
    """The blocks of Python code in a page, and the lines that each is said to print."""
    pattern = MARKDOWN_BLOCK if suffix == ".md" else RST_BLOCK
    found: list[tuple[str, list[str] | None]] = []
    end = -1
    for match in pattern.finditer(text):
        language, block = match[1], textwrap.dedent(match[2]).strip()
        if language == "python":
            found.append((block, None))
            end = match.end()
        elif language == "text" and INTRODUCTION.fullmatch(text[end : match.start()]) and found:
            found[-1] = (found[-1][0], block.splitlines())
    return found


class Printed:
    """Takes the place of `print`; ends the run when all that was expected has come."""

    def __init__(self, expected: list[str] | None, cancel_scope: trio.CancelScope) -> None:
        self.expected = expected
        self.lines: list[str] = []
        self._cancel_scope = cancel_scope

    def __call__(self, *values: object) -> None:
        self.lines += " ".join(map(str, values)).splitlines()
        if self.lines == self.expected:
            self._cancel_scope.cancel()


async def run_block(source: str, expected: list[str] | None, url: str) -> None:
    """Run a program or a fragment, and compare what it prints."""
    tree = ast.parse(LOCALHOST.sub(url, source))
    program = ast.unparse(tree.body[-1]) == "trio.run(main)"
    if program:
        tree.body.pop()
    code = compile(tree, "<documentation>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    cancel_scope = trio.CancelScope()
    printed = Printed(expected, cancel_scope)
    with cancel_scope:
        names: dict[str, Any] = {"print": printed, "trio": trio, "trio_mqtt": trio_mqtt}
        if program:
            exec(code, names)  # noqa: S102 - our own documentation
            await names["main"]()
        else:
            async with trio_mqtt.open_client(url) as names["client"]:
                waiting = eval(code, names)  # noqa: S307 - our own documentation
                if inspect.isawaitable(waiting):
                    await waiting
    if expected is not None:
        assert printed.lines == expected


async def run_with_tls(source: str, expected: list[str] | None, directory: Path) -> None:
    """Run a program for which there are a Server with TLS, and files in the directory."""
    CA.cert_pem.write_to_path(directory / "authority.pem")
    certificate = CA.issue_cert("client.test")
    certificate.cert_chain_pems[0].write_to_path(directory / "client.pem")
    (directory / "client.key").write_bytes(encrypted_key(certificate, b"open sesame"))
    async with open_tls_server(demanding_context()) as server:
        address = f"mqtts://localhost:{server.port}"
        await run_block(source.replace("mqtts://localhost", address), expected, "mqtt://nowhere")


async def run_with_proxy(source: str, expected: list[str] | None, url: str) -> None:
    """Run a program for which there is a proxy, and see that it is used."""
    async with open_test_proxy(Proxy("socks5", credentials=("me", "open sesame"))) as proxy:
        await run_block(source.replace("localhost:1080", f"127.0.0.1:{proxy.port}"), expected, url)
        assert proxy.asked


@each_page
async def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = await trio.Path(page).read_text()
    for number, (source, expected) in enumerate(blocks_of(text, page.suffix)):
        directory = trio.Path(tmp_path) / str(number)
        await directory.mkdir()
        monkeypatch.chdir(directory)
        with trio.fail_after(LONGEST_RUN):
            if "mqtts://localhost" in source:
                await run_with_tls(source, expected, tmp_path / str(number))
                continue
            async with open_server(port=0) as server:
                assert server.url is not None
                run = run_with_proxy if "localhost:1080" in source else run_block
                await run(source, expected, server.url)


@each_page
def test_what_a_page_shows_at_a_prompt_is_what_happens(page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(page.read_text(), {}, page.name, str(page), 0)
    report: list[str] = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert report == []


def test_before_the_first_release_no_page_takes_the_library_from_an_index() -> None:
    """An extra, as in 'trio-mqtt[cli]', adds to what is installed, wherever that came from."""
    texts = {page.name: page.read_text() for page in PAGES}
    tool = runpy.run_path(str(ROOT / "tools" / "distributions.py"))
    unreleased: re.Pattern[str] = tool["UNRELEASED"]
    if unreleased.search(texts["README.md"]):
        assert [name for name, text in texts.items() if FROM_AN_INDEX.search(text)] == []


RST_SAMPLE: Final = """
.. code-block:: python

   async def main():
       print("mqtt://localhost")

       await trio.sleep_forever()

   trio.run(main)

.. code-block:: text

   URL

Text.

.. code-block:: python

   async def main():
       print("and this")

   trio.run(main)

More.

.. code-block:: text

   not what it prints
"""

MARKDOWN_SAMPLE: Final = """
```sh
make test
```

```python
await client.publish("a", "b")
```
"""


def test_blocks_are_found_with_what_they_print() -> None:
    (program, prints), (other, unknown) = blocks_of(RST_SAMPLE, ".rst")
    assert program.endswith("trio.run(main)")
    assert prints == ["URL"]
    assert other.startswith("async def main():\n    print(")
    assert unknown is None
    assert blocks_of(MARKDOWN_SAMPLE, ".md") == [('await client.publish("a", "b")', None)]


async def test_a_program_is_stopped_when_it_has_printed_all() -> None:
    [(program, _), _] = blocks_of(RST_SAMPLE, ".rst")
    await run_block(program, ["mqtt://127.0.0.1:1"], "mqtt://127.0.0.1:1")


async def test_a_program_that_prints_something_else_is_found() -> None:
    [_, (program, _)] = blocks_of(RST_SAMPLE, ".rst")
    with pytest.raises(AssertionError):
        await run_block(program, ["something else"], "mqtt://127.0.0.1:1")


async def test_a_fragment_has_a_connected_client() -> None:
    async with open_server(port=0) as server:
        assert server.url is not None
        source = 'result = await client.publish("a", "b", qos=1)\nprint(result.reason_code.name)'
        await run_block(source, ["NO_MATCHING_SUBSCRIBERS"], server.url)


def documented_names() -> set[str]:
    """What the reference describes, with the module's name."""
    names: set[str] = set()
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        text = page.read_text()
        module = re.search(r"^\.\. (?:current|auto)?module:: ([\w.]+)", text, re.MULTILINE)
        assert module is not None, page
        if ".. automodule:: " in text:
            public = getattr(importlib.import_module(module[1]), "__all__", ())
            names |= {f"{module[1]}.{name}" for name in public}
        for first, more in DIRECTIVE.findall(text):
            names |= {f"{module[1]}.{name}" for name in (first, *more.split())}
    return names


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_every_public_name_is_in_the_reference(module_name: str) -> None:
    module = importlib.import_module(module_name)
    public = {f"{module_name}.{name}" for name in module.__all__}
    assert public - documented_names() == set()
