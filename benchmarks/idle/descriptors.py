"""How many connections a process may have."""

from __future__ import annotations

import resource


def raise_limit() -> int:
    """Allow as many descriptors as the hard limit does; that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
