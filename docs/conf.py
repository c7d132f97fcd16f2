"""How Sphinx builds the documentation."""

from __future__ import annotations

import builtins
import importlib
import pkgutil
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.pycode import ModuleAnalyzer

from trio_mqtt import Client

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent))

project = "trio_mqtt"
author = "The trio_mqtt authors"
copyright = "2026, the trio_mqtt authors"  # noqa: A001 - the name that Sphinx wants
release = version = installed_version("trio-mqtt")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "_diagrams",
    "_figures",
    "_ledger",
    "_tables",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"trio_mqtt {release}"
default_role = "py:obj"
highlight_language = "python3"

autodoc_use_legacy_class_based = True  # sphinxcontrib-trio extends these classes
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_type_aliases = {  # what short names in our signatures stand for
    "Ack": "Literal['when_done', 'manual', 'on_receipt']",
    "Connector": "trio_mqtt.abc.Connector",
    "Overflow": "Literal['wait', 'drop_oldest', 'drop_newest']",
    "SubscriptionManager": "AbstractAsyncContextManager[Subscription]",
    "UserProperties": "tuple[tuple[str, str], ...]",
}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False

# Names of other projects are not looked up in their documentation, so that the build needs no
# network; they are right if the type checkers find them. A name in single backquotes is a link if
# there is something that it can lead to; parameters, which nothing leads to, are written so, too.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:obj", r"[a-z_]+"),
    # Type variables, and names that a signature cuts short.
    (r"py:class", r"[A-Z]|AbstractAsyncContextManager|Answer|Initial|Literal|UserProperties"),
    # OpenTelemetry, as our module names it.
    (r"py:class", r"Context|Span|TextMapPropagator|(metrics|trace)\.\w+"),
    (r"py:.*", r"(trio|attrs|collections|contextlib|enum|os|pathlib|sqlite3|ssl|types|typing)\..*"),
    (r"py:.*", r"({})".format("|".join(name for name in dir(builtins) if name.isidentifier()))),
]

PUBLIC_MODULES = ("trio_mqtt", "trio_mqtt.packets", "trio_mqtt.testing")

MADE_BY_US = {
    "trio_mqtt.Client",
    "trio_mqtt.ClientStatistics",
    "trio_mqtt.Delivery",
    "trio_mqtt.EventStream",
    "trio_mqtt.Publisher",
    "trio_mqtt.ServerInfo",
    "trio_mqtt.Subscription",
    "trio_mqtt.SubscriptionStatistics",
    "trio_mqtt.testing.Dialogue",
    "trio_mqtt.testing.Held",
    "trio_mqtt.testing.LogEntry",
    "trio_mqtt.testing.MemoryStream",
    "trio_mqtt.testing.Server",
    "trio_mqtt.testing.SessionSnapshot",
    "trio_mqtt.testing.Subscription",
}
"""Classes of which users get instances and make none, so that no constructor is shown."""

READABLE = {
    r"Reconnect\(initial=.*independent_servers=\w+\)": "Reconnect()",
    r"<[^<>]*function[^<>]*>": "...",
    r"\bCredentials\b": "tuple[str | None, str | bytes | None]",
    r"\bInitial\b": "Literal['fail', 'retry', 'background']",
    r"\bStrPath\b": "str | os.PathLike[str]",
    r"\bQueueOverflow\b": "Literal['wait', 'error', 'drop_oldest']",
}
"""What stands in signatures for private names, and for defaults whose repr is no Python."""


def simplify_signatures(
    _app: Sphinx,
    _what: str,
    name: str,
    _object: object,
    _options: object,
    arguments: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """Show no constructor that users do not call, and what a context manager gives to its block."""
    if name in MADE_BY_US:
        return "", None
    for pattern, readable in READABLE.items():
        arguments = arguments and re.sub(pattern, readable, arguments)
    manager = re.fullmatch(r"[\w.]*(?:Generator|ContextManager)\[([\w. |]+)\]", returned or "")
    return arguments or "", manager[1] if manager else returned


def show_public_bases(
    _app: Sphinx, _name: str, _class: type, _options: object, bases: list[type]
) -> None:
    """Show the public classes that a private base class stands for."""
    for base in list(bases):
        if base.__name__.startswith("_"):
            index = bases.index(base)
            bases[index : index + 1] = base.__bases__


def look_where_it_was_written(_app: Sphinx) -> None:
    """Let members stand in the order of the source, and variables have their docstrings.

    Sphinx looks for both in the module that a name says it is from, which is the public one.
    """
    for name in PUBLIC_MODULES:
        package = importlib.import_module(name)
        public = ModuleAnalyzer.for_module(name)
        public.analyze()
        for submodule in pkgutil.walk_packages(package.__path__, f"{name}."):
            if submodule.name.startswith(f"{name}._") and not submodule.ispkg:
                written = ModuleAnalyzer.for_module(submodule.name)
                written.analyze()
                for member, position in written.tagorder.items():
                    public.tagorder.setdefault(member, position)
                for variable, docstring in written.attr_docs.items():
                    public.attr_docs.setdefault(variable, docstring)


def look_in_the_package(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement
) -> Element | None:
    """Find public names without their module, as docstrings mention them."""
    if node["refdomain"] != "py":
        return None  # the name of a page, say
    python = env.domains.python_domain
    for module in PUBLIC_MODULES:
        name = f"{module}.{node['reftarget']}"
        found = python.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
        if found is not None:
            return found
    return None


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    vars(Client.subscribe)["__returns_acontextmanager__"] = True  # asked by sphinxcontrib-trio
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("autodoc-process-signature", simplify_signatures)
    app.connect("builder-inited", look_where_it_was_written)
    app.connect("missing-reference", look_in_the_package)
