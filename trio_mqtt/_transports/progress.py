"""How far an attempt to connect has come."""

from __future__ import annotations

import logging
from typing import Final

import attrs

_WAITED_FOR: Final = {
    "resolve": "the name service did not answer",
    "connect": "no connection was made",
    "TLS": "the TLS handshake was not complete",
    "WebSocket": "the WebSocket handshake was not complete",
    "CONNECT": "the server did not answer",
}
"""What is missing, by stage, where it is not said more closely."""

_logger = logging.getLogger("trio_mqtt")


@attrs.define
class Progress:
    """The stage that an attempt to connect is in, for the error if it ends there.

    Attributes:
        name: the address for people, without credentials.
        is_silent: whether nothing goes to the log.
        stage: the value of `ConnectFailed.stage` for a failure now.
        missing: what has not happened, if time runs out now.
    """

    name: str
    is_silent: bool = False
    stage: str = attrs.field(init=False)
    missing: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Another attempt begins."""
        self._set("connect", None)

    def enter(self, stage: str, what: str, *, missing: str | None = None) -> None:
        """A stage begins, or goes on; what is being done goes to the log."""
        self._set(stage, missing)
        self.note(what)

    def _set(self, stage: str, missing: str | None) -> None:
        self.stage = stage
        self.missing = _WAITED_FOR[stage] if missing is None else missing

    def note(self, what: str) -> None:
        """Something has come of the stage."""
        if not self.is_silent:
            _logger.debug("%s: %s: %s", self.name, self.stage, what)
