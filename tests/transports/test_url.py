"""Server URLs: what they say, and what is said of those that are none."""

from __future__ import annotations

import traceback
from typing import Any, Final

import pytest

from trio_mqtt._transports.url import ServerAddress, parse_url

MQTT: Final[dict[str, Any]] = {"scheme": "mqtt", "host": "host", "port": 1883}
WSS: Final[dict[str, Any]] = {"scheme": "wss", "host": "host", "port": 443, "path": "/mqtt"}
UNIX: Final[dict[str, Any]] = {"scheme": "mqtt+unix", "host": "", "port": 0, "path": "/run/mqtt"}

GOOD: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("mqtt://host", MQTT, "mqtt://host:1883"),
    ("mqtt://host/", MQTT, "mqtt://host:1883"),
    ("mqtt://host:", MQTT, "mqtt://host:1883"),
    ("MQTT://HOST", MQTT, "mqtt://host:1883"),
    ("mqtt://host:1", {**MQTT, "port": 1}, "mqtt://host:1"),
    ("mqtt://host:65535", {**MQTT, "port": 65535}, "mqtt://host:65535"),
    ("mqtts://host", {**MQTT, "scheme": "mqtts", "port": 8883}, "mqtts://host:8883"),
    ("mqtt://[::1]", {**MQTT, "host": "::1"}, "mqtt://[::1]:1883"),
    ("mqtt://[::1]:1884", {**MQTT, "host": "::1", "port": 1884}, "mqtt://[::1]:1884"),
    ("mqtt://[fe80::1%25lo]", {**MQTT, "host": "fe80::1%lo"}, "mqtt://[fe80::1%lo]:1883"),
    ("mqtt://me@host", {**MQTT, "username": "me"}, "mqtt://host:1883"),
    ("mqtt://me:@host", {**MQTT, "username": "me", "password": ""}, "mqtt://host:1883"),
    ("mqtt://:pw@host", {**MQTT, "username": "", "password": "pw"}, "mqtt://host:1883"),
    ("mqtt://@host", MQTT, "mqtt://host:1883"),
    ("mqtt://a%2Fb:c%3Ad@host", {**MQTT, "username": "a/b", "password": "c:d"}, "mqtt://host:1883"),
    ("mqtt://me:p:w@host", {**MQTT, "username": "me", "password": "p:w"}, "mqtt://host:1883"),
    ("mqtt://a@b:pw@host", {**MQTT, "username": "a@b", "password": "pw"}, "mqtt://host:1883"),
    ("mqtt://me:a+b@host", {**MQTT, "username": "me", "password": "a+b"}, "mqtt://host:1883"),
    ("mqtt://%C3%A9@host", {**MQTT, "username": "\u00e9"}, "mqtt://host:1883"),
    ("ws://host", {**WSS, "scheme": "ws", "port": 80}, "ws://host:80/mqtt"),
    ("wss://host", WSS, "wss://host:443/mqtt"),
    ("wss://host/", {**WSS, "path": "/"}, "wss://host:443/"),
    ("wss://host/a%2Fb", {**WSS, "path": "/a%2Fb"}, "wss://host:443/a%2Fb"),
    ("wss://host/mqtt?sig=x%3D", {**WSS, "query": "sig=x%3D"}, "wss://host:443/mqtt"),
    ("wss://host?sig=x", {**WSS, "query": "sig=x"}, "wss://host:443/mqtt"),
    ("mqtt+unix:///run/mqtt", UNIX, "mqtt+unix:///run/mqtt"),
    ("mqtt+unix:///run/a%20b", {**UNIX, "path": "/run/a b"}, "mqtt+unix:///run/a b"),
    (
        "mqtt+unix://me:pw@/run/mqtt",
        {**UNIX, "username": "me", "password": "pw"},
        "mqtt+unix:///run/mqtt",
    ),
]

