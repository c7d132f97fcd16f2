"""Messages there and back."""

from __future__ import annotations

import pytest

from tests.interop.checks import Target, check


@check("Messages at each QoS arrive, in order")
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_at_each_qos(target: Target, qos: int) -> None:
    topic = target.topic("a")
    sent = [f"message {number}" for number in range(100)]
    received: list[str] = []
    async with target.open() as client, client.subscribe(topic, qos=qos) as messages:
        assert messages.granted == {topic: qos}
        async with client.open_publisher(qos=qos) as publisher:
            for text in sent:
                await publisher.send(topic, text)
        while len(received) < len(sent):
            message = await messages.receive()
            assert message.qos == qos
            received.append(message.text())
            message.ack()
    assert received == sent
