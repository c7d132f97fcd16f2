"""Topic Names, Topic Filters and matching: tables after section 4.7, and a naive second opinion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from trio_mqtt._errors import LocalProtocolError
from trio_mqtt._topics import (
    TopicTree,
    check_topic_filter,
    check_topic_name,
    split_share,
    topic_matches,
    why_not_a_topic_filter,
    why_not_a_topic_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD_NAMES: Final = [
    "a",
    "/",
    "//",
    " ",
    "a/b/c",
    "/a",
    "a/",
    "$SYS/uptime",
    "$share",
    "sport/tennis/player1",
    "Åland/températures/東京/🌡",
    "\ufeffa",  # a byte order mark is a character like others (MQTT-1.5.4-3)
    "a" * 65535,
    "é" * 32767,
]

BAD_NAMES: Final = [
    ("", "is empty", "MQTT-4.7.3-1"),
    ("a/+/b", "wildcard", "MQTT-3.3.2-2"),
    ("a/#", "wildcard", "MQTT-3.3.2-2"),
    ("a+b", "wildcard", "MQTT-3.3.2-2"),
    ("a#", "wildcard", "MQTT-3.3.2-2"),
    ("a\0b", "U+0000", "MQTT-1.5.4-2"),
    ("\ud800", "surrogate", "MQTT-1.5.4-1"),
    ("a" * 65536, "takes 65536 bytes", "MQTT-4.7.3-3"),
    ("é" * 32768, "takes 65536 bytes", "MQTT-4.7.3-3"),
]

GOOD_FILTERS: Final = [
    *GOOD_NAMES[:8],
    "#",
    "+",
    "/#",
    "+/+",
    "/+",
    "+/",
    "a/+/b/#",
    "+/tennis/#",
    "sport/tennis/#",
    "$SYS/#",
    "$share/consumers/a",
    "$share/consumers/#",
    "$share/consumers/+/b",
    "$share/consumers//a",
    "$share/consumers//",
    "$shared/a",
    "$sharing",
]

BAD_FILTERS: Final = [
    ("", "is empty", "MQTT-4.7.3-1"),
    ("a#", "'#'", "MQTT-4.7.1-1"),
    ("a/#/b", "'#'", "MQTT-4.7.1-1"),
    ("sport/tennis#", "'#'", "MQTT-4.7.1-1"),
    ("##", "'#'", "MQTT-4.7.1-1"),
    ("#/", "'#'", "MQTT-4.7.1-1"),
    ("sport+", "'+'", "MQTT-4.7.1-2"),
    ("a/b+/c", "'+'", "MQTT-4.7.1-2"),
    ("++", "'+'", "MQTT-4.7.1-2"),
    ("a\0b", "U+0000", "MQTT-1.5.4-2"),
    ("\udfff/#", "surrogate", "MQTT-1.5.4-1"),
    ("a" * 65536, "takes 65536 bytes", "MQTT-4.7.3-3"),
    ("$share", "share name", "MQTT-4.8.2-1"),
    ("$share/", "share name", "MQTT-4.8.2-1"),
    ("$share//a", "share name", "MQTT-4.8.2-1"),
    ("$share/+/a", "share name", "MQTT-4.8.2-2"),
    ("$share/a#/a", "share name", "MQTT-4.8.2-2"),
    ("$share/consumers", "Topic Filter after", "MQTT-4.8.2-2"),
    ("$share/consumers/", "Topic Filter after", "MQTT-4.8.2-2"),
    ("$share/consumers/a#", "'#'", "MQTT-4.7.1-1"),
    ("$share/consumers/a\0", "U+0000", "MQTT-1.5.4-2"),
    ("$share/con\0sumers/a", "U+0000", "MQTT-1.5.4-2"),
    ("$share/consumers/" + "a" * 65530, "takes 65547 bytes", "MQTT-4.7.3-3"),
]

MATCHES: Final = [
    # The examples of 4.7.1.2 and 4.7.1.3.
    ("sport/tennis/player1/#", "sport/tennis/player1"),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
    ("sport/#", "sport"),
    ("#", "sport"),
    ("#", "/"),
    ("sport/tennis/+", "sport/tennis/player1"),
    ("sport/tennis/+", "sport/tennis/player2"),
    ("sport/+", "sport/"),
    ("+/+", "/finance"),
    ("/+", "/finance"),
    # 4.7.2: '$' names, where no wildcard stands at the first level.
    ("$SYS/#", "$SYS/uptime"),
    ("$SYS/#", "$SYS"),
    ("$SYS/monitor/+", "$SYS/monitor/Clients"),
    ("a/+", "a/$b"),
    ("a/#", "a/$b/c"),
    # 4.7.3: case, spaces, slashes and Unicode are taken as they are.
    ("Accounts payable", "Accounts payable"),
    ("+/", "a/"),
    ("//", "//"),
    ("+/+/+", "//"),
    ("+/b/#", "a/b"),
    ("東京/+", "東京/🌡"),
    # 4.8.2: the share name takes no part.
    ("$share/consumers/a/+", "a/b"),
    ("$share/consumers//a", "/a"),
    ("$share/consumers/$SYS/#", "$SYS/uptime"),
]

NO_MATCHES: Final = [
    ("sport/tennis/+", "sport/tennis/player1/ranking"),
    ("sport/+", "sport"),
    ("+", "/finance"),
    ("sport/#", "sports"),
    ("#", "$SYS/uptime"),
    ("+/monitor/Clients", "$SYS/monitor/Clients"),
    ("+", "$SYS"),
    ("$share/consumers/#", "$SYS/uptime"),
    ("ACCOUNTS", "Accounts"),
    ("a", "a/"),
    ("a", "/a"),
    ("a/b", "a"),
    ("a/b/#", "a"),
    ("/", "//"),
    ("é", "e\u0301"),  # no normalization (1.5.4, note on the same string in two forms)
]


@pytest.mark.parametrize("name", GOOD_NAMES, ids=lambda name: name[:20])
def test_topic_names(name: str) -> None:
    assert why_not_a_topic_name(name) is None
    check_topic_name(name)


@pytest.mark.parametrize("topic_filter", GOOD_FILTERS, ids=lambda name: name[:20])
def test_topic_filters(topic_filter: str) -> None:
    assert why_not_a_topic_filter(topic_filter) is None
    check_topic_filter(topic_filter)


def refusals(rows: list[tuple[str, str, str]]) -> Callable[[object], pytest.MarkDecorator]:
    ids = [f"{row[0][:20].encode('unicode_escape').decode()}-{row[2]}" for row in rows]
    return pytest.mark.parametrize(("text", "why", "statement"), rows, ids=ids)


@refusals(BAD_NAMES)
def test_no_topic_names(text: str, why: str, statement: str) -> None:
    problem = why_not_a_topic_name(text)
    assert problem is not None
    assert why in problem[0]
    assert problem[1] == statement
    with pytest.raises(LocalProtocolError, match=r"^Topic Name '") as caught:
        check_topic_name(text)
    assert problem[0] in str(caught.value)
    assert caught.value.statement == statement
    assert len(str(caught.value)) < 250


@refusals(BAD_FILTERS)
def test_no_topic_filters(text: str, why: str, statement: str) -> None:
    problem = why_not_a_topic_filter(text)
    assert problem is not None
    assert why in problem[0]
    assert problem[1] == statement
    with pytest.raises(LocalProtocolError, match=r"^Topic Filter '") as caught:
        check_topic_filter(text)
    assert problem[0] in str(caught.value)
    assert caught.value.statement == statement
    assert len(str(caught.value)) < 250


def test_wildcards_cite_the_statement_of_the_place() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        check_topic_name("a/#", "MQTT-3.3.2-14")
    assert caught.value.statement == "MQTT-3.3.2-14"


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("a/b", (None, "a/b")),
        ("$share/name/a/b", ("name", "a/b")),
        ("$share/name//", ("name", "/")),
        ("$shared/a", (None, "$shared/a")),
    ],
)
def test_split_share(topic_filter: str, expected: tuple[str | None, str]) -> None:
    assert split_share(topic_filter) == expected


@pytest.mark.parametrize(("topic_filter", "topic"), MATCHES)
def test_matches(topic_filter: str, topic: str) -> None:
    assert topic_matches(topic_filter, topic) is True


@pytest.mark.parametrize(("topic_filter", "topic"), NO_MATCHES)
def test_does_not_match(topic_filter: str, topic: str) -> None:
    assert topic_matches(topic_filter, topic) is False


def test_topic_matches_refuses_what_is_no_filter_or_no_name() -> None:
    with pytest.raises(LocalProtocolError, match="Topic Filter"):
        topic_matches("a#", "a")
    with pytest.raises(LocalProtocolError, match="Topic Name"):
        topic_matches("#", "a/+")


def test_tree_holds_one_value_for_each_filter() -> None:
    tree: TopicTree[str] = TopicTree()
    assert len(tree) == 0
    assert tree.get("a/b") is None
    assert tree.match("a/b") == []
    tree.set("a/b", "first")
    tree.set("a/b", "second")
    tree.set("a/+", "third")
    assert len(tree) == 2
    assert tree.get("a/b") == "second"
    assert tree.get("a/+") == "third"
    assert tree.get("a") is None
    assert sorted(tree.match("a/b")) == ["second", "third"]


def test_tree_holds_values_that_are_false() -> None:
    tree: TopicTree[int] = TopicTree()
    tree.set("a", 0)
    assert tree.get("a") == 0
    assert tree.match("a") == [0]
    tree.set("a", 0)
    assert len(tree) == 1
    tree.remove("a")
    assert tree.match("a") == []


def test_tree_forgets_a_filter_with_the_branches_that_only_it_needed() -> None:
    tree: TopicTree[int] = TopicTree()
    for number, topic_filter in enumerate(["a/b/c/d", "a/b", "a/b/c/#", "x"]):
        tree.set(topic_filter, number)
    tree.remove("a/b/c/d")
    assert tree.get("a/b/c/d") is None
    assert tree.get("a/b/c/#") == 2
    tree.remove("a/b/c/#")
    assert tree.get("a/b") == 1
    assert tree.match("a/b/c") == []
    tree.remove("a/b")
    tree.remove("x")
    assert len(tree) == 0
    assert tree._root.children == {}


@pytest.mark.parametrize("missing", ["a", "a/b/c", "b", "a/+"])
def test_tree_cannot_forget_what_it_does_not_have(missing: str) -> None:
    tree: TopicTree[int] = TopicTree()
    tree.set("a/b", 1)
    with pytest.raises(KeyError):
        tree.remove(missing)
    assert len(tree) == 1
    assert tree.match("a/b") == [1]


def matches_naively(topic_filter: str, topic: str) -> bool:
    """Section 4.7 word for word, level by level, on its own."""
    if topic[0] == "$" and topic_filter[0] in "#+":
        return False
    filters, levels = topic_filter.split("/"), topic.split("/")
    if filters[-1] == "#":
        filters.pop()
        if len(levels) < len(filters):
            return False
        levels = levels[: len(filters)]
    pairs = zip(filters, levels, strict=False)
    return len(filters) == len(levels) and all(f in {"+", level} for f, level in pairs)


LEVELS: Final = st.sampled_from(["", "a", "b", "$", "$a", "ab"])
topics = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def topic_filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(LEVELS, st.just("+")), max_size=5))
    if not levels or draw(st.booleans()):
        levels.append("#")
    return "/".join(levels) or "+"


@examples(500)
@given(st.sets(topic_filters(), max_size=12), st.lists(topics, min_size=1, max_size=5))
def test_tree_agrees_with_a_naive_matcher(filters: set[str], names: list[str]) -> None:
    tree: TopicTree[str] = TopicTree()
    for topic_filter in filters:
        tree.set(topic_filter, topic_filter)
    for name in names:
        expected = sorted(filter(partial(matches_naively, topic=name), filters))
        assert sorted(tree.match(name)) == expected
        assert [f for f in sorted(filters) if topic_matches(f, name)] == expected


@examples(200)
@given(st.lists(topic_filters(), max_size=12), st.lists(topics, min_size=1, max_size=3), st.data())
def test_tree_agrees_after_filters_come_and_go(
    filters: list[str], names: list[str], data: st.DataObject
) -> None:
    tree: TopicTree[int] = TopicTree()
    present: dict[str, int] = {}
    for number, topic_filter in enumerate(filters):
        tree.set(topic_filter, number)
        present[topic_filter] = number
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(present)))
            tree.remove(gone)
            del present[gone]
        assert len(tree) == len(present)
        for name in names:
            expected = sorted(n for f, n in present.items() if matches_naively(f, name))
            assert sorted(tree.match(name)) == expected
