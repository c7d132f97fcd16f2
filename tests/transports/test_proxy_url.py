"""URLs of proxies, and which one the environment names."""

from __future__ import annotations

import traceback
from typing import Any, Final

import pytest

from tests.transports.proxies import clear_environment
from trio_mqtt._transports.proxy_url import ProxyAddress, parse_proxy_url, proxy_finder
from trio_mqtt._transports.url import parse_url

SOCKS5: Final[dict[str, Any]] = {"scheme": "socks5", "host": "host", "port": 1080}
HTTP: Final[dict[str, Any]] = {"scheme": "http", "host": "host", "port": 80}
WITH_CREDENTIALS: Final = {"username": "me", "password": "pw"}

GOOD: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("socks5://host", SOCKS5, "socks5://host:1080"),
    ("SOCKS5://HOST:1", {**SOCKS5, "port": 1}, "socks5://host:1"),
    ("socks5h://host", {**SOCKS5, "scheme": "socks5h"}, "socks5h://host:1080"),
    ("http://host", HTTP, "http://host:80"),
    ("http://host:3128/", {**HTTP, "port": 3128}, "http://host:3128"),
    ("http://[::1]:3128", {**HTTP, "host": "::1", "port": 3128}, "http://[::1]:3128"),
    ("socks5://@host", SOCKS5, "socks5://host:1080"),
    ("socks5://me:pw@host", {**SOCKS5, **WITH_CREDENTIALS}, "socks5://host:1080"),
    (
        "http://a%40b:c%3Ad%25e%2Ff@host",
        {**HTTP, "username": "a@b", "password": "c:d%e/f"},
        "http://host:80",
    ),
    ("http://a+b:%C3%A9@host", {**HTTP, "username": "a+b", "password": "é"}, "http://host:80"),
    (
        f"socks5://me:{'p' * 255}@host",
        {**SOCKS5, "username": "me", "password": "p" * 255},
        "socks5://host:1080",
    ),
]

BAD: Final = [
    ("", "no scheme; it has to begin with one of: socks5://, socks5h://, http://"),
    ("host:1080", "no scheme"),
    ("secret:secret@host:1080", "no scheme"),
    ("https://host", "the scheme 'https'; supported are: socks5://"),
    ("socks4://me:secret@host", "the scheme 'socks4'"),
    ("mqtt://host", "the scheme 'mqtt'"),
    ("Environment", "no scheme"),
    ("socks5://", "no host; it should look like socks5://host:1080"),
    ("socks5://me:secret@", "no host"),
    ("socks5://::1", "stands in brackets: \\[::1\\]:1080"),
    ("socks5://me:secret@[::1", "cannot be read: .* like socks5://host:1080"),
    ("socks5://me:secret/secret@host", "write / as %2F"),
    ("socks5://host:0", "a port that is no number"),
    ("http://host/secret", "a path or query, which means nothing to a proxy"),
    ("http://host?secret", "a path or query"),
    ("http://host#secret", "a # in it"),
    ("http://me:sec ret@host", "a space or control character"),
    ("http://me:sec%ret@host", "a % in its password"),
    ("http://me:secret%FF@host", "a password that is not UTF-8 when unquoted$"),
    ("http://secret@host", "a user name without a password, or the reverse"),
    ("http://secret:@host", "a user name without a password, or the reverse"),
    ("socks5://:secret@host", "a user name without a password, or the reverse"),
    ("http://sec%3Aret:secret@host", "a : in its user name"),
    ("socks5://me:secret%C3%A9@host", "beyond ASCII"),
    ("socks5h://secret%C3%A9:pw@host", "beyond ASCII"),
    (f"socks5://me:secret{'p' * 250}@host", "longer than 255"),
    (f"socks5://{'u' * 256}:secret@host", "longer than 255"),
]


@pytest.mark.parametrize(("url", "expected", "name"), GOOD)
def test_what_the_url_of_a_proxy_says(url: str, expected: dict[str, Any], name: str) -> None:
    proxy = parse_proxy_url(url)
    assert proxy == ProxyAddress(**expected)
    assert proxy.name == name


@pytest.mark.parametrize(("url", "complaint"), BAD)
def test_a_url_that_is_none_is_refused_without_quoting_it(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"the proxy URL .*{complaint}") as caught:
        parse_proxy_url(url)
    text = "".join(traceback.format_exception_only(caught.value))
    for secret in ("secret", "sec%ret", "sec ret", "sec:ret"):
        assert secret not in text
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("proxy", [b"http://host", 1080, ["http://host"]])
def test_a_proxy_of_another_type_is_refused(proxy: Any) -> None:
    with pytest.raises(TypeError, match='proxy is a URL, "environment" or None, not'):
        proxy_finder(proxy)


def test_no_credentials_show() -> None:
    proxy = parse_proxy_url("http://secret:secret@host")
    for text in (repr(proxy), str(proxy), proxy.name):
        assert "secret" not in text


ALL: Final = {"all_proxy": "socks5://all"}
HTTPS: Final = {"https_proxy": "http://https:1"}
PLAIN: Final = {"http_proxy": "http://http:1"}
EVERY: Final = {**ALL, **HTTPS, **PLAIN}
NAME: Final = "mqtt://a.b.test"
IPV4: Final = "mqtt://192.168.7.9"
IPV6: Final = "mqtt://[fd00::7]:1884"

