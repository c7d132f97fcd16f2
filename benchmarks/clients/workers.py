"""Several tasks of asyncio that publish, each awaiting one message before the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def share_out(publish: Callable[[], Awaitable[object]], count: int, tasks: int) -> None:
    """Publish so many messages from so many tasks."""
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await publish()

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())
