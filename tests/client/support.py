"""What the tests of the client share."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio_mqtt

open_once: Final = partial(trio_mqtt.open_client, reconnect=None)
"""A client that fails on the first loss, for tests of what is before that."""
