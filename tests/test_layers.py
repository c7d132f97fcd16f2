"""The layers of the package: each imports only from those before it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import trio_mqtt

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(trio_mqtt.__file__).parent

LAYERS: Final = (
    {"_checks", "_errors", "_enums", "_topics", "events"},
    {"packets"},
    {"_protocol"},
    {"abc"},
    {"_storage"},
    {"_transports"},
    {"_client"},
    {""},  # trio_mqtt/__init__.py, the public names
    {"testing", "opentelemetry", "scram"},  # on the public names, as users' programs are
    {"_cli", "__main__"},
)
"""From the bottom up; a name is that of a module or package right under trio_mqtt."""

LONGEST_MODULE: Final = 500
NOT_IN_PROTOCOL: Final = {
    "asyncio",
    "datetime",
    "outcome",
    "random",
    "select",
    "sniffio",
    "socket",
    "time",
    "trio",
    "trio_websocket",
}

MODULES: Final = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES]
)


def module_name(path: Path) -> str:
    """The dotted name of a module of the package, seen from inside: "" is its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES: Final = {module_name(path) for path in MODULES}


def imported_modules(source: str, package: str) -> Iterator[str]:
    """The full names of the modules that `source`, in `package`, imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name.removeprefix("trio_mqtt.") in NAMES else base


def layer_of(name: str) -> int:
    """The number of the layer that a module belongs to, by its name inside the package."""
    top = name.partition(".")[0]
    for number, layer in enumerate(LAYERS):
        if top in layer:
            return number
    message = f"trio_mqtt/{top} is in no layer: give it its place in LAYERS"
    raise AssertionError(message)


def wrong_imports(source: str, name: str, package: str) -> list[str]:
    """The imports that the module `name` may not have."""
    layer = layer_of(name)
    wrong: list[str] = []
    for imported in imported_modules(source, package):
        if imported == "trio_mqtt" or imported.startswith("trio_mqtt."):
            inside = imported.removeprefix("trio_mqtt").removeprefix(".")
            if layer_of(inside) > layer:
                wrong.append(imported)
        elif name.startswith("_protocol") and imported.partition(".")[0] in NOT_IN_PROTOCOL:
            wrong.append(imported)
    return wrong


@each_module
def test_imports_only_from_the_layers_below(path: Path) -> None:
    name = module_name(path)
    dotted = f"trio_mqtt.{name}".rstrip(".")
    package = dotted if path.name == "__init__.py" else dotted.rpartition(".")[0]
    assert wrong_imports(path.read_text(), name, package) == []


@each_module
def test_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("packets._wire", "import trio_mqtt", ["trio_mqtt"]),
        ("packets._wire", "from trio_mqtt import packets", []),
        ("packets._wire", "from trio_mqtt import Client", ["trio_mqtt"]),
        ("packets._wire", "from trio_mqtt._client import x", ["trio_mqtt._client"]),
        ("packets._wire", "from .._client import x", ["trio_mqtt._client"]),
        ("packets._wire", "from . import _tables", []),
        ("packets._wire", "import trio_mqtt._errors, trio, socket, time", []),
        ("_protocol", "import trio.lowlevel", ["trio.lowlevel"]),
        ("_protocol", "def f():\n from time import monotonic", ["time"]),
        ("_protocol", "if TYPE_CHECKING:\n import socket", ["socket"]),
        ("_protocol", "if TYPE_CHECKING:\n import trio_mqtt.abc", ["trio_mqtt.abc"]),
        ("testing", "from trio_mqtt import Client", []),
    ],
)
def test_the_check_itself(name: str, source: str, wrong: list[str]) -> None:
    assert wrong_imports(source, name, "trio_mqtt." + name.partition(".")[0]) == wrong
