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
    of_nursery: BaseExceptionGroup[BaseException] | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: BLE001 - raised again below
                of_block = error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        of_nursery = group
    errors = [error for error in _leaves(of_nursery) if not _is_cancellation(error)]
    if of_block is not None and not _is_cancellation(of_block):
        errors.append(of_block)
    if len(errors) > 1:
        raise BaseExceptionGroup(title, errors)
    for outcome in (*errors, of_nursery, of_block):  # without errors, these are cancellations
        if outcome is not None:
            raise outcome


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    inner: Sequence[BaseException] | None = getattr(error, "exceptions", None)
    if inner is not None:
        for one in inner:
            yield from _leaves(one)
    elif error is not None:
        yield error


def _is_cancellation(error: BaseException) -> bool:
    return all(isinstance(leaf, trio.Cancelled) for leaf in _leaves(error))
