"""`trio-mqtt doctor`: each state of a server and of the way to it, made for real on loopback."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio

from tests.cli.diagnoses import answer, examine, say_nothing
from tests.servers import RealServer, free_port
from tests.transports.proxies import Proxy, clear_environment, open_test_proxy
from tests.transports.support import listen, open_tls_server
from trio_mqtt import MQTT_3_1, MQTT_3_1_1, MQTT_5, ReasonCode, Session, open_client
from trio_mqtt._cli.diagnosis.findings import Findings, Status
from trio_mqtt._cli.diagnosis.network import check_url
from trio_mqtt._cli.diagnosis.target import Target
from trio_mqtt._transports.url import parse_url
from trio_mqtt.packets import ConnAck, Connect, Properties, encode
from trio_mqtt.testing import Server, ServerLimits, open_server
from trio_mqtt.testing._memory import reset_stream

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mqtt import Protocol
    from trio_mqtt.packets import Publish, SubscriptionRequest

LIMITS = {
    "Receive Maximum": 65_535,
    "Maximum Packet Size": None,
    "Maximum QoS": 2,
    "Retain Available": True,
    "Wildcard Subscription Available": True,
    "Shared Subscription Available": True,
    "Subscription Identifiers Available": True,
    "Topic Alias Maximum": 10,
    "Server Keep Alive": 60,
}


def url_of(server: Server) -> str:
    assert server.url is not None
    return server.url


# -- all is well ----------------------------------------------------------------------------------


async def test_nothing_is_wrong() -> None:
    async with open_server(port=0) as server:
        found = await examine(url_of(server), topic="a/b", qos=2)
        assert server.sessions == {}
    assert {step.name: step.status.value for step in found.findings.steps} == {
        "URL": "ok",
        "name": "skipped",
        "TCP": "ok",
        "CONNACK": "ok",
        "limits": "ok",
        "PINGREQ": "ok",
        "round trip": "ok",
    }
    assert found["limits"].details == LIMITS
    assert found["limits"].found == "the server takes all that MQTT 5.0 has"
    assert found["round trip"].found == "a message to 'a/b' at QoS 2 came back"
    assert all(step.seconds is not None for step in found.findings.steps if step.name != "name")


@pytest.mark.parametrize("protocol", [None, MQTT_5, MQTT_3_1_1, MQTT_3_1])
async def test_mosquitto(mosquitto: RealServer, protocol: Protocol | None) -> None:
    url = mosquitto.url.replace("127.0.0.1", "localhost")
    found = await examine(url, topic="doctor/test", protocol=protocol)
    assert found.failed == []
    assert "127.0.0.1" in found["name"].found
    title = (protocol or MQTT_5).title
    assert found["CONNACK"].found == f"{title}: the server accepts the client"
    if title == "MQTT 5.0":
        assert found["limits"].details["Receive Maximum"] == 20
    else:
        assert found["limits"].status is Status.SKIPPED


async def test_each_limit_is_told() -> None:
    limits = ServerLimits(
        maximum_qos=0,
        retain_available=False,
        wildcard_subscription_available=False,
        shared_subscription_available=False,
        server_keep_alive=7,
        maximum_packet_size=2000,
        receive_maximum=3,
    )
    async with open_server(limits=limits, port=0) as server:
        found = await examine(url_of(server), topic="a")
    assert found.failed == []
    assert found["limits"].found == (
        "the server does not take publishing at QoS 2, publishing at QoS 1, retained messages, "
        "wildcards in Topic Filters, shared subscriptions and a keep alive of 60 s (it wants 7 s)"
    )
    changed = {"Maximum QoS": 0, "Server Keep Alive": 7, "Maximum Packet Size": 2000}
    assert changed.items() <= found["limits"].details.items()
    assert found["round trip"].found.startswith("a message to 'a' at QoS 0")


async def test_a_client_identifier_that_the_server_assigns() -> None:
    properties = Properties(assigned_client_identifier="you", session_expiry_interval=0)
    data = encode(ConnAck(properties=properties), MQTT_5)
    async with listen(answer(data)) as port:
        found = await examine(f"mqtt://127.0.0.1:{port}")
    assert found["limits"].details["Assigned Client Identifier"] == "you"
    assert found["limits"].details["Session Expiry Interval"] == 0
    assert found.failed == ["PINGREQ"]


# -- the way to the server ------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    port = free_port()
    found = await examine(f"mqtt://127.0.0.1:{port}", topic="a")
    assert found.failed == ["TCP"]
    assert found["TCP"].found == f"port {port}: the connection is refused: nothing listens there"
    assert "the usual port for mqtt:// is 1883" in found["TCP"].advice
    assert found.names(Status.SKIPPED) == ["name", "CONNACK", "limits", "PINGREQ", "round trip"]


class Resolver(trio.abc.HostnameResolver):
    """A name service that knows these addresses, or is silent."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *_args: Any, **_more: Any) -> Any:
        if host.startswith(b"127."):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host.decode(), port))]
        if not self._addresses:
            await trio.sleep_forever()
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self._addresses
        ]

    async def getnameinfo(self, *_args: Any, **_more: Any) -> NoReturn:
        raise NotImplementedError


