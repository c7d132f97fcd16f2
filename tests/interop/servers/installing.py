"""Ways to install a server."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tests.servers import SYSTEM_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PACKAGES_TIMEOUT: Final = 300


class CannotInstall(Exception):
    """This machine does not allow it; the text says why and what would help."""


def install_packages(packages: Sequence[str]) -> None:
    """Have Debian's packages on this machine.

    Raises:
        CannotInstall: it takes another user or another system.
    """
    missing = [package for package in packages if not _has_package(package)]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise CannotInstall(f"it needs Debian's packages {', '.join(missing)}, and has no apt-get")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update", "--quiet"],
        ["install", "--yes", "--quiet", "--no-install-recommends", *missing],
    ):
        run([*prefix, "apt-get", *arguments], timeout=PACKAGES_TIMEOUT, environment=environment)


def packages_of(programs: Mapping[str, str]) -> tuple[str, ...]:
    """Debian's packages of those programs that are not here, from wherever they came.

    Args:
        programs: the package of each.
    """
    return tuple(package for program, package in programs.items() if not shutil.which(program))


def _has_package(package: str) -> bool:
    found = subprocess.run(
        [find_program("dpkg-query"), "--show", "--showformat=${Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout == "install ok installed"


def package_version(package: str, root: Path | None = None) -> str:
    """The version of one of Debian's packages, as its makers call it.

    Args:
        package: its name.
        root: the root directory of the system that has it; None for this one.
    """
    said = subprocess.run(
        [
            find_program("dpkg-query"),
            *(() if root is None else (f"--admindir={root}/var/lib/dpkg",)),
            *("--show", "--showformat=${source:Upstream-Version}", package),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout


def run(
    command: Sequence[str | Path],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> None:
    """Run an installer.

    Raises:
        CannotInstall: it failed, with its last words.
    """
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env=environment,
            cwd=directory,
        )
    except FileNotFoundError as error:
        raise CannotInstall(f"this machine has no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"{command[0]} took more than {timeout:.0f} s") from error
    except subprocess.CalledProcessError as error:
        words = error.stdout.decode(errors="replace")[-1500:]
        raise CannotInstall(f"{command[0]} exited with {error.returncode}:\n{words}") from error


def find_program(name: str) -> str:
    """Where a program is, also of those that only root has on its path.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SYSTEM_PATH
    program = shutil.which(name, path=path)
    if program is None:
        raise FileNotFoundError(f"this machine has no {name}")
    return program
