"""Three nodes of RabbitMQ that are one server: Sessions and their messages are on all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import attrs

from tests.interop.servers.process import Command, ServerProcess, run_process
from tests.interop.servers.rabbitmq import (
    READY,
    find_root,
    make_home,
    make_node,
    run_port_mapper,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator, Sequence
    from pathlib import Path

NAMES: Final = ("a", "b", "c")
SETTINGS: Final = "mqtt.durable_queue_type = quorum\n" + "".join(
    f"cluster_formation.classic_config.nodes.{name} = {name}@localhost\n" for name in NAMES
)


@attrs.frozen(kw_only=True)
class Node:
    """A node that runs.

    Attributes:
        url: where clients reach it.
        process: its process.
    """

    url: str
    process: ServerProcess


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a node whose data nobody needs any more, which is quicker than in good order."""
    process.kill()
    process.wait()


@contextmanager
def _run_node(root: Path, home: Path, name: str, port_mapper: int, log: Path) -> Generator[Node]:
    def make(ports: Sequence[int]) -> Command:
        port, tcp = ports
        arguments, environment = make_node(
            root,
            home,
            name=name,
            settings=f"{SETTINGS}mqtt.listeners.tcp.1 = 127.0.0.1:{tcp}\n",
            plugins="rabbitmq_mqtt",
            port_mapper=port_mapper,
            port=port,
        )
        return Command(
            arguments=arguments,
            environment=environment,
            mqtt=(),
            listening=[tcp],
            says=READY,
            end=_kill,
        )

    with run_process(2, make, log) as (process, ports):
        yield Node(url=f"mqtt://127.0.0.1:{ports[1]}", process=process)


@contextmanager
def run_cluster(place: Path, directory: Path) -> Generator[Sequence[Node]]:
    """Run the cluster for the length of a block.

    Args:
        place: where RabbitMQ was installed.
        directory: an empty one, for what the nodes print.
    """
    root = find_root(place)
    with (
        make_home(root) as home,
        run_port_mapper(root, directory / "epmd.log") as port_mapper,
        ExitStack() as stack,
        ThreadPoolExecutor() as pool,
    ):
        cookie = home / ".erlang.cookie"
        cookie.write_text("the-same-on-each")
        cookie.chmod(0o400)
        # Each is left in the end, also if another one does not start.
        stacks = [stack.enter_context(ExitStack()) for _ in NAMES]

        def start(own: ExitStack, name: str) -> Node:
            log = directory / f"{name}.log"
            return own.enter_context(_run_node(root, home, name, port_mapper, log))

        yield list(pool.map(start, stacks, NAMES))
