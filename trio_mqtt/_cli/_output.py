"""Standard output and the terminal: bytes for pipes, plain and safe text for people."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_mqtt._cli._exit import Failure
from trio_mqtt._cli._text import for_people

if TYPE_CHECKING:
    from rich.console import Console

_SURELY_FITS: Final = 4096
"""What a pipe takes at once if it is writable at all, in bytes (PIPE_BUF)."""
_NO_TERMINAL_WIDTH: Final = 200


def is_terminal(stream: Any) -> bool:  # noqa: ANN401 - any file-like object
    """Whether this is a terminal."""
    try:
        return bool(stream.isatty())
    except ValueError:  # it is closed
        return False


def note(text: str) -> None:
    """Print one line to standard error, for people."""
    print(f"trio-mqtt: {for_people(text)}", file=sys.stderr)  # noqa: T201 - it is the output


def make_console(*, stderr: bool = False) -> Console:
    """A rich console on standard output or error: coloured on a terminal, plain in a pipe."""
    from rich.console import Console  # noqa: PLC0415 - it takes time, and most commands need none

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        soft_wrap=not is_terminal(stream),
        width=None if is_terminal(stream) else _NO_TERMINAL_WIDTH,
    )


class Output:
    """Writes bytes to standard output without holding up the connection.

    A reader that is slow, or a terminal stopped with Ctrl-S, would: then a thread waits for it.
    """

    def __init__(self) -> None:
        stream = sys.stdout
        if stream is None:  # as the shell has it after >&-
            raise Failure("standard output is closed, so nothing can be printed")
        stream.flush()
        self.is_terminal = is_terminal(stream)
        self._poll: select.poll | None = None
        self._descriptor: int | None = None
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):  # as tests have it
            return
        self._descriptor = descriptor
        self._may_block = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    async def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        if self._descriptor is None:
            sys.stdout.buffer.write(data)
            return
        if not self._may_block or (len(data) <= _SURELY_FITS and self._is_ready()):
            self._write_all(data)
        else:
            await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)

    def _is_ready(self) -> bool:
        if self._poll is None:
            return False
        # A broken pipe is ready, too: to be told so by the write.
        return bool(self._poll.poll(0))

    def _write_all(self, data: bytes) -> None:
        assert self._descriptor is not None  # noqa: S101 - `write` has looked
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever has the other end has made it non-blocking
                select.select([], [self._descriptor], [])
