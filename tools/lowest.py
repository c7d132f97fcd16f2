"""Print the oldest versions of the dependencies that pyproject.toml declares, for pip."""

from __future__ import annotations

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

with PYPROJECT.open("rb") as file:
    project = tomllib.load(file)["project"]
for dependencies in (project["dependencies"], *project["optional-dependencies"].values()):
    for dependency in dependencies:
        print(dependency.replace(">=", "=="))
