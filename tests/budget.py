"""How many examples a property test tries: what it asks for, or TRIO_MQTT_EXAMPLES if that is set.

The same examples are drawn each time, so that a change fails for what it changed; from 10,000 on
they are drawn afresh::

    TRIO_MQTT_EXAMPLES=100000 make pytest
"""

from __future__ import annotations

import os
from typing import Final

import hypothesis

USUAL: Final = 100
DRAWN_AFRESH: Final = 10_000
WANTED: Final = int(os.environ.get("TRIO_MQTT_EXAMPLES", "0"))


def examples(number: int) -> hypothesis.settings:
    """Decorate a property test that is worth `number` examples where nobody says otherwise."""
    return hypothesis.settings(max_examples=WANTED or number)


def load_profile() -> None:
    """Make these settings those of every property test."""
    hypothesis.settings.register_profile(
        "trio_mqtt",
        max_examples=WANTED or USUAL,
        deadline=None,  # a shared machine may be slow at any moment
        derandomize=WANTED < DRAWN_AFRESH,
        print_blob=True,
    )
    hypothesis.settings.load_profile("trio_mqtt")
