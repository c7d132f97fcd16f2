"""What the package shows to the outside: its names, and what they say of themselves."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
from typing import TYPE_CHECKING, Any, Final

import pytest

from trio_mqtt import _errors
from trio_mqtt._enums import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLIC_MODULES: Final = (
    "trio_mqtt",
    "trio_mqtt.events",
    "trio_mqtt.opentelemetry",
    "trio_mqtt.packets",
    "trio_mqtt.scram",
    "trio_mqtt.testing",
)

each_module = pytest.mark.parametrize("module_name", PUBLIC_MODULES)


def names_of(module_name: str) -> list[str]:
    module = importlib.import_module(module_name)
    return list(getattr(module, "__all__", ()))


each_name = pytest.mark.parametrize(
    ("module_name", "name"),
    [(module_name, name) for module_name in PUBLIC_MODULES for name in names_of(module_name)],
)

ERRORS: Final = [
    value
    for _, value in inspect.getmembers(_errors, inspect.isclass)
    if issubclass(value, BaseException) and value.__module__.startswith("trio_mqtt")
]


@each_module
def test_all_is_sorted_and_names_nothing_twice(module_name: str) -> None:
    names = names_of(module_name)
    assert names

    # As ruff sorts it: CONSTANTS, then Classes, then functions.
    def order(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert names == sorted(set(names), key=order)


@each_name
def test_public_names_are_there(module_name: str, name: str) -> None:
    assert hasattr(importlib.import_module(module_name), name)


@each_name
def test_classes_and_functions_report_where_users_find_them(module_name: str, name: str) -> None:
    value = getattr(importlib.import_module(module_name), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == module_name
        assert value.__doc__


def test_every_error_is_public() -> None:
    public = {"_FiltersRejected", *names_of("trio_mqtt")}
    assert {error.__name__ for error in ERRORS} <= public


VALUES: Final[dict[str, Any]] = {
    "stage": "TLS",
    "reason_code": ReasonCode.NOT_AUTHORIZED,
    "reason_string": "go away",
    "server_reference": "other.example",
    "user_properties": (("a", "b"), ("a", "c")),
    "topic": "sensors/kitchen",
    "reasons": {"a/#": ReasonCode.NOT_AUTHORIZED},
    "size": 70_000,
    "limit": 65_536,
    "statement": "MQTT-4.7.1-1",
}
"""A value for each attribute that an error of ours can have, other than its default."""


def make(error_class: type[Exception]) -> tuple[Exception, dict[str, object]]:
    names = getattr(error_class.__init__, "__kwdefaults__", {})
    keywords = {name: VALUES[name] for name in names}
    error: Exception = error_class("what happened, where, and what to do", **keywords)
    return error, keywords


def copied(error: Exception) -> Exception:
    return copy.copy(error)


def deeply_copied(error: Exception) -> Exception:
    return copy.deepcopy(error)


def pickled(error: Exception) -> Exception:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(again, Exception)
    return again


@pytest.mark.parametrize("again", [copied, deeply_copied, pickled])
@pytest.mark.parametrize("error_class", ERRORS)
def test_errors_copy_and_pickle_with_their_attributes(
    error_class: type[Exception], again: Callable[[Exception], Exception]
) -> None:
    error, attributes = make(error_class)
    error.add_note("seen twice")
    other = again(error)
    assert other is not error
    assert type(other) is error_class
    assert str(other) == str(error) == "what happened, where, and what to do"
    assert other.args == error.args
    assert other.__notes__ == ["seen twice"]
    for name, value in attributes.items():
        assert getattr(error, name) == value
        assert getattr(other, name) == value
