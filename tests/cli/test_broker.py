"""``trio-mqtt broker``."""

from __future__ import annotations

import signal

import pytest

from tests.cli.support import LONG, mosquitto_pub, place, read_line, run, running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_when_it_is_stopped(number: signal.Signals) -> None:
    with running("broker", "-p", "0") as process:
        url = read_line(process).decode().strip()
        assert url.startswith("mqtt://127.0.0.1:")
        mosquitto_pub(url, "a", "-m", "kept", "-r")
        assert run("sub", *place(url), "-t", "a", "-C", "1").output == b"kept\n"
        process.send_signal(number)
        assert process.wait(LONG) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_it_lets_in_only_those_it_knows_and_logs_no_secrets() -> None:
    accounts = ("--account", "me:open sesame", "--account", "you:1")
    with running("broker", "-p", "0", "--log", *accounts) as process:
        url = read_line(process).decode().strip()
        message = (*place(url), "-t", "a", "-m", "hidden payload")
        refused = run("pub", *message, "-u", "me", "-P", "wrong word")
        assert refused.status == 4
        assert "wrong word" not in refused.errors
        assert refused.errors.count("\n") == 1
        assert run("pub", *message).status == 4
        assert run("pub", *message, MQTT_USERNAME="me", MQTT_PASSWORD="open sesame").status == 0
        assert run("pub", *message, "-u", "you", "-P", "1").status == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == 0
        assert process.stdout is not None
        text = process.stdout.read().decode()
    assert "> Connect(" in text
    assert "< ConnAck(" in text
    assert "> Publish(topic='a'" in text
    for secret in ("open sesame", "wrong word", "hidden payload"):
        assert secret not in text


def test_a_port_that_is_taken_is_told(broker: str) -> None:
    outcome = run("broker", "-p", place(broker)[3])
    assert outcome.status == 1
    assert outcome.errors.endswith("or give another port; -p 0 finds one\n")


def test_a_password_may_be_in_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("secrets") / "password"
    path.write_text("open sesame\nsecond line\n")
    with running("broker", "-p", "0", "--account", "me:open sesame") as process:
        url = read_line(process).decode().strip()
        message = (*place(url), "-t", "a", "-m", "x", "-u", "me")
        assert run("pub", *message, "--password-file", str(path)).status == 0


def test_an_account_needs_a_password() -> None:
    outcome = run("broker", "--account", "me")
    assert (outcome.status, "NAME:PASSWORD" in outcome.errors) == (2, True)
