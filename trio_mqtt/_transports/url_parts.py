"""Taking URLs apart, those of Servers and those of proxies.

A URL may hold a password, and its query a signature. So no message quotes more of it than the
scheme, and where the standard library's messages quote the URL they are replaced, not chained.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST_AND_PORT: Final = re.compile(r"[A-Za-z0-9.-]{1,100}(:[0-9]{1,5})?")
_MOST_PORT: Final = 65_535


@attrs.frozen(kw_only=True)
class URLKind:
    """A kind of URL.

    Attributes:
        title: what it is, for messages.
        ports: the schemes, each with its usual port; 0 if there is neither host nor port.
        otherwise: what to do with credentials that a URL cannot hold, or empty.
        alike: schemes that others use, each with the one of this kind that means the same.
    """

    title: str
    ports: Mapping[str, int]
    otherwise: str = ""
    alike: Mapping[str, str] = attrs.Factory(dict[str, str])

    @property
    def example(self) -> tuple[str, int]:
        """A scheme and its port."""
        return next(iter(self.ports.items()))

    def refuse(self, what: str) -> NoReturn:
        """Raise a ValueError for a URL that has something wrong."""
        message = f"the {self.title} has {what}"
        raise ValueError(message)


@attrs.frozen(kw_only=True)
class URLParts:
    """A URL taken apart.

    Attributes:
        scheme: in small letters.
        place: host and port, as they are.
        path: still quoted.
        query: still quoted.
        username: unquoted, or None.
        password: unquoted, or None.
    """

    scheme: str
    place: str
    path: str
    query: str = attrs.field(repr=False)
    username: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(repr=False)


def split_url(url: str, kind: URLKind) -> URLParts:
    """Take a URL apart.

    Raises:
        TypeError: it is no str.
        ValueError: it is no URL of this kind. The text does not quote it.
    """
    if not isinstance(cast("object", url), str):
        message = f"a {kind.title} is a str, not {type(url).__name__}"
        raise TypeError(message)
    scheme = _scheme(url, kind)
    parts = _split(url, kind)
    userinfo, _, place = parts.netloc.rpartition("@")
    username, colon, password = userinfo.partition(":")
    split = URLParts(
        scheme=scheme,
        place=place,
        path=parts.path,
        query=parts.query,
        username=unquote_part(username, "user name", kind) if userinfo else None,
        password=unquote_part(password, "password", kind) if colon else None,
    )
    if parts.fragment or url.endswith("#"):
        kind.refuse("a # in it; as part of a user name or password write %23")
    return split


def _scheme(url: str, kind: URLKind) -> str:
    match = _SCHEME.match(url)
    known = ", ".join(f"{scheme}://" for scheme in kind.ports)
    if match is None:
        kind.refuse(f"no scheme; it has to begin with one of: {known}{_example(url, kind)}")
    scheme = match[0].lower()
    if scheme not in kind.ports:
        same = kind.alike.get(scheme)
        hint = "" if same is None else f"; write {same}:// instead"
        kind.refuse(f"the scheme {scheme!r}; supported are: {known}{hint}")
    if _UNPRINTABLE.search(url):
        kind.refuse("a space or control character in it; write it as %20 or so")
    return scheme


def _example(url: str, kind: URLKind) -> str:
    """The URL that was probably meant, where the whole of it may be shown."""
    if not _HOST_AND_PORT.fullmatch(url):
        return ""
    return f", as in {kind.example[0]}://{url}"


def _split(url: str, kind: URLKind) -> SplitResult:
    parts = None
    with suppress(ValueError):  # which may quote a password; not to be seen as the context, either
        parts = urlsplit(url)
    if parts is None:
        scheme, port = kind.example
        message = (
            f"the {kind.title} cannot be read: its host is malformed; it should look like "
            f"{scheme}://host:{port}, or {scheme}://[::1]:{port} with an IPv6 address"
        )
        raise ValueError(message)
    return parts


def unquote_part(text: str, what: str, kind: URLKind) -> str:
    """Unquote a part of a URL.

    Raises:
        ValueError: that gives no text.
    """
    if _BAD_PERCENT.search(text):
        kind.refuse(f"a % in its {what} that is no %XX; write %25 for the character itself")
    unquoted = None
    with suppress(UnicodeDecodeError):  # which quotes the bytes
        unquoted = unquote(text, errors="strict")
    if unquoted is None:
        kind.refuse(f"a {what} that is not UTF-8 when unquoted{kind.otherwise}")
    return unquoted


def split_place(parts: URLParts, kind: URLKind) -> tuple[str, int]:
    """Host, without brackets, and port of a URL; the usual port if it has none.

    Raises:
        ValueError: there is no host, or the port is none.
    """
    usual = kind.ports[parts.scheme]
    if parts.place.startswith("["):
        host, _, rest = parts.place[1:].partition("]")
        host = _ipv6(host, kind)
        if rest and not rest.startswith(":"):
            kind.refuse("something other than a port behind the ]")
        digits = rest[1:]
    else:
        host, _, digits = parts.place.partition(":")
        if ":" in digits:
            kind.refuse(
                "several colons in its host; an IPv6 address stands in brackets: "
                f"[::1]:{kind.example[1]}"
            )
    if not host:
        kind.refuse(f"no host; it should look like {parts.scheme}://host:{usual}")
    if not digits:
        return host.lower(), usual
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits[:6]) <= _MOST_PORT):
        hint = ""
        if "@" in parts.path + parts.query:  # then what was taken for the port is a password
            hint = "; in a user name or password, write / as %2F, ? as %3F, # as %23 and @ as %40"
        kind.refuse(f"a port that is no number from 1 to {_MOST_PORT}{hint}")
    return host.lower(), int(digits)


def _ipv6(text: str, kind: URLKind) -> str:
    address = unquote(text)  # the % before a zone is %25 in a URL (RFC 6874)
    is_one = True
    try:
        IPv6Address(address)
    except ValueError:
        is_one = False
    if not is_one:
        kind.refuse("something other than an IPv6 address between its brackets")
    return address


def join_place(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
