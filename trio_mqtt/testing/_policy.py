"""What a test decides about a server: its limits and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from trio_mqtt._enums import ReasonCode
from trio_mqtt.packets import Connect, Publish, SubscriptionRequest

if TYPE_CHECKING:
    from trio_mqtt.testing._limits import ServerLimits

Authenticate: TypeAlias = Callable[[Connect], ReasonCode]
"""Decides about a CONNECT; SUCCESS lets it in, anything else is the Reason Code of CONNACK."""

AuthenticationStep: TypeAlias = Callable[[bytes | None], tuple[ReasonCode, bytes | None]]
"""Decides about the Authentication Data of one packet, with Authentication Data to send back.

CONTINUE_AUTHENTICATION asks for more, SUCCESS lets the client in, a failure is the Reason Code of
CONNACK or DISCONNECT.
"""

BeginAuthentication: TypeAlias = Callable[[Connect], AuthenticationStep]
"""Begins an exchange of enhanced authentication with the client of this CONNECT (4.12)."""

AuthorizePublish: TypeAlias = Callable[[str, Publish], ReasonCode]
"""Decides, by Client Identifier, about a PUBLISH; a failure is the Reason Code of its answer."""

AuthorizeSubscribe: TypeAlias = Callable[[str, SubscriptionRequest], ReasonCode]
"""Decides, by Client Identifier, about a Topic Filter; a failure is its Reason Code in SUBACK."""


class Policy(Protocol):
    """What the broker asks before it does something; it may change at any time."""

    limits: ServerLimits
    authenticate: Authenticate | None
    authentication_methods: dict[str, BeginAuthentication]
    authorize_publish: AuthorizePublish | None
    authorize_subscribe: AuthorizeSubscribe | None
