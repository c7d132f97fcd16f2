"""What arguments have to be: checked where they are given, and told in a sentence.

The validators of attrs would do the checking, but their messages show the validator.
"""

from __future__ import annotations

import math
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trio_mqtt._enums import QoS, RetainHandling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import attrs

    Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]

T = TypeVar("T")


def check_kind(
    name: str, value: object, kinds: type | tuple[type, ...], what: str, *, or_none: bool = True
) -> None:
    """Refuse an argument of another type; its value, which may be a secret, is not quoted.

    Args:
        name: of the argument.
        value: what was given for it.
        kinds: the types that it can have.
        what: what it has to be, for people.
        or_none: whether None is allowed, too.

    Raises:
        TypeError: it is something else.
    """
    if not (isinstance(value, kinds) or (or_none and value is None)):
        raise TypeError(f"{name} is {what}, not {type(value).__name__}")


def check_callable(name: str, value: object, what: str, *, or_none: bool = True) -> None:
    """Refuse what cannot be called; see `check_kind`."""
    if not (callable(value) or (or_none and value is None)):
        raise TypeError(f"{name} is {what}, not {type(value).__name__}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of a few words.

    Raises:
        ValueError: it is none of them.
    """
    if value not in choices:
        *others, last = (f'"{choice}"' for choice in choices)
        raise ValueError(f"{name} is {value!r}; it must be {', '.join(others)} or {last}")


_NO_LIMIT: Final = 1 << 62


def check_whole(
    name: str, value: object, least: int, most: int = _NO_LIMIT, *, unit: str = ""
) -> None:
    """Refuse what is no whole number from `least` to `most`.

    Raises:
        TypeError: it is no int.
        ValueError: it is out of range.
    """
    kind: type[Exception] | None = None if isinstance(value, int) else TypeError
    if isinstance(value, int) and not least <= value <= most:
        kind = ValueError
    if kind is not None:
        upto = f"from {least} to {most}" if most < _NO_LIMIT else f"of at least {least}"
        raise kind(f"{name} is {value!r}; it must be a whole number {upto}{unit}")


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Refuse what is no number of seconds.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or 0 where `zero` says that it cannot be.
    """
    kind: type[Exception] | None = None if isinstance(value, int | float) else TypeError
    if isinstance(value, int | float) and not (value > 0 or (zero and value == 0)):
        kind = ValueError
    if kind is not None:
        least = "of at least 0" if zero else "above 0"
        hint = "; math.inf is for no limit" if value is None or value == math.inf else ""
        raise kind(f"{name} is {value!r}; it must be a number {least}, in seconds{hint}")


def whole(least: int, most: int = _NO_LIMIT, *, unit: str = "", or_none: bool = False) -> Validator:
    """`check_whole` as a validator of attrs."""

    def check(_owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (or_none and value is None):
            check_whole(attribute.name, value, least, most, unit=unit)

    return check


def seconds(*, zero: bool = False, or_none: bool = False) -> Validator:
    """`check_seconds` as a validator of attrs."""

    def check(_owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (or_none and value is None):
            check_seconds(attribute.name, value, zero=zero)

    return check


def choice(*choices: str) -> Validator:
    """`check_choice` as a validator of attrs."""

    def check(_owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
        check_choice(attribute.name, value, choices)

    return check


def flag(_owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator of attrs for True, False and None."""
    check_kind(attribute.name, value, bool, "True, False or None")


def to_qos(value: int) -> QoS:
    """A Quality of Service.

    Raises:
        ValueError: it is none.
    """
    return _member(QoS, "qos", value)


def to_retain_handling(value: int) -> RetainHandling:
    """A Retain Handling.

    Raises:
        ValueError: it is none.
    """
    return _member(RetainHandling, "retain_handling", value)


def _member(kind: Callable[[int], T], name: str, value: int) -> T:
    with suppress(ValueError):  # which names the class, not the argument
        return kind(value)
    raise ValueError(f"{name} is {value!r}; it must be 0, 1 or 2")


async def call(name: str, function: Callable[[], Awaitable[T]]) -> T:
    """Call an asynchronous function of the caller's.

    Raises:
        TypeError: it is a plain one.
    """
    made: object = function()
    if not isawaitable(made):
        kind = type(made).__name__
        raise TypeError(f"{name} has to be an asynchronous function; this one returned {kind}")
    result: T = await made
    return result
