"""The journal: batches in order, what fails is put back, and what a record waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.budget import examples
from tests.protocol.support import outgoing
from trio_mqtt._protocol.journal import Batch, Journal, Work
from trio_mqtt._protocol.records import OUTGOING, decode_message

if TYPE_CHECKING:
    from trio_mqtt._protocol.journal import RecordKey

ONE: RecordKey = ("received", 1)
TWO: RecordKey = ("received", 2)


@attrs.define(eq=False)
class Job:
    error: BaseException | None = None


def test_batches_have_numbers() -> None:
    journal = Journal()
    assert journal.is_empty
    assert journal.last_change == 0
    assert journal.put(ONE, b"1") == 1
    assert journal.delete(TWO) == 1
    assert journal.last_change == 1
    batch = journal.take()
    assert batch.number == 1
    assert batch.steps == [{ONE: b"1", TWO: None}]
    assert journal.last_change == 1  # not on disk yet, but on its way
    assert journal.put(TWO, b"2") == 2
    assert journal.committed == 0
    journal.commit(batch)
    assert journal.committed == 1
    assert journal.last_change == 2


def test_the_first_change_is_told() -> None:
    journal = Journal()
    told: list[bool] = []
    journal.on_change = lambda: told.append(journal.is_empty)
    journal.put(ONE, b"1")
    journal.delete(ONE)
    journal.add(Work({}, Job()))
    assert told == [False]
    journal.take()
    journal.add(Work({}, Job()))
    journal.put(ONE, b"1")
    assert told == [False] * 2
    journal.take()
    journal.delete(ONE)
    assert told == [False] * 3


def test_a_message_is_written_as_it_is_when_its_batch_is_taken() -> None:
    journal = Journal()
    message = outgoing(2, b"payload")
    journal.put((OUTGOING, 1), message)
    message.packet_id = 7
    (step,) = journal.take(10.0).steps
    message.packet_id = 8
    assert isinstance(step, dict)
    record = step[OUTGOING, 1]
    assert record is not None
    assert decode_message(1, record, 10.0).packet_id == 7


def test_a_record_that_changes_again_is_written_once() -> None:
    journal = Journal()
    journal.put(ONE, b"old")
    journal.put(ONE, b"new")
    journal.put(TWO, b"2")
    journal.delete(TWO)
    assert journal.take().steps == [{ONE: b"new", TWO: None}]


def test_what_a_record_waits_for() -> None:
    journal = Journal()
    assert journal.after(ONE) == 0
    journal.put(ONE, b"1")
    assert journal.after(ONE) == 1
    assert journal.after(TWO) == 0
    batch = journal.take()
    assert journal.after(ONE) == 1
    assert journal.after(TWO) == 0
    journal.delete(TWO)
    assert journal.after(TWO) == 2
    journal.put(ONE, b"again")
    assert journal.after(ONE) == 2
    journal.commit(batch)
    assert journal.after(ONE) == 2
    journal.commit(journal.take())
    assert journal.after(ONE) == journal.after(TWO) == 0


def test_work_stands_between_what_was_noted_before_and_after() -> None:
    journal = Journal()
    first, second = Work({ONE: b"work"}, Job()), Work({}, Job())
    assert journal.add(first) == 1
    assert not journal.is_empty
    assert journal.after(ONE) == 1
    assert journal.after(TWO) == 0
    journal.put(TWO, b"2")
    assert journal.add(second) == 1
    assert journal.after(TWO) == 1
    journal.put(TWO, b"3")
    batch = journal.take()
    assert batch.steps == [first, {TWO: b"2"}, second, {TWO: b"3"}]
    assert journal.after(ONE) == journal.after(TWO) == 1
    journal.commit(batch)
    assert journal.after(ONE) == journal.after(TWO) == 0


def test_what_could_not_be_committed_is_put_back_before_the_rest() -> None:
    journal = Journal()
    journal.put(ONE, b"old")
    journal.add(Work({("received", 3): b""}, Job()))
    journal.put(TWO, b"2")
    batch = journal.take()
    journal.put(ONE, b"new")
    journal.restore(batch)
    assert not journal.is_empty
    assert journal.after(ONE) == journal.after(TWO) == 2
    assert journal.after(("received", 3)) == 0  # the work has failed
    again = journal.take()
    assert again.number == 2
    assert again.steps == [{ONE: b"new", TWO: b"2"}]


def test_it_is_put_back_before_work_that_came_since() -> None:
    journal = Journal()
    journal.put(ONE, b"old")
    batch = journal.take()
    work = Work({}, Job())
    journal.add(work)
    journal.delete(ONE)
    journal.restore(batch)
    assert journal.after(ONE) == 2
    assert journal.take().steps == [{ONE: b"old"}, work, {ONE: None}]


def test_what_is_forgotten_is_not_written() -> None:
    journal = Journal()
    work = Work({ONE: b"work"}, Job())
    journal.put(ONE, b"1")
    journal.put(TWO, b"2")
    journal.add(work)
    journal.put(ONE, b"1")
    journal.forget(ONE)
    journal.forget(ONE)
    assert journal.take().steps == [{TWO: b"2"}, work]


def test_nothing_waits_for_a_batch_of_which_nothing_is_left() -> None:
    journal = Journal()
    journal.put(ONE, b"1")
    journal.commit(journal.take())
    journal.put(TWO, b"2")
    journal.add(Work({}, Job()))
    batch = journal.take()
    assert journal.last_change == 2
    journal.restore(batch)
    assert journal.last_change == 3
    journal.forget(TWO)
    assert journal.is_empty
    assert journal.last_change == journal.committed == 1


class JournalMachine(RuleBasedStateMachine):
    """What reaches the disk, in whatever order things are noted, committed and refused."""

    keys = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        self.wanted: dict[RecordKey, bytes] = {}
        self.disk: dict[RecordKey, bytes] = {}
        self.batch: Batch | None = None
        self.waiting: dict[int, tuple[RecordKey, bytes | None]] = {}
        self.noted = 0

    @rule(key=keys, deletes=st.booleans())
    def note(self, key: int, deletes: bool) -> None:
        record_key: RecordKey = ("received", key)
        self.noted += 1
        if deletes:
            self.wanted.pop(record_key, None)
            number = self.journal.delete(record_key)
        else:
            self.wanted[record_key] = value = str(self.noted).encode()
            number = self.journal.put(record_key, value)
        assert number == self.journal.open_batch == self.journal.after(record_key)

    @rule(key=keys)
    def work(self, key: int) -> None:
        record_key: RecordKey = ("work", self.noted)  # nothing else has that
        self.journal.add(Work({record_key: b"", ("received", key): b"work"}, Job()))
        self.wanted["received", key] = b"work"
        self.noted += 1

    @precondition(lambda self: self.batch is None)
    @rule()
    def take(self) -> None:
        self.batch = self.journal.take()

    @precondition(lambda self: self.batch is not None)
    @rule()
    def commit(self) -> None:
        assert self.batch is not None
        for step in self.batch.steps:
            for key, record in (step if isinstance(step, dict) else step.changes).items():
                if record is None:
                    self.disk.pop(key, None)
                else:
                    self.disk[key] = record
        self.journal.commit(self.batch)
        self.batch = None

    @precondition(
        lambda self: self.batch and all(isinstance(each, dict) for each in self.batch.steps)
    )
    @rule()
    def fail(self) -> None:
        assert self.batch is not None
        self.journal.restore(self.batch)
        self.batch = None

    @invariant()
    def what_waits_for_nothing_is_on_disk(self) -> None:
        for key in (("received", number) for number in range(1, 4)):
            if not self.journal.after(key):
                assert self.disk.get(key) == self.wanted.get(key)

    def teardown(self) -> None:
        while self.batch is not None or not self.journal.is_empty:
            if self.batch is None:
                self.take()
            self.commit()
        disk = {key: record for key, record in self.disk.items() if key[0] == "received"}
        assert disk == self.wanted
        assert self.journal.last_change == self.journal.committed


def test_in_the_end_the_disk_has_what_was_noted() -> None:
    run_state_machine_as_test(JournalMachine, settings=examples(100))
