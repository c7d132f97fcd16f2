"""Topic Names, Topic Filters, and which matches which (4.7, 4.8.2)."""

from __future__ import annotations

from typing import Generic, TypeVar

from trio_mqtt._errors import LocalProtocolError

T = TypeVar("T")

_MAXIMUM_BYTES = 65535
SHARE_PREFIX = "$share/"


def _why_not_a_string(text: str) -> tuple[str, str] | None:
    """What makes `text` unfit for the wire, with the statement, or None."""
    if "\0" in text:
        return "contains U+0000", "MQTT-1.5.4-2"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "contains a surrogate, which UTF-8 cannot carry", "MQTT-1.5.4-1"
    if size > _MAXIMUM_BYTES:
        return f"takes {size} bytes, more than {_MAXIMUM_BYTES}", "MQTT-4.7.3-3"
    return None


def why_not_a_topic_name(topic: str, wildcards: str = "MQTT-3.3.2-2") -> tuple[str, str] | None:
    """What makes `topic` no Topic Name, with the statement violated; None if it is one.

    Args:
        topic: what may be a Topic Name.
        wildcards: the statement that forbids wildcards where this one stands.
    """
    if not topic:
        return "is empty", "MQTT-4.7.3-1"
    if "+" in topic or "#" in topic:
        return "contains a wildcard character; only Topic Filters have + and #", wildcards
    return _why_not_a_string(topic)


def why_not_a_topic_filter(topic_filter: str) -> tuple[str, str] | None:
    """What makes `topic_filter` no Topic Filter, with the statement; None if it is one."""
    if not topic_filter:
        return "is empty", "MQTT-4.7.3-1"
    if topic_filter.startswith(SHARE_PREFIX) or topic_filter == "$share":
        return _why_not_a_shared_filter(topic_filter)
    return _why_not_a_plain_filter(topic_filter)


def _why_not_a_plain_filter(topic_filter: str) -> tuple[str, str] | None:
    levels = topic_filter.split("/")
    for index, level in enumerate(levels):
        if "#" in level and (level != "#" or index != len(levels) - 1):
            return "has a '#' that is not the whole last level", "MQTT-4.7.1-1"
        if "+" in level and level != "+":
            return "has a '+' that does not fill its level", "MQTT-4.7.1-2"
    return _why_not_a_string(topic_filter)


def _why_not_a_shared_filter(topic_filter: str) -> tuple[str, str] | None:
    share_name, slash, rest = topic_filter[len(SHARE_PREFIX) :].partition("/")
    if not share_name:
        return "needs a share name, as in $share/NAME/FILTER", "MQTT-4.8.2-1"
    if "+" in share_name or "#" in share_name:
        return "has a share name with '+' or '#' in it", "MQTT-4.8.2-2"
    if not slash or not rest:
        return "needs a Topic Filter after the share name, as in $share/NAME/FILTER", "MQTT-4.8.2-2"
    return _why_not_a_plain_filter(rest) or _why_not_a_string(topic_filter)


def check_topic_name(topic: str, wildcards: str = "MQTT-3.3.2-2") -> None:
    """Raise LocalProtocolError unless `topic` is a Topic Name that one can publish to."""
    try:
        problem = why_not_a_topic_name(topic, wildcards)
        message = "" if problem is None else f"Topic Name {topic[:100]!r} {problem[0]}"
    except (AttributeError, TypeError):
        raise _not_a_str(topic, "a Topic Name") from None
    if problem is not None:
        raise LocalProtocolError(message, statement=problem[1])


def _not_a_str(value: object, what: str) -> TypeError:
    kind = type(value).__name__
    hint = "; decode() makes one of it" if isinstance(value, bytes) else ""
    return TypeError(f"{what} is a str, not {kind}{hint}")


def check_topic_filter(topic_filter: str) -> None:
    """Raise LocalProtocolError unless `topic_filter` is a Topic Filter."""
    try:
        problem = why_not_a_topic_filter(topic_filter)
        message = "" if problem is None else f"Topic Filter {topic_filter[:100]!r} {problem[0]}"
    except (AttributeError, TypeError):
        raise _not_a_str(topic_filter, "a Topic Filter") from None
    if problem is not None:
        raise LocalProtocolError(message, statement=problem[1])


