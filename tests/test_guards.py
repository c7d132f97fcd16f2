"""The list of guards names code and tests that are there; tools/guards.py takes them out."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent


def load_guards() -> Any:
    specification = importlib.util.spec_from_file_location("guards", ROOT / "tools" / "guards.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.GUARDS


GUARDS: Final = load_guards()


@pytest.mark.parametrize("guard", GUARDS, ids=[guard.name for guard in GUARDS])
def test_a_guard_stands_once_and_its_test_exists(guard: Any) -> None:
    text = (ROOT / "trio_mqtt" / guard.file).read_text()
    assert text.count(guard.code) == 1
    ast.parse(text.replace(guard.code, guard.without))  # what is no Python says nothing of a test
    file, *names = re.sub(r"\[.*\]$", "", guard.test).split("::")
    tests = (ROOT / "tests" / file).read_text()
    for name in names:
        assert re.search(rf"(def|class) {name}\b", tests)
