"""The steps below MQTT and TLS: URL, name, TCP, proxy, Unix socket."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import attrs
import trio

from trio_mqtt._cli.diagnosis.findings import split_error
from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.tcp import Peer, is_ip_address, look_up
from trio_mqtt._transports.url import DEFAULT_PORTS, UNIX

if TYPE_CHECKING:
    from trio_mqtt._cli.diagnosis.findings import Detail, Findings
    from trio_mqtt._cli.diagnosis.target import Target
    from trio_mqtt._transports.proxy_url import ProxyAddress

_LAYERS: Final = {
    "mqtt": "MQTT over TCP",
    "mqtts": "MQTT over TLS",
    "ws": "MQTT over WebSocket",
    "wss": "MQTT over WebSocket over TLS",
    UNIX: "MQTT over a Unix socket",
}

_UNREACHABLE: Final = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
)


def check_url(findings: Findings, target: Target) -> None:
    """Say what the URL means; warn of a password that everybody could read."""
    address = target.address
    username, password = target.credentials
    found = f"{address.name} is {_LAYERS[address.scheme]}"
    details: dict[str, Detail] = {"url": address.name}
    if username is not None:
        details["user name"] = username
    exposed = not (address.is_tls or address.scheme == UNIX or _is_loopback(address.host))
    if password is not None and exposed:
        findings.warn(
            "URL",
            f"{found}; the password is sent without encryption",
            f"use {'wss' if address.is_websocket else 'mqtts'}:// if the server offers it",
            details,
        )
    else:
        findings.ok("URL", found, details)


def _is_loopback(host: str) -> bool:
    if not is_ip_address(host):
        return host.rstrip(".") == "localhost"
    return ip_address(host).is_loopback


async def check_way(findings: Findings, target: Target) -> bool:
    """Connect, and say how that went; False if there is no use in going on."""
    if target.address.scheme == UNIX:
        return await _check_unix(findings, target)
    proxy = target.find_proxy()
    if proxy is None:
        peer = Peer(host=target.address.host, port=target.address.port, purpose=target.address.name)
    else:
        peer = Peer(host=proxy.host, port=proxy.port, purpose=target.address.name, kind="the proxy")
    addresses = await _check_name(findings, peer, target)
    if not addresses or not await _check_tcp(findings, peer, addresses, target):
        return False
    return proxy is None or await _check_proxy(findings, proxy, target)


async def _check_unix(findings: Findings, target: Target) -> bool:
    findings.begin()
    try:
        with trio.fail_after(target.timeout):
            async with target.reach():
                pass
    except trio.TooSlowError:
        what = f"the server took no connection within {target.timeout:g} s"
        findings.fail("socket", what, "see whether it runs and is not overloaded")
        return False
    except ConnectFailed as error:
        findings.fail("socket", *split_error(error, target.address))
        return False
    findings.ok("socket", f"connected to {target.address.path}")
    return True


# -- name -----------------------------------------------------------------------------------------


async def _check_name(findings: Findings, peer: Peer, target: Target) -> list[str]:
    """The IP addresses of a host; none if that is the end."""
    what = f"the host {peer.host!r}" if peer.kind == "server" else f"{peer.kind} {peer.host!r}"
    if is_ip_address(peer.host):
        findings.skip("name", f"{what} is an IP address")
        return [peer.host]
    findings.begin()
    try:
        with trio.fail_after(target.timeout):
            found = await look_up(peer, Progress(peer.purpose, is_silent=True))
    except trio.TooSlowError:
        findings.fail(
            "name",
            f"the name service did not answer within {target.timeout:g} s",
            "check this machine's network and its name servers",
        )
        return []
    except ConnectFailed as error:
        findings.fail("name", *split_error(error, target.address))
        return []
    findings.ok("name", f"{what} is {', '.join(found)}", {"addresses": tuple(found)})
    return found


# -- TCP ------------------------------------------------------------------------------------------


@attrs.define
class _Attempt:
    """What came of connecting to one IP address.

    Attributes:
        address: the address.
        seconds: how long it took.
        error: what was wrong, or None.
    """

    address: str
    seconds: float = 0.0
    error: BaseException | None = None


async def _check_tcp(findings: Findings, peer: Peer, addresses: list[str], target: Target) -> bool:
    """Try each address; True if one of them answers."""

    async def attempt(one: _Attempt) -> None:
        begun = perf_counter()
        try:
            with trio.fail_after(target.timeout):
                stream = await trio.open_tcp_stream(one.address, peer.port)
            stream.socket.close()
        except (OSError, trio.TooSlowError) as error:
            one.error = _reason(error)
        one.seconds = perf_counter() - begun

    attempts = [_Attempt(address) for address in addresses]
    findings.begin()
    async with trio.open_nursery() as nursery:
        for one in attempts:
            nursery.start_soon(attempt, one)
    wrong = [one for one in attempts if one.error is not None]
    details: dict[str, Detail] = {
        one.address: _describe(one, target.timeout) for one in attempts if len(attempts) > 1
    }
    if not wrong:
        many = "each address" if len(attempts) > 1 else attempts[0].address
        findings.ok("TCP", f"connected to port {peer.port} of {many}", details)
    elif len(wrong) < len(attempts):
        findings.warn(
            "TCP",
            f"port {peer.port} answers at {len(attempts) - len(wrong)} of {len(attempts)} "
            "addresses",
            "a client tries the others, too, and may take longer to connect: have the server "
            "listen at all of them, or take those out of the name service",
            details,
        )
    else:
        first = wrong[0]
        what = _describe(first, target.timeout)
        if len(wrong) > 1 and any(_describe(one, target.timeout) != what for one in wrong):
            what = "no address answers"
        findings.fail("TCP", f"port {peer.port}: {what}", _advise(first, peer, target), details)
    return len(wrong) < len(attempts)


def _reason(error: BaseException) -> BaseException:
    """What the system has said; Trio tells it as the cause, perhaps in a group."""
    cause = error.__cause__ or error
    if isinstance(cause, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", cause)
        return group.exceptions[0]
    return cause


def _describe(attempt: _Attempt, timeout: float) -> str:
    error = attempt.error
    if error is None:
        return f"connected in {attempt.seconds * 1000:.1f} ms"
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused: nothing listens there"
    return getattr(error, "strerror", None) or str(error)


def _advise(attempt: _Attempt, peer: Peer, target: Target) -> str:
    error = attempt.error
    if isinstance(error, trio.TooSlowError):
        return "check the address; a firewall or a security group may drop what comes to this port"
    if getattr(error, "errno", None) in _UNREACHABLE:
        return "check the address and this machine's network; there is no way to it from here"
    what = "server" if peer.kind == "server" else "proxy"
    usual = DEFAULT_PORTS[target.address.scheme]
    advice = f"check that the {what} runs, and the address and port that it listens on"
    if what == "server" and peer.port != usual:
        advice += f"; the usual port for {target.address.scheme}:// is {usual}"
    return advice


# -- proxy ----------------------------------------------------------------------------------------


async def _check_proxy(findings: Findings, proxy: ProxyAddress, target: Target) -> bool:
    findings.begin()
    try:
        with trio.fail_after(target.timeout):
            async with target.reach():
                pass
    except trio.TooSlowError:
        findings.fail(
            "proxy",
            f"{proxy.name} did not connect to the server within {target.timeout:g} s",
            "check that what is there is a proxy of this kind, and that it can reach the server",
        )
        return False
    except ConnectFailed as error:
        text, advice = split_error(error, target.address)
        findings.fail("proxy", text.removeprefix(f"through the proxy {proxy.name}: "), advice)
        return False
    place = f"{target.address.host}, port {target.address.port}"
    findings.ok("proxy", f"{proxy.name} has connected to {place}")
    return True
