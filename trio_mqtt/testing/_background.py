"""A nursery for what runs beside a test's own block, without its exception groups."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence


@asynccontextmanager
async def open_background(title: str) -> AsyncGenerator[trio.Nursery]:
    """Open a nursery that is cancelled at the end of the block.

    What the block raises leaves it as the same object, not in a group. What a task of the nursery
    raises cancels the block and leaves it; alone if it is the only error.

    Args:
        title: what a group of several errors is called.
    """
    of_block: BaseException | None = None
    of_tasks: list[BaseException] = []
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: BLE001 - raised again below
                of_block = error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        of_tasks = list(_leaves(group))
    if of_tasks:
        if of_block is not None and not isinstance(of_block, trio.Cancelled):
            of_tasks.append(of_block)
        raise of_tasks[0] if len(of_tasks) == 1 else BaseExceptionGroup(title, of_tasks)
    if of_block is not None:
        raise of_block


def _leaves(error: BaseException) -> Iterator[BaseException]:
    inner: Sequence[BaseException] | None = getattr(error, "exceptions", None)
    if inner is None:
        yield error
    else:
        for one in inner:
            yield from _leaves(one)
