"""How many examples a property test tries: what it asks for, or TRIO_MQTT_EXAMPLES if that is set.

The profile that tests run under by default draws the same examples each time, so that a change
fails for what it changed. With TRIO_MQTT_EXAMPLES they are drawn afresh::

    TRIO_MQTT_EXAMPLES=100000 make pytest
"""

from __future__ import annotations

import os
from typing import Final

import hypothesis

WANTED: Final = os.environ.get("TRIO_MQTT_EXAMPLES")


def examples(number: int) -> hypothesis.settings:
    """Decorate a property test that is worth `number` examples where nobody says otherwise."""
    return hypothesis.settings(max_examples=int(WANTED or number))


def load_profile() -> None:
    """Make these settings those of every property test."""
    hypothesis.settings.register_profile(
        "trio_mqtt",
        max_examples=int(WANTED or 100),
        deadline=None,  # a shared machine may be slow at any moment
        derandomize=WANTED is None,
        print_blob=True,
    )
    hypothesis.settings.load_profile("trio_mqtt")