BAD: Final = [
    ("", "no scheme"),
    ("host", "no scheme"),
    ("host:1883", "no scheme"),
    ("secret:secret@host:1883", "no scheme"),
    ("://host", "no scheme"),
    ("http://host", "the scheme 'http'; supported are: mqtt://"),
    ("mqtt+unixx:///path", "the scheme 'mqtt\\+unixx'"),
    ("mqtt://", "no host"),
    ("mqtt://:1883", "no host"),
    ("mqtt://me:secret@", "no host"),
    ("mqtt://me:secret@:1883", "no host"),
    ("mqtt://host:port", "a port that is no number"),
    ("mqtt://host:0", "a port that is no number from 1 to 65535"),
    ("mqtt://host:65536", "a port that is no number"),
    ("mqtt://host:-1", "a port that is no number"),
    ("mqtt://host:\uff11", "cannot be read|a port that is no number"),
    (f"mqtt://host:{'9' * 5000}", "a port that is no number"),
    ("mqtt://me:secret/secret@host", "write / as %2F"),
    ("mqtt://me:secret?secret@host", "write / as %2F"),
    ("mqtt://me:secret#secret@host", "write %23"),
    ("mqtt://::1", "stands in brackets"),
    ("mqtt://::1:1883", "stands in brackets"),
    ("mqtt://[::1", "cannot be read"),
    ("mqtt://me:secret@[::1", "cannot be read"),
    ("mqtt://[secret]", "cannot be read|an IPv6 address"),
    ("mqtt://[v1.secret]", "an IPv6 address"),
    ("mqtt://[::1]1883", "cannot be read|behind the \\]"),
    ("mqtt://me:secret@a\u2100b", "cannot be read"),
    ("mqtt://me:sec%ret@host", "a % in its password"),
    ("mqtt://sec%ret@host", "a % in its user name"),
    ("mqtt://me:secret%FF@host", "a password that is not UTF-8"),
    ("mqtt://secret%FF@host", "a user name that is not UTF-8"),
    ("mqtt://me:sec ret@host", "a space or control character"),
    ("mqtt://ho\nst", "a space or control character"),
    ("mqtt://host/topic", "a path or query, which means nothing to mqtt://"),
    ("mqtts://host?sig=secret", "a path or query, which means nothing to mqtts://"),
    ("mqtt://host#secret", "a # in it"),
    ("mqtt://host#", "a # in it"),
    ("wss://host/mqtt?sig=secret#secret", "a # in it"),
    ("mqtt+unix://", "no path of a socket"),
    ("mqtt+unix:///", "no path of a socket"),
    ("mqtt+unix:///a%00b", "no path of a socket"),
    ("mqtt+unix:///a%FF", "a path that is not UTF-8"),
    ("mqtt+unix://run/mqtt", "three slashes"),
    ("mqtt+unix:///run/mqtt?a", "a query"),
]


@pytest.mark.parametrize(("url", "expected", "name"), GOOD)
def test_what_a_url_says(url: str, expected: dict[str, Any], name: str) -> None:
    address = parse_url(url)
    assert address == ServerAddress(**expected)
    assert address.name == name


@pytest.mark.parametrize(("url", "complaint"), BAD)
def test_a_url_that_is_none_is_refused_without_quoting_it(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_url(url)
    chain = "".join(traceback.format_exception_only(caught.value))
    for secret in ("secret", "sec%ret", "sec ret"):
        assert secret not in chain
    # Nor does it stay behind for those who look at what was handled.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", [b"mqtt://host", None, 1883])
def test_a_url_of_another_type_is_refused(url: Any) -> None:
    with pytest.raises(TypeError, match="a server URL is a str, not"):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["wss://me:secret@host/mqtt?sig=secret", "mqtt+unix://me:secret@/path"]
)
def test_no_secret_shows(url: str) -> None:
    address = parse_url(url)
    for text in (repr(address), str(address), address.name):
        assert "secret" not in text


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("ws://host", "/mqtt"),
        ("ws://host/a/b?c=d&e=%20", "/a/b?c=d&e=%20"),
    ],
)
def test_what_websocket_asks_for(url: str, target: str) -> None:
    assert parse_url(url).target == target
