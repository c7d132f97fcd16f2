"""How far an attempt to connect has come."""

from __future__ import annotations

import logging

import attrs

_logger = logging.getLogger("trio_mqtt")


@attrs.define
class Progress:
    """The stage that an attempt to connect is in, for the error if it ends there.

    Attributes:
        name: the address for people, without credentials.
        stage: the value of `ConnectFailed.stage` for a failure now.
    """

    name: str
    stage: str = "connect"

    def enter(self, stage: str, what: str) -> None:
        """A stage begins, or goes on; what is being done goes to the log."""
        self.stage = stage
        self.note(what)

    def note(self, what: str) -> None:
        """Something has come of the stage."""
        _logger.debug("%s: %s: %s", self.name, self.stage, what)
