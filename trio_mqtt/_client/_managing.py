"""Asynchronous context managers that Ctrl-C enters and leaves as a whole, or not at all."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")


class _Protected(AbstractAsyncContextManager[T]):
    """A context manager entered and left under KI protection; its block has none of it."""

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager

    @enable_ki_protection
    async def __aenter__(self) -> T:
        return await self._manager.__aenter__()

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._manager.__aexit__(exc_type, exc, traceback)


def protected_manager(
    function: Callable[P, AsyncGenerator[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """As `contextlib.asynccontextmanager`, for what owns a nursery or a cancel scope.

    KeyboardInterrupt inside contextlib, on its way to the generator, would leave them open for
    good. So it comes at checkpoints only, while the block is entered or left.
    """
    make = asynccontextmanager(function)

    @wraps(make)
    def make_protected(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _Protected(make(*args, **kwargs))

    return make_protected
