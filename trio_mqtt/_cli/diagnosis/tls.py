"""The steps of TLS: the handshake; the certificate, its dates and its names."""

from __future__ import annotations

import hashlib
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trio_mqtt._cli.diagnosis.findings import split_error
from trio_mqtt._cli.diagnosis.handshakes import (
    accept_anything,
    accept_only,
    chain_length,
    look,
)
from trio_mqtt._cli.diagnosis.other_schemes import find_scheme
from trio_mqtt._transports.tls import certified_name
from trio_mqtt._transports.tls_failures import VERIFICATION, describe_failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt._cli.diagnosis.findings import Detail, Findings
    from trio_mqtt._cli.diagnosis.handshakes import Look
    from trio_mqtt._cli.diagnosis.target import Target

SOON: Final = 30
"""So many days before its end a certificate is worth a warning."""

_DAY: Final = 86_400
_UNITS: Final = (("year", 365.25 * _DAY), ("day", _DAY), ("hour", 3600), ("minute", 60))
_WORDS: Final = 20
"""So much is quoted of what is not TLS."""
_RECORDS: Final = (b"\x15\x03", b"\x16\x03")
"""How an alert and a handshake of TLS begin."""
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_SELF_SIGNED: Final = 18
_OF_THE_AUTHORITY: Final = frozenset((19, 20, 21))
_OF_THE_DATES: Final = frozenset((_NOT_YET_VALID, _EXPIRED))
_OF_THE_NAME: Final = frozenset((62, 64))
"""X509_V_ERR_ numbers of OpenSSL, which checks trust first, then the name, then the dates."""
_SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
}
_TRUST_IT: Final = (
    "if this is the right server, get {what} from who runs it, and give that with --cafile"
)


_TRUST_OR_CHAIN: Final = (
    "if that is an authority of your own, give its certificate with --cafile; if it is an "
    "intermediate one of a public authority, have the server send its certificate, too (the full "
    "chain)"
)


@attrs.frozen(kw_only=True)
class Presented:
    """The certificate that the Server has shown.

    Attributes:
        said: what it says, as `ssl.SSLSocket.getpeercert` has it; empty if that is not to be had.
        der: the certificate itself, or None.
        sent: how many certificates the Server has sent, or None.
    """

    said: Mapping[str, Any]
    der: bytes | None
    sent: int | None

    @property
    def subject(self) -> str:
        """Whose it is."""
        return _name(self.said.get("subject", ()))

    @property
    def short_subject(self) -> str:
        """Whose it is, by its Common Name if it has one."""
        pairs = [pair for part in self.said.get("subject", ()) for pair in part]
        return next((f"CN={value}" for key, value in pairs if key == "commonName"), self.subject)

    @property
    def issuer(self) -> str:
        """Who has signed it."""
        return _name(self.said.get("issuer", ()))

    @property
    def names(self) -> tuple[str, ...]:
        """The host names and addresses that it is for."""
        return tuple(value for _, value in self.said.get("subjectAltName", ()))