async def test_an_address_that_there_is_no_way_to() -> None:
    found = await examine("mqtt://255.255.255.255")  # no TCP goes there, so nothing is sent
    assert found.failed == ["TCP"]
    assert found["TCP"].found == "port 1883: Network is unreachable"
    assert "there is no way to it from here" in found["TCP"].advice


async def test_a_name_that_nobody_knows() -> None:
    found = await examine("mqtt://nowhere.invalid")
    assert found.failed == ["name"]
    assert found["name"].found.startswith("the host name 'nowhere.invalid' is not known (")
    assert found["name"].advice == "check its spelling and the name service"


async def test_a_name_service_that_is_silent() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    found = await examine("mqtt://server.test", timeout=0.1)
    assert found["name"].found == "the name service did not answer within 0.1 s"
    assert found.failed == ["name"]


async def test_an_address_of_several_that_does_not_answer() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.2", "127.0.0.1"))
    async with open_server(port=0) as server:
        found = await examine(url_of(server).replace("127.0.0.1", "server.test"))
    assert (found.failed, found.warned) == ([], ["TCP"])
    assert found["TCP"].found.endswith("answers at 1 of 2 addresses")
    refused = "the connection is refused: nothing listens there"
    assert found["TCP"].details["127.0.0.2"] == refused
    assert str(found["TCP"].details["127.0.0.1"]).startswith("connected in ")


async def test_no_address_of_several_answers() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.2", "127.0.0.1"))
    found = await examine(f"mqtt://server.test:{free_port()}")
    assert found.failed == ["TCP"]
    assert len(found["TCP"].details) == 2


async def test_an_address_that_swallows_everything() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port: int = full.getsockname()[1]
        # Its queue is full after these, so that the system answers nobody.
        waiting = [socket.socket() for _ in range(3)]
        try:
            for each in waiting:
                each.settimeout(0)
                each.connect_ex(("127.0.0.1", port))
            found = await examine(f"mqtt://127.0.0.1:{port}", timeout=0.2)
        finally:
            for each in waiting:
                each.close()
    assert found.failed == ["TCP"]
    assert found["TCP"].found == f"port {port}: no answer within 0.2 s"
    assert "a firewall" in found["TCP"].advice


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    url = f"mqtt+unix://{path}"
    found = await examine(url)
    assert found.failed == ["socket"]
    assert found["socket"].found == "there is no such file"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.dup()))
        async with open_server() as server, trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, server.serve, [listener])
            found = await examine(url, topic="a")
            nursery.cancel_scope.cancel()
    assert found.failed == []
    assert found["socket"].status is Status.OK


@pytest.mark.parametrize("kind", ["socks5", "http"])
async def test_a_proxy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)
    async with open_server(port=0) as server, open_test_proxy(Proxy(kind)) as proxy:
        url = url_of(server)
        found = await examine(url, proxy=proxy.url(), topic="a")
        assert found.failed == []
        assert found["proxy"].found.startswith(f"{proxy.url()} has connected to 127.0.0.1, port ")
        monkeypatch.setenv("all_proxy", proxy.url())
        assert (await examine(url, proxy="environment"))["proxy"].status is Status.OK
        proxy.forbidden = frozenset({"127.0.0.1"})
        found = await examine(url, proxy=proxy.url())
    assert found.failed == ["proxy"]
    assert found["proxy"].found.startswith("the proxy refused with ")
    assert found["proxy"].advice.startswith("it does not allow that")


