"""What to write instead, where ``async`` or a block is missing.

Python's own messages name an inner class and no remedy. Type checkers see none of these methods:
to them such code is an error anyway.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, NoReturn, Self

import trio
from trio.lowlevel import enable_ki_protection

NO_TRIO: Final = (
    "there is no Trio here: start the program with trio.run(main), not with asyncio; a thread "
    "calls a client with trio.from_thread.run"
)


class Block:
    """What an ``async with`` block has to be made of.

    A subclass calls `_enter` as it is entered, and says what to write.
    """

    _entered = False
    _told = False  # one message is enough
    _call = ""  # what makes it
    _target = ""  # the name that the docs give to what the block gets

    def _enter(self) -> None:
        """Refuse to be entered without Trio, or again."""
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            self._told = True
            raise RuntimeError(NO_TRIO) from None
        if self._entered:
            message = f"this {self._call} was entered before; call it again for another block"
            raise RuntimeError(message)
        self._entered = True

    def _advice(self) -> str:
        return f'write "async with {self._call} as {self._target}:"'

    @enable_ki_protection  # an interrupt in here would be lost
    def __del__(self) -> None:
        """Tell of a call that has done nothing, as Python does of a coroutine never awaited."""
        if self._call and not (self._entered or self._told):
            message = f"{self._call} was never entered, and has done nothing; {self._advice()}"
            warnings.warn(message, RuntimeWarning, stacklevel=2, source=self)

    if not TYPE_CHECKING:

        def _refuse(self, *_: object) -> NoReturn:
            self._told = True
            raise TypeError(f"{self._call} is an asynchronous context manager; {self._advice()}")

        __await__ = __aiter__ = __anext__ = __iter__ = __next__ = __enter__ = __exit__ = _refuse

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):  # whoever asks only looks whether it is there
                message = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(message, name=name, obj=self)
            self._told = True
            message = f"{self._call} is a context manager and has no {name!r}; {self._advice()}"
            raise AttributeError(message, name=name, obj=self)


class MadeByOpenClient:
    """What no program makes by itself."""

    if not TYPE_CHECKING:

        def __new__(cls, *arguments: object, **options: object) -> Self:
            """Only `open_client` has what a client is made of."""
            if options or not hasattr(next(iter(arguments), None), "sending"):
                message = 'a Client is made by "async with trio_mqtt.open_client(url) as client:"'
                raise TypeError(message)
            return super().__new__(cls)


class OnlyAsync:
    """What is iterated over with ``async for``, and not awaited."""

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            raise TypeError(f'a {type(self).__name__} needs "async for", not "for"')

        def __await__(self) -> NoReturn:
            message = f'a {type(self).__name__} is not awaited; write "async for ... in" it'
            raise TypeError(message)
