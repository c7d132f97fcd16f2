"""What arguments have to be, and what the errors say that refuse them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import pytest

import trio_mqtt
from trio_mqtt import LocalProtocolError, Reconnect, Session, TopicFilter, Will

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.testing import Server

open_client: Final[Any] = trio_mqtt.open_client

SCHEMES: Final = "mqtt://, mqtts://, ws://, wss://, mqtt+unix://"
URLS: Final[list[tuple[Any, type[Exception], str]]] = [
    (
        "localhost:1883",
        ValueError,
        f"no scheme; it has to begin with one of: {SCHEMES}, as in mqtt://localhost:1883",
    ),
    ("localhost", ValueError, "as in mqtt://localhost"),
    ("me:secret@localhost:1883", ValueError, "no scheme"),
    (
        "tcp://localhost",
        ValueError,
        "the scheme 'tcp'; supported are: " + SCHEMES + "; write mqtt:// instead",
    ),
    ("ssl://localhost", ValueError, "write mqtts:// instead"),
    ("http://localhost", ValueError, "write ws:// instead"),
    ("https://localhost", ValueError, "write wss:// instead"),
    ("unix:///run/mqtt", ValueError, "write mqtt+unix:// instead"),
    ("ftp://localhost", ValueError, "supported are: " + SCHEMES),
    ("mqtt://", ValueError, "no host; it should look like mqtt://host:1883"),
    ("mqtt://localhost:99999", ValueError, "a port that is no number from 1 to 65535"),
    (
        "mqtt://me:se/cret@localhost",
        ValueError,
        "65535; in a user name or password, write / as %2F",
    ),
    ("mqtt://localhost/path", ValueError, "a path or query, which means nothing to mqtt://"),
    ("mqtt://::1", ValueError, "an IPv6 address stands in brackets: [::1]:1883"),
    ([], ValueError, "give at least one URL of a server, such as mqtt://localhost:1883"),
    (None, TypeError, 'url is a str such as "mqtt://localhost:1883", several of them, or'),
    (b"mqtt://localhost", TypeError, "not bytes"),
    (1883, TypeError, "not int"),
    (
        lambda: "mqtt://localhost",
        TypeError,
        "url has to be an asynchronous function; this one returned str",
    ),
]


@pytest.mark.parametrize(("url", "error", "words"), URLS, ids=range(len(URLS)))
async def test_urls(url: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        async with open_client(url):
            raise AssertionError("not reached")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


async def only_a_name() -> Any:
    return "me"


async def numbers() -> Any:
    return 1, 2


FROM_0: Final = "it must be a whole number from 0 to 65535 seconds"
ARGUMENTS: Final[list[tuple[dict[str, Any], type[Exception], str]]] = [
    ({"keep_alive": -1}, ValueError, f"keep_alive is -1; {FROM_0}"),
    ({"keep_alive": 70_000}, ValueError, f"keep_alive is 70000; {FROM_0}"),
    ({"keep_alive": "60"}, TypeError, f"keep_alive is '60'; {FROM_0}"),
    (
        {"connect_timeout": 0},
        ValueError,
        "connect_timeout is 0; it must be a number above 0, in seconds",
    ),
    ({"connect_timeout": None}, TypeError, "in seconds; math.inf is for no limit"),
    (
        {"receive_maximum": 0},
        ValueError,
        "receive_maximum is 0; it must be a whole number from 1 to 65535",
    ),
    ({"maximum_packet_size": 0}, ValueError, "maximum_packet_size is 0; it must be"),
    (
        {"will": "status"},
        TypeError,
        'will is a Will, such as Will(topic="status/gateway-7", payload="offline"), not str',
    ),
    ({"will": {"topic": "status"}}, TypeError, "will is a Will"),
    ({"client_id": 7}, TypeError, "client_id is a str, not int"),
    (
        {"session": "gateway-7"},
        TypeError,
        'session is a Session, such as Session("gateway-7", expiry=3600), not str',
    ),
    (
        {"session": Session("a", expiry=9), "client_id": "a"},
        ValueError,
        "give client_id or session, not both",
    ),
    ({"username": 7}, TypeError, "username is a str, not int"),
    ({"username": "me", "password": 7001}, TypeError, "password is a str or bytes, not int"),
    (
        {"credentials": ("me", "secret")},
        TypeError,
        "credentials is an asynchronous function that returns user name and password, not tuple",
    ),
    (
        {"credentials": lambda: ("me", "secret")},
        TypeError,
        "credentials has to be an asynchronous function; this one returned tuple",
    ),
    (
        {"credentials": only_a_name},
        TypeError,
        "the callable `credentials` has to return two: it made str",
    ),
    ({"credentials": numbers}, TypeError, "the username that `credentials` made is a str, not int"),
    (
        {"credentials": only_a_name, "username": "me"},
        ValueError,
        "give credentials, or username and password, not both",
    ),
    (
        {"reconnect": True},
        TypeError,
        "reconnect is a Reconnect, or None to fail on the first loss, not bool",
    ),
    ({"reconnect": False}, TypeError, "reconnect is a Reconnect"),
    ({"protocol": 5}, TypeError, "protocol is MQTT_5, MQTT_3_1_1, MQTT_3_1 or None, not int"),
    (
        {"on_session_lost": "ignore"},
        ValueError,
        'it must be "republish_certain", "republish" or "fail"',
    ),
    ({"unsupported_properties": "drop"}, ValueError, 'it must be "refuse" or "leave_out"'),
    (
        {"connector": "localhost"},
        TypeError,
        "connector is a function that returns an asynchronous context manager of a byte stream",
    ),
    (
        {"ssl_context": True, "url": "mqtts://localhost"},
        TypeError,
        "ssl_context is an ssl.SSLContext",
    ),
    (
        {"ssl_context": ssl.create_default_context(), "url": "mqtt://localhost"},
        ValueError,
        "ssl_context needs a URL with TLS: mqtts:// or wss://",
    ),
    (
        {"websocket_headers": {"Cookie": "secret"}, "url": "ws://localhost"},
        TypeError,
        "a header is a pair of str, not str; a dict has them in its items()",
    ),
    ({"user_properties": {"a": "b"}}, TypeError, "a dict has them in its items()"),
    (
        {"proxy": "localhost:1080", "url": "mqtt://localhost"},
        ValueError,
        "as in socks5://localhost:1080",
    ),
    ({"instruments": ["x"]}, TypeError, "an instrument is a trio_mqtt.abc.Instrument"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), ARGUMENTS, ids=range(len(ARGUMENTS)))
async def test_arguments_of_open_client(
    server: Server, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    connector = {} if "url" in arguments else {"connector": server.connect}
    with pytest.raises(error) as caught:
        async with open_client(**{**connector, **arguments}):
            raise AssertionError("not reached")
    assert words in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("secret", "7001"))


session: Final[Any] = Session
topic_filter: Final[Any] = TopicFilter
reconnect: Final[Any] = Reconnect
make_client: Final[Any] = trio_mqtt.Client
BUILT: Final[list[tuple[Callable[[], object], type[Exception], str]]] = [
    (
        lambda: session("a", expiry=0),
        ValueError,
        "expiry is 0; it must be a whole number from 1 to 4294967295 seconds",
    ),
    (lambda: session("a", expiry=None), TypeError, "expiry is None; it must be"),
    (lambda: session(7, expiry=9), TypeError, "client_id is a str, not int"),
    (lambda: session("", expiry=9), ValueError, "a Session needs a client_id"),
    (
        lambda: session("a", expiry=9, storage="a.db"),
        TypeError,
        'storage is a Storage, such as SQLiteStorage("session.db"), not str',
    ),
    (
        lambda: session("a", expiry=9, overflow="drop"),
        ValueError,
        'it must be "wait", "error" or "drop_oldest"',
    ),
    (
        lambda: Will(topic="a/#"),
        LocalProtocolError,
        "Topic Name 'a/#' contains a wildcard character; only Topic Filters have + and #",
    ),
    (lambda: Will(topic="a", qos=3), ValueError, "qos is 3; it must be 0, 1 or 2"),
    (
        lambda: Will(topic="a", delay=-1),
        ValueError,
        "delay is -1; it must be a whole number from 0",
    ),
    (
        lambda: TopicFilter("a", retain_handling=3),
        ValueError,
        "retain_handling is 3; it must be 0, 1 or 2",
    ),
    (
        lambda: topic_filter("a", no_local="yes"),
        TypeError,
        "no_local is True, False or None, not str",
    ),
    (lambda: Reconnect(delay=0), ValueError, "delay is 0; it must be a number above 0, in seconds"),
    (
        lambda: Reconnect(stable_after=-1),
        ValueError,
        "stable_after is -1; it must be a number of at least 0, in seconds",
    ),
    (
        lambda: Reconnect(max_redirects=-1),
        ValueError,
        "max_redirects is -1; it must be a whole number of at least 0",
    ),
    (
        lambda: reconnect(initial="always"),
        ValueError,
        'initial is \'always\'; it must be "fail", "retry" or "background"',
    ),
    (
        lambda: make_client("localhost"),
        TypeError,
        'a Client is made by "async with trio_mqtt.open_client(url) as client:"',
    ),
    (make_client, TypeError, "a Client is made by"),
    (lambda: make_client("localhost", port=1883), TypeError, "a Client is made by"),
]


@pytest.mark.parametrize(("build", "error", "words"), BUILT, ids=range(len(BUILT)))
def test_what_is_built(build: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        build()
    assert words in str(caught.value)
