"""An SSLContext from files, with errors that say which file is wrong, and how."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARKS: Final = {
    "ca_file": (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----"),
    "certificate": (b"-----BEGIN CERTIFICATE-----",),
    "key": (b"PRIVATE KEY-----",),
}
_LONGEST_PROTOCOL: Final = 255

StrPath = str | os.PathLike[str]


def make_ssl_context(
    *,
    ca_file: StrPath | None = None,
    certificate: StrPath | None = None,
    key: StrPath | None = None,
    key_password: str | bytes | None = None,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """Make an `ssl.SSLContext` for the argument `ssl_context` of `open_client`.

    It is as `ssl.create_default_context` makes it: the Server's certificate has to be signed by a
    trusted authority and have the host's name. TLS is 1.2 or later.

    Args:
        ca_file: certificates of the authorities to trust, in PEM, instead of those that the
            system trusts.
        certificate: the client's own certificate, in PEM, with those that lead to its authority
            behind it.
        key: the private key of that, in PEM; None if it is in the same file.
        key_password: what the key is encrypted with.
        alpn: the protocols to offer by ALPN, the best first: ``["mqtt"]``, or
            ``["x-amzn-mqtt-ca"]`` for port 443 of AWS IoT Core.

    Raises:
        OSError: a file cannot be read; FileNotFoundError if there is none.
        ValueError: a file is not what it should be, or the arguments do not fit.
    """
    context = ssl.create_default_context(cafile=_load_authorities(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        _load_certificate(context, certificate, key, key_password)
    elif key is not None or key_password is not None:
        message = "a key needs its certificate; give certificate, too"
        raise ValueError(message)
    if alpn:
        _set_protocols(context, alpn)
    return context


def _load_authorities(path: StrPath | None) -> str | None:
    if path is None:
        return None
    _check_file(path, "ca_file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        message = f"the ca_file {os.fspath(path)!r} has a certificate that cannot be read: {error}"
        raise ValueError(message) from error
    return os.fspath(path)


def _check_file(path: StrPath, what: str) -> None:
    """Raise unless it can be read and looks like what it should be."""
    with open(path, "rb") as file:  # noqa: PTH123 - its errors name the file
        content = file.read()
    if not any(mark in content for mark in _MARKS[what]):
        thing = "private key" if what == "key" else "certificate"
        message = f"the {what} file {os.fspath(path)!r} has no {thing} in PEM"
        if what == "key" and any(mark in content for mark in _MARKS["certificate"]):
            message += ", but a certificate"
        raise ValueError(message)


def _load_certificate(
    context: ssl.SSLContext,
    certificate: StrPath,
    key: StrPath | None,
    password: str | bytes | None,
) -> None:
    _check_file(certificate, "certificate")
    _check_file(certificate if key is None else key, "key")
    asked = False

    def give_password() -> str | bytes:  # without it OpenSSL asks at the terminal
        nonlocal asked
        asked = True
        return password or b"?"

    problem = ""
    cause: ssl.SSLError | None = None
    try:
        context.load_cert_chain(certificate, key, give_password)
    except ssl.SSLError as error:
        cause = error
        problem = _describe(error, certificate, key, asked=asked, password=password)
    if cause is not None:
        raise ValueError(problem) from cause


def _describe(
    error: ssl.SSLError,
    certificate: StrPath,
    key: StrPath | None,
    *,
    asked: bool,
    password: str | bytes | None,
) -> str:
    name = os.fspath(certificate)
    key_name = name if key is None else os.fspath(key)
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key in {key_name!r} does not belong to the certificate in {name!r}"
    if asked and not password:
        return f"the key in {key_name!r} is encrypted; give its key_password"
    if asked:
        return f"the key in {key_name!r} cannot be decrypted; check its key_password"
    files = repr(name) if key is None else f"{name!r} or {key_name!r}"
    return f"the certificate or the key in {files} cannot be read: {error.reason or error}"


def _set_protocols(context: ssl.SSLContext, protocols: Sequence[str]) -> None:
    if isinstance(protocols, str):
        message = f"alpn is a sequence of names, such as [{protocols!r}]"
        raise TypeError(message)
    for protocol in protocols:
        if not protocol.isascii() or not 1 <= len(protocol) <= _LONGEST_PROTOCOL:
            message = f"{protocol!r} is no name of a protocol for ALPN"
            raise ValueError(message)
    context.set_alpn_protocols(list(protocols))
