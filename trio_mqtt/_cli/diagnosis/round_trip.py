"""The last step: a message that the client publishes and gets back."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import trio

from trio_mqtt import (
    ConnectFailed,
    FeatureNotSupported,
    MQTTError,
    PublishRejected,
    SubscribeRejected,
    open_client,
)
from trio_mqtt._cli.diagnosis.findings import split_error

if TYPE_CHECKING:
    from trio_mqtt._cli.diagnosis.findings import Findings
    from trio_mqtt._cli.diagnosis.target import Target

STEP: Final = "round trip"


async def check_round_trip(findings: Findings, target: Target, topic: str) -> None:
    """Publish a message to a topic and receive it."""
    findings.begin()
    token = secrets.token_hex(8)
    payload = f"trio-mqtt doctor {token}"
    try:
        with trio.fail_after(target.timeout):
            qos = await _exchange(findings, target, topic, payload)
    except trio.TooSlowError:
        findings.fail(
            STEP,
            f"the message to {topic!r} did not come back within {target.timeout:g} s",
            "check what the server allows this client: some drop what they do not allow, and "
            "say nothing",
        )
    except (SubscribeRejected, PublishRejected) as error:
        advice = f"check what the server allows this client to do with the topic {topic!r}"
        findings.fail(STEP, str(error).partition("; ")[0], advice)
    except (ConnectFailed, FeatureNotSupported, MQTTError) as error:
        findings.fail(STEP, *split_error(error, target.address))
    else:
        findings.ok(STEP, f"a message to {topic!r} at QoS {qos} came back")


async def _exchange(findings: Findings, target: Target, topic: str, payload: str) -> int:
    username, password = target.credentials
    async with open_client(
        _url(target),
        username=username,
        password=password,
        protocol=target.protocol,
        ssl_context=target.make_context() if target.address.is_tls else None,
        websocket_headers=target.websocket_headers,
        proxy=target.proxy,
        keep_alive=target.keep_alive,
        reconnect=None,
        connect_timeout=target.timeout,
        close_timeout=1,
    ) as client:
        qos = min(target.qos, client.server.maximum_qos)
        async with client.subscribe(topic, qos=qos) as messages:
            findings.begin()
            await client.publish(topic, payload, qos=qos)
            async for message in messages:
                if message.payload == payload.encode():
                    break
    return qos


def _url(target: Target) -> str:
    """The URL without credentials, which are given beside it."""
    address = target.address
    return f"{address.name}?{address.query}" if address.query else address.name
