"""The options by which commands find a server; the names are those of mosquitto_pub."""

from __future__ import annotations

from typing import Final

import click

from trio_mqtt._cli._command import Option, kept_options

_SERVER: Final = "Server"
_CLIENT: Final = "Client"
_TLS: Final = "TLS"
_WILL: Final = "Will, which the server publishes if the connection is lost"
_FILE: Final = click.Path(dir_okay=False)
_VERSIONS: Final = (
    "5", "mqttv5", "311", "mqttv311", "3.1.1", "31", "mqttv31", "3.1",
)  # fmt: skip


def _refused(*names: str, because: str, takes_value: bool = True) -> Option:
    """An option of mosquitto_pub that cannot be honoured, and says so."""

    def refuse(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value not in (None, False):
            raise click.BadParameter(because, context, parameter)

    return Option(
        [*names],
        is_flag=not takes_value,
        hidden=True,
        expose_value=False,
        callback=refuse,
    )


def _option(section: str, *names: str, **attributes: object) -> Option:
    return Option([*names], section=section, shared=True, **attributes)


SERVER_OPTIONS: Final = (
    _option(
        _SERVER, "-L", "--url",
        metavar="URL",
        help="Server, and optionally credentials and topic: mqtt://, mqtts://, ws://, wss:// or "
        "mqtt+unix:///path. The environment variable MQTT_URL is the default.",
    ),
    _option(_SERVER, "-h", "--host", metavar="HOST", help="Host name or address. [localhost]"),
    _option(
        _SERVER, "-p", "--port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help="Port. [1883; 8883 with TLS]",
    ),
    _option(_SERVER, "--unix", metavar="PATH", help="Connect to a Unix socket."),
    _option(
        _SERVER, "--proxy",
        metavar="URL",
        help="socks5://, socks5h:// or http:// with host and port; or 'environment'.",
    ),
    _option(
        _SERVER, "--connect-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="How long an attempt to connect may take. [30]",
    ),
    _option(
        _SERVER, "--close-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="How long to wait for acknowledgements when the command is stopped. [5]",
    ),
    _option(
        _SERVER, "--retry",
        is_flag=True,
        help="Try the first connection again and again, too, as after a loss.",
    ),
    _option(
        _SERVER, "--give-up-after",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Fail if there was no connection for so long. [never]",
    ),
    _option(
        _SERVER, "--nodelay", is_flag=True, help="Send small packets at once; always so."
    ),
    _refused(
        "-A", "--bind-address",
        because="the local address cannot be chosen; leave it to the routes of the system",
    ),
    _refused("-S", "--srv", because="SRV records are not looked up; give -h and -p",
             takes_value=False),
    _option(_CLIENT, "-i", "--id", "client_id", metavar="ID",
            help="Client Identifier. [random]"),
    _option(_CLIENT, "-I", "--id-prefix", metavar="PREFIX",
            help="Client Identifier of this and the process id."),
    _option(_CLIENT, "-u", "--username", envvar="MQTT_USERNAME", metavar="NAME",
            help="User Name, or MQTT_USERNAME."),
    _option(
        _CLIENT, "-P", "--pw", "password",
        envvar="MQTT_PASSWORD",
        metavar="PASSWORD",
        help="Password. Others on this machine can see it here; MQTT_PASSWORD or --password-file "
        "keep it to yourself.",
    ),
    _option(_CLIENT, "--password-file", type=click.File("r"), metavar="FILE",
            help="Read the password from the first line of a file."),
    _option(
        _CLIENT, "-V", "--protocol-version", "version",
        type=click.Choice(_VERSIONS),
        metavar="VERSION",
        help="mqttv5, mqttv311 or mqttv31, or 5, 311, 31. [5, or 311 if the server has no 5]",
    ),
    _option(_CLIENT, "-k", "--keepalive", type=click.IntRange(0, 65535), default=60,
            metavar="SECONDS", help="Keep Alive. [60]"),
    _option(
        _CLIENT, "-D", "--property", "properties",
        multiple=True,
        metavar="PACKET NAME VALUE",
        help="A property of MQTT 5, such as 'publish content-type text/plain'; a user-property "
        "has a name and a value. PACKET is connect, publish, subscribe, unsubscribe, disconnect "
        "or will.",
    ),
    _option(_TLS, "--cafile", type=_FILE, metavar="FILE",
            help="Trust these authorities (PEM) instead of those of the system."),
    _option(_TLS, "--capath", type=click.Path(file_okay=False, exists=True), metavar="DIR",
            help="Trust the authorities in this directory, as 'openssl rehash' prepares it."),
    _option(_TLS, "--tls-use-os-certs", is_flag=True,
            help="Use TLS, and trust the authorities of the system, too."),
    _option(_TLS, "--cert", type=_FILE, metavar="FILE",
            help="The client's certificate (PEM)."),
    _option(_TLS, "--key", type=_FILE, metavar="FILE",
            help="Its key (PEM); MQTT_KEY_PASSWORD decrypts it."),
    _option(_TLS, "--key-password", envvar="MQTT_KEY_PASSWORD", hidden=True),
    _option(_TLS, "--insecure", is_flag=True,
            help="Do not check the host name: any certificate of a trusted authority will do."),
    _option(_TLS, "--tls-version", type=click.Choice(("tlsv1.2", "tlsv1.3")),
            metavar="VERSION", help="The oldest version: tlsv1.2 or tlsv1.3. [tlsv1.2]"),
    _option(_TLS, "--tls-alpn", metavar="NAME", help="The protocol to ask for with ALPN."),
    _option(_TLS, "--ciphers", metavar="LIST", help="Ciphers of TLS 1.2, as OpenSSL lists them."),
    _option(_TLS, "--keyform", type=click.Choice(("pem",)), hidden=True),
    _refused("--tls-engine", because="TLS engines are not supported; give --cert and --key"),
    _refused("--tls-engine-kpass-sha1", because="TLS engines are not supported"),
    _refused("--psk", because="Python has no TLS with pre-shared keys here; use certificates"),
    _refused("--psk-identity", because="Python has no TLS with pre-shared keys here; "
             "use certificates"),
)  # fmt: skip
"""Where the server is, and as whom to connect; for every command that does."""

SESSION_OPTIONS: Final = (
    _option(_CLIENT, "-c", "--disable-clean-session", "keep_session", is_flag=True,
            help="Go on with the session that the server has of this -i, and leave it there."),
    _option(_CLIENT, "-x", "--session-expiry-interval", "session_expiry", metavar="SECONDS",
            help="How long the server keeps the session; -1 for ever. [0; -1 with -c]"),
    _option(
        _CLIENT, "--session", "session_file",
        type=_FILE,
        metavar="FILE",
        help="Keep the session in this file as well: what is not acknowledged at QoS 1 and 2 "
        "goes out with the next run. It needs -i.",
    ),
)  # fmt: skip
"""What stays when the command has ended."""

WILL_OPTIONS: Final = (
    _option(_WILL, "--will-topic", metavar="TOPIC", help="Its topic."),
    _option(_WILL, "--will-payload", metavar="TEXT", help="Its payload. [empty]"),
    _option(_WILL, "--will-qos", type=click.IntRange(0, 2), default=0, metavar="QOS",
            help="Its QoS. [0]"),
    _option(_WILL, "--will-retain", is_flag=True, help="Let the server keep it."),
)  # fmt: skip
"""The will."""

URL_ARGUMENT: Final = click.Argument(["url_argument"], required=False, metavar="[URL]")
"""The server without ``-L``, for commands that take nothing else so."""


def take_url(url: str | None) -> None:
    """Let the URL that was given as an argument be that of ``-L``.

    Raises:
        click.UsageError: there is another one.
    """
    if url is None:
        return
    kept = kept_options()
    if kept.get("url") is not None:
        raise click.UsageError("give the URL with -L or without, not both")
    kept["url"] = url