def split_share(topic_filter: str) -> tuple[str | None, str]:
    """Take ``$share/NAME/FILTER`` apart: the share name, or None, and the filter to match."""
    if not topic_filter.startswith(SHARE_PREFIX):
        return None, topic_filter
    share_name, _, rest = topic_filter[len(SHARE_PREFIX) :].partition("/")
    return share_name, rest


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether a Topic Filter matches a Topic Name (4.7).

    A shared filter (``$share/NAME/FILTER``) matches as its FILTER does. A filter that starts with
    a wildcard does not match a name that starts with ``$`` (MQTT-4.7.2-1).

    Args:
        topic_filter: a Topic Filter, with or without wildcards.
        topic: a Topic Name.

    Raises:
        LocalProtocolError: one of them is not valid.
    """
    check_topic_filter(topic_filter)
    check_topic_name(topic)
    tree: TopicTree[bool] = TopicTree()
    tree.set(split_share(topic_filter)[1], value=True)
    return bool(tree.match(topic))


def _has_wildcards(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter


class _Node(Generic[T]):
    """A level of a Topic Filter, and what can follow it; apart, to look at little memory."""

    __slots__ = ("any_level", "any_levels", "children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] | None = None
        self.any_level: _Node[T] | None = None  # '+'
        self.any_levels: _Node[T] | None = None  # '#'
        self.values: tuple[T, ...] = ()  # one, or none where only longer filters pass through

    @property
    def is_empty(self) -> bool:
        return not (self.values or self.children or self.any_level or self.any_levels)

    def get(self, level: str) -> _Node[T] | None:
        if level == "+":
            return self.any_level
        if level == "#":
            return self.any_levels
        return None if self.children is None else self.children.get(level)

    def put(self, level: str, node: _Node[T]) -> None:
        if level == "+":
            self.any_level = node
        elif level == "#":
            self.any_levels = node
        elif self.children is None:
            self.children = {level: node}
        else:
            self.children[level] = node

    def remove(self, level: str) -> None:
        if level == "+":
            self.any_level = None
        elif level == "#":
            self.any_levels = None
        elif self.children is not None:
            del self.children[level]


class TopicTree(Generic[T]):
    """Values by Topic Filter; finding those that match a Topic Name visits only matching branches.

    Filters without wildcards match one name alone: they are not in the tree but beside it.

    The filters are plain: a caller with shared ones splits the share name off first.
    """

    def __init__(self) -> None:
        self._root = _Node[T]()
        self._size = 0  # of the tree
        self._exact: dict[str, T] = {}

    def __len__(self) -> int:
        """How many filters have a value."""
        return self._size + len(self._exact)

    def get(self, topic_filter: str) -> T | None:
        """The value of exactly this filter, or None."""
        if not _has_wildcards(topic_filter):
            return self._exact.get(topic_filter)
        node = self._root
        for level in topic_filter.split("/"):
            child = node.get(level)
            if child is None:
                return None
            node = child
        return node.values[0] if node.values else None

    def set(self, topic_filter: str, value: T) -> None:
        """Give this filter a value, in place of the one it may have had."""
        if not _has_wildcards(topic_filter):
            self._exact[topic_filter] = value
            return
        node = self._root
        for level in topic_filter.split("/"):
            child = node.get(level)
            if child is None:
                child = _Node[T]()
                node.put(level, child)
            node = child
        self._size += not node.values
        node.values = (value,)

    def remove(self, topic_filter: str) -> None:
        """Forget this filter, and every branch that only it needed; KeyError if it is not here."""
        if not _has_wildcards(topic_filter):
            del self._exact[topic_filter]
            return
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            child = path[-1].get(level)
            if child is None:
                raise KeyError(topic_filter)
            path.append(child)
        if not path[-1].values:
            raise KeyError(topic_filter)
        path[-1].values = ()
        self._size -= 1
        for index in range(len(levels) - 1, -1, -1):
            if not path[index + 1].is_empty:
                break
            path[index].remove(levels[index])

    def match(self, topic: str) -> list[T]:
        """The values of all filters that match this Topic Name."""
        found = [self._exact[topic]] if topic in self._exact else []
        if not self._size:
            return found
        nodes = [self._root]
        for index, level in enumerate(topic.split("/")):
            wildcards = index > 0 or not topic.startswith("$")  # MQTT-4.7.2-1
            following: list[_Node[T]] = []
            for node in nodes:
                if node.children is not None:
                    child = node.children.get(level)
                    if child is not None:
                        following.append(child)
                if wildcards and node.any_level is not None:
                    following.append(node.any_level)
                if wildcards and node.any_levels is not None:
                    found += node.any_levels.values
            nodes = following
        for node in nodes:
            found += node.values
            if node.any_levels is not None:  # '#' matches its parent level, too (4.7.1.2)
                found += node.any_levels.values
        return found
