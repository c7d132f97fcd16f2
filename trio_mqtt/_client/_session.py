"""A Session that a caller keeps: what is remembered between connections and runs."""

from __future__ import annotations

import secrets
import string
import struct
import time
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import attrs
import trio

from trio_mqtt._checks import check_choice, check_kind, check_whole
from trio_mqtt._client._session_records import KeptSubscriptions, UnclaimedRecords
from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import MQTTError, StorageError
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.records import (
    DISCARDED,
    OUTGOING,
    PROGRESS,
    RECEIVED,
    SESSION,
    SUBSCRIPTION,
    UNCLAIMED,
    SessionRecord,
    decode_session,
    encode_session,
)
from trio_mqtt._protocol.session import SessionState
from trio_mqtt._storage.memory import MemoryStorage
from trio_mqtt.abc import Storage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from trio_mqtt._client._message import Message
    from trio_mqtt._client._supervisor import Supervisor
    from trio_mqtt._protocol.server_info import ServerInfo
    from trio_mqtt.abc import RecordKey

T = TypeVar("T")
QueueOverflow = Literal["wait", "error", "drop_oldest"]
"""What happens to a message for which the outgoing queue has no room."""

MOST_QUEUED: Final = 1000
"""How many QoS 1 and 2 messages wait to be sent before publishers wait, unless said otherwise."""
MOST_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""How much memory unacknowledged messages take before publishers wait, unless said otherwise."""
NEVER_EXPIRES: Final = 0xFFFF_FFFF
_EPHEMERAL_EXPIRY: Final = 300
"""How long the Server keeps an ephemeral Session for a Client that reconnects, in seconds."""
_ID_LENGTH: Final = 23  # what every Server takes (MQTT-3.1.3-5)
_ALPHABET: Final = (string.ascii_letters + string.digits).encode()
_LETTERS: Final = bytes(_ALPHABET[number % len(_ALPHABET)] for number in range(256))
"""What becomes of each byte; that some letters come a little more often does no harm."""


def generated_client_id() -> str:
    """A Client Identifier that nobody else has."""
    return secrets.token_bytes(_ID_LENGTH).translate(_LETTERS).decode()


class Session:
    """A Session State that goes on (4.1): given to `open_client`, again and again.

    It holds the messages accepted and not yet acknowledged, the QoS 2 handshakes under way in both
    directions and the Subscription Identifiers. With a durable storage it does so for the next run
    of the program, too. It belongs to one client at a time.

    Args:
        client_id: the Client Identifier, by which the Server knows the Session.
        expiry: how long the Server keeps the Session without a connection, in seconds;
            0xFFFFFFFF for ever. MQTT 3.1.1 keeps it as long as the Server likes.
        storage: what keeps it beyond this process: an `SQLiteStorage`; by default nothing does.
        adopt: whether to go on with a Session that the Server has although there is no record of
            it here. A QoS 2 message under way at a crash may then come twice. Otherwise the first
            connection starts clean, and what the Server had queued is gone.
        queue: how many QoS 1 and 2 messages may wait to be sent.
        queue_bytes: how much memory messages may take until they are acknowledged, about, in
            bytes.
        overflow: what happens to a message for which there is no room: ``"wait"`` lets its
            publisher wait, ``"error"`` raises `QueueFull`, ``"drop_oldest"`` drops the message
            that has waited longest, told to its publisher.
        clock: the wall clock, by which message expiry is measured between runs, in seconds.

    Raises:
        TypeError: an argument is of another type.
        ValueError: an argument is out of range.
    """

    def __init__(  # noqa: PLR0913 - each by name
        self,
        client_id: str,
        *,
        expiry: int,
        storage: Storage | None = None,
        adopt: bool = True,
        queue: int = MOST_QUEUED,
        queue_bytes: int = MOST_QUEUED_BYTES,
        overflow: QueueOverflow = "wait",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_kind("client_id", client_id, str, "a str", or_none=False)
        if not client_id:
            message = "a Session needs a client_id: the server finds it by that"
            raise ValueError(message)
        check_whole("expiry", expiry, 1, NEVER_EXPIRES, unit=" seconds")
        check_kind("storage", storage, Storage, 'a Storage, such as SQLiteStorage("session.db")')
        check_whole("queue", queue, 1)
        check_whole("queue_bytes", queue_bytes, 1)
        check_choice("overflow", overflow, ("wait", "error", "drop_oldest"))
        self._client_id = client_id
        self._expiry = expiry
        self._storage = MemoryStorage() if storage is None else storage
        self._adopt = adopt
        self._queue = queue
        self._queue_bytes = queue_bytes
        self._overflow: QueueOverflow = overflow
        self._clock = clock
        self._ephemeral = False
        self._in_use = False
        self._unheard = False  # whether a CONNECT went out whose answer was lost
        self._closed_shift = 0.0
        self._supervisor: Supervisor | None = None
        self._discarded = False
        self._clean_next = False  # whether the first connection of this opening starts clean
        self._server_told = False  # whether it knows that the Session is over
        self._record: SessionRecord | None = None
        self._state = SessionState(clock=trio.current_time)
        self._subscriptions = KeptSubscriptions()
        self._last_identifier = 0
        self._unclaimed = UnclaimedRecords()

    @classmethod
    def _for_one_client(cls, client_id: str | None, *, reconnects: bool) -> Session:
        """The Session of a client that was given none."""
        session = cls(client_id or generated_client_id(), expiry=1)
        if client_id is not None:
            session._client_id = client_id  # an empty one lets the Server choose
        session._expiry = _EPHEMERAL_EXPIRY if reconnects else 0
        session._ephemeral = True
        return session

    def __repr__(self) -> str:
        """The Client Identifier and the storage."""
        return f"<trio_mqtt.Session {self._client_id!r} in {self._storage!r}>"

    @property
    def client_id(self) -> str:
        """The Client Identifier."""
        return self._client_id

    @property
    def expiry(self) -> int:
        """How long the Server keeps the Session, in seconds; as granted, once it has been."""
        return self._expiry if self._record is None else self._record.expiry

    def discard(self) -> None:
        """Give the Session up, here and at the Server.

        If a client has it open, that is done when it closes; otherwise by the next one that opens
        it, which starts clean. So does the next one if the Server could not be told: without a
        connection, and below MQTT 5.0, which has no way to. Messages not yet acknowledged are
        given up.
        """
        self._discarded = True

    async def settle(self, message: Message, effect: Callable[[sqlite3.Connection], T]) -> T:
        """Settle a message in the transaction that does its work: exactly once, whatever crashes.

        The work is a function that gets the connection to the file of the `SQLiteStorage`, where
        the program may have tables of its own. It runs in a worker thread; with it the receipt of
        a QoS 2 message is committed, so that either both are on disk or none is. At QoS 1 the
        Server may send the message again after a crash, all the same.

        Once it has begun it cannot be cancelled; it takes as long as one commit.

        Args:
            message: what a subscription of a client with this Session has received, unsettled.
            effect: the work. It neither begins nor ends a transaction.

        Returns:
            What the work returned.

        Raises:
            FeatureNotSupported: the storage has no transactions.
            trio.ClosedResourceError: no client has the Session open.
            LocalProtocolError: the message is settled, or of another client, or other
                subscriptions of this client have it, too.
            StorageError: the transaction could not be committed; the message stays unsettled.
            Exception: what the work raised; it was undone, and the message stays unsettled.
        """
        if self._supervisor is None:
            text = f"the Session {self._client_id!r} is not open; settle while a client has it"
            raise trio.ClosedResourceError(text)
        return await self._supervisor.settle_with(message, effect)

    # -- opening and closing ------------------------------------------------------------------

    @property
    def _ends(self) -> bool:
        """Whether it is over when the client that has it open closes."""
        return self._ephemeral or self._discarded

    @property
    def _is_durable(self) -> bool:
        return not isinstance(self._storage, MemoryStorage)

    def _claim(self) -> None:
        if self._in_use:
            message = (
                f"the Session {self._client_id!r} is in use by another client; leave the block of "
                "that one first, or give each client a Session with a client_id of its own"
            )
            raise trio.BusyResourceError(message)
        self._in_use = True

    async def _open(self) -> None:
        """Take possession of the record, and load it."""
        self._claim()
        self._clean_next = self._clean_next or self._discarded
        if not self._is_durable:
            if self._discarded:
                self._forget_everything()
            self._discarded = False
            shift = self._closed_shift - self._time_shift()
            for outgoing in self._state.messages():
                if outgoing.expires_at is not None:
                    outgoing.expires_at += shift  # Trio's clock may be another one by now
            return
        try:
            records = await trio.to_thread.run_sync(self._read)
        except BaseException:
            self._in_use = False
            raise
        self._discarded = False
        try:
            self._load(records)
        except (ValueError, struct.error, MQTTError) as error:
            await self._close()
            message = f"the storage of the Session {self._client_id!r} holds what cannot be read"
            raise StorageError(f"{message}: {error}") from error

    def _read(self) -> list[tuple[RecordKey, bytes]]:
        records = list(self._storage.open(self._client_id))
        if not self._discarded:
            return records
        changes: dict[RecordKey, bytes | None] = {key: None for key, _ in records}
        if not self._server_told:
            changes[DISCARDED, 0] = b""
        self._storage.commit(changes)
        return []

    def _load(self, records: Iterable[tuple[RecordKey, bytes]]) -> None:
        kinds: dict[str, dict[int | str, bytes]] = {}
        for (kind, key), value in records:
            kinds.setdefault(kind, {})[key] = value
        shift = self._time_shift()
        state = self._state = SessionState(Journal(), trio.current_time)
        state.load(
            {int(key): value for key, value in kinds.get(OUTGOING, {}).items()},
            {int(key): value for key, value in kinds.get(PROGRESS, {}).items()},
            [int(key) for key in kinds.get(RECEIVED, {})],
            shift,
        )
        self._clean_next = self._clean_next or DISCARDED in kinds
        self._record = None
        self._last_identifier = 0
        for value in kinds.get(SESSION, {}).values():
            self._record = decode_session(value)
            self._last_identifier = self._record.last_identifier
        self._subscriptions = KeptSubscriptions(state.journal, kinds.get(SUBSCRIPTION))
        self._unclaimed = UnclaimedRecords(state.journal, kinds.get(UNCLAIMED))

    async def _close(self) -> None:
        """Give the record back; not cancellable."""
        self._supervisor = None
        self._closed_shift = self._time_shift()
        if self._discarded:
            self._forget_everything()
        try:
            if self._is_durable:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._close_storage)
            self._discarded = self._discarded and not self._server_told
        finally:
            self._server_told = False
            self._in_use = False

    def _close_storage(self) -> None:
        self._storage.close()
        if self._discarded:
            try:
                self._read()
            finally:
                self._storage.close()

    def _time_shift(self) -> float:
        """Wall-clock time less Trio's, in seconds."""
        return self._clock() - trio.current_time()

    # -- connecting ---------------------------------------------------------------------------

    @property
    def _protocol(self) -> Protocol | None:
        """The version of MQTT that it speaks, once it has spoken one."""
        return None if self._record is None else self._record.protocol

    def _starts_clean(self, protocol: Protocol) -> bool:
        """Whether CONNECT has Clean Start 1 (3.1.2.4)."""
        if self._clean_next:
            return True
        if self._ephemeral:
            return self._record is None or protocol is not MQTT_5
        return self._record is None and not self._adopt

    def _connected(self, server: ServerInfo, name: str) -> None:
        """Note what the Server with this address granted."""
        if self._clean_next and self._state.journal is not None:
            self._state.journal.delete((DISCARDED, 0))
        self._clean_next = False
        if self._ephemeral and not self._client_id:
            self._client_id = server.client_id  # assigned (MQTT-3.2.2-16)
        is_5 = server.protocol is MQTT_5
        expiry = server.session_expiry_interval if is_5 else self._expiry
        self._record = SessionRecord(server.protocol, expiry, self._last_identifier, name)
        self._note_record()

    @property
    def _home(self) -> str | None:
        """The address of the Server that has it, as far as is known."""
        return None if self._record is None else self._record.server or None

    def _note_record(self) -> int:
        journal = self._state.journal
        if journal is None or self._record is None:
            return 0
        self._record = attrs.evolve(self._record, last_identifier=self._last_identifier)
        return journal.put((SESSION, 0), encode_session(self._record))

    def _forget_everything(self) -> None:
        """The Session is no more: leave no record of it."""
        self._state.abandon()
        self._record = None
        self._subscriptions = KeptSubscriptions()
        self._unclaimed = UnclaimedRecords()

    def _identifier_for(self, topic_filter: str) -> int:
        """The Subscription Identifier of a Topic Filter: its old one, or one never used before."""
        kept = self._subscriptions.get(topic_filter)
        if kept is not None and kept.identifier is not None:
            return kept.identifier
        self._last_identifier += 1
        self._note_record()
        return self._last_identifier
