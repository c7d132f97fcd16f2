"""What is tried again, when and for how long."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Literal

import attrs

from trio_mqtt import _checks
from trio_mqtt._client._redirecting import AllowList, as_rule
from trio_mqtt._enums import ReasonCode as Code
from trio_mqtt._errors import ConnectFailed, ConnectionLost, ConnectRejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._errors import MQTTError

Initial = Literal["fail", "retry", "background"]
"""What happens when the first connection cannot be made."""

_SHORT_LIVES: Final = 3
_random = random.SystemRandom()


@attrs.frozen(kw_only=True)
class Reconnect:
    """How a client gets its connection back; the argument `reconnect` of `open_client`.

    The delays grow from `delay` to `max_delay`, doubling; each time the client waits a random part
    of the delay, so that many clients of one Server do not come back at once. A connection that
    was lost before it lasted for `stable_after` does not make the delays short again.

    Attributes:
        initial: what happens when the first connection cannot be made. ``"fail"``: an error, once
            each URL was tried; ``"retry"``: it is tried again as after a loss; ``"background"``:
            the block begins at once, without a connection.
        delay: the first delay, in seconds.
        max_delay: the longest delay, in seconds.
        stable_after: how long a connection lasts until it counts as stable, in seconds.
        give_up_after: how long to go on trying, in seconds without a connection; None for ever.
        redirect: where the client may go when the Server names another one (4.11): URLs, of which
            that with the host and port of the Server Reference is used; or a function that gets
            the reference and returns the URL to use, or None; beside a `connector` it has to be
            such. By default nowhere.
        max_redirects: how many references are followed without a pause or a stable connection
            between them.
        independent_servers: whether several URLs name Servers that share nothing. Then each change
            between them is a lost session; otherwise they are taken for a cluster.

    Raises:
        ValueError: a number is out of range, or a URL cannot be read.
    """

    initial: Initial = attrs.field(
        default="fail", validator=_checks.choice("fail", "retry", "background")
    )
    delay: float = attrs.field(default=0.5, validator=_checks.seconds())
    max_delay: float = attrs.field(default=60.0, validator=_checks.seconds())
    stable_after: float = attrs.field(default=30.0, validator=_checks.seconds(zero=True))
    give_up_after: float | None = attrs.field(default=None, validator=_checks.seconds(or_none=True))
    redirect: Callable[[str], str | None] = attrs.field(default=AllowList(()), converter=as_rule)
    max_redirects: int = attrs.field(default=5, validator=_checks.whole(0))
    independent_servers: bool = False


class Backoff:
    """Counts failures and says how long to wait.

    Args:
        reconnect: the rules.

    Attributes:
        attempts: how many attempts have failed since the connection was stable.
        short_lives: how many connections in a row were lost before they were stable.
    """

    def __init__(self, reconnect: Reconnect) -> None:
        self.attempts = 0
        self.short_lives = 0
        self._reconnect = reconnect

    @property
    def looks_like_a_fight(self) -> bool:
        """Whether connections are lost so soon that another client may be taking them over."""
        return self.short_lives == _SHORT_LIVES

    def lost(self, lasted: float) -> None:
        """A connection was lost after so many seconds."""
        if lasted >= self._reconnect.stable_after:
            self.attempts = self.short_lives = 0
        else:
            self.short_lives += 1

    def next_delay(self) -> float:
        """How long to wait before the next attempt, in seconds."""
        reconnect = self._reconnect
        longest = min(reconnect.max_delay, reconnect.delay * 2.0 ** min(self.attempts, 64))
        self.attempts += 1
        return _random.uniform(0, longest)


REDIRECTIONS: Final = frozenset((Code.USE_ANOTHER_SERVER, Code.SERVER_MOVED))
"""The Server may name another one (4.11)."""

CREDENTIALS: Final = frozenset((Code.BAD_USER_NAME_OR_PASSWORD, Code.NOT_AUTHORIZED))
"""Fatal, unless the next attempt has new credentials."""

FATAL: Final = frozenset(
    (
        Code.MALFORMED_PACKET,
        Code.PROTOCOL_ERROR,
        Code.UNSUPPORTED_PROTOCOL_VERSION,
        Code.CLIENT_IDENTIFIER_NOT_VALID,
        Code.BANNED,
        Code.BAD_AUTHENTICATION_METHOD,
        Code.SESSION_TAKEN_OVER,
        Code.TOPIC_FILTER_INVALID,
        Code.TOPIC_NAME_INVALID,
        Code.RECEIVE_MAXIMUM_EXCEEDED,
        Code.TOPIC_ALIAS_INVALID,
        Code.PACKET_TOO_LARGE,
        Code.PAYLOAD_FORMAT_INVALID,
        Code.RETAIN_NOT_SUPPORTED,
        Code.QOS_NOT_SUPPORTED,
        Code.SERVER_MOVED,
        Code.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        Code.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        Code.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    )
)
"""What the next attempt would only meet again: in CONNACK or DISCONNECT."""


def is_fatal(error: MQTTError, *, new_credentials: bool) -> bool:
    """Whether trying again is of no use.

    Args:
        error: why there is no connection.
        new_credentials: whether each attempt asks for user name and password anew.
    """
    if isinstance(error, ConnectRejected | ConnectionLost):
        code = error.reason_code
        return code in FATAL or (code in CREDENTIALS and not new_credentials)
    return not isinstance(error, ConnectFailed)
