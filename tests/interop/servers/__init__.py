"""The servers, each a kind of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.interop.servers.aedes import AEDES
from tests.interop.servers.ejabberd import EJABBERD
from tests.interop.servers.hivemq import HIVEMQ
from tests.interop.servers.mosquitto import MOSQUITTO
from tests.interop.servers.nats import NATS
from tests.interop.servers.rabbitmq import RABBITMQ
from tests.interop.servers.rumqttd import RUMQTTD

if TYPE_CHECKING:
    from tests.interop.servers.kind import ServerKind

SERVERS: Final[tuple[ServerKind, ...]] = (
    MOSQUITTO,
    NATS,
    AEDES,
    HIVEMQ,
    RUMQTTD,
    RABBITMQ,
    EJABBERD,
)
