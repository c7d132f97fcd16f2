"""Take out the guards that keep the delivery contract, one by one, and see a test fail for each.

    python tools/guards.py            # all of them
    python tools/guards.py pause      # those with this in their name

Each guard is a piece of code, what it becomes when it is taken out, and the test that notices. The
work is done in a copy of the project.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
TIMEOUT: Final = 30.0


class Guard(NamedTuple):
    """One guard.

    Attributes:
        name: what it keeps.
        file: where it stands, below trio_mqtt/.
        code: the guard; it stands there exactly once.
        without: what is left when it is taken out.
        test: the test that fails then, below tests/.
    """

    name: str
    file: str
    code: str
    without: str
    test: str


SETTLING: Final = "client/test_settling.py::"
PRESSURE: Final = "client/test_backpressure.py::"
PUBLISHING: Final = "client/test_publishing.py::"
SUBSCRIBING: Final = "client/test_subscribing.py::"
RESUMING: Final = "client/test_resuming.py::"
REDELIVERY: Final = "client/test_redelivery.py::"
LOST: Final = "client/test_lost_sessions.py::"
LIMITS: Final = "client/test_limits_again.py::"

GUARDS: Final = (
    Guard(
        "PUBACKs leave in the order of arrival",
        "_protocol/receiver.py",
        "        if not self._has_due and self._is_any_due():\n",
        "        if message in self._before_puback:\n"
        "            self._before_puback.remove(message)\n"
        "            self._before_puback.appendleft(message)\n"
        "        if not self._has_due and self._is_any_due():\n",
        SETTLING + "test_acknowledgements_leave_in_the_order_of_arrival[1]",
    ),
    Guard(
        "PUBRECs leave in the order of arrival",
        "_protocol/receiver.py",
        "        if not self._has_due and self._is_any_due():\n",
        "        if message in self._before_pubrec:\n"
        "            self._before_pubrec.remove(message)\n"
        "            self._before_pubrec.appendleft(message)\n"
        "        if not self._has_due and self._is_any_due():\n",
        SETTLING + "test_acknowledgements_leave_in_the_order_of_arrival[2]",
    ),
    Guard(
        "the loop settles as it asks for the next message",
        "_client/_subscription.py",
        "            if not message._guarded and buffer.in_hand.pop(message, message) is None:",
        "            if False:",
        SETTLING + "test_the_loop_settles_as_it_asks_for_the_next[1]",
    ),
    Guard(
        "inside a with block the loop does not settle",
        "_client/_subscription.py",
        "            if not message._guarded and buffer.in_hand.pop(message, message) is None:",
        "            if buffer.in_hand.pop(message, message) is None:",
        SETTLING + "TestWith::test_it_settles_at_the_end_of_the_block_not_before",
    ),
    Guard(
        "a loop does not settle what another has claimed",
        "_client/_subscription.py",
        "            if not message._guarded and buffer.in_hand.pop(message, message) is None:",
        "            if not message._guarded and message.settled is None:",
        "client/test_claiming.py",
    ),
    Guard(
        "a loop does not settle what a failed with block has left unclaimed",
        "_client/_subscription.py",
        "            if not message._guarded and buffer.in_hand.pop(message, message) is None:",
        "            if not message._guarded and message.settled is None:",
        SETTLING + "TestWith::test_a_loop_that_goes_on_after_a_failed_block_does_not_settle",
    ),
    Guard(
        "what a block on a shared filter leaves goes to its competitor",
        "_client/_subscribing.py",
        "            self._deliveries.unclaimed.claim(heir, (topic_filter,), left=left)\n",
        "            pass\n",
        SUBSCRIBING
        + "TestOverlaps::test_what_a_block_on_a_shared_filter_leaves_goes_to_its_competitor",
    ),
    Guard(
        "the end of the block settles nothing that is in hand",
        "_client/_subscription.py",
        "        for message in in_hand:\n"
        "            self._deliveries.unclaimed.add(message, handed_out=True)\n",
        "        for message in in_hand:\n"
        "            self._deliveries.settle(message, ReasonCode.SUCCESS)\n",
        SETTLING + "TestNothingElseSettles::test_break",
    ),
    Guard(
        "checkpoint first, then take",
        "_client/_subscription.py",
        "            message = buffer.take() or await subscription._wait()\n",
        "            message = buffer.take() or await subscription._wait()\n"
        "            await checkpoint()\n",
        "client/test_cancellation.py::test_receive[1]",
    ),
    Guard(
        "checkpoint first, then take at QoS 0",
        "_client/_subscription.py",
        "        message = loose.popleft()  # as `Buffer.take` does\n",
        "        message = loose.popleft()\n        await checkpoint()\n",
        "client/test_cancellation.py::test_receive[0]",
    ),
    Guard(
        "a full buffer pauses the reader",
        "_client/_link.py",
        "if valve.blockers and not valve.awaited:",
        "if False:",
        PRESSURE + "test_a_full_buffer_stops_the_reader_and_loses_nothing",
    ),
    Guard(
        "no pause while an answer is awaited",
        "_client/_valve.py",
        "        while self.blockers and not self.awaited:\n",
        "        while self.blockers:\n",
        PRESSURE + "test_a_pause_ends_as_a_task_begins_to_await_an_answer",
    ),
    Guard(
        "a buffer that cannot block is bounded all the same",
        "_client/_buffer.py",
        "        if self.loose_bytes >= 2 * MOST_BYTES:\n",
        "        return False\n        if self.loose_bytes >= 2 * MOST_BYTES:\n",
        PRESSURE + "test_while_an_answer_is_awaited_the_buffer_may_grow_and_then_drops",
    ),
    Guard(
        "a stalled consumer costs the stall timeout once",
        "_client/_buffer.py",
        "        self.stalled = True\n",
        "        self.stalled = False\n",
        PRESSURE + "test_a_consumer_that_takes_nothing_costs_the_stall_timeout_once",
    ),
    Guard(
        "a slow consumer is not a stalled one",
        "_client/_valve.py",
        "                if taken != blocker.taken:\n",
        "                if taken < 0:\n",
        PRESSURE + "test_a_slow_consumer_is_not_a_stalled_one",
    ),
    Guard(
        "drops are counted",
        "_client/_buffer.py",
        "        self.dropped += 1\n",
        "        pass\n",
        PRESSURE + "test_drop_newest",
    ),
    Guard(
        "drops are logged once for a burst",
        "_client/_subscription.py",
        "        if dropping and not self._dropping:  # once for a burst\n",
        "        if dropping:\n",
        PRESSURE + "test_drop_oldest",
    ),
    Guard(
        "below MQTT 5.0 unsettled messages hold the reader",
        "_client/_deliveries.py",
        "            self.valve.block(self._window)\n",
        "            pass\n",
        PRESSURE + "test_below_mqtt_5_unsettled_messages_hold_the_reader",
    ),
    Guard(
        "the reader's pause does not count as the Server's silence",
        "_client/_link.py",
        "unanswered + self._ping_timeout + paused - self._paused_before",
        "unanswered + self._ping_timeout",
        PRESSURE + "test_pings_go_on_while_reading_is_paused_and_nothing_is_overdue",
    ),
    Guard(
        "each message sent takes a place in the window",
        "_protocol/sender.py",
        "        self.quota -= 1\n        identifiers.last = packet_id\n",
        "        identifiers.last = packet_id\n",
        PUBLISHING + "TestLimits::test_receive_maximum[1-1]",
    ),
    Guard(
        "each message acknowledged gives its place back",
        "_protocol/sender.py",
        "            self.quota += 1\n",
        "            pass\n",
        PUBLISHING + "TestLimits::test_receive_maximum[1-1]",
    ),
    Guard(
        "whoever waits longest is admitted first",
        "_client/_waiting.py",
        "        if self.is_open:\n            return\n",
        "        if self._has_room():\n            return\n",
        "client/test_waiting.py::test_a_newcomer_between_the_word_and_the_step_stands_in_line",
    ),
    Guard(
        "the outgoing queue is bounded",
        "_client/_sending.py",
        "        return waiting < self._most_queued and",
        "        return True or",
        PUBLISHING + "test_publish_nowait_blocks_at_the_bounds",
    ),
    Guard(
        "the Server's Maximum QoS is honoured",
        "_client/_outgoing.py",
        "        if qos > server.maximum_qos:  # MQTT-3.2.2-11\n",
        "        if False:\n",
        PUBLISHING + "TestLimits::test_maximum_qos",
    ),
    Guard(
        "the Server's Retain Available is honoured",
        "_client/_outgoing.py",
        "        if retain and not server.retain_available:  # MQTT-3.2.2-14\n",
        "        if False:\n",
        PUBLISHING + "TestLimits::test_retain_available",
    ),
    Guard(
        "the Server's Maximum Packet Size is honoured",
        "_client/_outgoing.py",
        "            if exact > limit:\n",
        "            if False:\n",
        PUBLISHING + "TestLimits::test_maximum_packet_size_to_the_byte[1]",
    ),
    Guard(
        "a publisher waits for every acknowledgement",
        "_client/_publisher.py",
        "        while self.pending:\n",
        "        while False:\n",
        PUBLISHING + "TestPublisher::test_leaving_waits_for_every_acknowledgement",
    ),
    Guard(
        "a message with several holders is settled when all have",
        "_client/_deliveries.py",
        "        if not shared.holders:\n",
        "        if True:\n",
        SUBSCRIBING + "TestOverlaps::test_a_message_with_several_holders_is_settled_when_all_have",
    ),
    Guard(
        "a message is rejected only if all holders reject it",
        "_client/_deliveries.py",
        "_SUCCESS if shared.accepted else reason_code",
        "reason_code",
        SUBSCRIBING + "TestOverlaps::test_it_is_rejected_only_if_all_reject",
    ),
    Guard(
        "unclaimed messages keep the order of arrival",
        "_client/_unclaimed.py",
        "        subscription._buffer.sort()\n",
        "",
        SUBSCRIBING
        + "TestOverlaps::test_what_a_block_on_a_shared_filter_leaves_goes_to_its_competitor",
    ),
    Guard(
        "a message that nobody claims is told as it is released",
        "_client/_unclaimed.py",
        "self._events.put(MessageReleased(message=message, claimable=stored is not None))\n",
        "pass\n",
        SETTLING + "TestEvents::test_a_released_message_is_told_to_everybody",
    ),
    Guard(
        "what nobody here subscribed to is acknowledged",
        "_client/_deliveries.py",
        "            self._acknowledge(message, _SUCCESS)  # MQTT-4.5.0-2\n",
        "            pass\n",
        SUBSCRIBING + "TestLeaving::test_what_still_arrives_is_acknowledged_and_counted",
    ),
    Guard(
        "Subscription Identifiers tell copies apart",
        "_client/_routes.py",
        "            routes = meant or routes",
        "            routes = routes",
        SUBSCRIBING + "TestOverlaps::test_each_matching_block_gets_a_message_once[copies]",
    ),
    Guard(
        "what still arrives for a subscription that was left is for no other",
        "_client/_routes.py",
        "            if left and not meant and all(map(self._is_out_of_use, identifiers)):\n",
        "            if False:\n",
        SUBSCRIBING + "TestLeaving::test_what_still_arrives_for_it_is_for_no_other_block",
    ),
    Guard(
        "what may be for a subscription that was left is looked at closely",
        "_client/_routes.py",
        "len(routes[0].subscriptions) == 1 and not left:\n",
        "len(routes[0].subscriptions) == 1:\n",
        SUBSCRIBING + "TestLeaving::test_what_still_arrives_for_it_is_for_no_other_block",
    ),
    Guard(
        "blocks on a shared filter compete",
        "_client/_routes.py",
        "        if not self.shared or",
        "        if True or",
        SUBSCRIBING + "TestOverlaps::test_blocks_on_a_shared_filter_compete",
    ),
    Guard(
        "a higher QoS subscribes again",
        "_client/_subscribing.py",
        "        if asked and joins and wanted.qos <= route.options.qos:\n",
        "        if asked and joins:\n",
        SUBSCRIBING + "TestOverlaps::test_a_higher_qos_subscribes_again",
    ),
    Guard(
        "a filter stays subscribed while another block holds it",
        "_client/_subscribing.py",
        "            if route.subscriptions:\n",
        "            if False:\n",
        SUBSCRIBING + "TestOverlaps::test_the_same_filter_is_subscribed_and_unsubscribed_once",
    ),
    Guard(
        "an entry that is partly refused gives back what was granted",
        "_client/_subscribing.py",
        "            self._finish(subscription, grants)\n"
        "        except BaseException:\n"
        "            self._leave()\n",
        "            self._finish(subscription, grants)\n        except BaseException:\n",
        SUBSCRIBING + "TestRefusals::test_a_refused_filter_is_named_with_its_reason",
    ),
    Guard(
        "a leading wildcard does not match $ topics",
        "_topics.py",
        '            wildcards = index > 0 or not topic.startswith("$")',
        "            wildcards = True",
        SUBSCRIBING + "test_wildcards[#-$SYS/x-False]",
    ),
    Guard(
        "a Server may exceed our Receive Maximum slightly",
        "_protocol/receiver.py",
        "            self.unsettled >= _TOLERANCE * self._receive_maximum\n"
        "            and self._overrun_bytes > _MOST_OVERRUN_BYTES\n",
        "            True\n",
        "client/test_holding.py::test_a_slight_overrun_is_absorbed_with_one_warning",
    ),
    Guard(
        "a Server may not exceed our Receive Maximum without limit",
        "_protocol/receiver.py",
        "            self.unsettled >= _TOLERANCE * self._receive_maximum\n"
        "            and self._overrun_bytes > _MOST_OVERRUN_BYTES\n",
        "            False\n",
        "client/test_holding.py::"
        "test_too_many_messages_end_the_connection_with_nothing_acknowledged",
    ),
    Guard(
        "a Packet Identifier just released is the last to be used again",
        "_protocol/identifiers.py",
        "        packet_id = self.last\n",
        "        packet_id = 0\n",
        "protocol/test_identifiers.py",
    ),
    Guard(
        "the body is cancelled before others get the error",
        "_client/_supervisor.py",
        "        self.body_scope.cancel()\n        self._release_waiters(error)\n",
        "        self._release_waiters(error)\n        self.body_scope.cancel()\n",
        "client/test_opening.py::"
        "test_waiters_inside_the_body_are_cancelled_those_outside_get_the_error",
    ),
    # Connecting again, and going on with a Session.
    Guard(
        "what is sent again has DUP 1",
        "_protocol/sender.py",
        "                self._append_publish(message, dup=True)  # MQTT-3.3.1-1\n",
        "                self._append_publish(message, dup=False)\n",
        RESUMING + "test_what_was_acknowledged_does_not_come_again",
    ),
    Guard(
        "nothing new before what is sent again",
        "_protocol/sender.py",
        "        if self._holding or (self._again and not self._send_again()):\n",
        "        if self._holding or (not session.queue and not self._send_again()):\n",
        RESUMING + "test_publishes_come_again_in_order_before_anything_new[1]",
    ),
    Guard(
        "QoS 0 does not overtake what is sent again",
        "_protocol/sender.py",
        "        return self._holding or bool(self._again)\n",
        "        return False\n",
        LOST + "TestLost::test_subscriptions_come_before_messages_and_keep_their_identifiers",
    ),
    Guard(
        "the new window holds for what is sent again",
        "_protocol/sender.py",
        "        while again and self.quota > 0 and output.size < OUTPUT_HIGH_WATER:\n",
        "        while again and output.size < OUTPUT_HIGH_WATER:\n",
        RESUMING + "test_the_new_window_holds_and_the_rest_waits",
    ),
    Guard(
        "PUBRELs come again in the order of their PUBRECs",
        "_protocol/sender.py",
        "sorted(releases, key=lambda each: each.released)",
        "releases",
        RESUMING + "test_pubrels_come_again_in_the_order_of_the_pubrecs",
    ),
    Guard(
        "a PUBREL of an earlier connection leaves no place in the window behind",
        "_protocol/sender.py",
        "            self._outside.add(message.packet_id)\n",
        "",
        RESUMING + "test_a_pubrel_frees_no_place_that_it_did_not_have",
    ),
    Guard(
        "subscriptions come before messages when the session is lost",
        "_client/_supervisor.py",
        "            hold=self._restorer.has_work,\n",
        "            hold=False,\n",
        LOST + "TestLost::test_subscriptions_come_before_messages_and_keep_their_identifiers",
    ),
    Guard(
        "a QoS 2 message in doubt is not published again",
        "_protocol/session.py",
        'policy == "republish" or (message.qos == 1 and policy != "fail")',
        'policy == "republish" or policy != "fail"',
        LOST + "TestPolicies::test_policy[republish_certain-again0]",
    ),
    Guard(
        "a message held is not delivered twice",
        "_protocol/receiver.py",
        "        if self._session.held and self._is_held(message):\n            return False\n",
        "",
        REDELIVERY + "test_in_hand_it_is_not_delivered_twice_and_acknowledged_where_it_came[1]",
    ),
    Guard(
        "a message with DUP 0 is not the one that is held",
        "_protocol/receiver.py",
        "        same = self._resumed and message.dup  # MQTT-3.3.1-1\n",
        "        same = self._resumed\n",
        REDELIVERY + "test_another_message_with_the_same_identifier_is_delivered[not dup-1]",
    ),
    Guard(
        "a message with another payload is not the one that is held",
        "_protocol/receiver.py",
        "(held.topic, held.payload) != (message.topic, message.payload)",
        "held.topic != message.topic",
        REDELIVERY + "test_another_message_with_the_same_identifier_is_delivered[payload-2]",
    ),
    Guard(
        "messages of an adopted session wait for the program to subscribe",
        "_client/_deliveries.py",
        "            self._foreign = connection.resumed\n",
        "            self._foreign = False\n",
        REDELIVERY + "TestAdopted::test_messages_before_the_program_has_subscribed_wait_for_it[1]",
    ),
    Guard(
        "taken over, the client does not come back",
        "_client/_reconnecting.py",
        "        Code.SESSION_TAKEN_OVER,\n",
        "",
        "client/test_refusals.py::TestDisconnect::test_taken_over_is_never_fought",
    ),
    Guard(
        "a connection soon lost does not make the delays short again",
        "_client/_reconnecting.py",
        "        if lasted >= self._reconnect.stable_after:\n",
        "        if True:\n",
        "client/test_reconnecting.py::TestDelays::"
        "test_a_connection_soon_lost_does_not_make_them_short_again",
    ),
    Guard(
        "redirections without a pause are counted",
        "_client/_itinerary.py",
        "        if self._hops > most:\n",
        "        if False:\n",
        "client/test_failover.py::TestRedirection::"
        "test_a_circle_of_servers_that_accept_first_is_no_busy_loop",
    ),
    Guard(
        "a raise of the QoS that a new session refuses leaves the subscription",
        "_client/_restoring.py",
        "            if route.pending is not None and route.pending.earlier is not None:\n",
        "            if False:\n",
        LOST + "TestLost::test_a_raise_of_the_qos_refused_then_leaves_what_there_was",
    ),
    Guard(
        "what is being unsubscribed is not subscribed again",
        "_client/_restoring.py",
        "            if route.pending is not None or route.topic_filter not in leaving\n",
        "            if True\n",
        "client/test_changing_subscriptions.py::test_what_was_unsubscribed_by_hand_is_not_subscribed_again",
    ),
    Guard(
        "a version that was spoken is not negotiated again",
        "_client/_connecting.py",
        "        wanted = self._options.protocol or self._session._protocol\n",
        "        wanted = self._options.protocol\n",
        RESUMING + "TestVersion::test_a_session_remembers_it",
    ),
    Guard(
        "an independent server gets no session of another",
        "_client/_connecting.py",
        "self._is_elsewhere(place.name) or session._starts_clean(protocol)",
        "session._starts_clean(protocol)",
        "client/test_failover.py::TestSeveral::test_servers_that_share_nothing_start_clean",
    ),
    Guard(
        "the limits are checked again at each CONNACK",
        "_client/_sending.py",
        "                failure = self._maker.check_again(message)\n",
        "                failure = None\n",
        LIMITS + "test_a_message_that_waits_is_given_up_and_never_sent"
        "[limits3-message3-PacketTooLarge]",
    ),
    Guard(
        "what the server has already is not given up",
        "_client/_sending.py",
        "message.failure is None and message.state is not SenderState.AWAITING_PUBCOMP",
        "message.failure is None",
        LIMITS + "test_what_the_server_has_already_needs_no_room",
    ),
    Guard(
        "what was given up stays so when the Session is opened again",
        "_protocol/session.py",
        "        alone = attrs.evolve(message, listener=None)\n",
        "        alone = attrs.evolve(message, listener=None, failure=None)\n",
        LIMITS + "test_what_was_given_up_stays_so_when_the_session_is_opened_again",
    ),
    Guard(
        "what was given up gives its room back",
        "_protocol/session.py",
        "            self.outgoing_size -= message.size\n"
        "            place = _place_of(message, failure)\n",
        "            place = _place_of(message, failure)\n",
        LIMITS + "test_what_was_given_up_leaves_its_room_to_others",
    ),
    Guard(
        "a message that expires while it waits is dropped",
        "_client/_supervisor.py",
        "            self.sending.watch_expiry()  # of what an earlier client has left\n",
        "",
        "client/test_queue.py::TestExpiry::test_also_those_of_an_earlier_block",
    ),
    Guard(
        "one sent again says that at least a second remains",
        "_protocol/exchanges.py",
        "max(1, math.ceil(self.expires_at - now))",
        "max(0, math.ceil(self.expires_at - now))",
        "client/test_queue.py::TestExpiry::test_sent_again_it_says_what_remains_and_at_least_1",
    ),
    Guard(
        "a silent server is taken for dead though it answers pings",
        "_client/_link.py",
        "        if limit is None:\n",
        "        if True:\n",
        "client/test_liveness.py::TestConnectingAgain::"
        "test_an_overdue_acknowledgement_is_a_loss_and_then_it_comes[publish]",
    ),
    Guard(
        "ack_timeout stands still while the reader pauses",
        "_client/_link.py",
        "now >= since + limit + paused - paused_before:\n",
        "now >= since + limit:\n",
        "client/test_liveness.py::TestConnectingAgain::"
        "test_the_timeouts_stand_still_while_the_reader_pauses",
    ),
    Guard(
        "nothing more is read while the answers are not taken",
        "_client/_link.py",
        "            while connection.output.size > _MOST_OUTPUT:\n",
        "            while False:\n",
        "client/test_backpressure.py::test_no_more_is_read_while_the_answers_are_not_taken",
    ),
    Guard(
        "others have their turn while there is more and more to write",
        "_client/_link.py",
        "await trio.lowlevel.checkpoint()  # it may be full again, and so on\n",
        "pass\n",
        "client/test_backpressure.py::test_others_have_their_turn_while_much_is_written",
    ),
    Guard(
        "why the server ended the connection is read though writing fails",
        "_client/_link.py",
        "        self._scope.deadline = trio.current_time() + _FAREWELL_TIMEOUT\n"
        "\n"
        "    async def _send(",
        "        self._scope.cancel()\n\n    async def _send(",
        "client/test_last_words.py::test_what_the_server_said_last_is_read_though_writing_fails",
    ),
    Guard(
        "what waits for room in the output goes on when some is written",
        "_client/_link.py",
        "                    if was_full:  # else nothing can have waited for room in it\n",
        "                    if False:\n",
        "client/test_backpressure.py::test_others_have_their_turn_while_much_is_written",
    ),
    Guard(
        "a publisher sends nothing while the writer is in the middle of a packet",
        "_client/_link.py",
        "        if not self._may_hasten or not isinstance",
        "        if not isinstance",
        "client/test_hastening.py::test_it_does_not_come_in_the_middle_of_a_packet",
    ),
    Guard(
        "what a publisher could not send is left to the writer",
        "_client/_link.py",
        "            output.put_back(data[sent:])",
        "            pass",
        "client/test_hastening.py::test_what_finds_no_room_follows_in_its_place",
    ),
    Guard(
        "a publisher sends nothing once the connection is given up",
        "_client/_link.py",
        " or self._scope.cancel_called:",
        ":",
        "client/test_hastening.py::test_nothing_is_sent_once_the_connection_is_given_up",
    ),
    Guard(
        "why a publisher could not send is told",
        "_client/_link.py",
        "            self._cannot_write(error)\n            return",
        "            return",
        "client/test_hastening.py::test_why_it_could_not_be_sent_is_told",
    ),
    Guard(
        "what was put back comes first",
        "_protocol/output.py",
        "        self._chunks.insert(0, data)\n",
        "        self._chunks.append(data)\n",
        "protocol/test_flowing.py::test_what_is_put_back_comes_first",
    ),
    Guard(
        "a socket that was closed under its reader is no other file",
        "_transports/plain_socket.py",
        "                await trio.lowlevel.wait_readable(self._number())\n"
        "                return os.read(self._number(), most)\n",
        "                number = self._number()\n"
        "                await trio.lowlevel.wait_readable(number)\n"
        "                return os.read(number, most)\n",
        "transports/test_plain_socket.py::test_closed_as_it_is_woken_it_reads_no_other_file",
    ),
    Guard(
        "a QoS that was refused is not remembered as granted",
        "_client/_requests.py",
        "            else:\n                self._go_back()\n",
        "",
        "client/test_changing_subscriptions.py::TestRaisedQoS::"
        "test_what_was_refused_is_not_remembered_as_granted",
    ),
    Guard(
        "a SUBSCRIBE that is not sent leaves the one before it under way",
        "_client/_requests.py",
        "before if before and not before.done.is_set() else None\n",
        "None\n",
        "client/test_topic_filters.py::test_what_was_not_sent_leaves_what_is_under_way",
    ),
    Guard(
        "a QoS that no Server was asked for is not remembered",
        "_client/_requests.py",
        "            self.failure = request.failure\n            self._go_back()\n",
        "            self.failure = request.failure\n",
        "client/test_topic_filters.py::"
        "test_what_cannot_be_sent_any_more_leaves_others_as_they_were[False-False]",
    ),
    Guard(
        "a QoS that no Server was asked for is not kept for the next client",
        "_client/_subscribing.py",
        "take_back(change)  # this Server is never asked\n",
        'get("")\n',
        "client/test_topic_filters.py::"
        "test_what_cannot_be_sent_any_more_leaves_others_as_they_were[False-True]",
    ),
    Guard(
        "User Properties that were refused are not sent again",
        "_client/_requests.py",
        "            self.route.user_properties = self.earlier_properties\n",
        "",
        "client/test_topic_filters.py::test_who_is_refused_leaves_no_user_properties_behind",
    ),
    Guard(
        "a connector that holds a nursery may fail like any other",
        "_client/_connecting.py",
        "    while isinstance(cause, ExceptionGroup):\n",
        "    while False:\n",
        "client/test_leaving.py::TestConnectorWithNursery::test_failures",
    ),
)


def run_test(project: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run one test in a copy of the project."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(  # noqa: S603 - our own tests
        [*command, f"tests/{test}"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def take_out(guard: Guard, project: Path) -> str | None:
    """Take a guard out of the copy, run its test, put it back; what is wrong, or None."""
    path = project / "trio_mqtt" / guard.file
    before = path.read_text()
    if before.count(guard.code) != 1:
        return f"its code stands {before.count(guard.code)} times in {guard.file}"
    path.write_text(before.replace(guard.code, guard.without))
    try:
        outcome = run_test(project, guard.test)
    except subprocess.TimeoutExpired:
        return None  # a test that hangs without the guard has noticed, too
    finally:
        path.write_text(before)
    if outcome.returncode == 1:
        return None
    if outcome.returncode == 0:
        return f"{guard.test} passes without it"
    return f"{guard.test} cannot be run:\n{outcome.stdout[-2000:]}{outcome.stderr[-2000:]}"


def main() -> int:
    """Take out every guard whose name contains the argument."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    guards = [guard for guard in GUARDS if wanted in guard.name]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        shutil.copytree(
            ROOT, project, ignore=shutil.ignore_patterns(".*", "build", "_build", "__pycache__")
        )
        intact = run_test(project, " tests/".join(dict.fromkeys([guards[0].test])))
        if intact.returncode:
            print(intact.stdout)
            return 1
        for guard in guards:
            problem = take_out(guard, project)
            failures += problem is not None
            print(f"{'ok  ' if problem is None else 'FAIL'} {guard.name}: {problem or guard.test}")
    print(f"{len(guards) - failures} of {len(guards)} guards are missed when they are taken out")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
