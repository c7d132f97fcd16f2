"""The progress bar of ``trio-mqtt pub``, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trio_mqtt._cli._output import is_terminal

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """How many messages are through, how many a second, and what is left; or nothing.

    Args:
        size: how many bytes there are to publish, or None if nobody knows.
        shown: whether it is wanted; it is shown only on a terminal.
    """

    def __init__(self, size: int | None, *, shown: bool) -> None:
        self.messages = 0
        self._bytes = 0
        self._size = size
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        if shown and is_terminal(sys.stderr):
            self._bar = _make_bar()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._size, messages=0)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._update()
            self._bar.stop()

    def advance(self, size: int) -> None:
        """One more message is through, with so many bytes of the input."""
        self.messages += 1
        self._bytes += size
        if self._bar is not None:
            self._update()

    def _update(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._bytes, messages=self.messages)


def _make_bar() -> Bar:
    # It takes time to import, and is seldom wanted.
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar  # noqa: PLC0415

    from trio_mqtt._cli._output import make_console  # noqa: PLC0415

    return Bar(
        TextColumn("{task.fields[messages]} messages"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=make_console(stderr=True),
    )
