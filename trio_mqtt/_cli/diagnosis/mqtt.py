"""The steps of MQTT: WebSocket beneath it, CONNACK, what is granted, PINGREQ."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mqtt._cli.diagnosis.conversation import Conversation, Ended, OutOfTurn
from trio_mqtt._cli.diagnosis.findings import split_error
from trio_mqtt._cli.diagnosis.limits import check_limits
from trio_mqtt._cli.diagnosis.other_schemes import find_scheme
from trio_mqtt._cli.diagnosis.target import make_client_id
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, ReasonCode
from trio_mqtt._errors import ConnectFailed, RemoteProtocolError
from trio_mqtt._transports.opening import open_stream
from trio_mqtt._transports.progress import Progress
from trio_mqtt.packets import NO_PROPERTIES, Connect, Disconnect, Properties

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trio_mqtt._cli.diagnosis.findings import Detail, Findings
    from trio_mqtt._cli.diagnosis.target import Target
    from trio_mqtt._enums import Protocol
    from trio_mqtt.packets import ConnAck

_FOR_EVER: Final = 0xFFFF_FFFF
_STAGES: Final = {"TLS": "client certificate", "WebSocket": "WebSocket", "CONNECT": "CONNACK"}
"""Where a failure belongs, by the stage of the error; TLS itself was looked at before."""

ADVICE: Final = {
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "check the user name (-u) and the password (-P)",
    ReasonCode.NOT_AUTHORIZED: (
        "check the user name (-u) and the password (-P), and what the server allows this client "
        "identifier (-i) and this address"
    ),
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: "the server wants another client identifier: give -i",
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: "give another version with -V, such as mqttv311",
    ReasonCode.SERVER_UNAVAILABLE: "try again later; see whether the server has just started",
    ReasonCode.SERVER_BUSY: "try again later",
    ReasonCode.BANNED: "who runs the server has shut this client out: ask them",
    ReasonCode.BAD_AUTHENTICATION_METHOD: "the server wants enhanced authentication",
    ReasonCode.USE_ANOTHER_SERVER: "connect to the server that it names",
    ReasonCode.SERVER_MOVED: "connect to the server that it names from now on",
    ReasonCode.QUOTA_EXCEEDED: "too many clients, or too much: ask who runs the server",
    ReasonCode.CONNECTION_RATE_EXCEEDED: "wait a while; something connects too often",
}
"""What to do about a refusal; otherwise the log of the Server has to tell."""
_OTHERWISE: Final = "the log of the server may say more"


@attrs.define
class _TimedProgress(Progress):
    """A `Progress` that lets the time of a step count from the stage that it is about."""

    findings: Findings | None = None

    def enter(self, stage: str, what: str, *, missing: str | None = None) -> None:
        """A stage begins."""
        Progress.enter(self, stage, what, missing=missing)
        if self.findings is not None:
            self.findings.begin()


class Exchange:
    """Connects as a client would, and tells each step.

    Args:
        findings: takes down the steps.
        target: where to.
    """

    def __init__(self, findings: Findings, target: Target) -> None:
        self._findings = findings
        self._target = target
        self._client_id = target.client_id or make_client_id()
        self._told_websocket = False
        self._protocol: Protocol = MQTT_5
        self._is_last = True
        self._try_older = False

    async def run(self) -> bool:
        """Connect, with each version of MQTT that may do; whether the client is let in."""
        protocols: Sequence[Protocol] = (
            (MQTT_5, MQTT_3_1_1) if self._target.protocol is None else (self._target.protocol,)
        )
        connack = None
        for protocol in protocols:
            self._protocol = protocol
            self._is_last = protocol is protocols[-1]
            self._try_older = False
            connack = await self._attempt(protocol)
            if not self._try_older:
                break
        if connack is not None and self._leaves_a_session(connack):
            await self._forget()
        return connack is not None

    def _leaves_a_session(self, connack: ConnAck) -> bool:
        """Whether there is a Session now that there was not before, and DISCONNECT ends none."""
        is_new = self._target.client_id is not None and not connack.session_present
        return is_new and self._protocol is MQTT_3_1_1

    async def _forget(self) -> None:
        """Connect once more, so that the Server forgets the Session."""
        progress = _TimedProgress(self._target.address.name, is_silent=True)
        with (
            trio.move_on_after(self._target.timeout),
            suppress(ConnectFailed, Ended, OutOfTurn, RemoteProtocolError),
        ):
            async with self._open(progress) as stream:
                talk = Conversation(stream, MQTT_3_1_1)
                packet = attrs.evolve(self._connect_packet(MQTT_3_1_1), clean_start=True)
                await talk.connect(packet)
                await talk.disconnect(Disconnect())

    async def _attempt(self, protocol: Protocol) -> ConnAck | None:
        """One connection, to its end; the answer if it was a good one."""
        target, findings = self._target, self._findings
        progress = _TimedProgress(target.address.name, is_silent=True, findings=findings)
        talk: Conversation | None = None
        findings.begin()
        try:
            with trio.fail_after(target.timeout):
                async with self._open(progress) as stream:
                    talk = Conversation(stream, protocol)
                    connack = await talk.connect(self._connect_packet(protocol))
                    if connack.reason_code.is_failure:
                        self._refused(connack, protocol)
                        return None
                    await self._accepted(talk, connack)
                    return connack
        except ConnectFailed as error:
            await self._tell_failure(error)
        except trio.TooSlowError:
            await self._tell_silence(_STAGES.get(progress.stage, "TCP"), progress.missing)
        except Ended as ended:
            await self._ended(ended, talk)
        except OutOfTurn as error:
            findings.fail("CONNACK", str(error), _OTHERWISE)
        except RemoteProtocolError as error:
            await self._tell_nonsense(error, b"" if talk is None else talk.first)
        return None

    @asynccontextmanager
    async def _open(self, progress: _TimedProgress) -> AsyncGenerator[trio.abc.Stream]:
        target = self._target
        address = target.address
        context = target.make_context() if address.is_tls else None
        async with open_stream(address, progress, target.options(context)) as stream:
            if address.is_websocket and not self._told_websocket:
                self._told_websocket = True
                self._findings.ok("WebSocket", f"{address.path}, with the subprotocol mqtt")
            progress.enter("CONNECT", "")
            yield stream

    async def _accepted(self, talk: Conversation, connack: ConnAck) -> None:
        connect = self._connect_packet(talk.protocol)
        self._tell_accepted(connack, talk.protocol)
        check_limits(self._findings, connect, connack, talk.protocol)
        await self._ping(talk)
        await talk.disconnect(self._disconnect_packet(connack, talk.protocol))

    def _refused(self, connack: ConnAck, protocol: Protocol) -> None:
        if connack.reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION and not self._is_last:
            self._try_older = True
        else:
            self._tell_refusal(connack, protocol)

    async def _ended(self, ended: Ended, talk: Conversation | None) -> None:
        refusal = _refusal_by_tls(ended)
        first = b"" if talk is None else talk.first
        if refusal is not None:
            self._findings.fail("client certificate", *split_error(refusal, self._target.address))
        elif not (self._is_last or first):
            self._try_older = True  # some Servers without MQTT 5.0 just close
        else:
            await self._tell_end(ended, first)

    # -- packets ------------------------------------------------------------------------------

    def _connect_packet(self, protocol: Protocol) -> Connect:
        """CONNECT, so that nothing is lost of what another client has with the Server.

        With the Client Identifier of another client its Session is asked for, and kept.
        """
        username, password = self._target.credentials
        is_borrowed = self._target.client_id is not None
        properties = NO_PROPERTIES
        if protocol is MQTT_5 and is_borrowed:
            # One message at most is sent here, unacknowledged. A Maximum Packet Size would have
            # the Server throw larger ones away.
            properties = Properties(session_expiry_interval=_FOR_EVER, receive_maximum=1)
        return Connect(
            client_id=self._client_id,
            clean_start=not is_borrowed,
            keep_alive=self._target.keep_alive,
            username=username,
            password=password.encode() if isinstance(password, str) else password,
            properties=properties,
        )

    def _disconnect_packet(self, connack: ConnAck, protocol: Protocol) -> Disconnect:
        """DISCONNECT, which leaves no Session behind that was not there before."""
        made = self._target.client_id is not None and not connack.session_present
        if protocol is MQTT_5 and made:
            return Disconnect(properties=Properties(session_expiry_interval=0))
        return Disconnect()

    async def _ping(self, talk: Conversation) -> None:
        findings = self._findings
        try:
            with trio.fail_after(self._target.timeout / 2):
                await talk.ping()
        except trio.TooSlowError:
            findings.fail("PINGREQ", "the server does not answer PINGREQ", _OTHERWISE)
        except Ended as ended:
            code = ended.disconnect.reason_code.describe() if ended.disconnect else "nothing"
            findings.fail(
                "PINGREQ",
                f"the server ended the connection after CONNACK and said {code}",
                _OTHERWISE,
            )
        except RemoteProtocolError as error:
            findings.fail("PINGREQ", str(error), _OTHERWISE)
        else:
            findings.ok("PINGREQ", "the server answers")

    # -- what is told -------------------------------------------------------------------------

    def _tell_accepted(self, connack: ConnAck, protocol: Protocol) -> None:
        found = f"{protocol.title}: the server accepts the client"
        details: dict[str, Detail] = {
            "protocol": protocol.title,
            "reason code": int(connack.reason_code),
            "session present": connack.session_present,
            "client identifier": self._client_id,
        }
        if self._target.client_id is not None:
            kept = "goes on with the" if connack.session_present else "had no"
            self._findings.warn(
                "CONNACK",
                f"{found}, and {kept} Session of {self._client_id!r}",
                f"a client that is connected as {self._client_id!r} has lost its connection by "
                "this; leave -i away to be sure",
                details,
            )
            return
        self._findings.ok("CONNACK", found, details)

    def _tell_refusal(self, connack: ConnAck, protocol: Protocol) -> None:
        code, properties = connack.reason_code, connack.properties
        words = f": {properties.reason_string}" if properties.reason_string else ""
        found = f"{protocol.title}: the server refuses the client with {code.describe()}{words}"
        details: dict[str, Detail] = {"protocol": protocol.title, "reason code": int(code)}
        if properties.server_reference is not None:
            details["server reference"] = properties.server_reference
        self._findings.fail("CONNACK", found, ADVICE.get(code, _OTHERWISE), details)

    async def _tell_end(self, ended: Ended, first: bytes) -> None:
        if ended.disconnect is not None:
            code = ended.disconnect.reason_code
            found = f"the server sends DISCONNECT, not CONNACK: {code.describe()}"
            self._findings.fail("CONNACK", found, ADVICE.get(code, _OTHERWISE))
            return
        cause = ended.cause
        how = "closes the connection" if cause is None else f"breaks the connection ({_why(cause)})"
        when = "in the middle of CONNACK" if first else "without a CONNACK"
        otherwise = (
            "it may refuse the user name, the password or the client identifier in this way, or "
            f"be no MQTT server; {_OTHERWISE}"
        )
        await self._tell_with_scheme(f"the server {how} {when}", otherwise)

    async def _tell_silence(self, name: str, missing: str) -> None:
        found = f"{missing} within {self._target.timeout:g} s"
        otherwise = "check that the port is one for MQTT, and that the server is not overloaded"
        await self._tell_with_scheme(found, otherwise, name)

    async def _tell_nonsense(self, error: RemoteProtocolError, first: bytes) -> None:
        if first[:1] == b"\x20":
            self._findings.fail("CONNACK", f"CONNACK is malformed: {error}", _OTHERWISE)
            return
        found = f"what comes is not MQTT: it begins with {first[:20]!r}"
        await self._tell_with_scheme(found, "check the port and the scheme of the URL")

    async def _tell_failure(self, error: ConnectFailed) -> None:
        name = _STAGES.get(error.stage or "", "TCP")
        found, advice = split_error(error, self._target.address)
        if name == "WebSocket":
            await self._tell_with_scheme(found, advice, name)
        else:
            self._findings.fail(name, found, advice)

    async def _tell_with_scheme(self, found: str, otherwise: str, name: str = "CONNACK") -> None:
        """A failure, with what does answer on that port, if anything does."""
        right = await find_scheme(self._target)
        advice = otherwise if right is None else f"use {right}: that answers"
        self._findings.fail(name, found, advice)


def _refusal_by_tls(ended: Ended) -> ConnectFailed | None:
    """What TLS has to say of an end; from TLS 1.3 on a client certificate is judged so late."""
    cause = ended.cause
    while cause is not None and not isinstance(cause, ConnectFailed):
        cause = cause.__cause__
    return cause


def _why(cause: BaseException) -> str:
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return getattr(cause, "strerror", None) or str(cause)
