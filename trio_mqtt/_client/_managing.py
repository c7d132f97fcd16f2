"""Asynchronous context managers that Ctrl-C enters and leaves as a whole, or not at all."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._misuse import Block

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")


class _Managed(Block, AbstractAsyncContextManager[T]):
    """A context manager entered and left under KI protection; its block has none of it."""

    def __init__(self, manager: AbstractAsyncContextManager[T], call: str, target: str) -> None:
        self._manager = manager
        self._call = call
        self._target = target

    @enable_ki_protection
    async def __aenter__(self) -> T:
        self._enter()
        return await self._manager.__aenter__()

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._manager.__aexit__(exc_type, exc, traceback)


def manager(
    call: str, target: str
) -> Callable[[Callable[P, AsyncGenerator[T]]], Callable[P, AbstractAsyncContextManager[T]]]:
    """As `contextlib.asynccontextmanager`, with messages that say how to use what it makes.

    KeyboardInterrupt inside contextlib, on its way to the generator, would leave a nursery or a
    cancel scope of that open for good. So it comes at checkpoints only, while the block is entered
    or left.

    Args:
        call: how it is called, such as ``open_client(...)``.
        target: the usual name of what the block gets.
    """

    def decorate(
        function: Callable[P, AsyncGenerator[T]],
    ) -> Callable[P, AbstractAsyncContextManager[T]]:
        make = asynccontextmanager(function)

        @wraps(make)
        def make_managed(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
            return _Managed(make(*args, **kwargs), call, target)

        return make_managed

    return decorate
