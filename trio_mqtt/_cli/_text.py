"""Text from others for a terminal: what would act on it is shown instead."""

from __future__ import annotations

import re
from typing import Final

# Controls move the cursor, set titles, answer questions of the terminal; the others reverse or
# hide what stands beside them.
_FORMATTING: Final = "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_ACTING: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_FORMATTING}]")
_ACTING_OR_BREAKING: Final = re.compile(
    f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_FORMATTING}]"
)


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004


def for_terminal(data: bytes | str) -> str:
    r"""Text that may have several lines, such as a payload; no UTF-8 is shown as ``\xff``."""
    text = data if isinstance(data, str) else data.decode(errors="backslashreplace")
    return _ACTING.sub(_shown, text)


def for_people(data: bytes | str) -> str:
    """Text that stands on one line, such as a Topic Name or an error."""
    text = data if isinstance(data, str) else data.decode(errors="backslashreplace")
    return _ACTING_OR_BREAKING.sub(_shown, text)


def for_json(text: str) -> str:
    """JSON in which what would act on a terminal is escaped, inside strings, as JSON does it."""
    return _ACTING.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
