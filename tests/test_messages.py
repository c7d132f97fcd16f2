"""Rules for every message of an error, a note, a warning and the log, wherever it is made."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import trio_mqtt

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(trio_mqtt.__file__).parent
MODULES: Final = [
    path for path in sorted(PACKAGE.rglob("*.py")) if not {"_cli", "testing"} & set(path.parts)
]
"""The command's own words, and what tests are shown on purpose, are another matter."""
HOLDERS: Final = frozenset({"message", "text"})
"""Variables in which a message is put together before it is raised."""
LOG: Final = frozenset({"debug", "info", "warning", "error", "exception", "log"})
SECRETS: Final = re.compile(r"\b(payload|password|credentials|secret|token|correlation_data)\b")
NOT_SECRET: Final = re.compile(r"^(len|type)\(.*|.*\.__name__$")


def messages_in(source: str) -> Iterator[ast.expr]:
    """The expressions that become messages."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Raise(exc=ast.Call(args=[first, *_])):
                yield first
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Constant() | ast.JoinedStr() as value
            ) if name in HOLDERS:
                yield value
            case ast.Call(func=ast.Attribute(attr="add_note"), args=[first]):
                yield first
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_logger"), attr=attr), args=args):
                if attr in LOG:
                    yield from args
            case _:
                pass


def problems(source: str) -> list[str]:
    """What is wrong with the messages of a module."""
    found: list[str] = []
    for message in messages_in(source):
        text = written(message)
        if re.search(r"[.!]$", text) and not text.endswith("..."):
            found.append(f"ends like a sentence: {text}")
        if re.search(r"\s{2}|^\s|\s$|\n", text):
            found.append(f"has blanks that nobody meant: {text!r}")
        found += [f"shows {told}: {text}" for told in shown(message) if is_secret(told)]
    return found


def written(message: ast.expr) -> str:
    """The text of a message; what is put in as ``{}``."""
    match message:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(written(value) or "{}" for value in values)
        case _:
            return ""


def shown(message: ast.expr) -> list[str]:
    """What is put into a message, as it stands in the source."""
    if isinstance(message, ast.JoinedStr):
        values = [each for each in message.values if isinstance(each, ast.FormattedValue)]
        return [ast.unparse(each.value) for each in values]
    return [] if isinstance(message, ast.Constant) else [ast.unparse(message)]


def is_secret(told: str) -> bool:
    return bool(SECRETS.search(told)) and not NOT_SECRET.match(told)


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_messages(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8")) == []


def test_messages_are_found() -> None:
    count = sum(len(list(messages_in(path.read_text(encoding="utf-8")))) for path in MODULES)
    assert count > 300


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise ValueError('It is wrong.')", "ends like a sentence"),
        ("message = f'the payload is {payload!r}'", "shows payload"),
        ("_logger.warning('%r is wrong', self.password)", "shows self.password"),
        ("error.add_note('two  blanks')", "blanks"),
        ("raise OSError(f'{name} ' 'is  gone')", "blanks"),
    ],
)
def test_the_rules_themselves(source: str, problem: str) -> None:
    (found,) = problems(source)
    assert problem in found


def test_what_is_no_problem() -> None:
    assert problems("raise TypeError(f'not {type(payload).__name__}, open_client(...)')") == []
