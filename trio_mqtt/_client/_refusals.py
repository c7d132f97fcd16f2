"""What to do about a refusal, by its Reason Code."""

from __future__ import annotations

from typing import Final

from trio_mqtt._enums import ReasonCode

_HINTS: Final = {
    ReasonCode.UNSPECIFIED_ERROR: "the log of the server may say more",
    ReasonCode.NOT_AUTHORIZED: "check what the server allows this client",
    ReasonCode.QUOTA_EXCEEDED: "the server holds too much for this client, or for all",
    ReasonCode.TOPIC_NAME_INVALID: "the server does not take this topic",
    ReasonCode.TOPIC_FILTER_INVALID: "the server does not take this filter",
    ReasonCode.PAYLOAD_FORMAT_INVALID: "publish bytes in place of a str, or text that is UTF-8",
}


def hint_for(code: ReasonCode) -> str:
    """What can be said to the end of the message, or nothing."""
    hint = _HINTS.get(code)
    return "" if hint is None else f"; {hint}"
