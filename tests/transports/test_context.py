"""make_ssl_context: what it makes, and what it says of files that are not what they should be."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import pytest

import trio_mqtt
from tests.client.support import open_once
from tests.transports.support import (
    CA,
    OTHER_CA,
    demanding_context,
    encrypted_key,
    open_tls_server,
)

if TYPE_CHECKING:
    from pathlib import Path

CLIENT: Final = CA.issue_cert("client.test")
OTHER: Final = OTHER_CA.issue_cert("client.test")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with files of all kinds."""
    contents = {
        "ca.pem": CA.cert_pem.bytes(),
        "client.pem": b"".join(pem.bytes() for pem in CLIENT.cert_chain_pems),
        "key.pem": CLIENT.private_key_pem.bytes(),
        "both.pem": CLIENT.private_key_and_cert_chain_pem.bytes(),
        "encrypted.pem": encrypted_key(CLIENT, b"secret"),
        "other.pem": OTHER.private_key_pem.bytes(),
        "text.pem": b"hello",
        "der.pem": b"\x30\x82\x01\x00",
        "bad.pem": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "bad_key.pem": b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
        "empty.pem": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def in_directory(directory: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the names of files made into paths."""
    return {
        name: directory / value if name in {"ca_file", "certificate", "key"} else value
        for name, value in arguments.items()
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"certificate": "both.pem"},
        {"certificate": "client.pem", "key": "key.pem"},
        {"certificate": "client.pem", "key": "key.pem", "key_password": "not needed"},
        {"certificate": "client.pem", "key": "encrypted.pem", "key_password": "secret"},
        {"certificate": "client.pem", "key": "encrypted.pem", "key_password": b"secret"},
    ],
)
async def test_a_client_shows_its_certificate(files: Path, arguments: dict[str, Any]) -> None:
    context = trio_mqtt.make_ssl_context(
        ca_file=str(files / "ca.pem"), **in_directory(files, arguments)
    )
    async with (
        open_tls_server(demanding_context()) as tls,
        open_once(tls.url, ssl_context=context) as client,
    ):
        await client.publish("a", qos=1)


def test_by_default_it_is_as_strict_as_python_s_own() -> None:
    context = trio_mqtt.make_ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


WRONG: Final[list[tuple[dict[str, Any], type[Exception], str]]] = [
    ({"ca_file": "none.pem"}, FileNotFoundError, "none.pem"),
    ({"ca_file": "."}, IsADirectoryError, ""),
    ({"ca_file": "text.pem"}, ValueError, "text.pem' has no certificate in PEM"),
    ({"ca_file": "der.pem"}, ValueError, "der.pem' has no certificate in PEM"),
    ({"ca_file": "empty.pem"}, ValueError, "empty.pem' has no certificate in PEM"),
    ({"ca_file": "key.pem"}, ValueError, "key.pem' has no certificate in PEM"),
    ({"ca_file": "bad.pem"}, ValueError, "bad.pem' has a certificate that cannot be read"),
    ({"certificate": "none.pem"}, FileNotFoundError, "none.pem"),
    ({"certificate": "text.pem"}, ValueError, "text.pem' has no certificate in PEM"),
    ({"certificate": "client.pem"}, ValueError, "client.pem' has no private key in PEM"),
    (
        {"certificate": "client.pem", "key": "ca.pem"},
        ValueError,
        "ca.pem' has no private key in PEM, but a certificate",
    ),
    ({"certificate": "client.pem", "key": "none.pem"}, FileNotFoundError, "none.pem"),
    (
        {"certificate": "client.pem", "key": "other.pem"},
        ValueError,
        "other.pem' does not belong to the certificate in",
    ),
    (
        {"certificate": "client.pem", "key": "encrypted.pem"},
        ValueError,
        "encrypted.pem' is encrypted; give its key_password",
    ),
    (
        {"certificate": "client.pem", "key": "encrypted.pem", "key_password": "wrong secret"},
        ValueError,
        "encrypted.pem' cannot be decrypted; check its key_password",
    ),
    ({"certificate": "bad.pem", "key": "key.pem"}, ValueError, "bad.pem' or '"),
    ({"certificate": "client.pem", "key": "bad_key.pem"}, ValueError, "bad_key.pem' cannot be re"),
    ({"key": "key.pem"}, ValueError, "a key needs its certificate"),
    ({"key_password": "secret"}, ValueError, "a key needs its certificate"),
    ({"alpn": "mqtt"}, TypeError, "such as \\['mqtt'\\]"),
    ({"alpn": [""]}, ValueError, "no name of a protocol"),
    ({"alpn": ["\u00e9"]}, ValueError, "no name of a protocol"),
    ({"alpn": ["a" * 256]}, ValueError, "no name of a protocol"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG)
def test_what_is_wrong_is_said(
    files: Path, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        trio_mqtt.make_ssl_context(**in_directory(files, arguments))
    caught.match(words)
    assert "secret" not in str(caught.value)
