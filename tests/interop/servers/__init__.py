"""The servers, each a kind of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.interop.servers.mosquitto import MOSQUITTO

if TYPE_CHECKING:
    from tests.interop.servers.kind import ServerKind

SERVERS: Final[tuple[ServerKind, ...]] = (MOSQUITTO,)
