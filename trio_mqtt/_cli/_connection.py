"""From the options of the command line to a connected client."""

from __future__ import annotations

import os
import secrets
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict
from urllib.parse import quote

import attrs
import click

from trio_mqtt import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    Client,
    Protocol,
    Reconnect,
    Session,
    SQLiteStorage,
    Will,
    make_ssl_context,
    open_client,
)
from trio_mqtt._cli._command import kept_options
from trio_mqtt._cli._properties import properties_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

_VERSIONS: Final[Mapping[str, Protocol]] = {
    "5": MQTT_5, "mqttv5": MQTT_5,
    "311": MQTT_3_1_1, "mqttv311": MQTT_3_1_1, "3.1.1": MQTT_3_1_1,
    "31": MQTT_3_1, "mqttv31": MQTT_3_1, "3.1": MQTT_3_1,
}  # fmt: skip
_WITH_TLS: Final = {"mqtt": "mqtts", "ws": "wss"}
_TLS_PORT: Final = 8883
_TLS_OPTIONS: Final = (
    "cafile", "capath", "cert", "key", "insecure", "tls_version", "tls_alpn", "ciphers",
    "tls_use_os_certs",
)  # fmt: skip
_FOR_EVER: Final = 0xFFFF_FFFF
_ID_LENGTH: Final = 8


class OpenOptions(TypedDict, total=False):
    """The arguments of `open_client` that options of the command line decide."""

    client_id: str | None
    session: Session | None
    protocol: Protocol | None
    username: str | None
    password: str | None
    will: Will | None
    ssl_context: ssl.SSLContext | None
    proxy: str | Literal["environment"] | None  # noqa: PYI051 - as that of open_client
    keep_alive: int
    reconnect: Reconnect | None
    connect_timeout: float
    close_timeout: float
    receive_maximum: int
    maximum_packet_size: int | None
    topic_alias_maximum: int
    user_properties: Sequence[tuple[str, str]]
    request_problem_information: bool


@attrs.frozen(kw_only=True)
class Connection:
    """Where the server is, and how to connect to it, as the command line says.

    Attributes:
        url: the Server's, without a topic; credentials may stand in it: never show it.
        topic: what stood behind the server in the URL, or None.
        options: the other arguments of `open_client`.
        session_file: the file that keeps the session, or None.
    """

    url: str = attrs.field(repr=False)
    topic: str | None
    options: OpenOptions = attrs.field(repr=False)
    session_file: str | None = None

    def topic_or(self, given: str | None) -> str:
        """The topic that an option gives, or the URL.

        Raises:
            click.UsageError: none of them does.
        """
        topic = given or self.topic
        if not topic:
            raise click.UsageError("give a topic with -t, or in the URL")
        return topic

    def open(self, **changes: Any) -> AbstractAsyncContextManager[Client]:  # noqa: ANN401
        """`open_client` with these arguments; `changes` take the place of some."""
        options: dict[str, Any] = {**self.options, **changes}
        if changes.get("client_id") is not None:
            options.pop("session", None)
        client: AbstractAsyncContextManager[Client] = open_client(self.url, **options)
        return client


def current_connection() -> Connection:
    """What the options of the command that runs say.

    Raises:
        click.UsageError: they contradict each other.
        OSError: a file cannot be read.
        ValueError: a file is not what it should be.
    """
    kept = kept_options()
    url, topic = _server_url(kept)
    options: OpenOptions = {
        "protocol": _VERSIONS.get(kept.get("version") or ""),
        "proxy": kept.get("proxy"),
        "keep_alive": kept["keepalive"],
        "reconnect": Reconnect(
            initial="retry" if kept.get("retry") else "fail",
            give_up_after=kept.get("give_up_after"),
        ),
    }
    if (timeout := kept.get("connect_timeout")) is not None:
        options["connect_timeout"] = timeout
    if (timeout := kept.get("close_timeout")) is not None:
        options["close_timeout"] = timeout
    if any(kept.get(name) for name in _TLS_OPTIONS):
        scheme, colon, rest = url.partition(":")
        url = _WITH_TLS.get(scheme, scheme) + colon + rest
        options["ssl_context"] = make_context(kept)
    options.update(_credentials(kept))
    in_connect: Any = properties_of("connect")  # as _properties has it, they fit
    expiry = in_connect.pop("session_expiry", None)
    options.update(in_connect)
    options.update(_identity(kept, expiry))
    options["will"] = _will(kept)
    return Connection(url=url, topic=topic, options=options, session_file=kept.get("session_file"))


