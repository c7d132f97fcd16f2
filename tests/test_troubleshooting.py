"""Each message that the page about troubleshooting quotes is one that the code can give."""

from __future__ import annotations

import ast
import re
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import trio_mqtt

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(trio_mqtt.__file__).parent
PAGE: Final = PACKAGE.parent / "docs" / "troubleshooting.rst"
OTHERS: Final = "Messages of Python and Trio"
"""The section about messages that are not ours."""

GAP: Final = "\0"
"""What is put in where a message differs each time."""

CALLS: Final = (
    "open_client(...)",
    "client.subscribe(...)",
    "client.open_publisher(...)",
    "client.events()",
)
"""What stands in messages with these dots."""

MOST_FRAGMENTS: Final = 5
SHORTEST_FRAGMENT: Final = 4
"""Of so many strings of the source, of at least so many characters, a message is put together."""


def quoted() -> list[str]:
    """The messages that the page explains: the literals of the terms of its lists."""
    ours = PAGE.read_text(encoding="utf-8").partition(f"\n{OTHERS}\n")[0]
    terms = re.findall(r"^``.*``.*$(?=\n   \S)", ours, re.MULTILINE)
    messages = [message for term in terms for message in re.findall(r"``(.+?)``", term)]
    return [message for message in messages if message not in CALLS]


def fixed_parts(message: str) -> list[str]:
    """What is the same each time; of no more than a word nothing can be said."""
    for call in CALLS:
        message = message.replace(call, GAP)
    parts = re.split(r"\.\.\.|" + GAP, message)
    return [part for part in (each.strip(" ;,:()") for each in parts) if len(part) > 3]


def text_of(node: ast.expr) -> str | None:
    """A string of the source, with gaps for what is put in."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"%\.?\d*[a-z]|\{\w*\}", GAP, text)
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) or GAP for value in values)
        case _:
            return None


@cache
def source_texts() -> tuple[str, ...]:
    """Every string of the package that is no docstring."""
    return tuple(
        text for path in sorted(PACKAGE.rglob("*.py")) for text in texts_of(path.read_text())
    )


def texts_of(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and id(node) not in docs:
            text = text_of(node)
            if text is not None:
                yield text


def is_in_source(part: str) -> bool:
    """Whether a text is put together of few long strings of the source."""
    for _ in range(MOST_FRAGMENTS):
        longest = max(map(partial(shared_beginning, part), source_texts()))
        if longest < min(SHORTEST_FRAGMENT, len(part)):
            return False
        part = part[longest:]
        if not part:
            return True
    return False


def shared_beginning(part: str, text: str) -> int:
    """How many characters from its beginning on a string of the source has somewhere."""
    low, high = 0, len(part)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if part[:middle] in text else (low, middle - 1)
    return low


@pytest.mark.parametrize("message", quoted())
def test_the_code_has_what_the_page_quotes(message: str) -> None:
    missing = [part for part in fixed_parts(message) if not is_in_source(part)]
    assert missing == []


def test_enough_is_looked_at() -> None:
    messages = quoted()
    assert len(messages) > 60
    assert all(fixed_parts(message) for message in messages)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("f'the port {port!r} is taken'", "the port \0 is taken"),
        ("log('%s closed in %.1f s', a)", "\0 closed in \0 s"),
        ("message = ('one ' 'two')", "one two"),
        ("'is on {host} now'.format(host)", "is on \0 now"),
    ],
)
def test_how_the_source_is_read(source: str, text: str) -> None:
    assert text in texts_of(source)


def test_what_the_code_does_not_say_is_found_out() -> None:
    assert is_in_source("the server URL has no scheme; it has to begin with one of")
    assert not is_in_source("the server URL has no schema; it has to begin with one of")
    assert not is_in_source("the server is on holiday until further notice")


def test_a_docstring_is_no_message() -> None:
    assert list(texts_of("'''Only words.'''")) == []
