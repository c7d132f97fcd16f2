"""The fixtures of the test kit, and the example that is written with the kit alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt
from trio_mqtt import open_client
from trio_mqtt.packets import PubRel
from trio_mqtt.testing import Before, Faults, open_server

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock

    from trio_mqtt import Client
    from trio_mqtt.testing import FaultyNetwork, Server

pytest_plugins = ["pytester", "trio_mqtt.testing.fixtures"]

ROOT: Final = Path(__file__).parent.parent.parent
PACKAGE: Final = str(Path(trio_mqtt.__file__).parent.parent)
PLUGIN: Final = 'pytest_plugins = ["trio_mqtt.testing.fixtures"]\n'


# -- the fixtures --------------------------------------------------------------------------------


async def test_the_client_is_connected_through_the_network(
    autojump_clock: MockClock,
    mqtt_server: Server,
    faulty_network: FaultyNetwork,
    mqtt_client: Client,
) -> None:
    mqtt_server.assert_connected("mqtt_client", count=1)
    faulty_network.inject(Faults(cut_to_server=Before(PubRel)))
    await mqtt_client.publish("valves/3", "open", qos=2)
    assert [connection.outcome for connection in faulty_network.connections] == ["cut", None]
    mqtt_server.assert_published("valves/3", "open", qos=2, client_id="mqtt_client", count=1)


async def test_more_clients_than_one(
    autojump_clock: MockClock, faulty_network: FaultyNetwork, mqtt_client: Client
) -> None:
    async with (
        open_client(connector=faulty_network.connect) as other,
        other.subscribe("a") as messages,
    ):
        await mqtt_client.publish("a", "b")
        with trio.fail_after(10):
            assert (await messages.receive()).text() == "b"


async def test_the_network_may_be_down_in_the_end(
    autojump_clock: MockClock, faulty_network: FaultyNetwork, mqtt_client: Client
) -> None:
    faulty_network.down()
    await mqtt_client.enqueue("a", qos=1)


# -- in a project of a user's --------------------------------------------------------------------


def test_the_example_passes(pytester: pytest.Pytester) -> None:
    shutil.copytree(ROOT / "examples" / "testing", pytester.path, dirs_exist_ok=True)
    pytester.runpytest_inprocess("-W", "error").assert_outcomes(passed=9)


async def test_the_example_is_a_program() -> None:
    with trio.fail_after(20):
        async with open_server(port=0) as server, trio.open_nursery() as nursery:
            assert server.url is not None
            program = partial(
                trio.run_process,
                [sys.executable, str(ROOT / "examples" / "testing" / "press.py"), server.url],
                capture_stdout=True,
                env=os.environ | {"PYTHONPATH": PACKAGE, "PYTHONUNBUFFERED": "1"},
                check=False,
            )
            process: trio.Process = await nursery.start(program)
            await server.wait_subscribed("press/jobs")
            server.publish("press/jobs", "lid", qos=1)
            await server.wait_published("press/done", "lid", qos=2)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0


def test_trio_mode_or_a_mark(pytester: pytest.Pytester) -> None:
    test = "async def test(mqtt_client, mqtt_server): mqtt_server.assert_connected()\n"
    pytester.makepyfile(test_mark=f"{PLUGIN}import pytest\n@pytest.mark.trio\n{test}")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    pytester.makeini("[pytest]\ntrio_mode = true")
    pytester.makepyfile(test_mode=f"{PLUGIN}{test}")
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_nothing_loads_by_itself(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    pytester.makepyfile("import trio_mqtt.testing\ndef test(mqtt_server): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'mqtt_server' not found"])


def test_a_failure_shows_the_line_of_the_test_and_what_there_is(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        PLUGIN
        + """
import pytest
@pytest.mark.trio
async def test(mqtt_client, mqtt_server, autojump_clock):
    await mqtt_client.publish("a", "b", qos=1)
    await mqtt_server.wait_published("c")
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*expected at least 1 of published messages with topic='c' within 10 s, found 0",
            "*all published messages so far, > marks what fits:",
            "*    'mqtt_client': 'a' b'b' at QoS 1",
        ]
    )
    assert "_assertions.py" not in result.stdout.str()


def test_the_kit_does_not_need_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; import trio_mqtt.testing"
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