async def test_what_is_there_is_no_proxy() -> None:
    async with listen(say_nothing) as port:
        found = await examine("mqtt://server.test", proxy=f"http://127.0.0.1:{port}", timeout=0.2)
    assert found.failed == ["proxy"]
    assert found["proxy"].found.endswith("did not connect to the server within 0.2 s")


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("mqtt://me:secret@server.test", Status.WARNING),
        ("ws://me:secret@192.0.2.1", Status.WARNING),
        ("mqtts://me:secret@server.test", Status.OK),
        ("mqtt://me:secret@localhost", Status.OK),
        ("mqtt://me:secret@[::1]", Status.OK),
        ("mqtt://server.test", Status.OK),
    ],
)
def test_a_password_that_everybody_can_read_is_a_warning(url: str, status: Status) -> None:
    findings = Findings(lambda _step: None)
    check_url(findings, Target(address=parse_url(url)))
    [step] = findings.steps
    assert step.status is status
    assert "secret" not in repr(step)


# -- CONNACK --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, "check the user name (-u) and the password (-P)"),
        (ReasonCode.NOT_AUTHORIZED, "what the server allows this client identifier"),
        (ReasonCode.SERVER_BUSY, "try again later"),
        (ReasonCode.UNSPECIFIED_ERROR, "the log of the server may say more"),
    ],
)
async def test_a_refusal_is_explained(code: ReasonCode, words: str) -> None:
    async with open_server(port=0) as server:
        server.authenticate = lambda _connect: code
        found = await examine(url_of(server))
    assert found.failed == ["CONNACK"]
    assert (
        found["CONNACK"].found == f"MQTT 5.0: the server refuses the client with {code.describe()}"
    )
    assert found["CONNACK"].details["reason code"] == code
    assert words in found["CONNACK"].advice


async def test_credentials_are_sent_as_given() -> None:
    seen: list[tuple[str | None, bytes | None]] = []

    def authenticate(connect: Connect) -> ReasonCode:
        seen.append((connect.username, connect.password))
        return ReasonCode.SUCCESS

    async with open_server(port=0) as server:
        server.authenticate = authenticate
        url = url_of(server).replace("127", "me:secret@127")
        await examine(url)
        found = await examine(url, username="you", password=b"other", topic="a")
    assert seen == [("me", b"secret"), ("you", b"other"), ("you", b"other")]
    assert "other" not in repr(found.findings.steps)


@pytest.mark.parametrize("refusal", ["connack", "connack_3_1_1", "close"])
async def test_a_server_without_mqtt_5(refusal: Any) -> None:
    limits = ServerLimits(protocols={MQTT_3_1_1}, refusal=refusal)
    async with open_server(limits=limits, port=0) as server:
        found = await examine(url_of(server))
        assert found.failed == []
        assert found["CONNACK"].found == "MQTT 3.1.1: the server accepts the client"
        only_5 = await examine(url_of(server), protocol=MQTT_5)
    assert only_5.failed == ["CONNACK"]
    if refusal != "close":
        assert "unsupported protocol version" in only_5["CONNACK"].found


async def test_a_server_that_closes_instead() -> None:
    async with listen(answer(b"")) as port:
        found = await examine(f"mqtt://127.0.0.1:{port}")
    assert found.failed == ["CONNACK"]
    assert found["CONNACK"].found == "the server closes the connection without a CONNACK"
    assert "or be no MQTT server" in found["CONNACK"].advice


async def test_a_server_that_breaks_the_connection() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await reset_stream(stream)

    async with listen(serve) as port:
        found = await examine(f"mqtt://127.0.0.1:{port}")
    assert found.failed == ["CONNACK"]
    assert found["CONNACK"].found == (
        "the server breaks the connection (Connection reset by peer) without a CONNACK"
    )


async def test_a_server_that_says_nothing() -> None:
    async with listen(say_nothing) as port:
        found = await examine(f"mqtt://127.0.0.1:{port}", timeout=0.1)
    assert found.failed == ["CONNACK"]
    assert found["CONNACK"].found == "the server did not answer within 0.1 s"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it begins with b'HTTP/1.1 400 Bad Req'"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it begins with b'SSH-2.0-OpenSSH_9.2"),
        (b"\x20\x03\x02\x00\x00", "CONNACK is malformed: "),
        (b"\x20\x05\x00", "in the middle of CONNACK"),
        (b"\xd0\x00", "the server sends PINGRESP where CONNACK has to come"),
        (b"\xe0\x01\x89", "the server sends DISCONNECT, not CONNACK: 0x89 (server busy)"),
    ],
)
async def test_what_comes_is_no_connack(data: bytes, words: str) -> None:
    async with listen(answer(data)) as port:
        found = await examine(f"mqtt://127.0.0.1:{port}")
    assert found.failed == ["CONNACK"]
    assert words in found["CONNACK"].found