def _name(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    pairs = [pair for part in parts for pair in part]
    text = ", ".join(f"{_SHORT[key]}={value}" for key, value in pairs if key in _SHORT)
    return text or ", ".join(f"{key}={value}" for key, value in pairs) or "nobody by name"


async def check_tls(findings: Findings, target: Target) -> bool:
    """Look at TLS and at the certificate; False if a client would not connect."""
    findings.begin()
    name = certified_name(target.address)
    context = target.make_context()
    try:
        with trio.fail_after(target.timeout):
            strict = seen = await look(target.reach, context, name)
            if isinstance(strict.error, ssl.SSLCertVerificationError):
                seen = await look(target.reach, accept_anything(target.make_context()), name)
    except trio.TooSlowError:
        await _tell_silence(findings, target)
        return False
    if seen.tls is None:
        await _tell_failure(findings, target, seen)
        return False
    cipher = (seen.tls.cipher() or ("no cipher",))[0]
    version = seen.tls.version() or "TLS"
    alpn = seen.tls.selected_alpn_protocol()
    details: dict[str, Detail] = {"version": version, "cipher": cipher, "ALPN": alpn}
    chosen = f", ALPN {alpn}" if alpn else ""
    findings.ok("TLS", f"{version} with {cipher}{chosen}", details)

    shown = await _examine(seen.tls, target, name)
    refused = not _check_trust(findings, shown, strict, context)
    refused |= not _check_dates(findings, shown, strict.verify_code, context)
    refused |= not await _check_name(findings, target, shown, strict.verify_code, context)
    return not refused


async def _tell_silence(findings: Findings, target: Target) -> None:
    right = await find_scheme(target)
    advice = "check that TLS is spoken on this port, and that the server is not overloaded"
    findings.fail(
        "TLS",
        f"the handshake was not complete within {target.timeout:g} s",
        advice if right is None else f"use {right}: that answers",
    )


async def _tell_failure(findings: Findings, target: Target, seen: Look) -> None:
    error = seen.error or ssl.SSLError("the handshake failed")
    text = ValueError(describe_failure(target.address, error, None))
    found, advice = split_error(text, target.address)
    if seen.first[:_WORDS].isascii() and seen.first[:1].isalpha():
        found = f"what comes is not TLS: it begins with {seen.first[:_WORDS]!r}"
    right = await find_scheme(target) if _may_be_plain(seen) else None
    findings.fail("TLS", found, advice if right is None else f"use {right}: that answers")


def _may_be_plain(seen: Look) -> bool:
    """Whether the Server has shown nothing of TLS."""
    return not seen.first.startswith(_RECORDS)


async def _examine(tls: ssl.SSLObject, target: Target, name: str) -> Presented:
    """What the certificate says, trusted or not."""
    der = tls.getpeercert(binary_form=True)
    said = tls.getpeercert() or {}
    if der is not None and not said:
        own = await look(target.reach, accept_only(target.make_context(), der), name)
        said = (own.tls.getpeercert() if own.tls is not None else None) or {}
    return Presented(said=said, der=der, sent=chain_length(tls))


# -- trust ----------------------------------------------------------------------------------------


def _check_trust(
    findings: Findings, shown: Presented, strict: Look, context: ssl.SSLContext
) -> bool:
    """Say whose certificate it is; False if it is not trusted."""
    details: dict[str, Detail] = {}
    if shown.said:
        details |= {"subject": shown.subject, "issuer": shown.issuer}
    if shown.names:
        details["names"] = shown.names
    if shown.sent is not None:
        details["certificates sent"] = shown.sent
    if shown.der is not None:
        details["SHA-256"] = hashlib.sha256(shown.der).hexdigest()
    whose = (
        f"of {shown.short_subject}, signed by {shown.issuer}" if shown.said else "not readable here"
    )
    code = strict.verify_code
    if code is None and context.verify_mode is ssl.CERT_NONE:
        advice = "anybody could be there: do without --insecure where it matters"
        findings.warn("certificate", f"{whose}; it is not checked", advice, details)
        return True
    if code is None or code in _OF_THE_DATES | _OF_THE_NAME:
        findings.ok("certificate", f"{whose}, which is trusted", details)
        return True
    findings.fail("certificate", *_why_not_trusted(shown, strict, whose), details)
    return False


def _why_not_trusted(shown: Presented, strict: Look, whose: str) -> tuple[str, str]:
    code = strict.verify_code or 0
    if code == _SELF_SIGNED or (shown.said and shown.subject == shown.issuer):
        return f"{whose}: self-signed and not trusted here", _TRUST_IT.format(what="it")
    if code in _OF_THE_AUTHORITY:
        what = f"{whose}, which is not trusted here"
        if shown.sent == 1:
            return f"{what}; the server sends no other certificate", _TRUST_OR_CHAIN
        return what, _TRUST_IT.format(what="the certificate of its authority")
    why = VERIFICATION.get(code, "was refused")
    message = getattr(strict.error, "verify_message", "")
    return f"{whose}: it {why} ({message})", "the server needs another certificate"


# -- dates ----------------------------------------------------------------------------------------


def _check_dates(
    findings: Findings, shown: Presented, code: int | None, context: ssl.SSLContext
) -> bool:
    """Say from when to when it is valid; False if that is not now."""
    if not shown.said:
        findings.skip("dates", "the certificate cannot be read")
        return code not in _OF_THE_DATES
    begin, end = (ssl.cert_time_to_seconds(shown.said[key]) for key in ("notBefore", "notAfter"))
    now = time.time()
    details: dict[str, Detail] = {
        "not before": _moment(begin),
        "not after": _moment(end),
        "clock": _moment(now),
    }
    clock = f"this machine's clock says {_moment(now)}"
    checked = context.verify_mode is not ssl.CERT_NONE
    if now < begin:
        advice = (
            f"{clock}: set it right if that is wrong (by {_span(begin - now)} or more); "
            "otherwise look at the clock of the machine that made the certificate"
        )
        found = f"not valid before {_moment(begin)}, in {_span(begin - now)}"
    elif now > end:
        advice = f"renew it at the server; {clock}: is that right?"
        found = f"expired {_span(now - end)} ago, on {_moment(end)}"
    elif code in _OF_THE_DATES:
        advice = f"the server has to send a chain that is valid; {clock}: is that right?"
        found = "the certificate of the authority that signed it is out of date"
    elif end - now < SOON * _DAY:
        advice = "renew it at the server, and see why that is not done by itself"
        findings.warn("dates", f"expires in {_span(end - now)}, on {_moment(end)}", advice, details)
        return True
    else:
        findings.ok("dates", f"valid until {_moment(end)}, for {_span(end - now)}", details)
        return True
    (findings.fail if checked else findings.warn)("dates", found, advice, details)
    return not checked


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(seconds: float) -> str:
    """About so long."""
    for unit, size in _UNITS:
        number = int(seconds // size)
        if number:
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "a minute"


# -- names ----------------------------------------------------------------------------------------


async def _check_name(
    findings: Findings,
    target: Target,
    shown: Presented,
    code: int | None,
    context: ssl.SSLContext,
) -> bool:
    """Say whether it is for this host; False if the client would refuse it."""
    host = certified_name(target.address)
    is_right = code not in _OF_THE_NAME
    unknown = code is not None and code not in _OF_THE_DATES | _OF_THE_NAME
    if shown.der is not None and (unknown or not context.check_hostname):
        own = accept_only(target.make_context(), shown.der, check_name=True)
        again = await look(target.reach, own, host)
        if again.tls is None and again.verify_code not in _OF_THE_NAME:
            findings.skip("host name", "the certificate cannot be checked any further")
            return True
        is_right = again.tls is not None
    details: dict[str, Detail] = {"host": host}
    if is_right:
        findings.ok("host name", f"the certificate is for {host!r}", details)
        return True
    names = ", ".join(shown.names) or "no host at all"
    found = f"the certificate is not for {host!r}, but for {names}"
    if context.check_hostname:
        advice = "use one of these names in the URL, or have the server show another certificate"
        findings.fail("host name", found, advice, details)
        return False
    advice = "it is not checked: do without --insecure where it matters"
    findings.warn("host name", found, advice, details)
    return True
