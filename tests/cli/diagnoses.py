"""What the tests of `trio-mqtt doctor` share."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from tests.transports.support import CA, client_context
from trio_mqtt._cli.diagnosis.findings import Findings, Status, Step
from trio_mqtt._cli.diagnosis.run import diagnose
from trio_mqtt._cli.diagnosis.target import Target
from trio_mqtt._transports.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable

    import trustme

LONG: Final = 30.0
"""Longer than any diagnosis here takes, in seconds."""


@attrs.frozen
class Diagnosis:
    """What doctor has found.

    Attributes:
        findings: the steps.
    """

    findings: Findings

    def __getitem__(self, name: str) -> Step:
        [step] = [step for step in self.findings.steps if step.name == name]
        return step

    def names(self, status: Status) -> list[str]:
        """The steps that came out so."""
        return [step.name for step in self.findings.steps if step.status is status]

    @property
    def failed(self) -> list[str]:
        return self.names(Status.FAILED)

    @property
    def warned(self) -> list[str]:
        return self.names(Status.WARNING)


async def examine(
    url: str,
    *,
    ca: trustme.CA = CA,
    certificate: trustme.LeafCert | None = None,
    **options: Any,
) -> Diagnosis:
    """Have doctor look at a URL, trusting one authority."""
    told: list[Step] = []
    target = Target(
        address=parse_url(url), make_context=lambda: client_context(ca, certificate), timeout=5.0
    )
    target = attrs.evolve(target, **options)
    with trio.fail_after(LONG):
        findings = await diagnose(target, told.append)
    assert findings.steps == told
    return Diagnosis(findings)


async def say_nothing(stream: trio.SocketStream) -> None:
    """A server that never answers."""
    async with stream:
        with suppress(trio.BrokenResourceError):
            async for _ in stream:
                pass


def answer(data: bytes) -> Callable[[trio.SocketStream], Any]:
    """A server that says this to whatever comes, and closes."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.receive_some()
                if data:
                    await stream.send_all(data)
                    await stream.send_eof()
                    await stream.receive_some()

    return serve
