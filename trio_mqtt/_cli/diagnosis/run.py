"""All steps in order; those that there is no use in are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt._cli.diagnosis.findings import NOT_TRIED, Findings
from trio_mqtt._cli.diagnosis.mqtt import Exchange
from trio_mqtt._cli.diagnosis.network import check_url, check_way
from trio_mqtt._cli.diagnosis.round_trip import STEP, check_round_trip
from trio_mqtt._cli.diagnosis.tls import check_tls
from trio_mqtt._transports.url import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._cli.diagnosis.findings import Step
    from trio_mqtt._cli.diagnosis.target import Target


async def diagnose(target: Target, tell: Callable[[Step], None]) -> Findings:
    """Connect step by step, and tell each.

    Args:
        target: where to, and as whom.
        tell: is called with each step as soon as it is over.

    Returns:
        All steps.
    """
    findings = Findings(tell)
    check_url(findings, target)
    if await _connect(findings, target) and target.topic is not None:
        await check_round_trip(findings, target, target.topic)
    done = {step.name for step in findings.steps}
    if findings.failed:
        for name in _expected(target):
            if name not in done:
                findings.skip(name, NOT_TRIED)
    return findings


def _expected(target: Target) -> list[str]:
    """The names of the steps for such a URL."""
    address = target.address
    names = ["socket"] if address.scheme == UNIX else ["name", "TCP"]
    if address.scheme != UNIX and target.find_proxy() is not None:
        names.append("proxy")
    if address.is_tls:
        names += ["TLS", "certificate", "dates", "host name"]
    if address.is_websocket:
        names.append("WebSocket")
    names += ["CONNACK", "limits", "PINGREQ"]
    if target.topic is not None:
        names.append(STEP)
    return names


async def _connect(findings: Findings, target: Target) -> bool:
    if not await check_way(findings, target):
        return False
    if target.address.is_tls and not await check_tls(findings, target):
        return False
    return await Exchange(findings, target).run() and not findings.failed
