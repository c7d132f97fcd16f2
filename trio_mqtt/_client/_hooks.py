"""The instruments of a client, and the way to call them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

from trio_mqtt.abc import Instrument
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_mqtt._errors import UserProperties
    from trio_mqtt._protocol.exchanges import OutgoingMessage

HOOKS: Final = tuple(name for name in vars(Instrument) if not name.startswith("_"))
"""The methods of an instrument."""
_logger = logging.getLogger("trio_mqtt")


class Hooks:
    """Calls the methods that instruments override; the others are not called.

    An instrument that raises is logged and called no more, as Trio does: whatever it raises, it
    must not stop a change of the client's state halfway.

    Args:
        instruments: who is told, in order.

    Raises:
        TypeError: one is no `Instrument`.
    """

    def __init__(self, instruments: Iterable[object]) -> None:
        self._hooks: dict[str, list[tuple[Instrument, Callable[..., object]]]] = {}
        for instrument in instruments:
            if not isinstance(instrument, Instrument):
                text = f"an instrument is a trio_mqtt.abc.Instrument, not {instrument!r}"
                raise TypeError(text)
            for name in HOOKS:
                if getattr(type(instrument), name) is not getattr(Instrument, name):
                    hook = instrument, getattr(instrument, name)
                    self._hooks.setdefault(name, []).append(hook)

    def __bool__(self) -> bool:
        """Whether there is anything to call."""
        return bool(self._hooks)

    def wants(self, *names: str) -> bool:
        """Whether one of these methods is to be called at all."""
        return any(name in self._hooks for name in names)

    def call(self, name: str, *arguments: object, **options: object) -> None:
        """Call a method of all instruments that have it."""
        for instrument, hook in tuple(self._hooks.get(name, ())):
            try:
                hook(*arguments, **options)
            except BaseException as error:  # noqa: BLE001 - see the class
                self._drop(instrument, name, error)

    def user_properties(self, message: OutgoingMessage, given: UserProperties) -> UserProperties:
        """What instruments make of the User Properties of a message."""
        wanted = given
        for instrument, hook in tuple(self._hooks.get("message_publishing", ())):
            try:
                wanted = _checked(hook(message, wanted))
            except BaseException as error:  # noqa: BLE001 - see the class
                self._drop(instrument, "message_publishing", error)
        return wanted

    def _drop(self, instrument: Instrument, name: str, error: BaseException) -> None:
        text = "the instrument %r has failed in %s and is called no more"
        _logger.error(text, instrument, name, exc_info=error)
        for hooks in self._hooks.values():
            hooks[:] = [each for each in hooks if each[0] is not instrument]


def _checked(pairs: object) -> UserProperties:
    """What an instrument has returned, if it is what it should be."""
    if not isinstance(pairs, tuple | list):
        raise TypeError(f"message_publishing returns the User Properties, not {pairs!r}")
    return as_pairs(cast("Iterable[tuple[str, str]]", pairs))
