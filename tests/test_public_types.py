"""No public call takes or returns `Any`: mypy and pyright would have nothing to say about it.

The annotations are evaluated, with what the modules import for them alone, so that an alias hides
nothing; and from each class that is found there on, to what a public call hands out.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio_mqtt
from tests.test_public_names import PUBLIC_MODULES, names_of

if TYPE_CHECKING:
    from types import ModuleType

MODULES: Final = (*PUBLIC_MODULES, "trio_mqtt.abc")
ROOT: Final = Path(trio_mqtt.__file__).parent


def sources() -> dict[str, ModuleType]:
    """Every module of the package by its file; classes report another one.

    Not the fixtures: pytest wants to be the first who imports them, and they have no classes.
    """
    found: dict[str, ModuleType] = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path.name not in {"__main__.py", "fixtures.py"} and "_cli" not in path.parts:
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            found[str(path)] = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    return found


SOURCES: Final = sources()
TREES: Final = {path: ast.parse(Path(path).read_text(encoding="utf-8")) for path in SOURCES}
CLASSES: Final = {
    vars(SOURCES[path])[node.name]: path
    for path, tree in TREES.items()
    for node in tree.body
    if isinstance(node, ast.ClassDef)
}
"""The file of each class."""


def names_in(path: str) -> dict[str, object]:
    """What annotations in a file can name: also what is there for them alone."""
    names = dict(vars(SOURCES[path]))
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(ast.unparse(ast.Module(node.body, [])), names)  # noqa: S102 - our own lines
    return names


NAMES: Final = {path: names_in(path) for path in SOURCES}
ALL_NAMES: Final = {name: value for names in NAMES.values() for name, value in names.items()}
"""For what attrs has put together of classes in several files."""


def hints_of(thing: Any, path: str) -> dict[str, Any]:
    names = ALL_NAMES | NAMES[path]
    return typing.get_type_hints(thing, names, names)


def ours(value: object) -> bool:
    return inspect.isclass(value) and value.__module__.startswith("trio_mqtt")


def parts_of(hint: Any) -> list[Any]:
    """A type and all that it is made of."""
    found = [hint, typing.get_origin(hint)]
    for part in getattr(hint, "__args__", ()):  # those of a Callable in one row
        found += parts_of(part)
    return found


def calls_of(cls: Any) -> list[Any]:
    """The public methods and properties of a class, with those that it inherits from ours."""
    found: list[Any] = []
    for base in filter(ours, cls.__mro__):
        for name, member in vars(base).items():
            if not name.startswith("_") or name.endswith("__"):
                call: Any = member.fget if isinstance(member, property) else member
                call = inspect.unwrap(getattr(call, "__func__", call))
                found += [call] if inspect.isfunction(call) else []
    return found


def file_of(call: Any) -> str | None:
    """The file of a function, if it is one of ours; attrs writes some itself."""
    path = inspect.getsourcefile(call)
    return path if path in SOURCES else None


def described(thing: Any) -> list[tuple[str, dict[str, Any]]]:
    """What is said of the types of a class and its calls, of a function, or of an alias."""
    if ours(thing):
        path = CLASSES[thing]
        hints = hints_of(thing, path).items()
        return [
            (thing.__qualname__, {name: hint for name, hint in hints if name[0] != "_"}),
            *(
                (f"{thing.__qualname__}: {call.__name__}", hints_of(call, file_of(call) or path))
                for call in calls_of(thing)
            ),
        ]
    if inspect.isfunction(thing):
        function = inspect.unwrap(thing)
        where = file_of(function)
        return [] if where is None else [(thing.__qualname__, hints_of(function, where))]
    return [(str(thing), {"alias": thing})] if typing.get_args(thing) else []


def test_no_public_call_takes_or_returns_any() -> None:
    waiting: list[Any] = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        names = names_of(module_name) or [name for name in vars(module) if name[0] != "_"]
        waiting += [vars(module)[name] for name in names]
    seen: set[int] = set()
    untyped: set[str] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        for name, hints in described(thing):
            for of, hint in hints.items():
                parts = parts_of(hint)
                untyped |= {f"{name}: {of}"} if Any in parts else set()
                waiting += [part for part in parts if ours(part)]
    assert sorted(untyped) == []
    assert id(trio_mqtt.Message) in seen
