"""What tests of MQTT programs need: a server in this process, a scripted peer, a faulty network.

They run under `trio.testing.MockClock` and need neither a real network nor another program, nor
pytest; the fixtures for that are in `trio_mqtt.testing.fixtures`.
"""

from __future__ import annotations

from types import FunctionType

from trio_mqtt.testing._dialogue import Dialogue
from trio_mqtt.testing._faults import After, Before, Ending, Faults, Place
from trio_mqtt.testing._history import Acknowledged, Connected, Published, Subscribed
from trio_mqtt.testing._holding import Held
from trio_mqtt.testing._limits import ServerLimits
from trio_mqtt.testing._log import LogEntry
from trio_mqtt.testing._memory import MemoryStream, memory_stream_pair
from trio_mqtt.testing._network import FaultyNetwork, open_network, open_proxy
from trio_mqtt.testing._network_connection import NetworkConnection, Outcome
from trio_mqtt.testing._peer import ScriptedPeer
from trio_mqtt.testing._policy import (
    Authenticate,
    AuthenticationStep,
    AuthorizePublish,
    AuthorizeSubscribe,
    BeginAuthentication,
)
from trio_mqtt.testing._recorded import Recorded, Sender
from trio_mqtt.testing._recording import Recording
from trio_mqtt.testing._scram import scram_users
from trio_mqtt.testing._server import Server, SessionSnapshot, open_server
from trio_mqtt.testing._steps import (
    Close,
    Expect,
    ExpectBytes,
    ExpectEnd,
    ExpectSilence,
    Pause,
    Reply,
    Reset,
    Send,
    SendBytes,
    Step,
    WaitFor,
)
from trio_mqtt.testing._subscriptions import Subscription

__all__ = [
    "Acknowledged",
    "After",
    "Authenticate",
    "AuthenticationStep",
    "AuthorizePublish",
    "AuthorizeSubscribe",
    "Before",
    "BeginAuthentication",
    "Close",
    "Connected",
    "Dialogue",
    "Ending",
    "Expect",
    "ExpectBytes",
    "ExpectEnd",
    "ExpectSilence",
    "Faults",
    "FaultyNetwork",
    "Held",
    "LogEntry",
    "MemoryStream",
    "NetworkConnection",
    "Outcome",
    "Pause",
    "Place",
    "Published",
    "Recorded",
    "Recording",
    "Reply",
    "Reset",
    "ScriptedPeer",
    "Send",
    "SendBytes",
    "Sender",
    "Server",
    "ServerLimits",
    "SessionSnapshot",
    "Step",
    "Subscribed",
    "Subscription",
    "WaitFor",
    "memory_stream_pair",
    "open_network",
    "open_proxy",
    "open_server",
    "scram_users",
]


def _claim_names() -> None:
    """Let classes and functions report the module that users import them from."""
    for name in __all__:
        value = globals()[name]
        if isinstance(value, type | FunctionType):
            value.__module__ = __name__


_claim_names()
