"""What a client counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from trio_mqtt._client._supervisor import Supervisor


@attrs.frozen(kw_only=True)
class ClientStatistics:
    """Counters and gauges of a client.

    Attributes:
        connected: whether there is a connection now.
        connections: how many connections there were.
        published: messages that the client has accepted for sending.
        queued: QoS 1 and 2 messages that wait to be sent for the first time.
        unfinished: QoS 1 and 2 messages, SUBSCRIBEs and UNSUBSCRIBEs whose exchange is not over,
            the queued ones among them.
        unfinished_bytes: what these messages take in memory, about, in bytes.
        expired: messages that were dropped since they had expired before they could be sent.
        displaced: messages that were dropped since others needed their place in the queue.
        window: how many more QoS 1 and 2 messages the Server takes now.
        output_bytes: bytes that wait to be sent.
        topic_alias_savings: bytes that Topic Aliases have saved on this connection, about; less
            than 0 as long as they have cost more.
        unsettled: QoS 1 and 2 messages received on this connection whose exchange is not over.
        held: messages of earlier connections not acknowledged yet; the Server sends them again.
        unclaimed: messages left unsettled, waiting for a subscription that takes them.
        unclaimed_released: messages that waited in vain and were acknowledged.
        strays: messages received that nothing here had subscribed to.
        stray_acknowledgements: acknowledgements received that belonged to nothing.
        receive_maximum_exceeded: messages that the Server sent beyond our Receive Maximum.
        dropped: QoS 0 messages that arrived for a kept Topic Filter with no subscription.
        requests: requests that wait for their replies.
        stray_replies: replies that came too late, twice, or for no request at all.
        tasks_awaiting_answers: tasks that await an acknowledgement or another answer.
        reading_paused: for how long reading has been paused by full buffers, in seconds.
    """

    connected: bool
    connections: int
    published: int
    queued: int
    unfinished: int
    unfinished_bytes: int
    expired: int
    displaced: int
    window: int
    output_bytes: int
    topic_alias_savings: int
    unsettled: int
    held: int
    unclaimed: int
    unclaimed_released: int
    strays: int
    stray_acknowledgements: int
    receive_maximum_exceeded: int
    dropped: int
    requests: int
    stray_replies: int
    tasks_awaiting_answers: int
    reading_paused: float


def statistics_of(supervisor: Supervisor) -> ClientStatistics:
    """Counters and gauges of a client, as of now."""
    sending, deliveries = supervisor.sending, supervisor.deliveries
    session = supervisor.state
    connection = supervisor.connection
    aliases = connection.sender.aliases if connection else None
    return ClientStatistics(
        connected=connection is not None,
        connections=supervisor.connections,
        published=sending.published,
        queued=session.waiting,
        unfinished=session.unfinished,
        unfinished_bytes=session.outgoing_size,
        expired=sending.expired,
        displaced=sending.displaced,
        window=connection.sender.quota if connection else 0,
        output_bytes=connection.output.size if connection else 0,
        topic_alias_savings=aliases.saved if aliases else 0,
        unsettled=connection.receiver.count_unsettled() if connection else 0,
        held=len(session.held),
        unclaimed=len(deliveries.unclaimed),
        unclaimed_released=deliveries.unclaimed.released,
        strays=deliveries.strays,
        stray_acknowledgements=connection.sender.strays if connection else 0,
        receive_maximum_exceeded=connection.receiver.overruns if connection else 0,
        dropped=deliveries.unclaimed.dropped,
        requests=supervisor.requester.waiting,
        stray_replies=deliveries.stray_replies,
        tasks_awaiting_answers=deliveries.valve.awaited,
        reading_paused=deliveries.valve.paused_until_now(),
    )
