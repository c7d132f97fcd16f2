"""Where messages to publish come from: arguments, files, lines of standard input."""

from __future__ import annotations

import os
import select
import stat
import sys
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import click
import trio

from trio_mqtt._cli._command import Option
from trio_mqtt._cli._exit import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

_CHUNK: Final = 65_536
_LONGEST: Final = 268_435_455  # no packet is longer (2.1.4)


@attrs.frozen
class Item:
    """One message to publish.

    Attributes:
        label: what it is called in errors, such as ``line 7``; empty if it is the only one.
        payload: the Application Message itself.
        begins_again: whether it is the first of another repetition.
    """

    label: str
    payload: bytes
    begins_again: bool = False


@attrs.frozen
class Source:
    """Messages to publish, in order.

    Attributes:
        items: iterates over them; may be called again.
        size: how many bytes there are to read, or None if nobody knows.
    """

    items: Callable[[], AsyncGenerator[Item]]
    size: int | None = None

    def repeated(self, times: int) -> Source:
        """The same messages so many times."""
        if times == 1:
            return self

        async def again() -> AsyncGenerator[Item]:
            kept: list[Item] | None = None  # standard input can be read once
            for number in range(times):
                if kept is None:
                    async with aclosing(self.items()) as items:
                        kept = [each async for each in items]
                for position, item in enumerate(kept):
                    yield attrs.evolve(item, begins_again=number > 0 and position == 0)

        return Source(again, None if self.size is None else self.size * times)


def payload_options(  # noqa: PLR0913 - the help of each, by name
    section: str,
    *,
    message: str,
    file: str,
    lines: str | None = None,
    standard_input: str,
    null: str,
    qos: str,
) -> list[Option]:
    """The options for where a message goes and where it comes from.

    Args:
        section: the title of the section that they stand in.
        message: the help of ``-m``.
        file: the help of ``-f``.
        lines: the help of ``-l``; None leaves that out.
        standard_input: the help of ``-s``.
        null: the help of ``-n``.
        qos: the help of ``-q``.
    """
    option = partial(Option, section=section)
    levels = click.IntRange(0, 2)
    of_lines = [] if lines is None else [(["-l", "--stdin-line", "lines"], lines)]
    return [
        option(["-t", "--topic"], metavar="TOPIC", help="Topic to publish to."),
        option(["-m", "--message", "messages"], multiple=True, metavar="TEXT", help=message),
        option(["-f", "--file", "files"], multiple=True, metavar="FILE", help=file),
        *(option(names, is_flag=True, help=text) for names, text in of_lines),
        option(["-s", "--stdin-file", "standard_input"], is_flag=True, help=standard_input),
        option(["-n", "--null-message", "null"], is_flag=True, help=null),
        option(["-q", "--qos"], type=levels, default=0, metavar="QOS", help=qos),
    ]


def source_of(
    messages: Sequence[str],
    files: Sequence[str],
    *,
    lines: bool = False,
    standard_input: bool,
    null: bool,
) -> Source:
    """What ``-m``, ``-f``, ``-l``, ``-s`` and ``-n`` say; one of them.

    Raises:
        click.UsageError: it is none of them, or more.
    """
    kinds = (bool(messages), bool(files) and not lines, lines, standard_input, null)
    if sum(kinds) != 1:
        text = "give one of -m, -f, -l, -s and -n, to say what to publish"
        raise click.UsageError(text)
    if lines:
        return lines_of(files)
    if files:
        return from_files(files)
    if standard_input:
        return from_standard_input()
    return from_texts([os.fsencode(each) for each in messages] or [b""])


def from_texts(payloads: Sequence[bytes]) -> Source:
    """Each of these is a message."""

    async def items() -> AsyncGenerator[Item]:
        for number, payload in enumerate(payloads, 1):
            yield Item(f"message {number}" if len(payloads) > 1 else "", payload)

    return Source(items, sum(map(len, payloads)))


def from_files(paths: Sequence[str]) -> Source:
    """The content of each of these files is a message; Failure if one is too long."""

    async def items() -> AsyncGenerator[Item]:
        for path in paths:
            async with await trio.open_file(path, "rb") as file:
                content = await file.read(_LONGEST + 1)
            _check_length(path, content)
            yield Item(path, content)

    return Source(items, _size_of(paths))


def from_standard_input() -> Source:
    """All of standard input is a message; Failure if it is too long."""

    async def items() -> AsyncGenerator[Item]:
        content = bytearray()
        async with aclosing(_chunks(None)) as chunks:
            async for chunk in chunks:
                content += chunk
                _check_length("standard input", content)
        yield Item("standard input", bytes(content))

    return Source(items, _size_of_input())


def lines_of(paths: Sequence[str]) -> Source:
    """Each line of these files, or of standard input, is a message, without its line feed."""

    async def items() -> AsyncGenerator[Item]:
        for path in paths or (None,):
            where = "" if path is None else f" of {path}"
            number = 0
            rest = bytearray()
            async with aclosing(_chunks(path)) as chunks:
                async for chunk in chunks:
                    rest += chunk
                    if b"\n" not in chunk:
                        _check_length(f"line {number + 1}{where}", rest)
                        continue
                    *lines, last = bytes(rest).split(b"\n")
                    rest = bytearray(last)
                    for line in lines:
                        number += 1
                        yield Item(f"line {number}{where}", line)
            if rest:
                yield Item(f"line {number + 1}{where}", bytes(rest))

    return Source(items, _size_of(paths) if paths else _size_of_input())


async def _chunks(path: str | None) -> AsyncGenerator[bytes]:
    """What a file or, with None, standard input has, as it comes."""
    if path is not None:
        async with await trio.open_file(path, "rb") as file:
            while chunk := await file.read(_CHUNK):
                yield chunk
        return
    read = _reader_of_input()
    while chunk := await trio.to_thread.run_sync(read, abandon_on_cancel=True):
        yield chunk


def _reader_of_input() -> Callable[[], bytes]:
    """What reads standard input, in a thread that may be abandoned while it waits.

    It reads the descriptor itself: a buffered reader would hold a lock that the interpreter wants
    when it ends.
    """
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):  # as tests have it
        return lambda: sys.stdin.buffer.read(_CHUNK)

    def read() -> bytes:
        while True:
            try:
                return os.read(descriptor, _CHUNK)
            except BlockingIOError:  # whoever has the other end has made it non-blocking
                select.select([descriptor], [], [])

    return read


def _check_length(label: str, content: bytes | bytearray) -> None:
    if len(content) > _LONGEST:
        raise Failure(f"{label} is longer than any message of MQTT: {_LONGEST} bytes")


def _size_of(paths: Sequence[str]) -> int | None:
    try:
        return sum(os.stat(path).st_size for path in paths)  # noqa: PTH116 - one line
    except OSError:
        return None  # it is told when it is read


def _size_of_input() -> int | None:
    if sys.stdin is None:  # as the shell has it after <&-
        raise Failure("standard input is closed, so there is nothing to publish")
    try:
        status = os.fstat(sys.stdin.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
