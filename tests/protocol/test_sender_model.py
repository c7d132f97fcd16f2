"""A Sender against a remote end that answers in any order, with a model of what must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.budget import examples
from tests.packets.support import drain
from tests.protocol.support import outgoing, subscribe, unsubscribe
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.sender import Sender
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import (
    PacketReader,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)

if TYPE_CHECKING:
    from trio_mqtt._protocol.exchanges import OutgoingMessage, Request

numbers = st.integers(0, 1000)


class Remote:
    """What the other end knows: the packets that it has not answered.

    Attributes:
        publishes: identifier and QoS of those to be answered with PUBACK or PUBREC.
        released: identifiers of PUBRELs to be answered with PUBCOMP.
        requests: SUBSCRIBEs and UNSUBSCRIBEs to be answered.
    """

    def __init__(self, protocol: Protocol, output: Output) -> None:
        self.publishes: dict[int, int] = {}
        self.released: list[int] = []
        self.requests: dict[int, Subscribe | Unsubscribe] = {}
        self.order: list[int] = []
        self._output = output
        self._reader = PacketReader(protocol)

    def look(self) -> None:
        for chunk in self._output.take():
            self._reader.feed(chunk)
        for packet in drain(self._reader):
            if isinstance(packet, Publish):
                assert packet.packet_id not in self.in_use
                assert not packet.dup
                self.publishes[packet.packet_id] = packet.qos
            elif isinstance(packet, Subscribe | Unsubscribe):
                assert packet.packet_id not in self.in_use
                self.requests[packet.packet_id] = packet
            else:
                assert isinstance(packet, PubRel)
                assert packet.reason_code is ReasonCode.SUCCESS
                self.released.append(packet.packet_id)

    @property
    def in_use(self) -> set[int]:
        return {*self.publishes, *self.released, *self.requests}


class SenderMachine(RuleBasedStateMachine):
    """Accepts, sends and answers as Hypothesis says, and counts along."""

    def __init__(self) -> None:
        super().__init__()
        self.session = SessionState()
        self.output = Output()
        # In the order in which they were accepted, which is that of their first transmission.
        self.messages: list[OutgoingMessage] = []
        self.requests: list[Request] = []

    @initialize(
        protocol=st.sampled_from(Protocol),
        window=st.sampled_from([1, 2, 3, 65535]),
    )
    def open(self, protocol: Protocol, window: int) -> None:
        self.protocol = protocol
        self.window = min(window, 65_000)
        self.sender = Sender(self.session, self.output, protocol)
        self.remote = Remote(protocol, self.output)
        self.strays = 0
        assert self.sender.pump() == 0
        self.sender.open(window)

    @rule(qos=st.sampled_from([1, 2]), size=st.integers(0, 200))
    def accept(self, qos: int, size: int) -> None:
        message = outgoing(qos, bytes(size), self.protocol)
        self.session.accept(message)
        self.messages.append(message)

    @rule(qos=st.sampled_from([1, 2]), size=st.integers(0, 200))
    def send_at_once(self, qos: int, size: int) -> None:
        message = outgoing(qos, bytes(size), self.protocol)
        free = self.sender.quota > 0 and not self.session.queue and not self.session.requests
        assert self.sender.send_at_once(message) == free
        if free:
            self.messages.append(message)
            self.remote.look()

    @rule(size=st.integers(0, 9))
    def send_qos_0(self, size: int) -> None:
        self.sender.send(outgoing(0, bytes(size), self.protocol))
        sent = self.output.take()
        assert sent
        assert sum(map(len, sent)) > size

    @rule(count=st.integers(1, 3), to_subscribe=st.booleans())
    def ask(self, count: int, to_subscribe: bool) -> None:
        request = subscribe(count) if to_subscribe else unsubscribe(count)
        self.session.requests.append(request)
        self.requests.append(request)

    @rule()
    def pump(self) -> None:
        waiting = len(self.session.queue)
        room = self.sender.quota
        assert self.sender.pump() == min(waiting, room)
        assert not self.session.requests
        self.remote.look()

    @precondition(lambda self: self.remote.publishes)
    @rule(number=numbers, refused=st.booleans())
    def acknowledge(self, number: int, refused: bool) -> None:
        packet_id = list(self.remote.publishes)[number % len(self.remote.publishes)]
        refused = refused and self.protocol is MQTT_5
        code = ReasonCode.QUOTA_EXCEEDED if refused else ReasonCode.SUCCESS
        if self.remote.publishes.pop(packet_id) == 1:
            self.ends(PubAck(packet_id, code))
        elif refused:
            self.ends(PubRec(packet_id, code))
        else:
            assert self.sender.on_acknowledgement(PubRec(packet_id)) is None
            self.remote.look()
            assert self.remote.released[-1] == packet_id

    @precondition(lambda self: self.remote.released)
    @rule(number=numbers)
    def repeat_pubrec(self, number: int) -> None:
        released = self.remote.released
        packet_id = released.pop(number % len(released))
        assert self.sender.on_acknowledgement(PubRec(packet_id)) is None
        self.remote.look()
        assert released[-1] == packet_id

    @precondition(lambda self: self.remote.released)
    @rule(number=numbers)
    def complete(self, number: int) -> None:
        self.ends(PubComp(self.remote.released.pop(number % len(self.remote.released))))

    def ends(self, packet: PubAck | PubRec | PubComp) -> None:
        quota = self.sender.quota
        message = self.sender.on_acknowledgement(packet)
        assert message is not None
        assert message.packet_id == packet.packet_id
        assert message.acknowledgement is packet
        assert self.sender.quota == quota + 1
        self.messages.remove(message)
        assert not self.output.take()

    @precondition(lambda self: self.remote.requests)
    @rule(number=numbers)
    def answer(self, number: int) -> None:
        packet_id = list(self.remote.requests)[number % len(self.remote.requests)]
        packet = self.remote.requests.pop(packet_id)
        answer: SubAck | UnsubAck
        if isinstance(packet, Subscribe):
            answer = SubAck(packet_id, (ReasonCode.SUCCESS,) * len(packet.requests))
        else:
            count = len(packet.topic_filters) if self.protocol is MQTT_5 else 0
            answer = UnsubAck(packet_id, (ReasonCode.SUCCESS,) * count)
        request = self.sender.on_answer(answer)
        assert request is not None
        assert request.answer is answer
        self.requests.remove(request)

    @rule(packet_id=st.integers(1, 65535), kind=st.integers(0, 4))
    def stray(self, packet_id: int, kind: int) -> None:
        if self.session.identifiers.holder(packet_id) is not None:
            return
        if kind < 3:
            packet = (PubAck(packet_id), PubComp(packet_id), PubRec(packet_id))[kind]
            assert self.sender.on_acknowledgement(packet) is None
            assert len(self.output.take()) == (kind == 2)  # PUBREC is answered
        else:
            one = (ReasonCode.SUCCESS,)
            answer = SubAck(packet_id, one) if kind == 3 else UnsubAck(packet_id, one)
            assert self.sender.on_answer(answer) is None
        self.strays += 1

    @rule()
    def abandon(self) -> None:
        assert set(self.session.abandon()) == {*self.messages, *self.requests}
        self.messages.clear()
        self.requests.clear()
        self.open(self.protocol, self.window)  # the old connection is over, too

    @invariant()
    def everything_adds_up(self) -> None:
        in_flight = [message for message in self.messages if message.packet_id]
        queued = [message for message in self.messages if not message.packet_id]
        session = self.session
        assert self.sender.quota == self.window - len(in_flight)
        assert session.outgoing_size == sum(message.size for message in self.messages)
        assert session.unfinished == len(self.messages) + len(self.requests)
        assert list(session.queue) == queued
        assert set(session.identifiers.holders()) >= set(in_flight)
        assert {message.packet_id for message in in_flight} == {
            *self.remote.publishes,
            *self.remote.released,
        }
        assert self.sender.strays == self.strays

    def teardown(self) -> None:
        """In the end all is answered, and nothing is left."""
        self.pump()
        while self.remote.in_use:
            if self.remote.publishes:
                self.acknowledge(0, refused=False)
            if self.remote.released:
                self.complete(0)
            if self.remote.requests:
                self.answer(0)
            self.pump()
        assert not self.messages
        assert not self.requests
        assert self.session.unfinished == self.session.outgoing_size == 0
        assert self.sender.quota == self.window


def test_whatever_is_accepted_and_answered_everything_adds_up() -> None:
    run_state_machine_as_test(SenderMachine, settings=examples(100))
