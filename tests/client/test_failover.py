"""Several URLs, URLs from a callable, and servers that name another one (contract 19)."""

from __future__ import annotations

import ssl
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_mqtt
from tests.client.moments import assert_works
from tests.client.outages import (
    BROKEN,
    CONNECTED,
    GOODBYE,
    Attempts,
    Hosts,
    connects,
    nth_connection,
    until,
    warnings,
)
from trio_mqtt import (
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    ReasonCode,
    Reconnect,
    Session,
)
from trio_mqtt.packets import ConnAck, Connect, Properties
from trio_mqtt.testing import Close, Expect, ScriptedPeer, Send, Server, open_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from trio_mqtt.abc import Connector
    from trio_mqtt.testing import Step

open_client = trio_mqtt.open_client
AB = ["mqtt://a", "mqtt://b"]


class TestSeveral:
    async def test_the_first_connection_tries_each_once_in_order(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.accepting = False
        hosts = Hosts(monkeypatch, a=server.connect, b=server.connect, c=server.connect)
        with pytest.raises(ConnectFailed, match="mqtt://c:1883"):
            async with open_client(["mqtt://a", "mqtt://b", "mqtt://c"]):
                pytest.fail("it is not connected")
        assert hosts.tried == ["a", "b", "c"]
        assert trio.current_time() == 0

    async def test_the_first_that_answers_is_taken(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hosts = Hosts(monkeypatch, a=refusing, b=server.connect, c=server.connect)
        async with open_client(["mqtt://a", "mqtt://b", "mqtt://c"]) as client:
            await assert_works(client)
            assert "mqtt://b:1883" in repr(client)
        assert hosts.tried == ["a", "b"]

    async def test_without_reconnect_too(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hosts = Hosts(monkeypatch, a=refusing, b=server.connect)
        with pytest.raises(ConnectionLost):
            async with open_client(AB, client_id="c", reconnect=None):
                server.drop("c")
                await trio.sleep_forever()
        assert hosts.tried == ["a", "b"]

    async def test_after_a_loss_the_same_comes_first_then_the_others_without_delay(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_server() as a, open_server() as b:
            hosts = Hosts(monkeypatch, a=a.connect, b=b.connect)
            async with open_client(AB, client_id="c") as client:
                a.drop("c")
                await nth_connection(client, 2)
                assert hosts.tried == ["a", "a"]
                a.accepting = False
                a.drop("c")
                await nth_connection(client, 3)
                assert hosts.tried == ["a", "a", "a", "b"]
                await assert_works(client)
                b.drop("c")
                await nth_connection(client, 4)
                assert hosts.tried[4:] == ["b"]
                b.accepting = False
                b.drop("c")
                await trio.sleep(10_000)
                # Round and round, with a pause after each round.
                assert hosts.tried[5:11] == ["b", "a", "b", "a", "b", "a"]
                assert len(hosts.tried) < 2 * 10_000 / 25
                a.accepting = True
                await client.wait_connected()
                await assert_works(client)

    async def test_they_share_the_session(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        up = {"a": True, "b": True}
        hosts = Hosts(monkeypatch, a=switched(server, up, "a"), b=switched(server, up, "b"))
        async with (
            open_client(AB, client_id="c") as client,
            client.subscribe("x", qos=1) as messages,
        ):
            up["a"] = False
            server.drop("c")
            server.publish("x", "queued", qos=1)
            assert (await messages.receive()).text() == "queued"
        assert hosts.tried == ["a", "a", "b"]
        assert [each.clean_start for each in connects(server)] == [True, False]

    async def test_servers_that_share_nothing_start_clean(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_server() as a, open_server() as b:
            Hosts(monkeypatch, a=a.connect, b=b.connect)
            session = trio_mqtt.Session("c", expiry=1000)
            async with (
                open_client(
                    AB, session=session, reconnect=Reconnect(independent_servers=True)
                ) as client,
                client.subscribe("x", qos=1) as messages,
            ):
                a.drop("c")
                await nth_connection(client, 2)
                assert [each.clean_start for each in connects(a)] == [False, False]
                a.accepting = False
                a.drop("c")
                await nth_connection(client, 3)
                assert [each.clean_start for each in connects(b)] == [True]
                await b.wait_until(lambda: bool(b.sessions["c"].subscriptions))
                b.publish("x", "new", qos=1)
                assert (await messages.receive()).text() == "new"
                b.drop("c")  # and the same again goes on
                await nth_connection(client, 4)
                assert [each.clean_start for each in connects(b)] == [True, False]

    async def test_a_server_that_is_back_after_a_round_still_has_the_session(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_server() as a, open_server() as b:
            b.accepting = False
            hosts = Hosts(monkeypatch, a=a.connect, b=b.connect)
            async with open_client(
                AB, client_id="c", reconnect=Reconnect(independent_servers=True)
            ) as client:
                a.accepting = False
                a.drop("c")
                await until(lambda: len(hosts.tried) >= 5)
                a.accepting = True
                await nth_connection(client, 2)
                assert [each.clean_start for each in connects(a)] == [True, False]

    async def test_a_session_opened_again_knows_which_server_has_it(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rules = Reconnect(independent_servers=True)
        async with open_server() as a, open_server() as b:
            Hosts(monkeypatch, a=a.connect, b=b.connect)
            session = Session("c", expiry=3600)
            async with open_client(AB, session=session, reconnect=rules) as client:
                a.accepting = False
                a.drop("c")
                await nth_connection(client, 2)
                assert [each.clean_start for each in connects(b)] == [True]
            a.accepting = True
            async with open_client(AB, session=session, reconnect=rules):
                assert [each.clean_start for each in connects(a)] == [False, True]

    async def test_a_fatal_refusal_is_not_taken_to_the_next(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_server() as a, open_server() as b:
            a.authenticate = lambda _connect: ReasonCode.BANNED
            hosts = Hosts(monkeypatch, a=a.connect, b=b.connect)
            with pytest.raises(ConnectRejected):
                async with open_client(AB):
                    pytest.fail("it is not connected")
        assert hosts.tried == ["a"]

    def test_at_least_one(self) -> None:
        async def main() -> None:
            async with open_client([]):
                pytest.fail("there is no URL")

        with pytest.raises(ValueError, match="url is empty"):
            trio.run(main)


def refusing() -> AbstractAsyncContextManager[trio.abc.Stream]:
    raise ConnectionRefusedError("nobody there")


def switched(server: Server, up: dict[str, bool], name: str) -> Connector:
    """A way to a server that can be closed."""
    return lambda: server.connect() if up[name] else refusing()


class TestCallable:
    async def test_it_is_asked_at_each_attempt(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Hosts(monkeypatch, signed=server.connect)
        numbers = count()

        async def url() -> str:
            await trio.sleep(1)
            return f"mqtt://user:{next(numbers)}@signed"

        async with open_client(url, client_id="c") as client:
            server.authenticate = lambda connect: (
                ReasonCode.SUCCESS if connect.password == b"4" else ReasonCode.NOT_AUTHORIZED
            )
            server.drop("c")
            await nth_connection(client, 2)
        assert [each.password for each in connects(server)] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_one_that_cannot_tell_now_is_asked_again(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Hosts(monkeypatch, signed=server.connect)
        numbers = count()

        async def url() -> str:
            number = next(numbers)
            if number in (1, 2):
                raise ConnectionRefusedError("the signing service is down")
            if number == 3:
                await trio.sleep_forever()  # within the connect_timeout
            return "mqtt://signed"

        async with open_client(url, client_id="c") as client:
            server.drop("c")
            await nth_connection(client, 2)
        assert next(numbers) == 5


def referring(reason_code: ReasonCode, reference: str) -> list[Step]:
    """A server that refuses and names another."""
    properties = Properties(server_reference=reference)
    return [Expect(Connect), Send(ConnAck(reason_code=reason_code, properties=properties)), Close()]


class TestRedirection:
    codes = pytest.mark.parametrize(
        "reason_code", [ReasonCode.USE_ANOTHER_SERVER, ReasonCode.SERVER_MOVED]
    )
    followed = pytest.mark.parametrize(
        "reason_code",
        [
            pytest.param(
                ReasonCode.USE_ANOTHER_SERVER, marks=pytest.mark.statement("U-4.11-1", "U-4.11-2")
            ),
            pytest.param(
                ReasonCode.SERVER_MOVED, marks=pytest.mark.statement("U-4.11-1", "U-4.11-3")
            ),
        ],
    )

    @codes
    async def test_it_is_not_followed_by_default(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, reason_code: ReasonCode
    ) -> None:
        peer = ScriptedPeer(referring(reason_code, "b"))
        hosts = Hosts(monkeypatch, a=peer.connect)
        with pytest.raises(ConnectRejected) as caught:
            async with open_client("mqtt://a"):
                pytest.fail("it is not connected")
        assert caught.value.server_reference == "b"
        assert hosts.tried == ["a"]

    @followed
    async def test_of_connack_where_the_caller_allows_it(
        self,
        server: Server,
        autojump_clock: MockClock,
        monkeypatch: pytest.MonkeyPatch,
        reason_code: ReasonCode,
    ) -> None:
        peer = ScriptedPeer(referring(reason_code, "b:1234"))
        hosts = Hosts(monkeypatch, a=peer.connect, b=server.connect)
        references: list[str] = []

        def redirect(reference: str) -> str:
            references.append(reference)
            return f"mqtt://{reference}"

        async with open_client("mqtt://a", reconnect=Reconnect(redirect=redirect)) as client:
            await assert_works(client)
        assert hosts.tried == ["a", "b"]
        assert references == ["b:1234"]
        assert trio.current_time() == 0

    @followed
    async def test_of_disconnect_where_the_caller_allows_it(
        self,
        server: Server,
        autojump_clock: MockClock,
        monkeypatch: pytest.MonkeyPatch,
        reason_code: ReasonCode,
    ) -> None:
        async with open_server() as other:
            hosts = Hosts(monkeypatch, a=server.connect, b=other.connect)
            reconnect = Reconnect(redirect=lambda reference: f"mqtt://{reference}")
            async with open_client("mqtt://a", client_id="c", reconnect=reconnect) as client:
                properties = Properties(server_reference="b")
                await server.disconnect("c", reason_code, properties=properties)
                await nth_connection(client, 2)
                await assert_works(client)
                other.drop("c")
                await nth_connection(client, 3)
                assert hosts.tried == ["a", "b", "b"]
                other.accepting = False  # then back to where the caller said
                other.drop("c")
                await nth_connection(client, 4)
                assert hosts.tried[3:] == ["b", "a"]

    @pytest.mark.parametrize("most", [None, 0, 1, 8])
    async def test_a_circle_is_not_followed_for_ever(
        self,
        autojump_clock: MockClock,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        most: int | None,
    ) -> None:
        moved = ReasonCode.SERVER_MOVED
        a = ScriptedPeer(*[referring(moved, "b")] * 10)
        b = ScriptedPeer(*[referring(moved, "a")] * 10)
        hosts = Hosts(monkeypatch, a=a.connect, b=b.connect)
        allowed = ["mqtt://a", "mqtt://b"]
        reconnect = Reconnect(redirect=allowed)
        if most is not None:
            reconnect = Reconnect(redirect=allowed, max_redirects=most)
        with pytest.raises(ConnectRejected):
            async with open_client("mqtt://a", reconnect=reconnect):
                pytest.fail("it is not connected")
        assert hosts.tried == (["a", "b"] * 5)[: 1 + (5 if most is None else most)]
        assert ["too many" in text for text in warnings(caplog)] == [True]

    async def test_a_pause_begins_the_count_anew(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        busy = ReasonCode.USE_ANOTHER_SERVER
        a = ScriptedPeer(*[referring(busy, "b")] * 3, [*CONNECTED, *GOODBYE])
        b = ScriptedPeer(*[referring(busy, "a")] * 3)
        hosts = Hosts(monkeypatch, a=a.connect, b=b.connect)
        reconnect = Reconnect(initial="retry", redirect=["mqtt://a", "mqtt://b"], max_redirects=1)
        async with open_client("mqtt://a", reconnect=reconnect):
            assert hosts.tried == ["a", "b"] * 3 + ["a"]

    async def test_where_the_list_does_not_lead(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peer = ScriptedPeer(referring(ReasonCode.SERVER_MOVED, "evil.example"))
        hosts = Hosts(monkeypatch, a=peer.connect)
        with pytest.raises(ConnectRejected) as caught:
            async with open_client("mqtt://a", reconnect=Reconnect(redirect=["mqtt://b"])):
                pytest.fail("it is not connected")
        assert caught.value.server_reference == "evil.example"
        words = "it refers to 'evil.example', and Reconnect(redirect=...) says where to go"
        assert words in str(caught.value)
        assert hosts.tried == ["a"]

    async def test_a_mistake_in_the_function_leaves_the_block_as_it_is(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peer = ScriptedPeer(referring(ReasonCode.USE_ANOTHER_SERVER, "b"))
        Hosts(monkeypatch, a=peer.connect)
        allowed: dict[str, str] = {}
        with pytest.raises(KeyError, match="b"):
            async with open_client(
                "mqtt://a", reconnect=Reconnect(initial="retry", redirect=allowed.__getitem__)
            ):
                pytest.fail("it is not connected")

    async def test_the_url_of_the_list_is_used_with_what_stands_in_it(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peer = ScriptedPeer(referring(ReasonCode.SERVER_MOVED, "me:stolen@b:1884"))
        Hosts(monkeypatch, a=peer.connect, b=server.connect)
        reconnect = Reconnect(redirect="mqtt://alice:secret@b:1884")
        async with open_client("mqtt://bob:other@a", reconnect=reconnect) as client:
            await assert_works(client)
        (connect,) = connects(server)
        assert (connect.username, connect.password) == ("alice", b"secret")

    async def test_a_circle_of_servers_that_accept_first_is_no_busy_loop(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def send_away(server: Server, to: str) -> None:
            def connected() -> bool:
                return "c" in server.sessions and server.sessions["c"].connected

            while True:
                await server.wait_until(connected)
                await server.disconnect(
                    "c",
                    ReasonCode.USE_ANOTHER_SERVER,
                    properties=Properties(server_reference=to),
                )

        async with open_server() as a, open_server() as b, trio.open_nursery() as nursery:
            ways = Attempts(a.connect, most=600), Attempts(b.connect, most=600)
            Hosts(monkeypatch, a=ways[0].connect, b=ways[1].connect)
            nursery.start_soon(send_away, a, "b")
            nursery.start_soon(send_away, b, "a")
            reconnect = Reconnect(redirect=lambda reference: f"mqtt://{reference}")
            with trio.move_on_after(3600):
                async with open_client("mqtt://a", client_id="c", reconnect=reconnect):
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel()
        assert sum(map(len, ways)) > 50


ALLOWED = [
    "mqtts://b.example",
    "mqtts://c.example:8884",
    "wss://user:secret@d.example/path",
    "mqtt://[fe80::1]",
]
REFERENCES: dict[str, str | None] = {
    "b.example": ALLOWED[0],
    "B.Example": ALLOWED[0],
    "b.example:8883": ALLOWED[0],
    "b.example:1883": None,
    "b.example:8884": None,
    "c.example": ALLOWED[1],
    "c.example:8884": ALLOWED[1],
    "c.example:8883": None,
    "d.example": ALLOWED[2],
    "d.example:443": ALLOWED[2],
    "d.example:80": None,
    "[fe80::1]": ALLOWED[3],
    "[fe80::1]:1883": ALLOWED[3],
    "[fe80::1]:1884": None,
    "mqtts://b.example": ALLOWED[0],
    "mqtts://b.example:8883": ALLOWED[0],
    "mqtt://b.example:8883": None,
    "mqtt://b.example": None,
    "wss://d.example:443/other": ALLOWED[2],
    "evil.example b.example": ALLOWED[0],
    "c.example b.example": ALLOWED[1],
    "  ": None,
    "": None,
    "evil.example": None,
    "b.example.evil.example": None,
    "evilb.example": None,
    "b.example/path": None,
    "b.example@evil.example": None,
    "b.example:0": None,
    "b.example:99999": None,
    "b.example:x": None,
    "[b.example]": None,
    "ftp://b.example": None,
    "mqtt+unix:///b.example": None,
    "\x00": None,
    "evil.example " * 1000 + "b.example": None,
}


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda text: repr(text[:40]))
def test_what_a_reference_means_by_the_list(reference: str) -> None:
    assert Reconnect(redirect=ALLOWED).redirect(reference) == REFERENCES[reference]


def test_a_list_of_urls_hides_what_is_secret() -> None:
    text = repr(Reconnect(redirect=ALLOWED))
    assert "wss://d.example:443/path" in text
    assert "secret" not in text
    assert "user" not in text


def to_wss(_reference: str) -> str:
    return "wss://b"


@pytest.mark.parametrize(
    "redirect", [["mqtts://b"], "wss://b", to_wss], ids=["list", "str", "function"]
)
async def test_options_that_only_another_server_needs(
    server: Server,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    redirect: str | list[str] | Callable[[str], str],
) -> None:
    peer = ScriptedPeer(referring(ReasonCode.SERVER_MOVED, "b"))
    hosts = Hosts(monkeypatch, a=peer.connect, b=server.connect)
    reconnect = Reconnect(redirect=redirect)
    context = ssl.create_default_context()
    async with open_client("mqtt://a", ssl_context=context, reconnect=reconnect) as client:
        await assert_works(client)
    assert hosts.tried == ["a", "b"]


async def test_a_connector_goes_to_no_other_server(server: Server) -> None:
    """It would have the server that it leads to given the credentials for another one."""
    reconnect = Reconnect(redirect=["mqtt://alice:secret@b"])
    with pytest.raises(ValueError, match="redirect has to be a function") as caught:
        async with open_client(connector=server.connect, reconnect=reconnect):
            pytest.fail("it is not opened")
    assert "secret" not in str(caught.value)
    async with open_client(
        connector=server.connect, reconnect=Reconnect(redirect=lambda _reference: None)
    ) as client:
        await assert_works(client)


def test_nothing_is_allowed_by_default() -> None:
    assert Reconnect().redirect("b.example") is None


@pytest.mark.parametrize(
    ("redirect", "message"),
    [
        (["b.example"], "server URL"),
        ("b.example", "server URL"),
        (["mqtt+unix:///run/mosquitto"], "no Server Reference can name"),
    ],
)
def test_a_list_that_cannot_be_used(redirect: str | list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reconnect(redirect=redirect)


@pytest.mark.parametrize("most", [-1, 1.5])
def test_a_number_of_redirections_that_is_none(most: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Reconnect(max_redirects=most)


async def test_the_error_names_the_server_that_failed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = ScriptedPeer([*CONNECTED, *BROKEN])
    Hosts(monkeypatch, a=refusing, b=peer.connect)
    with pytest.raises(ConnectionLost, match="mqtt://b:1883"):
        async with open_client(AB, reconnect=None):
            await trio.sleep_forever()
