"""An MQTT client for Trio: MQTT 5.0, 3.1.1 and 3.1; nothing lost, nothing doubled."""

from __future__ import annotations

from trio_mqtt._client._client import Client
from trio_mqtt._client._event_stream import EventStream
from trio_mqtt._client._filters import TopicFilter
from trio_mqtt._client._message import Message
from trio_mqtt._client._open import open_client
from trio_mqtt._client._options import Will
from trio_mqtt._client._outgoing import (
    Delivery,
    Payload,
    PublishOptions,
    PublishResult,
    RequestOptions,
)
from trio_mqtt._client._publisher import Publisher
from trio_mqtt._client._reconnecting import Reconnect
from trio_mqtt._client._session import Session
from trio_mqtt._client._statistics import ClientStatistics
from trio_mqtt._client._subscription import (
    SubscribeResult,
    Subscription,
    SubscriptionStatistics,
)
from trio_mqtt._client._unsubscribing import UnsubscribeResult
from trio_mqtt._enums import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    PacketType,
    Protocol,
    QoS,
    ReasonCode,
    RetainHandling,
)
from trio_mqtt._errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    FeatureNotSupported,
    LocalProtocolError,
    MalformedPacket,
    MessageDropped,
    MQTTError,
    PacketTooLarge,
    PublishRejected,
    QueueFull,
    RemoteProtocolError,
    SessionLost,
    StorageBusy,
    StorageError,
    SubscribeRejected,
    UnsubscribeRejected,
)
from trio_mqtt._protocol.server_info import ServerInfo
from trio_mqtt._storage.memory import MemoryStorage
from trio_mqtt._storage.sqlite import SQLiteStorage
from trio_mqtt._topics import topic_matches
from trio_mqtt._transports.tls_context import make_ssl_context

__all__ = [
    "MQTT_3_1",
    "MQTT_3_1_1",
    "MQTT_5",
    "AuthenticationFailed",
    "Client",
    "ClientStatistics",
    "ConnectFailed",
    "ConnectRejected",
    "ConnectionLost",
    "Delivery",
    "EventStream",
    "FeatureNotSupported",
    "LocalProtocolError",
    "MQTTError",
    "MalformedPacket",
    "MemoryStorage",
    "Message",
    "MessageDropped",
    "PacketTooLarge",
    "PacketType",
    "Payload",
    "Protocol",
    "PublishOptions",
    "PublishRejected",
    "PublishResult",
    "Publisher",
    "QoS",
    "QueueFull",
    "ReasonCode",
    "Reconnect",
    "RemoteProtocolError",
    "RequestOptions",
    "RetainHandling",
    "SQLiteStorage",
    "ServerInfo",
    "Session",
    "SessionLost",
    "StorageBusy",
    "StorageError",
    "SubscribeRejected",
    "SubscribeResult",
    "Subscription",
    "SubscriptionStatistics",
    "TopicFilter",
    "UnsubscribeRejected",
    "UnsubscribeResult",
    "Will",
    "make_ssl_context",
    "open_client",
    "topic_matches",
]

# What is public says so of itself, wherever it was written.
for _public in [globals()[_name] for _name in __all__]:
    if isinstance(_public, type) or hasattr(_public, "__wrapped__"):
        _public.__module__ = __name__
make_ssl_context.__module__ = topic_matches.__module__ = __name__
