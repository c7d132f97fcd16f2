"""Scripts for mosquitto_pub, mosquitto_sub and mosquitto_rr run with only the names changed."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.cli.support import LONG, environment, new_topic
from tests.transports.support import CA

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers import RealServer

OURS: Final = {
    "PUB": f"{sys.executable} -m trio_mqtt pub",
    "SUB": f"{sys.executable} -m trio_mqtt sub",
    "RR": f"{sys.executable} -m trio_mqtt request",
}
THEIRS: Final = {"PUB": "mosquitto_pub", "SUB": "mosquitto_sub", "RR": "mosquitto_rr"}

SCRIPTS: Final = {
    "retained": """
        $PUB $SERVER -t $T/state -m on -r
        $SUB $SERVER -t $T/state -C 1
        $PUB $SERVER -t $T/state -n -r
        $SUB $SERVER -t $T/state -W 1
        echo $?
    """,
    "lines": """
        for n in 1 2 3; do echo "value=$n"; done | $PUB $SERVER -t $T/log -l -q 1 -i $ID-pub
        printf 'no\\nend' | $PUB $SERVER -t $T/file -s -q 2 -r
        $SUB $SERVER -t $T/file -C 1 -q 2 -N | od -c
    """,
    "session": """
        $SUB $SERVER -c -i $ID -q 1 -t "$T/#" -E
        $PUB $SERVER -t $T/a -m one -q 1
        $PUB $SERVER -t $T/b -m two -q 1
        printf 'three\\n\\nfive' | $PUB $SERVER -t $T/c -l -q 1
        $SUB $SERVER -c -i $ID -q 1 -t "$T/#" -C 5 -v
        $SUB $SERVER -i $ID -t $T/none -E
    """,
    "formats": """
        $PUB $SERVER -t $T/a -m '{"on":true}' -r -q 1
        for format in '%t|%p|%q|%r|%l' '%x %X' '%10l|%-5l|%.4t' '%%@@\\\\n\\tx' '@Y' '%p\\0'
        do $SUB $SERVER -t $T/a -C 1 -q 1 -F "$format" | tr '\\000\\t' '01'
        done
        $SUB $SERVER -t $T/a -C 1 -F '%J' | sed 's/"tst":"[^"]*"/"tst"/'
        $SUB $SERVER -t $T/a -C 1 -F '%j' --pretty | sed 's/"tst":.*/"tst"/'
    """,
    "properties": """
        $PUB $SERVER -t $T/a -m x -r -V mqttv5 -D publish content-type text/plain \\
            -D publish user-property unit C \\
            -D connect user-property from script
        $SUB $SERVER -V mqttv5 -t $T/a -C 1 -F '%C %P %R'
        $SUB $SERVER -V 5 -t $T/a -C 1 -F '%j' | sed 's/"tst":"[^"]*"/"tst"/'
    """,
    "filters": """
        for n in 1 2 3; do $PUB $SERVER -t $T/$n -m $n -r; done
        $SUB $SERVER -t "$T/+" -T $T/2 -v -W 1 --quiet
        echo $?
        $SUB $SERVER -t "$T/+" -R -W 1 --quiet
        $SUB $SERVER -t "$T/#" --remove-retained -W 1 --quiet | sort
        $SUB $SERVER -t "$T/#" -W 1 --quiet
        echo $?
    """,
    "request": """
        $PUB $SERVER -t $T/answer -m 42 -r
        $RR $SERVER -t $T/question -e $T/answer -m '6*7' -W 5 -v
        echo $?
        $RR $SERVER -t $T/question -e $T/nowhere -n -W 1 --quiet
        echo $?
    """,
    "will": """
        $PUB $SERVER -t $T/other -m ready -r
        $SUB $SERVER -t $T/other -q 1 --will-topic $T/will --will-payload gone --will-retain \\
            --will-qos 1 -i $ID > $DIR/$ID-will &
        until test -s $DIR/$ID-will; do sleep 0.1; done
        kill -9 $!
        $SUB $SERVER -t $T/will -C 1 -W 5
    """,
    "url": """
        $PUB -L mqtt://127.0.0.1:$PORT/$T/url -m by-url -r
        $SUB -L mqtt://127.0.0.1:$PORT/$T/url -C 1 -k 30 -I $ID- --nodelay
    """,
    "tls": """
        $PUB -h localhost -p $TLS_PORT --cafile $CAFILE -t $T/tls -m secret -r
        $SUB -h localhost -p $TLS_PORT --cafile $CAFILE --tls-version tlsv1.2 -t $T/tls -C 1
        $SUB -h 127.0.0.1 -p $TLS_PORT --cafile $CAFILE --insecure -t $T/tls -C 1
        $SUB -h 127.0.0.1 -p $PORT --cafile $CAFILE -t $T/tls -C 1 --quiet
        test $? = 0 || echo failed
    """,
    "failures": """
        $PUB -h 127.0.0.1 -p 1 -t $T/a -m x --quiet || echo no server
        $PUB $SERVER -t $T/+ -m x >/dev/null 2>&1 || echo no topic
        $PUB $SERVER -t $T/a >/dev/null 2>&1 || echo no message
        $PUB $SERVER -t $T/a -m x -l >/dev/null 2>&1 </dev/null || echo two messages
        $PUB $SERVER -t $T/a -f /nonexistent >/dev/null 2>&1 || echo no file
        $SUB $SERVER >/dev/null 2>&1 || echo no topic filter
        $SUB $SERVER -t $T/a -c >/dev/null 2>&1 || echo no client identifier
        $SUB $SERVER -t "$T/#/a" >/dev/null 2>&1 || echo no such filter
        $SUB $SERVER -t $T/a -F '%' >/dev/null 2>&1 || echo no format
        $PUB $SERVER -t $T/a -m x --will-payload x >/dev/null 2>&1 || echo no will topic
    """,
    "stopped": """
        $PUB $SERVER -t $T/a -m ready -r
        for signal in INT TERM; do
            $SUB $SERVER -t $T/a > $DIR/$ID-$signal &
            until test -s $DIR/$ID-$signal; do sleep 0.1; done
            kill -$signal $!
            wait $!
            echo $?
        done
    """,
}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[tuple[RealServer, Path]]:
    """Mosquitto with a second listener, for TLS."""
    from tests.servers import run_mosquitto  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("mosquitto")
    certificate = CA.issue_cert("localhost")
    CA.cert_pem.write_to_path(directory / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    files = {"cafile": "ca.pem", "certfile": "server.pem", "keyfile": "server.pem"}
    settings = "\n".join(f"{name} {directory / file}" for name, file in files.items())
    with run_mosquitto(directory, [settings]) as running:
        yield running, directory


def play(script: str, tools: dict[str, str], server: RealServer, directory: Path) -> str:
    """Run a script, and return what it prints and its exit status."""
    topic = new_topic()
    variables = {
        **tools,
        "SERVER": f"-h 127.0.0.1 -p {server.port}",
        "PORT": str(server.port),
        "TLS_PORT": str(server.more_ports[0]),
        "DIR": str(directory),
        "CAFILE": str(directory / "ca.pem"),
        "T": topic,
        "ID": topic.rpartition("/")[2][:12],
    }
    result = subprocess.run(
        ["/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=2 * LONG,
        check=False,
        env=environment(**variables),
    )
    printed = f"{result.stdout}{result.returncode}"
    return re.sub(topic, "TOPIC", printed)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_the_same(name: str, server: tuple[RealServer, Path]) -> None:
    theirs = play(SCRIPTS[name], THEIRS, *server)
    ours = play(SCRIPTS[name], OURS, *server)
    assert ours == theirs
    assert len(theirs) > 1  # it has printed something