def _server_url(kept: Mapping[str, Any]) -> tuple[str, str | None]:
    """The Server's URL, and the topic that stood in it."""
    host, port, unix, url = (kept.get(name) for name in ("host", "port", "unix", "url"))
    if url is not None and (host, port, unix) != (None, None, None):
        raise click.UsageError("give --url, or --host and --port, or --unix: one of them")
    if unix is not None:
        if (host, port) != (None, None):
            raise click.UsageError("give --unix, or --host and --port, not both")
        return "mqtt+unix://" + quote(os.path.abspath(unix)), None  # noqa: PTH100 - no file is read
    if host is None and port is None and url is None:
        url = os.environ.get("MQTT_URL") or None
    if url is not None:
        return _split_topic(url)
    tls = port == _TLS_PORT or any(kept.get(name) for name in _TLS_OPTIONS)
    host = host or "localhost"
    place = f"[{host}]" if ":" in host else host
    return f"{'mqtts' if tls else 'mqtt'}://{place}" + (f":{port}" if port else ""), None


def _split_topic(url: str) -> tuple[str, str | None]:
    """Part a URL such as ``mqtt://host/a/topic``; that of WebSocket has a path of its own."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("mqtt", "mqtts"):
        return url, None
    place, _, topic = rest.partition("/")
    return scheme + separator + place, topic or None


def _credentials(kept: Mapping[str, Any]) -> OpenOptions:
    password = kept.get("password")
    file = kept.get("password_file")
    if file is not None:
        password = file.readline().rstrip("\r\n")
    return {"username": kept.get("username"), "password": password}


def _identity(kept: Mapping[str, Any], expiry_in_connect: int | None) -> OpenOptions:
    """The Client Identifier, or the Session of a client that leaves one behind."""
    client_id = kept.get("client_id")
    prefix = kept.get("id_prefix")
    if client_id is not None and prefix is not None:
        raise click.UsageError("give -i or -I, not both")
    if prefix is not None:
        client_id = f"{prefix}{os.getpid()}"
    keeps = bool(kept.get("keep_session"))
    file = kept.get("session_file")
    expiry = _expiry(kept.get("session_expiry"))
    if expiry is None:
        expiry = expiry_in_connect
    if (keeps or file is not None) and not client_id:
        raise click.UsageError("give -i, too: the server finds a session by its Client Identifier")
    if expiry is None:
        expiry = _FOR_EVER if keeps or file is not None else 0
    if expiry == 0:
        if file is not None:
            raise click.UsageError("--session needs a session that lasts; leave out -x 0")
        return {"client_id": client_id}
    storage = None if file is None else SQLiteStorage(file)
    session = Session(
        client_id or f"trio_mqtt_{secrets.token_hex(_ID_LENGTH)}",
        expiry=expiry,
        storage=storage,
        adopt=keeps or file is not None,
    )
    return {"session": session}


def _expiry(text: str | None) -> int | None:
    if text is None:
        return None
    if text in ("-1", "∞"):
        return _FOR_EVER
    try:
        expiry = int(text)
    except ValueError:
        expiry = -1
    if not 0 <= expiry <= _FOR_EVER:
        raise click.UsageError("-x takes seconds from 0 to 4294967295, or -1 for ever")
    return expiry


def _will(kept: Mapping[str, Any]) -> Will | None:
    topic = kept.get("will_topic")
    properties = properties_of("will")
    if topic is None:
        if kept.get("will_payload") or kept.get("will_qos") or kept.get("will_retain"):
            raise click.UsageError("a will needs --will-topic")
        if properties:
            raise click.UsageError("a will needs --will-topic; there is only -D will")
        return None
    text = properties.pop("text", False)
    payload: str = kept.get("will_payload") or ""
    return Will(
        topic=topic,
        payload=payload if text else payload.encode(errors="surrogateescape"),
        qos=kept["will_qos"],
        retain=kept["will_retain"],
        **properties,
    )


def make_context(kept: Mapping[str, Any]) -> ssl.SSLContext:
    """Make the SSLContext that the options of TLS ask for, anew at each call."""
    cafile, capath = kept.get("cafile"), kept.get("capath")
    alpn = kept.get("tls_alpn")
    context = make_ssl_context(
        ca_file=cafile,
        certificate=kept.get("cert"),
        key=kept.get("key"),
        key_password=kept.get("key_password") if kept.get("cert") else None,
        alpn=() if alpn is None else [alpn],
    )
    if capath is not None:
        context.load_verify_locations(capath=capath)
    if kept.get("tls_use_os_certs"):
        context.load_default_certs()
    if kept.get("insecure"):
        context.check_hostname = False
    if kept.get("tls_version") == "tlsv1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if (ciphers := kept.get("ciphers")) is not None:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise click.BadParameter(
                "OpenSSL knows no such ciphers", param_hint="--ciphers"
            ) from None
    return context