ENVIRONMENTS: Final[list[tuple[dict[str, str], str, str | None]]] = [
    ({}, NAME, None),
    # which variable counts
    (EVERY, "mqtt://host", "socks5://all:1080"),
    (EVERY, "mqtts://host", "http://https:1"),
    (EVERY, "ws://host", "http://http:1"),
    (EVERY, "wss://host", "http://https:1"),
    (EVERY, "mqtt+unix:///path", None),
    (ALL, "mqtts://host", "socks5://all:1080"),
    (ALL, "ws://host", "socks5://all:1080"),
    (ALL, "wss://host", "socks5://all:1080"),
    ({**HTTPS, **PLAIN}, "mqtt://host", None),
    (HTTPS, "ws://host", None),
    (PLAIN, "wss://host", None),
    # how it is written
    ({"ALL_PROXY": "socks5://all"}, NAME, "socks5://all:1080"),
    ({"ALL_PROXY": "socks5://other", **ALL}, NAME, "socks5://all:1080"),
    ({"ALL_PROXY": "socks5://other", "all_proxy": ""}, NAME, None),
    ({"all_proxy": "host:3128"}, NAME, "http://host:3128"),
    ({"all_proxy": "me:pw@host:3128"}, NAME, "http://host:3128"),
    # what goes without
    ({**ALL, "no_proxy": "*"}, NAME, None),
    ({**ALL, "NO_PROXY": "*"}, IPV4, None),
    ({**ALL, "no_proxy": ""}, NAME, "socks5://all:1080"),
    ({**ALL, "no_proxy": " , "}, NAME, "socks5://all:1080"),
    ({**ALL, "no_proxy": "."}, NAME, "socks5://all:1080"),
    ({**ALL, "no_proxy": "a.b.test"}, NAME, None),
    ({**ALL, "no_proxy": "A.B.Test"}, "mqtt://A.b.test.", None),
    ({**ALL, "no_proxy": "b.test"}, NAME, None),
    ({**ALL, "no_proxy": ".b.test"}, NAME, None),
    ({**ALL, "no_proxy": "*.b.test"}, NAME, None),
    ({**ALL, "no_proxy": "b.test."}, NAME, None),
    ({**ALL, "no_proxy": "other, test"}, NAME, None),
    ({**ALL, "no_proxy": "other test"}, NAME, None),
    ({**ALL, "no_proxy": "est"}, NAME, "socks5://all:1080"),
    ({**ALL, "no_proxy": "x.a.b.test"}, NAME, "socks5://all:1080"),
    ({**ALL, "no_proxy": "b.test:1883"}, NAME, None),
    ({**ALL, "no_proxy": "b.test:1884"}, NAME, "socks5://all:1080"),
    ({**ALL, "no_proxy": "192.168.7.9"}, IPV4, None),
    ({**ALL, "no_proxy": "192.168.7.9:1883"}, IPV4, None),
    ({**ALL, "no_proxy": "192.168.7.9:1"}, IPV4, "socks5://all:1080"),
    ({**ALL, "no_proxy": "192.168.0.0/16"}, IPV4, None),
    ({**ALL, "no_proxy": "192.168.7.1/24"}, IPV4, None),
    ({**ALL, "no_proxy": "192.168.0.0/22"}, IPV4, "socks5://all:1080"),
    ({**ALL, "no_proxy": "7.9"}, IPV4, "socks5://all:1080"),
    ({**ALL, "no_proxy": "192.168.0.0/99"}, IPV4, "socks5://all:1080"),
    ({**ALL, "no_proxy": "fd00::/8"}, IPV4, "socks5://all:1080"),
    ({**ALL, "no_proxy": "fd00::/8"}, IPV6, None),
    ({**ALL, "no_proxy": "FD00:0::7"}, IPV6, None),
    ({**ALL, "no_proxy": "[fd00::7]"}, IPV6, None),
    ({**ALL, "no_proxy": "[fd00::7]:1884"}, IPV6, None),
    ({**ALL, "no_proxy": "[fd00::7]:1883"}, IPV6, "socks5://all:1080"),
    ({**ALL, "no_proxy": "fe80::1"}, "mqtt://[fe80::1%25lo]", None),
    # a variable that does not count may say what it likes
    ({**ALL, "http_proxy": "rubbish://"}, NAME, "socks5://all:1080"),
    ({"all_proxy": "rubbish://", "no_proxy": "test"}, NAME, None),
]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """None of the variables is set."""
    clear_environment(monkeypatch)
    return monkeypatch


@pytest.mark.parametrize(("variables", "url", "expected"), ENVIRONMENTS)
def test_which_proxy_the_environment_names(
    variables: dict[str, str],
    url: str,
    expected: str | None,
    environment: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    proxy = proxy_finder("environment")(parse_url(url))
    assert (proxy and proxy.name) == expected


def test_the_environment_does_not_matter_where_it_is_not_asked(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("all_proxy", "socks5://all")
    environment.setenv("no_proxy", "*")
    assert proxy_finder(None)(parse_url(NAME)) is None
    proxy = proxy_finder("http://given")(parse_url(NAME))
    assert proxy is not None
    assert proxy.name == "http://given:80"


def test_a_variable_that_is_wrong_is_named_and_not_quoted(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "https://me:secret@host")
    find = proxy_finder("environment")
    complaint = "the environment variable https_proxy has the scheme 'https'; supported are"
    with pytest.raises(ValueError, match=complaint) as caught:
        find(parse_url("wss://host"))
    assert "secret" not in str(caught.value)
