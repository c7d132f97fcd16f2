"""What comes after a failure: another place, a pause, or the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from trio_mqtt._client._reconnecting import REDIRECTIONS, Backoff, Reconnect, is_fatal
from trio_mqtt._errors import ConnectionLost, ConnectRejected

if TYPE_CHECKING:
    from trio_mqtt._client._itinerary import Itinerary
    from trio_mqtt._errors import MQTTError

_logger = logging.getLogger("trio_mqtt")


class Retrying:
    """Decides, after each failure, whether, where and when there is another attempt.

    Args:
        itinerary: the places.
        reconnect: the rules; None if a lost connection stays lost.
        client_id: the Client Identifier, for messages.
        home: the address of the Server that has the Session, or None.
        new_credentials: whether each attempt asks for user name and password anew.

    Attributes:
        attempts: how many attempts there were since the last connection, this one included.
        after: how long the connection took, for people; empty if it came at once.
    """

    def __init__(
        self,
        itinerary: Itinerary,
        reconnect: Reconnect | None,
        *,
        client_id: str,
        home: str | None,
        new_credentials: bool,
    ) -> None:
        self.attempts = 0
        self.after = ""
        self._itinerary = itinerary
        self._reconnect = reconnect
        self._backoff = Backoff(reconnect or Reconnect())
        self._client_id = client_id
        self._new_credentials = new_credentials
        self._since = trio.current_time()  # when the outage began
        self._home = home
        self._ever_connected = False
        self._connected = False
        self._told = False  # whether there was a warning of this outage

    @property
    def can_go_on(self) -> bool:
        """Whether a lost connection is made again at all."""
        return self._reconnect is not None

    @property
    def begins_offline(self) -> bool:
        """Whether nobody waits for the first connection."""
        return self._reconnect is not None and self._reconnect.initial == "background"

    def begin(self) -> None:
        """Another attempt begins."""
        self.attempts += 1
        self._connected = False

    def arrive(self, name: str) -> None:
        """It has led to a connection with this place."""
        if self._ever_connected or self.attempts > 1:
            seconds = trio.current_time() - self._since
            self.after = f" after {seconds:.1f} s, at attempt {self.attempts},"
        self._home = name
        self._ever_connected = self._connected = True
        self._told = False

    def is_elsewhere(self, name: str) -> bool:
        """Whether a place has nothing of the Session, since its Server stands alone."""
        alone = self._reconnect is not None and self._reconnect.independent_servers
        return alone and self._home not in (None, name)

    def lost(self, loss: MQTTError, lasted: float) -> None:
        """The connection was lost after so many seconds."""
        self._since = trio.current_time()
        self.attempts = 0
        if self._reconnect is None or is_fatal(loss, new_credentials=self._new_credentials):
            return
        self._backoff.lost(lasted)
        if lasted >= self._reconnect.stable_after:
            self._itinerary.forget_hops()
        self._told = True
        _logger.warning("%s; the client tries to connect again", loss)
        if self._backoff.looks_like_a_fight:
            _logger.warning(
                "%d connections in a row were lost soon after they were made; perhaps another "
                "client uses the client_id %r, too",
                self._backoff.short_lives,
                self._client_id,
            )

    async def pause(self, loss: MQTTError) -> None:
        """Wait until the next attempt is due, and let it go to the right place.

        Raises:
            MQTTError: there is to be none; the loss itself.
        """
        if self._follows_redirection(loss):
            return
        if is_fatal(loss, new_credentials=self._new_credentials):
            raise loss
        if not self._connected:
            round_is_over = self._itinerary.move_on()
            if not round_is_over:
                _logger.info("%s; the next URL is tried", loss)
                return
        reconnect = self._reconnect
        if reconnect is None or (not self._ever_connected and reconnect.initial == "fail"):
            raise loss
        delay = self._backoff.next_delay()
        limit = reconnect.give_up_after
        if limit is not None and trio.current_time() + delay > self._since + limit:
            loss.add_note(f"it was given up after {limit:g} s without a connection")
            raise loss
        if not self._connected:
            level = logging.INFO if self._told else logging.WARNING
            _logger.log(level, "%s; the next attempt is in %.1f s", loss, delay)
            self._told = True
        else:  # why it was lost is told already
            _logger.info("the next attempt is in %.1f s", delay)
        self._itinerary.forget_hops()
        await trio.sleep(delay)

    def _follows_redirection(self, loss: MQTTError) -> bool:
        """Whether the Server named another one, and the caller allows to go there (4.11)."""
        if not isinstance(loss, ConnectRejected | ConnectionLost) or self._reconnect is None:
            return False
        reference = loss.server_reference
        if reference is None or loss.reason_code not in REDIRECTIONS:
            return False
        try:
            url = self._reconnect.redirect(reference)
            if url is None:
                return False
            if not self._itinerary.redirect(url, self._reconnect.max_redirects):
                _logger.warning("the server refers to another one, after too many that did so")
                return False
        except ValueError as error:
            _logger.warning("the server refers to another one that cannot be used: %s", error)
            return False
        _logger.info("the server refers to another one, %s", self._itinerary.name)
        return True
