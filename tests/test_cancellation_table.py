"""Each row of the documentation's table of cancellations is a test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.client import test_cancellation

PAGE: Final = Path(__file__).parent.parent / "docs" / "cancellation.rst"

TESTS: Final = {
    "`open_client`, on entry": "test_entry_while_the_server_does_not_answer",
    "`open_client`, on entry, while it tries again": "test_entry_while_it_tries_again",
    "`open_client`, in the block": "test_the_whole_block_of_a_client",
    "`Client.publish`, QoS 0": "test_a_cancelled_publish_of_qos_0_was_not_sent",
    "`Client.publish`, QoS 1 and 2": "test_publish",
    "`Client.publish`, QoS 0, without a connection": "test_publish_without_a_connection",
    "`Client.publish`, QoS 1 and 2, without a connection": "test_publish_without_a_connection",
    "`Client.enqueue`": "test_enqueue",
    "`Client.enqueue`, with durable storage": "test_enqueue_with_durable_storage",
    "`Delivery.wait`": "test_waiting_for_a_delivery",
    "`Publisher.send`": "test_publishing_with_a_full_queue",
    "The end of a `Client.open_publisher` block": "test_a_publisher",
    "`Client.subscribe`, on entry": "test_the_block_of_a_subscription",
    "`Client.subscribe`, on entry, before the first connection": (
        "test_subscribe_before_the_first_connection"
    ),
    "`Client.subscribe`, in the block or at its end": "test_the_block_of_a_subscription",
    "`Client.unsubscribe`": "test_unsubscribe",
    "`Client.request`": "test_request",
    "`Client.serve`": "test_serve",
    "A loop over a `Subscription`": "test_a_loop_in_its_block",
    "`Subscription.receive`": "test_receive",
    "`Session.settle`": "test_settle",
    "`Client.wait_connected`": "test_wait_connected",
    "`Client.reauthenticate`": "test_reauthenticate",
    "A loop over an `EventStream`": "test_a_loop_over_events",
}


def rows() -> list[str]:
    return re.findall(r"^   \* - (.*)$", PAGE.read_text(), flags=re.MULTILINE)[1:]


def test_every_row_names_a_test() -> None:
    assert rows() == list(TESTS)


@pytest.mark.parametrize("name", sorted(set(TESTS.values())))
def test_the_tests_exist(name: str) -> None:
    assert callable(getattr(test_cancellation, name))
