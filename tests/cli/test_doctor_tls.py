"""`trio-mqtt doctor` and TLS: certificates that are wrong in every way, and servers."""

from __future__ import annotations

import datetime as dt
import ssl
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.cli.diagnoses import Diagnosis, answer, examine, say_nothing
from tests.transports.support import (
    CA,
    CLIENT,
    OTHER_CA,
    client_context,
    demanding_context,
    listen,
    open_tls_server,
    server_context,
)
from trio_mqtt.packets import Connect
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mqtt._cli.diagnosis.findings import Step

NOW = dt.datetime.now(UTC)
DAY = dt.timedelta(days=1)
HOSTS = ("localhost", "127.0.0.1")


async def examine_certificate(certificate: trustme.LeafCert, **options: Any) -> Diagnosis:
    """Have doctor look at a server that shows this certificate."""
    async with open_tls_server(server_context(certificate)) as server:
        return await examine(server.url, **options)


async def test_a_good_certificate_is_described() -> None:
    found = await examine_certificate(CA.issue_cert(*HOSTS, common_name="broker"))
    assert (found.failed, found.warned) == ([], [])
    assert found["TLS"].details["version"] == "TLSv1.3"
    step = found["certificate"]
    assert "CN=broker" in step.found
    assert "which is trusted" in step.found
    assert step.details["names"] == HOSTS
    assert step.details["certificates sent"] == 1
    assert len(str(step.details["SHA-256"])) == 64
    assert found["dates"].found.startswith("valid until 3000-01-01 00:00 UTC, for 97")
    assert found["host name"].found == "the certificate is for '127.0.0.1'"


async def test_an_expired_certificate() -> None:
    late = CA.issue_cert(*HOSTS, not_before=NOW - 9 * DAY, not_after=NOW - 3.5 * DAY)
    found = await examine_certificate(late)
    assert found.failed == ["dates"]
    assert found["dates"].found.startswith("expired 3 days ago, on 20")
    assert found["dates"].advice.startswith("renew it at the server; this machine's clock says 20")
    assert found["CONNACK"].status.value == "skipped"


async def test_a_certificate_that_is_not_valid_yet() -> None:
    early = CA.issue_cert(*HOSTS, not_before=NOW + 2.5 * DAY, not_after=NOW + 99 * DAY)
    found = await examine_certificate(early)
    assert found.failed == ["dates"]
    assert found["dates"].found.endswith(", in 2 days")
    assert "set it right if that is wrong (by 2 days or more)" in found["dates"].advice


async def test_a_certificate_that_expires_soon_is_a_warning() -> None:
    soon = CA.issue_cert(*HOSTS, not_after=NOW + 20.5 * DAY)
    found = await examine_certificate(soon)
    assert (found.failed, found.warned) == ([], ["dates"])
    assert found["dates"].found.startswith("expires in 20 days, on 20")


async def test_an_authority_out_of_date() -> None:
    late = late_authority()
    found = await examine_certificate(late.issue_cert(*HOSTS), ca=late)
    assert found.failed == ["dates"]
    assert "of the authority that signed it is out of date" in found["dates"].found


def late_authority() -> trustme.CA:
    """An authority whose own certificate has expired."""
    ca = trustme.CA()
    old = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    late = signed(old, ca, not_valid_before=NOW - 9 * DAY, not_valid_after=NOW - DAY)
    return trustme.CA.from_pem(late, ca.private_key_pem.bytes())


def signed(old: x509.Certificate, ca: trustme.CA, **changes: Any) -> bytes:
    """A certificate with some things changed, in PEM."""
    key = load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    contents: dict[str, Any] = {
        "issuer_name": old.issuer,
        "subject_name": old.subject,
        "public_key": old.public_key(),
        "serial_number": old.serial_number,
        "not_valid_before": old.not_valid_before_utc,
        "not_valid_after": old.not_valid_after_utc,
        "extensions": list(old.extensions),
        **changes,
    }
    builder = x509.CertificateBuilder(**contents)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


