"""Which other kind of URL works with a port, once the one given does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mqtt._cli.diagnosis.conversation import Conversation, Ended, OutOfTurn
from trio_mqtt._cli.diagnosis.handshakes import accept_anything
from trio_mqtt._cli.diagnosis.target import make_client_id
from trio_mqtt._enums import MQTT_3_1_1
from trio_mqtt._errors import ConnectFailed, RemoteProtocolError
from trio_mqtt._transports.opening import open_stream
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.url import DEFAULT_PATH, DEFAULT_PORTS
from trio_mqtt.packets import Connect, Disconnect

if TYPE_CHECKING:
    from trio_mqtt._cli.diagnosis.target import Target
    from trio_mqtt._transports.url import ServerAddress

_PATIENCE: Final = 3.0
"""How long each kind of URL is tried, in seconds."""


async def find_scheme(target: Target) -> str | None:
    """The URL of the same host and port that an MQTT server answers to; None if there is none.

    Whether that lets the client in is not asked: no credentials are sent, since nobody is trusted
    here.
    """
    if target.address.scheme not in DEFAULT_PORTS:
        return None
    for scheme in DEFAULT_PORTS:
        if scheme == target.address.scheme:
            continue
        address = _address(target.address, scheme)
        with trio.move_on_after(min(_PATIENCE, target.timeout)):
            if await _answers(target, address):
                return address.name
    return None


def _address(given: ServerAddress, scheme: str) -> ServerAddress:
    changed = attrs.evolve(given, scheme=scheme, query="", username=None, password=None)
    if not changed.is_websocket:
        return attrs.evolve(changed, path="")
    return attrs.evolve(changed, path=changed.path or DEFAULT_PATH)


async def _answers(target: Target, address: ServerAddress) -> bool:
    """Whether there is a CONNACK, whatever it says."""
    context = accept_anything(target.make_context()) if address.is_tls else None
    options = attrs.evolve(target, websocket_headers=()).options(context)
    progress = Progress(address.name, is_silent=True)
    try:
        async with open_stream(address, progress, options) as stream:
            talk = Conversation(stream, MQTT_3_1_1)
            await talk.connect(Connect(client_id=make_client_id()))
            await talk.disconnect(Disconnect())
    except (ConnectFailed, Ended, OutOfTurn, RemoteProtocolError):
        return False
    return True
