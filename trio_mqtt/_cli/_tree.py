"""``trio-mqtt sub --format tree``: a live tree of topics, with counts, rates and last values."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import attrs
import trio
from rich.console import Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from trio_mqtt._cli._output import make_console
from trio_mqtt._cli._text import for_people

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from trio_mqtt import Message

    Sink = Callable[[Message, int], Awaitable[None]]

_MOST_TOPICS: Final = 10_000
_LONGEST_VALUE: Final = 80
_REFRESH: Final = 0.25
_WINDOW: Final = 5.0
"""Rates are those of the last so many seconds."""
_OTHER_LINES: Final = 4  # the headline, the line about what is left out, the cursor's


@attrs.define(eq=False)
class _Node:
    """A level of Topic Names, with all below it.

    Attributes:
        name: what stands between two slashes.
        messages: how many messages came here and below.
        topics: how many topics there are here and below.
        value: the last payload to this very topic, or None.
        children: the next levels, by name.
        history: how many messages there had been, at each moment of the window.
    """

    name: str
    messages: int = 0
    topics: int = 0
    value: bytes | None = None
    children: dict[str, _Node] = attrs.field(factory=dict[str, "_Node"])
    history: deque[tuple[float, int]] = attrs.field(factory=deque[tuple[float, int]])

    def rate(self, now: float) -> float:
        """Messages a second, in the window."""
        history = self.history
        if not history or history[-1][0] < now:
            history.append((now, self.messages))
        while len(history) > 2 and history[1][0] <= now - _WINDOW:  # noqa: PLR2004 - the ends
            history.popleft()
        since, before = history[0]
        return (self.messages - before) / (now - since) if now > since else 0.0


class TopicTree:
    """Counts messages by topic, and draws as much of that as there is room for.

    Args:
        most: how many topics are kept apart; messages to more are only counted.
    """

    def __init__(self, most: int = _MOST_TOPICS) -> None:
        self._root = _Node("")
        self._most = most
        self._beyond = 0

    def add(self, message: Message) -> None:
        """Count a message."""
        path = [self._root]
        levels = message.topic.split("/")
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                if self._root.topics >= self._most:
                    self._beyond += 1
                    self._root.messages += 1
                    return
                child = path[-1].children[level] = _Node(level)
            path.append(child)
        is_new = path[-1].value is None
        for node in path:
            node.messages += 1
            node.topics += is_new
        path[-1].value = message.payload[:_LONGEST_VALUE]

    def render(self, now: float, height: int) -> Group:
        """Draw it.

        Args:
            now: the time, in seconds.
            height: how many lines there are.
        """
        root = self._root
        headline = Text(
            f"{_count(root.messages, 'message')} to {_count(root.topics, 'topic')}, "
            f"{root.rate(now):.1f}/s",
            style="bold",
        )
        open_nodes = self._open_nodes(max(1, height - _OTHER_LINES))
        tree = Tree(headline, guide_style="dim")
        self._draw(tree, root, open_nodes, now)
        lines: list[Tree | Text] = [tree]
        if self._beyond:
            text = f"{_count(self._beyond, 'message')} to more than {self._most} topics not shown"
            lines.append(Text(text, style="yellow"))
        return Group(*lines)

    def _open_nodes(self, room: int) -> set[int]:
        """Which nodes show their children: level by level, as long as there is room."""
        opened: set[int] = set()
        level = [self._root]
        while level:
            following: list[_Node] = []
            for node in level:
                if node.children and len(node.children) <= room:
                    room -= len(node.children)
                    opened.add(id(node))
                    following += node.children.values()
            level = following
        if not opened:
            opened.add(id(self._root))
        return opened

    def _draw(self, tree: Tree, node: _Node, opened: set[int], now: float) -> None:
        for name in sorted(node.children):
            child = node.children[name]
            is_open = id(child) in opened
            branch = tree.add(_label(child, now, hidden=bool(child.children) and not is_open))
            if is_open:
                self._draw(branch, child, opened, now)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _label(node: _Node, now: float, *, hidden: bool) -> Text:
    label = Text(no_wrap=True, overflow="ellipsis")
    label.append(for_people(node.name) or "(empty)", style="cyan")
    label.append(f"  {node.messages:,}  {node.rate(now):.1f}/s", style="dim")
    if hidden:
        label.append(f"  {_count(node.topics, 'topic')}", style="dim")
    if node.value is not None:
        label.append("  " + (for_people(node.value) or "(empty)"))
    return label


async def show_tree(
    subscribe: Callable[[Sink], Awaitable[int]], console: Console | None = None
) -> int:
    """Draw the messages of a subscription, until it ends.

    Args:
        subscribe: takes a sink for messages; its result is returned.
        console: where to draw; by default standard output.
    """
    console = console or make_console()
    tree = TopicTree()

    async def sink(message: Message, _at: int) -> None:
        tree.add(message)

    def draw() -> Group:
        return tree.render(trio.current_time(), console.height)

    async def refresh(live: Live) -> None:
        while True:
            live.update(draw())
            # A terminal stopped with Ctrl-S must not hold the connection up.
            await trio.to_thread.run_sync(live.refresh, abandon_on_cancel=True)
            await trio.sleep(_REFRESH)

    failure: Exception | None = None
    status = 0
    with Live(console=console, auto_refresh=False) as live:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refresh, live)
                try:
                    status = await subscribe(sink)
                except Exception as error:  # noqa: BLE001 - raised below, outside the nursery
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            live.update(draw())
    if failure is not None:
        raise failure
    return status