async def examine_files(key: bytes, certificate: bytes, tmp_path: Path) -> Diagnosis:
    """Have doctor look at a server that shows this certificate."""
    file = tmp_path / "server.pem"
    file.write_bytes(key + certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(file)
    async with open_tls_server(context) as server:
        return await examine(server.url)


async def test_a_certificate_that_is_for_clients_only(tmp_path: Path) -> None:
    leaf = CA.issue_cert(*HOSTS)
    old = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    kept = [each for each in old.extensions if each.oid != usage.oid]
    changed = [*kept, x509.Extension(usage.oid, critical=True, value=usage)]
    pem = signed(old, CA, extensions=changed)
    found = await examine_files(leaf.private_key_pem.bytes(), pem, tmp_path)
    assert found.failed == ["certificate"]
    assert "it is not meant for servers" in found["certificate"].found
    assert found["dates"].found == "the certificate cannot be read"


async def test_a_key_that_is_too_weak(tmp_path: Path) -> None:
    leaf = CA.issue_cert(*HOSTS)
    old = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    weak = rsa.generate_private_key(65_537, 1024)  # noqa: S505 - that is what is tested
    pem = signed(old, CA, public_key=weak.public_key(), extensions=[
        each for each in old.extensions if each.oid != x509.SubjectKeyIdentifier.oid
    ])  # fmt: skip
    key = weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    found = await examine_files(key, pem, tmp_path)
    assert found.failed == ["certificate"]
    assert "it has a key that is too weak" in found["certificate"].found
    assert found["certificate"].advice == "the server needs another certificate"
    assert found["dates"].status.value == "ok"


async def test_another_host_name() -> None:
    found = await examine_certificate(CA.issue_cert("broker.test", "*.mqtt.test"))
    assert found.failed == ["host name"]
    assert found["host name"].found == (
        "the certificate is not for '127.0.0.1', but for broker.test, *.mqtt.test"
    )
    assert found["host name"].advice.startswith("use one of these names")


async def test_a_self_signed_certificate_for_nobody() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own = trustme.Blob(OTHER_CA.private_key_pem.bytes() + OTHER_CA.cert_pem.bytes())
    with own.tempfile() as path:
        context.load_cert_chain(path)
    async with open_tls_server(context) as server:
        found = await examine(server.url)
    assert found.failed == ["certificate", "host name"]
    assert found["certificate"].found.endswith("self-signed and not trusted here")
    assert "--cafile" in found["certificate"].advice
    assert found["host name"].found.endswith("but for no host at all")


async def test_an_authority_that_is_not_trusted() -> None:
    found = await examine_certificate(OTHER_CA.issue_cert(*HOSTS))
    assert found.failed == ["certificate"]
    assert found["certificate"].found.endswith(
        "not trusted here; the server sends no other certificate"
    )
    assert "an authority of your own" in found["certificate"].advice


async def test_a_chain_whose_end_is_not_trusted() -> None:
    found = await examine_certificate(OTHER_CA.create_child_ca().issue_cert(*HOSTS))
    assert found.failed == ["certificate"]
    assert found["certificate"].details["certificates sent"] == 2
    assert found["certificate"].found.endswith("which is not trusted here")
    assert "get the certificate of its authority" in found["certificate"].advice


async def test_an_intermediate_certificate_that_the_server_does_not_send(tmp_path: Path) -> None:
    leaf = CA.create_child_ca().issue_cert(*HOSTS)
    file = tmp_path / "leaf.pem"
    file.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    async with open_tls_server(context) as server:
        found = await examine(server.url)
    assert found.failed == ["certificate"]
    assert found["certificate"].details["certificates sent"] == 1
    assert "(the full chain)" in found["certificate"].advice


async def test_all_that_is_wrong_is_told_at_once() -> None:
    bad = OTHER_CA.issue_cert("broker.test", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    found = await examine_certificate(bad)
    assert found.failed == ["certificate", "dates", "host name"]


def lax(*, checks_chain: bool) -> ssl.SSLContext:
    context = client_context()
    context.check_hostname = False
    if not checks_chain:
        context.verify_mode = ssl.CERT_NONE
    return context


async def test_what_is_not_checked_is_a_warning() -> None:
    certificate = CA.issue_cert("broker.test")
    found = await examine_certificate(certificate, make_context=lambda: lax(checks_chain=True))
    assert (found.failed, found.warned) == ([], ["host name"])
    certificate = OTHER_CA.issue_cert(*HOSTS, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    found = await examine_certificate(certificate, make_context=lambda: lax(checks_chain=False))
    assert (found.failed, found.warned) == ([], ["certificate", "dates"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_a_server_that_wants_a_client_certificate(
    version: ssl.TLSVersion, scheme: str
) -> None:
    context = demanding_context()
    context.maximum_version = version
    async with open_tls_server(context) as server:
        url = server.url.replace("mqtts", scheme)
        found = await examine(url)
        step = found["TLS" if version is ssl.TLSVersion.TLSv1_2 else "client certificate"]
        assert found.failed == [step.name]
        assert "wants a client certificate" in step.found
        assert "--cert and --key" in step.found + step.advice
        if scheme == "mqtts":
            assert (await examine(url, certificate=CLIENT)).failed == []


async def test_a_client_certificate_of_somebody_else() -> None:
    async with open_tls_server(demanding_context()) as server:
        found = await examine(server.url, certificate=OTHER_CA.issue_cert("client.test"))
    assert found.failed == ["client certificate"]
    assert "does not know the authority" in found["client certificate"].found
    assert found["client certificate"].advice == "check --cert"


def advice(found: Diagnosis, name: str) -> str:
    step: Step = found[name]
    assert found.failed == [name]
    return step.advice


async def test_tls_where_there_is_none() -> None:
    async with open_server(port=0) as server:
        assert server.url is not None
        url = server.url.replace("mqtt:", "mqtts:")
        assert advice(await examine(url), "TLS") == f"use {server.url}: that answers"


async def test_no_tls_where_it_is_wanted() -> None:
    async with open_tls_server() as server:
        url = server.url.replace("mqtts:", "mqtt:")
        found = await examine(url, password="secret", username="me")
        assert advice(found, "CONNACK") == f"use {server.url}: that answers"
        first = server.server.log[0].packet
        assert isinstance(first, Connect)
        assert (first.username, first.password) == (None, None)


async def test_http_where_tls_is_expected() -> None:
    async with listen(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        found = await examine(f"mqtts://127.0.0.1:{port}")
    assert "it begins with b'HTTP/1.1 400 Bad Req'" in found["TLS"].found
    assert "that answers" not in advice(found, "TLS")


async def test_silence_where_tls_is_expected() -> None:
    async with listen(say_nothing) as port:
        found = await examine(f"mqtts://127.0.0.1:{port}", timeout=0.2)
    assert found["TLS"].found == "the handshake was not complete within 0.2 s"
    assert "that answers" not in advice(found, "TLS")


async def test_alpn_is_told() -> None:
    context = server_context()
    context.set_alpn_protocols(["mqtt"])

    def offering() -> ssl.SSLContext:
        offered = client_context()
        offered.set_alpn_protocols(["mqtt"])
        return offered

    async with open_tls_server(context) as server:
        found = await examine(server.url, make_context=offering)
    assert found["TLS"].details["ALPN"] == "mqtt"
    assert found["TLS"].found.endswith(", ALPN mqtt")


async def test_a_version_of_tls_that_is_too_old() -> None:
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def new_only() -> ssl.SSLContext:
        wanted = client_context()
        wanted.minimum_version = ssl.TLSVersion.TLSv1_3
        return wanted

    async with open_tls_server(context) as server:
        found = await examine(server.url, make_context=new_only)
    assert "no version of TLS that both sides accept" in found["TLS"].found
    assert "--tls-version" in found["TLS"].found + advice(found, "TLS")
