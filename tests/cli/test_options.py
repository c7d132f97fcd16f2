"""What the options of the command line become, in this process."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from tests.cli.support import LONG, environment, invoke
from tests.transports.support import CA
from trio_mqtt import MQTT_3_1, MQTT_3_1_1, MQTT_5, Will
from trio_mqtt._cli._command import Command, Option
from trio_mqtt._cli._connection import Connection, current_connection
from trio_mqtt._cli._connection_options import SERVER_OPTIONS, SESSION_OPTIONS, WILL_OPTIONS
from trio_mqtt._cli._exit import MEANINGS, Status
from trio_mqtt._cli._main import COMMANDS
from trio_mqtt._cli._properties import properties_of
from trio_mqtt._cli._text import for_json, for_people, for_terminal

if TYPE_CHECKING:
    from pathlib import Path


def understand(*args: str, **variables: str) -> tuple[Connection, dict[str, Any]]:
    """What the connection options say, and the properties of PUBLISH."""
    found: list[tuple[Connection, dict[str, Any]]] = []

    @click.command(
        cls=Command,
        shared=(SERVER_OPTIONS, SESSION_OPTIONS, WILL_OPTIONS),
        params=[Option(["-m", "message"])],
    )
    def probe(message: str | None) -> None:
        assert message is None
        found.append((current_connection(), properties_of("publish")))

    environment = {"MQTT_URL": None, "MQTT_USERNAME": None, "MQTT_PASSWORD": None, **variables}
    result = CliRunner(env=environment).invoke(probe, args, standalone_mode=False)
    if isinstance(result.exception, click.ClickException):
        raise result.exception
    assert found, result.output
    return found[0]


@pytest.mark.parametrize(
    ("args", "url", "topic"),
    [
        ((), "mqtt://localhost", None),
        (("-h", "example.org"), "mqtt://example.org", None),
        (("-h", "::1", "-p", "1884"), "mqtt://[::1]:1884", None),
        (("-p", "8883"), "mqtts://localhost:8883", None),
        (("--tls-use-os-certs", "-h", "a"), "mqtts://a", None),
        (("--unix", "/run/mqtt.sock"), "mqtt+unix:///run/mqtt.sock", None),
        (("-L", "mqtt://u:p@h:1/a/b"), "mqtt://u:p@h:1", "a/b"),
        (("-L", "mqtts://h/"), "mqtts://h", None),
        (("-L", "mqtt://h/t", "--insecure"), "mqtts://h", "t"),
        (("-L", "wss://h/path"), "wss://h/path", None),
        (("-L", "ws://h/path", "--insecure"), "wss://h/path", None),
    ],
)
def test_where_the_server_is(args: tuple[str, ...], url: str, topic: str | None) -> None:
    connection, _ = understand(*args)
    assert (connection.url, connection.topic) == (url, topic)


def test_the_environment_is_the_default() -> None:
    variables = {"MQTT_URL": "mqtt://h/t", "MQTT_USERNAME": "me", "MQTT_PASSWORD": "secret"}
    connection, _ = understand(**variables)
    assert (connection.url, connection.topic) == ("mqtt://h", "t")
    assert (connection.options.get("username"), connection.options.get("password")) == (
        "me",
        "secret",
    )
    assert "secret" not in repr(connection)
    connection, _ = understand("-h", "other", "-P", "given", **variables)
    assert connection.url == "mqtt://other"
    assert connection.options.get("password") == "given"


@pytest.mark.parametrize(
    ("name", "version"),
    [("mqttv5", MQTT_5), ("5", MQTT_5), ("311", MQTT_3_1_1), ("mqttv31", MQTT_3_1), (None, None)],
)
def test_versions(name: str | None, version: object) -> None:
    connection, _ = understand(*(() if name is None else ("-V", name)))
    assert connection.options.get("protocol") is version


@pytest.mark.parametrize(
    ("args", "client_id", "expiry", "adopt"),
    [
        (("-i", "a", "-c"), "a", 0xFFFF_FFFF, True),
        (("-i", "a", "-c", "-x", "60"), "a", 60, True),
        (("-i", "a", "-x", "-1"), "a", 0xFFFF_FFFF, False),
        (("-i", "a", "-D", "connect", "session-expiry-interval", "9"), "a", 9, False),
    ],
)
def test_sessions(args: tuple[str, ...], client_id: str, expiry: int, *, adopt: bool) -> None:
    connection, _ = understand(*args)
    session = connection.options.get("session")
    assert session is not None
    assert (session.client_id, session.expiry, session._adopt) == (client_id, expiry, adopt)
    assert "client_id" not in connection.options


def test_an_identifier_may_be_given_or_begin_so() -> None:
    assert understand("-i", "a")[0].options.get("client_id") == "a"
    prefixed = understand("-I", "a-")[0].options.get("client_id")
    assert prefixed is not None
    assert prefixed.removeprefix("a-").isdigit()
    assert understand()[0].options.get("client_id") is None


def test_the_will_and_the_properties() -> None:
    connection, publish = understand(
        *("--will-topic", "w", "--will-payload", "gone", "--will-qos", "1", "--will-retain"),
        *("-D", "will", "will-delay-interval", "5", "-D", "WILL", "user-property", "a", "b"),
        *("-D", "connect", "receive-maximum", "10", "-D", "publish", "correlation-data", "x"),
        *("-D", "publish", "user-property", "-D", "-m", "-D", "publish", "content-type", "-t"),
    )
    pairs = [("a", "b")]
    will = Will(topic="w", payload=b"gone", qos=1, retain=True, delay=5, user_properties=pairs)
    assert connection.options.get("will") == will
    assert connection.options.get("receive_maximum") == 10
    assert publish == {
        "correlation_data": b"x",
        "user_properties": [("-D", "-m")],
        "content_type": "-t",
    }


def test_files_for_tls(tmp_path: Path) -> None:
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = CA.issue_cert("client.test")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    connection, _ = understand(
        *("--cafile", str(tmp_path / "ca.pem"), "--cert", str(tmp_path / "client.pem")),
        *("--insecure", "--tls-version", "tlsv1.3", "--tls-alpn", "mqtt"),
        *("--ciphers", "ECDHE+AESGCM", "--capath", str(tmp_path)),
    )
    context = connection.options.get("ssl_context")
    assert context is not None
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert connection.url == "mqtts://localhost"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-L", "mqtt://h", "-h", "i"), "one of them"),
        (("--unix", "/a", "-p", "1"), "not both"),
        (("-i", "a", "-I", "b"), "not both"),
        (("-c",), "give -i, too"),
        (("--session", "file"), "give -i, too"),
        (("--session", "file", "-i", "a", "-x", "0"), "leave out -x 0"),
        (("-x", "soon"), "-x takes seconds"),
        (("--will-payload", "x"), "needs --will-topic"),
        (("-D", "will", "content-type", "x"), "needs --will-topic"),
        (("-D", "connect", "receive-maximum", "many"), "has to be a number"),
        (("-D", "publish", "topic-alias", "1"), "chosen by the client"),
        (("-D", "publish"), "-D needs a packet"),
        (("-D", "publish", "user-property", "a"), "-D needs a packet"),
        (("--ciphers", "nonsense"), "no such ciphers"),
        (("-A", "127.0.0.1"), "cannot be chosen"),
        (("-S",), "not looked up"),
        (("--tls-engine", "x"), "not supported"),
        (("--tls-version", "tlsv1.1"), "tlsv1.1"),
    ],
)
def test_what_does_not_fit_or_cannot_be_honoured(args: tuple[str, ...], words: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        understand(*args)
    assert words in caught.value.format_message()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_the_exit_statuses_and_no_range_of_a_type(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    for status, meaning in MEANINGS:
        assert str(int(status)) in result.output
        assert meaning.split()[0] in result.output
    assert "<=" not in result.output


def test_every_status_has_a_meaning() -> None:
    assert [status for status, _ in MEANINGS] == list(Status)


def test_without_a_command_there_is_help() -> None:
    result = invoke()
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"  {name}" in result.output
    assert invoke("--version").output.startswith("main ")
    assert invoke("nothing").exit_code == 2


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (for_terminal, "a\\x1b[2J\tb\nc\\x07\\u202e\\x9b\u00fc"),
        (for_people, "a\\x1b[2J\\x09b\\x0ac\\x07\\u202e\\x9b\u00fc"),
        (for_json, "a\\u001b[2J\tb\nc\\u0007\\u202e\\u009b\u00fc"),
    ],
)
def test_controls_are_shown(function: Any, shown: str) -> None:
    assert function("a\x1b[2J\tb\nc\x07\u202e\x9b\u00fc") == shown


def test_what_is_no_utf_8_is_shown() -> None:
    assert for_terminal(b"\xffa") == "\\xffa"
    assert for_people("\ud800") == "\\ud800"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_what_it_needs_is_named_if_it_is_missing(missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from trio_mqtt.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--help"],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("pip install 'trio-mqtt[cli]'\n")
    assert done.stderr.count("\n") == 1


def test_plain_commands_import_no_more_than_they_need() -> None:
    script = (
        "import sys; sys.argv = ['trio-mqtt', 'pub', '--help']\n"
        "from trio_mqtt.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'rich', 'cryptography'}))\n"
        "print([name for name in ('testing', '_cli._sub') if f'trio_mqtt.{name}' in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
        env=environment(),
    )
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]