async def test_a_server_that_answers_no_ping() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(encode(ConnAck(), MQTT_5))
        await say_nothing(stream)

    async with listen(serve) as port:
        found = await examine(f"mqtt://127.0.0.1:{port}", timeout=0.4)
    assert found.failed == ["PINGREQ"]
    assert found["PINGREQ"].found == "the server does not answer PINGREQ"


# -- WebSocket ------------------------------------------------------------------------------------


async def test_websocket(tmp_path: Path) -> None:
    from tests.servers import run_mosquitto  # noqa: PLC0415 - only here a server of its own

    with run_mosquitto(tmp_path, ["protocol websockets\n"]) as server:
        web = f"ws://127.0.0.1:{server.more_ports[0]}/mqtt"
        found = await examine(web, topic="a")
        assert found.failed == []
        assert found["WebSocket"].found == "/mqtt, with the subprotocol mqtt"
        found = await examine(web.replace("ws:", "mqtt:").removesuffix("/mqtt"))
        assert found.failed == ["CONNACK"]
        assert found["CONNACK"].advice == f"use {web}: that answers"
        found = await examine(server.url.replace("mqtt:", "ws:"))
        assert found.failed == ["WebSocket"]
        assert found["WebSocket"].advice == f"use {server.url}: that answers"


async def test_websocket_that_is_refused() -> None:
    async with listen(answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as port:
        found = await examine(f"ws://127.0.0.1:{port}/other")
    assert found.failed == ["WebSocket"]
    assert found["WebSocket"].found.endswith("with HTTP status 404")
    assert found["WebSocket"].advice.startswith("check the path of the URL")


async def test_websocket_where_tls_is_wanted() -> None:
    async with open_tls_server() as server:
        found = await examine(server.url.replace("mqtts:", "ws:"))
    assert found.failed == ["WebSocket"]
    assert found["WebSocket"].advice == f"use {server.url}: that answers"


# -- another client's identifier ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1])
async def test_the_session_of_another_client_stays(protocol: Protocol) -> None:
    async with open_server(port=0) as server:
        url = url_of(server)
        session = Session("gateway", expiry=3600)
        async with (
            open_client(url, session=session, protocol=protocol) as client,
            client.subscribe("orders/#", qos=1),
        ):
            pass
        async with open_client(url) as other:
            await other.publish("orders/1", bytes(1_500_000), qos=1)
            await other.publish("orders/2", "two", qos=1)
        found = await examine(url, client_id="gateway", protocol=protocol)
        assert (found.failed, found.warned) == ([], ["CONNACK"])
        assert "goes on with the Session of 'gateway'" in found["CONNACK"].found
        with trio.fail_after(10):
            async with (
                open_client(url, session=session, protocol=protocol) as client,
                client.subscribe("orders/#", qos=1) as messages,
            ):
                assert len((await messages.receive()).payload) == 1_500_000
                assert (await messages.receive()).text() == "two"


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1])
async def test_no_session_is_left_behind(protocol: Protocol) -> None:
    async with open_server(port=0) as server:
        found = await examine(url_of(server), client_id="new", protocol=protocol)
        assert found.warned == ["CONNACK"]
        assert "had no Session of 'new'" in found["CONNACK"].found
        assert server.sessions == {}


# -- the round trip -------------------------------------------------------------------------------


async def test_a_subscription_that_is_refused() -> None:
    def refuse(_client_id: str, _request: SubscriptionRequest) -> ReasonCode:
        return ReasonCode.NOT_AUTHORIZED

    async with open_server(port=0) as server:
        server.authorize_subscribe = refuse
        found = await examine(url_of(server), topic="a")
    assert found.failed == ["round trip"]
    assert "0x87 (not authorized)" in found["round trip"].found
    assert found["round trip"].advice.startswith("check what the server allows this client")


async def test_a_message_that_is_refused() -> None:
    def refuse(_client_id: str, _publish: Publish) -> ReasonCode:
        return ReasonCode.NOT_AUTHORIZED

    async with open_server(port=0) as server:
        server.authorize_publish = refuse
        found = await examine(url_of(server), topic="a")
        assert found.failed == ["round trip"]
        assert "0x87 (not authorized)" in found["round trip"].found
        # At QoS 0 nobody is told.
        found = await examine(url_of(server), topic="a", qos=0, timeout=0.3)
    assert found.failed == ["round trip"]
    assert found["round trip"].found == "the message to 'a' did not come back within 0.3 s"
