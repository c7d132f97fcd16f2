"""Workers that share jobs: each job goes to one of them, and none is lost.

    python worker_pool.py                        two workers and 31 jobs, with a server of its own
    python worker_pool.py URL [NAME [PREFIX]]    one worker, until Ctrl-C

Start the second form as often as you like, with a NAME of its own each time, and publish jobs at
QoS 1 to PREFIX/jobs: a number and how many seconds the job takes, such as "17 0.5". Results come to
PREFIX/results. A job that fails three times is put aside at PREFIX/failed. The PREFIX is "pool" if
there is none; the URL may also stand in MQTT_URL.

A worker acknowledges a job when its result is published, so a job in the hands of a worker that
dies is not lost: the server keeps it for the worker of that name, and sends it again. Then it is
done again, too; a job that must not be done twice needs a number by which that is noticed.

Ctrl-C takes no more jobs, finishes those in hand and leaves; a second Ctrl-C leaves at once.

The server must have shared subscriptions, which MQTT 5.0 servers say and older ones do not: there
it may be that no job ever comes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from functools import partial

import trio

import trio_mqtt
from trio_mqtt.testing import open_server

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL")
NAME = sys.argv[2] if len(sys.argv) > 2 else "one"  # noqa: PLR2004 - the second argument
PREFIX = sys.argv[3] if len(sys.argv) > 3 else "pool"  # noqa: PLR2004 - the third argument
TASKS = 4
ATTEMPTS = 3
DAY = 24 * 60 * 60


# -- the pool ------------------------------------------------------------------------------------


async def work(
    url: str,
    name: str,
    taking: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Do jobs, at most TASKS at once, until `taking` is cancelled and those in hand are done."""
    # The server keeps this Session while the worker is away, with the jobs that it has given it.
    session = trio_mqtt.Session(f"{PREFIX}-{name}", expiry=DAY)
    free = trio.Semaphore(TASKS)
    async with (
        # The server has at most so many jobs with this worker; the rest are for the others. Some
        # more than TASKS, since a slow job holds up the acknowledgements of those behind it.
        trio_mqtt.open_client(url, session=session, receive_maximum=4 * TASKS) as client,
        client.subscribe(f"$share/workers/{PREFIX}/jobs", qos=1) as jobs,
        trio.open_nursery() as hands,  # whose block ends when all jobs in hand are done
    ):
        print(f"{name}: ready", flush=True)
        task_status.started()
        with taking:
            while True:
                await free.acquire()
                job = await jobs.receive()  # settles nothing, so the task has time to begin
                hands.start_soon(handle, client, name, job, free)
    # What had arrived and was not begun is not acknowledged: it comes again, at the next start.
    print(f"{name}: stopped", flush=True)


async def handle(
    client: trio_mqtt.Client, name: str, job: trio_mqtt.Message, free: trio.Semaphore
) -> None:
    """Do one job, or put it aside."""
    try:
        with job:  # acknowledged at the end of this block, and only there
            await do_or_put_aside(client, name, job)
    finally:
        free.release()


async def do_or_put_aside(client: trio_mqtt.Client, name: str, job: trio_mqtt.Message) -> None:
    """Do a job and publish its result; if it fails again and again, publish the job as failed."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            number = await do(job)
        except ValueError as error:
            print(f"{name}: attempt {attempt} failed: {error}", flush=True)
            await trio.sleep(0.05 * 2**attempt)
        else:
            await client.publish(f"{PREFIX}/results", f"{number} {name}", qos=1)
            return
    await client.publish(f"{PREFIX}/failed", job.payload, qos=1)


async def do(job: trio_mqtt.Message) -> int:
    """The job itself, which takes its time."""
    number, seconds = job.text().split()
    await trio.sleep(float(seconds))
    return int(number)


# -- running it ----------------------------------------------------------------------------------


async def run_worker(url: str) -> int:
    """Run one worker until a signal; returns the exit status."""
    taking = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_at_signals, taking, nursery.cancel_scope)
        try:
            await work(url, NAME, taking)
        except trio_mqtt.FeatureNotSupported as error:
            print(
                f"{error}, so that each worker would get every job. Run one worker there, and let "
                f"it subscribe to {PREFIX}/jobs.",
                flush=True,
            )
            return 1
        finally:
            nursery.cancel_scope.cancel()
    return 0


async def stop_at_signals(
    taking: trio.CancelScope, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    """Take no more jobs at the first signal, and stop at the second."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        await anext(signals)
        taking.cancel()
        await anext(signals)
        everything.cancel()


async def demonstrate() -> int:
    """Run two workers, a server and 31 jobs, one of which fails; returns the exit status."""
    async with open_server(port=0) as server, trio.open_nursery() as nursery:
        url = server.url or ""
        takings = {"a": trio.CancelScope(), "b": trio.CancelScope()}
        for name, taking in takings.items():
            await nursery.start(partial(work, url, name, taking))
        done, failed = await publish_jobs(url, 30)
        for taking in takings.values():
            taking.cancel()
    by = Counter(name for _, name in done)
    print(f"done: {len(done)}, of them {by['a']} by a and {by['b']} by b; put aside: {failed}")
    return 0 if sorted(number for number, _ in done) == list(range(30)) and failed == 1 else 1


async def publish_jobs(url: str, count: int) -> tuple[list[tuple[int, str]], int]:
    """Publish some jobs, and return what became of them: who did which, and how many failed."""
    done: list[tuple[int, str]] = []
    failed = 0
    async with (
        trio_mqtt.open_client(url) as client,
        client.subscribe(f"{PREFIX}/results", f"{PREFIX}/failed", qos=1) as outcomes,
        client.open_publisher(qos=1) as publisher,
    ):
        for number in range(count):
            await publisher.send(f"{PREFIX}/jobs", f"{number} 0.05")
        await publisher.send(f"{PREFIX}/jobs", "nonsense")
        while len(done) + failed < count + 1:
            with await outcomes.receive() as outcome:
                if outcome.topic.endswith("/failed"):
                    failed += 1
                else:
                    text, name = outcome.text().split()
                    done.append((int(text), name))
    return done, failed


if __name__ == "__main__":
    sys.exit(trio.run(partial(run_worker, URL) if URL else demonstrate))
