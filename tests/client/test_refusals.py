"""Which refusals and losses are final, and which are tried again (contract 19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import assert_works
from tests.client.outages import CONNECTED, Attempts, connects, nth_connection
from trio_mqtt import (
    MQTT_3_1_1,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    MQTTError,
    ReasonCode,
    Reconnect,
    RemoteProtocolError,
)
from trio_mqtt.packets import Connect, Disconnect
from trio_mqtt.testing import Expect, ExpectEnd, Pause, ScriptedPeer, SendBytes, Server, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

open_client = trio_mqtt.open_client

CONNACK_FATAL: Final = (
    ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.BANNED,
    ReasonCode.BAD_AUTHENTICATION_METHOD,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.PACKET_TOO_LARGE,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
    ReasonCode.RETAIN_NOT_SUPPORTED,
    ReasonCode.QOS_NOT_SUPPORTED,
    ReasonCode.SERVER_MOVED,
)
CONNACK_RETRIED: Final = (
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.SERVER_BUSY,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.USE_ANOTHER_SERVER,
    ReasonCode.CONNECTION_RATE_EXCEEDED,
)
DISCONNECT_FATAL: Final = (
    ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.SESSION_TAKEN_OVER,
    ReasonCode.TOPIC_FILTER_INVALID,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
    ReasonCode.TOPIC_ALIAS_INVALID,
    ReasonCode.PACKET_TOO_LARGE,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
    ReasonCode.RETAIN_NOT_SUPPORTED,
    ReasonCode.QOS_NOT_SUPPORTED,
    ReasonCode.SERVER_MOVED,
    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
)
DISCONNECT_RETRIED: Final = (
    ReasonCode.NORMAL_DISCONNECTION,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.SERVER_BUSY,
    ReasonCode.SERVER_SHUTTING_DOWN,
    ReasonCode.KEEP_ALIVE_TIMEOUT,
    ReasonCode.MESSAGE_RATE_TOO_HIGH,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.ADMINISTRATIVE_ACTION,
    ReasonCode.USE_ANOTHER_SERVER,
    ReasonCode.CONNECTION_RATE_EXCEEDED,
    ReasonCode.MAXIMUM_CONNECT_TIME,
)


def answering(*reason_codes: ReasonCode) -> Callable[[Connect], ReasonCode]:
    """Answer one CONNECT after the other like that, and let the later ones in."""
    answers = iter(reason_codes)
    return lambda _connect: next(answers, ReasonCode.SUCCESS)


class TestConnAck:
    @pytest.mark.parametrize("reason_code", CONNACK_FATAL)
    async def test_fatal_when_connecting_again(
        self, server: Server, autojump_clock: MockClock, reason_code: ReasonCode
    ) -> None:
        with pytest.raises(ConnectRejected) as caught:
            async with open_client(connector=server.connect, client_id="c"):
                server.authenticate = answering(reason_code)
                server.drop("c")
                await trio.sleep_forever()
        assert caught.value.reason_code is reason_code
        assert len(connects(server)) == 2

    @pytest.mark.parametrize("reason_code", CONNACK_RETRIED)
    async def test_tried_again(
        self, server: Server, autojump_clock: MockClock, reason_code: ReasonCode
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            server.authenticate = answering(*[reason_code] * 3)
            server.drop("c")
            await nth_connection(client, 2)
            await assert_works(client)
        assert len(connects(server)) == 5

    @pytest.mark.parametrize("reason_code", CONNACK_FATAL)
    async def test_fatal_at_first_whatever_the_caller_wants(
        self, server: Server, autojump_clock: MockClock, reason_code: ReasonCode
    ) -> None:
        server.authenticate = answering(reason_code)
        with pytest.raises(ConnectRejected):
            async with open_client(
                connector=server.connect,
                protocol=trio_mqtt.MQTT_5,
                reconnect=Reconnect(initial="retry"),
            ):
                pytest.fail("it is not connected")
        assert len(connects(server)) == 1

    async def test_any_refusal_is_final_at_first(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        for reason_code in CONNACK_RETRIED:
            server.authenticate = answering(reason_code)
            with pytest.raises(ConnectRejected):
                async with open_client(connector=server.connect):
                    pytest.fail("it is not connected")
        assert len(connects(server)) == len(CONNACK_RETRIED)

    @pytest.mark.parametrize(
        ("code", "fatal"), [(1, True), (2, True), (3, False), (4, True), (5, True)]
    )
    async def test_the_codes_of_mqtt_3(
        self, autojump_clock: MockClock, code: int, fatal: bool
    ) -> None:
        accept: list[Step] = [Expect(Connect), SendBytes(b"\x20\x02\x00\x00"), Pause(1)]
        refuse: list[Step] = [Expect(Connect), SendBytes(bytes([0x20, 2, 0, code])), Pause(1)]
        peer = ScriptedPeer(accept, *[refuse] * 100)
        attempts = Attempts(peer.connect)
        with pytest.raises(ConnectRejected):
            async with open_client(
                connector=attempts.connect,
                protocol=MQTT_3_1_1,
                reconnect=Reconnect(delay=1, max_delay=1, give_up_after=12),
            ):
                await trio.sleep_forever()
        assert (len(attempts) == 2) == fatal


class TestDisconnect:
    @pytest.mark.parametrize("reason_code", DISCONNECT_FATAL)
    async def test_fatal(
        self, server: Server, autojump_clock: MockClock, reason_code: ReasonCode
    ) -> None:
        with pytest.raises(ConnectionLost) as caught:
            async with open_client(connector=server.connect, client_id="c"):
                await server.disconnect("c", reason_code)
                await trio.sleep_forever()
        assert caught.value.reason_code is reason_code
        assert len(connects(server)) == 1

    @pytest.mark.parametrize("reason_code", DISCONNECT_RETRIED)
    async def test_tried_again(
        self, server: Server, autojump_clock: MockClock, reason_code: ReasonCode
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            await server.disconnect("c", reason_code)
            await nth_connection(client, 2)
            await assert_works(client)

    async def test_taken_over_is_never_fought(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        with pytest.raises(ConnectionLost, match="same client_id") as caught:
            async with (
                open_client(connector=server.connect, client_id="c"),
                open_client(connector=server.connect, client_id="c") as other,
            ):
                await trio.sleep(1000)
                await assert_works(other)
                assert other.statistics().connections == 1
                await trio.sleep_forever()
        assert caught.value.reason_code is ReasonCode.SESSION_TAKEN_OVER
        assert len(connects(server)) == 2

    def test_the_tables_name_every_code(self) -> None:
        failures = {code for code in ReasonCode if code.is_failure}
        refusals = {
            *CONNACK_FATAL,
            *CONNACK_RETRIED,
            *DISCONNECT_FATAL,
            *DISCONNECT_RETRIED,
        }
        only_in_acknowledgements = {
            ReasonCode.NO_SUBSCRIPTION_EXISTED,
            ReasonCode.PACKET_IDENTIFIER_IN_USE,
            ReasonCode.PACKET_IDENTIFIER_NOT_FOUND,
        }
        assert failures - refusals - only_in_acknowledgements == set()


async def test_a_server_that_breaks_the_protocol_is_not_tried_again(
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer([*CONNECTED, SendBytes(b"\xf9\x00"), Expect(Disconnect), ExpectEnd()])
    with pytest.raises(RemoteProtocolError):
        async with open_client(connector=peer.connect):
            await trio.sleep_forever()
    peer.assert_done()
    assert peer.connections == 1


class TestCredentials:
    async def test_those_of_a_callable_are_asked_for_at_each_attempt(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        passwords = [b"1", b"2", b"3", b"4", b"5"]
        asked = iter(passwords)

        async def credentials() -> tuple[str, bytes]:
            await trio.sleep(1)
            return "user", next(asked)

        def authenticate(connect: Connect) -> ReasonCode:
            if connect.password in (b"1", b"5"):
                return ReasonCode.SUCCESS
            if connect.password == b"2":
                return ReasonCode.BAD_USER_NAME_OR_PASSWORD
            return ReasonCode.NOT_AUTHORIZED

        server.authenticate = authenticate
        async with open_client(
            connector=server.connect, client_id="c", credentials=credentials
        ) as client:
            server.drop("c")
            await nth_connection(client, 2)
            await assert_works(client)
        assert [connect.password for connect in connects(server)] == passwords
        assert {connect.username for connect in connects(server)} == {"user"}

    async def test_a_disconnect_for_want_of_rights_is_tried_again_with_new_ones(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async def credentials() -> tuple[str, str]:
            return "user", "token"

        async with open_client(
            connector=server.connect, client_id="c", credentials=credentials
        ) as client:
            await server.disconnect("c", ReasonCode.NOT_AUTHORIZED)
            await nth_connection(client, 2)

    async def test_a_callable_that_cannot_connect_is_asked_again(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        calls = 0

        async def credentials() -> tuple[str, str]:
            nonlocal calls
            calls += 1
            if calls in (2, 3):
                raise ConnectionRefusedError("the token server is down")
            if calls == 4:
                await trio.sleep_forever()  # within the connect_timeout
            return "user", str(calls)

        async with open_client(
            connector=server.connect, client_id="c", credentials=credentials
        ) as client:
            server.drop("c")
            await nth_connection(client, 2)
        assert calls == 5

    async def test_an_error_of_its_own_ends_the_client(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async def credentials() -> tuple[str, str]:
            if connects(server):
                raise KeyError("no such user")
            return "user", "password"

        with pytest.raises(KeyError, match="no such user"):
            async with open_client(
                connector=server.connect, client_id="c", credentials=credentials
            ):
                server.drop("c")
                await trio.sleep_forever()

    async def test_those_of_the_url_are_used(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with open_client(
            "mqtt://us%2Fer:pass%40word@host", connector=server.connect, client_id="c"
        ) as client:
            server.drop("c")
            await nth_connection(client, 2)
        assert {(each.username, each.password) for each in connects(server)} == {
            ("us/er", b"pass@word")
        }


@pytest.mark.parametrize("error", [OSError("no route"), ConnectFailed("no tunnel")])
async def test_what_keeps_a_connector_from_connecting_is_tried_again(
    server: Server, autojump_clock: MockClock, error: MQTTError | OSError
) -> None:
    attempts = Attempts(server.connect)
    errors = iter([None, error, error, None])

    def connect() -> AbstractAsyncContextManager[trio.abc.Stream]:
        failure = next(errors)
        if failure is not None:
            raise failure
        return attempts.connect()

    async with open_client(connector=connect, client_id="c") as client:
        server.drop("c")
        await nth_connection(client, 2)


async def test_a_bug_in_a_connector_ends_the_client(
    server: Server, autojump_clock: MockClock
) -> None:
    attempts = Attempts(server.connect)

    def connect() -> AbstractAsyncContextManager[trio.abc.Stream]:
        if len(attempts):
            raise ZeroDivisionError
        return attempts.connect()

    with pytest.raises(ZeroDivisionError):
        async with open_client(connector=connect, client_id="c"):
            server.drop("c")
            await trio.sleep_forever()
