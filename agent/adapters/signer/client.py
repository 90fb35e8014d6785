"""The line to signerd: gRPC over mTLS, one channel for all ports.

Both directions are bounded: nothing is sent that signerd would refuse for its size, and an answer that
breaks the API's bounds is a `BadAnswer`. Refusals become `Refused` with a remedy, everything that may
pass becomes `SignerUnavailable`. Each answer is also a look at signerd's clock: no session is taken, and no
certificate, while it and this PC's are apart.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from agent.adapters.signer.channel import PROBE_S, answer_of, is_alive, is_ready, open_channel
from agent.adapters.signer.failures import code_of, translated, value_of
from agent.adapters.signer.line_state import LineState
from agent.core.certificate import MAX_SERIAL_CHARACTERS, MAX_SETTINGS_BYTES
from agent.core.chain import MAX_CHAIN
from agent.core.clocks import apart, check, read_time
from agent.core.receipt import MAX_ENTRY_BYTES, MAX_RECEIPT_BYTES
from agent.core.stamp import MAX_SIGNATURE_BYTES, MAX_STAMP_BYTES
from agent.errors import BadAnswer, BoardError, Refused, SignerSlow, SignerUnavailable
from agent.ports import BoardRequest, BoardStamp, Issued, Receipt, Session
from birthmark.v1 import renewal_pb2, renewal_pb2_grpc, station_pb2, station_pb2_grpc
from birthmark.v1 import signing_pb2 as pb
from birthmark.v1 import signing_pb2_grpc as rpc

MAX_ANSWER_BYTES = 262_144  # a chain of four, an entry and a receipt are below it
MAX_CSR_BYTES = 8_192  # signing.proto
MAX_CLAIMS_BYTES = 4_096
MAX_EVIDENCE_BYTES = 16_384
_MAX_CERTIFICATE_BYTES = 8_192
_MAX_SESSION_BYTES = 512
_MAX_LIST = 16
_MAX_CODE = 32  # characters
_UNKNOWN_CALL = "role_denied"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # of locks, methods, firmware: they are shown to the operator
_KEY_TYPES = {
    pb.KEY_TYPE_P256: "p256",
    pb.KEY_TYPE_P384: "p384",
    pb.KEY_TYPE_RSA2048: "rsa2048",
    pb.KEY_TYPE_RSA3072: "rsa3072",
    pb.KEY_TYPE_RSA4096: "rsa4096",
}
_LEVELS = {
    pb.EVIDENCE_LEVEL_NONE: "none",
    pb.EVIDENCE_LEVEL_CHIP: "chip",
    pb.EVIDENCE_LEVEL_KEY: "key",
}
_WORK_S = 60.0  # of a call on a line that stands: signerd answers within 30 s, be it that it is not done


class RenewalState(StrEnum):
    """How a station's request for a renewal stands."""

    NOT_DUE = "not_due"
    PENDING = "pending"
    DONE = "done"


_RENEWALS = {
    renewal_pb2.RENEWAL_STATE_NOT_DUE: RenewalState.NOT_DUE,
    renewal_pb2.RENEWAL_STATE_PENDING: RenewalState.PENDING,
    renewal_pb2.RENEWAL_STATE_DONE: RenewalState.DONE,
}


@dataclass(frozen=True, slots=True)
class RenewalAnswer:
    """What signerd said; certificates are DER."""

    state: RenewalState
    certificate_der: bytes
    ca_der: tuple[bytes, ...]
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class StationAnswer:
    """What signerd said of this station. `order_code`: why it may not work on the order; empty: it may."""

    highest_ca_der: tuple[bytes, ...]  # those right below the device root
    order_code: str


class GrpcSigner:
    """See `agent.ports.Signer`. Use it as an asynchronous context manager.

    Args:
        target: host:port.
        operations_ca: PEM of the CA that signerd's server certificate has to come from.
        certificate: PEM, the station's.
        key: PEM, the station's private key.
        deadline_s: until a line stands. A call on one that stands is waited for while signerd is at work.
        version: of this program, for signerd's ledger; empty where it is not known.
        clock_bound: so far the clocks of signerd and of this PC may be apart.
        now: this PC's clock, aware.
        line: is told how the line stands, and says why it does not.
    """

    def __init__(
        self,
        target: str,
        *,
        operations_ca: bytes,
        certificate: bytes,
        key: bytes,
        deadline_s: float,
        version: str,
        clock_bound: timedelta = timedelta(minutes=5),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        line: LineState | None = None,
    ) -> None:
        self._target = target
        self._version = version
        self._key = key
        self._credentials = grpc.ssl_channel_credentials(operations_ca, key, certificate)
        self._deadline_s = deadline_s
        self._clock_bound = clock_bound
        self._now = now
        self._line = line
        self._silent: grpc.aio.Channel | None = None  # the last one that was given up
        self._looking: asyncio.Task[str] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._apart: timedelta | None = None
        self._channel: grpc.aio.Channel | None = None
        self._ending: set[asyncio.Task[None]] = set()  # lines of before, with calls under way

    async def __aenter__(self) -> Self:
        self._take(self._opened())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = [task for task in (self._watching, self._looking) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._line is not None:
            self._line.close()
        if self._channel is not None:
            await self._channel.close(None)
        if self._ending:
            await asyncio.wait(self._ending)

    def _opened(self) -> grpc.aio.Channel:
        return open_channel(self._target, self._credentials, MAX_ANSWER_BYTES)

    def _take(self, channel: grpc.aio.Channel) -> None:
        """Each call from now on goes there; those under way are answered where they began."""
        before, self._channel = self._channel, channel
        self._stub = rpc.SigningServiceStub(channel)
        self._renewals = renewal_pb2_grpc.RenewalServiceStub(channel)
        self._stations = station_pb2_grpc.StationServiceStub(channel)
        if self._watching is not None:
            self._watching.cancel()
        if self._line is not None:
            self._watching = asyncio.create_task(self._watch(channel, self._line), name="line to signerd")
        if before is not None:
            ending = asyncio.create_task(before.close(_WORK_S), name="line of before")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _watch(self, channel: grpc.aio.Channel, line: LineState) -> None:
        """Tells how the line stands, also while no board asks."""
        state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.SHUTDOWN:
            if state is grpc.ChannelConnectivity.READY:
                line.connected()
            elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                await line.explained(SignerUnavailable("signerd does not answer"))
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)

    def with_credentials(self, operations_ca: bytes, certificate: bytes) -> GrpcSigner:
        """A line of its own to the same signerd with a newer certificate of the key, PEM; not open yet."""
        return GrpcSigner(
            self._target,
            operations_ca=operations_ca,
            certificate=certificate,
            key=self._key,
            deadline_s=self._deadline_s,
            version=self._version,
            clock_bound=self._clock_bound,
            now=self._now,
        )

    async def go_on_as(self, other: GrpcSigner) -> None:
        """Takes over the other's open line: each call from now on goes there, and those under way are
        answered on the line that they began on."""
        channel, other._channel = other._channel, None
        self._credentials = other._credentials
        if channel is not None:
            self._take(channel)

    async def ask_renewal(self) -> RenewalAnswer:
        """A newer certificate for the key of this line, if it is time for one. Raises as the calls of
        `Signer`."""
        answer = await self._call(self._renewals.RenewCertificate, renewal_pb2.RenewCertificateRequest())
        if answer.state not in _RENEWALS:
            raise BadAnswer("signerd names no state of a renewal that this agent knows")
        if not 1 <= len(answer.ca_der) <= MAX_CHAIN:
            raise BadAnswer("operations CAs, none or more than there may be")
        for each in (answer.certificate_der, *answer.ca_der):
            _within(each, 0, _MAX_CERTIFICATE_BYTES, "certificate")
        try:
            due_at = answer.due_at.ToDatetime(UTC) if answer.HasField("due_at") else None
        except (ValueError, OverflowError) as error:
            raise BadAnswer("the renewal's time is no time") from error
        return RenewalAnswer(_RENEWALS[answer.state], answer.certificate_der, tuple(answer.ca_der), due_at)

    async def check_station(self, work_order: str) -> StationAnswer | None:
        """Whether this station may work, on a work order if one is named. It leaves no trace in signerd.
        Raises as the calls of `Signer`; a refusal of the order is part of the answer.

        None: a signerd of before, which does not know the question and denies what it does not know.
        """
        request = station_pb2.CheckStationRequest(work_order=work_order)
        try:
            answer = await self._call(self._stations.CheckStation, request, unknown_before=True)
        except Refused as refusal:
            if refusal.code != _UNKNOWN_CALL:
                raise
            return None
        if len(answer.highest_ca_der) > _MAX_LIST or len(answer.order_code) > _MAX_CODE:
            raise BadAnswer("more issuers, or a longer code, than there may be")
        for each in answer.highest_ca_der:
            _within(each, 1, _MAX_CERTIFICATE_BYTES, "issuer")
        return StationAnswer(tuple(answer.highest_ca_der), answer.order_code)

    async def ready(self) -> None:
        """Waits until the line stands, for one deadline. Raises SignerUnavailable."""
        if self._channel is None:
            raise SignerUnavailable("the line to signerd is not open")
        if not await is_ready(self._channel, self._deadline_s):
            raise SignerUnavailable(f"{self._target} did not answer in {self._deadline_s:g} s")

    @property
    def apart(self) -> timedelta | None:
        """How far signerd's clock was ahead of this PC's in the last answer (negative: behind), or None."""
        return self._apart

    def check_clocks(self) -> None:
        """Raises ClocksApart if the last answer showed that."""
        if self._apart is not None:
            check(self._apart, self._clock_bound)

    async def open_session(self, work_order: str, chip_id: str) -> Session:
        """See `Signer`. Raises ClocksApart before anything is done with the board."""
        answer = await self._call(
            self._stub.OpenSession, pb.OpenSessionRequest(work_order=work_order, chip_id=chip_id)
        )
        self.check_clocks()
        _within(answer.session, 1, _MAX_SESSION_BYTES, "session")
        _within(answer.challenge, 32, 32, "challenge")
        if answer.bundle_sha256:
            _within(answer.bundle_sha256, 32, 32, "bundle digest")
        names = (*answer.evidence_methods, *answer.required_locks, *answer.minimum_firmware.keys())
        lists = (answer.key_types, answer.evidence_methods, answer.required_locks, answer.minimum_firmware)
        if any(len(items) > _MAX_LIST for items in lists) or not all(map(_NAME.fullmatch, names)):
            raise BadAnswer("what the order demands is longer than it may be, or not of its form")
        key_types = tuple(_KEY_TYPES[key] for key in answer.key_types if key in _KEY_TYPES)
        if not key_types:
            raise BadAnswer("signerd names no key type that this agent knows")
        return Session(
            session=answer.session,
            challenge=answer.challenge,
            expires_at=_moment(answer),
            key_types=key_types,
            evidence_methods=tuple(answer.evidence_methods),
            level=_LEVELS.get(answer.level, ""),
            minimum_firmware=dict(answer.minimum_firmware),
            required_locks=tuple(answer.required_locks),
            bundle_sha256=answer.bundle_sha256 or None,
        )

    async def sign_csr(self, session: bytes, request: BoardRequest) -> Issued:
        """See `Signer`. Raises BoardError `too_large` for a request that signerd would not take, and
        ClocksApart before the board is given a certificate; asked again, signerd gives the same one."""
        _sendable("request", request.csr_der, MAX_CSR_BYTES)
        _sendable("claims", request.claims, MAX_CLAIMS_BYTES)
        _sendable("evidence", request.evidence, MAX_EVIDENCE_BYTES)
        evidence = pb.Evidence(method=request.method, claims=request.claims, evidence=request.evidence)
        answer = await self._call(
            self._stub.SignCsr,
            pb.SignCsrRequest(
                session=session, csr_der=request.csr_der, evidence=evidence, agent_version=self._version
            ),
        )
        self.check_clocks()
        _within(answer.certificate_der, 1, _MAX_CERTIFICATE_BYTES, "certificate")
        _within(answer.settings, 1, MAX_SETTINGS_BYTES, "settings")
        if not 1 <= len(answer.chain_der) <= MAX_CHAIN or len(answer.serial_number) > MAX_SERIAL_CHARACTERS:
            raise BadAnswer("chain or serial number are longer than they may be")
        for issuer in answer.chain_der:
            _within(issuer, 1, _MAX_CERTIFICATE_BYTES, "issuer")
        return Issued(
            certificate_der=answer.certificate_der,
            chain_der=tuple(answer.chain_der),
            serial_number=answer.serial_number,
            settings=answer.settings,
            receipt=_receipt(answer),
            stamped=answer.stamped,
        )

    async def record_stamp(self, session: bytes, stamp: BoardStamp) -> Receipt:
        """See `Signer`. Raises BoardError `too_large` for a stamp that signerd would not take. Clocks
        that are apart do not matter to a stamp that is recorded: the next session is refused."""
        _sendable("stamp", stamp.stamp, MAX_STAMP_BYTES)
        _sendable("signature", stamp.signature, MAX_SIGNATURE_BYTES)
        request = pb.RecordStampRequest(session=session, stamp=stamp.stamp, signature=stamp.signature)
        return _receipt(await self._call(self._stub.RecordStamp, request))

    async def _call(self, method: Callable[..., Any], request: Any, *, unknown_before: bool = False) -> Any:
        """`unknown_before`: a signerd of before may deny the call, which says nothing of this station."""
        sent, channel = self._now(), self._channel
        begun_s = asyncio.get_running_loop().time()
        try:
            call = method(request, timeout=_WORK_S)
            answer = await answer_of(call, lambda: self._look(channel))
            self._look_at_clock(await call.trailing_metadata(), sent)
        except grpc.aio.AioRpcError as error:
            self._look_at_clock(error.trailing_metadata(), sent)
            seconds = asyncio.get_running_loop().time() - begun_s
            if unknown_before and code_of(error) == _UNKNOWN_CALL:
                raise translated(error) from error
            raise await self._failure(error, seconds) from error
        except grpc.aio.UsageError as error:  # the channel was closed under the call: we are stopping
            raise SignerUnavailable("the line to signerd was closed") from error
        if self._line is not None:
            self._line.answered()
        return answer

    async def _failure(self, error: grpc.aio.AioRpcError, seconds: float) -> Exception:
        """Why a call failed after so long, and what that says of the line."""
        failure = translated(error)
        late = isinstance(failure, SignerUnavailable) and seconds > self._deadline_s
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or (late and code_of(error) == "unavailable"):
            return SignerSlow(seconds)
        if self._line is None:
            return failure
        if isinstance(failure, Refused):
            self._line.refused(failure)
        elif code_of(error):
            self._line.answered()
        elif isinstance(failure, SignerUnavailable):
            return await self._line.explained(failure)
        return failure

    async def _look(self, channel: grpc.aio.Channel | None) -> None:
        """Looks whether the line of a call that has no answer yet is alive, once for all such calls.

        Raises:
            SignerUnavailable: it is not, or it is the line of before. There may be another by now.
        """
        if channel is None or channel is self._silent:
            raise SignerUnavailable("the line to signerd was made anew")
        if channel is not self._channel:  # of a certificate of before: it ends with its calls
            if await is_alive(channel):
                return
            raise SignerUnavailable("the line of before has gone silent")
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._trouble(channel), name="look at the line")
        trouble = await asyncio.shield(self._looking)
        if channel is self._silent:
            raise SignerUnavailable("the line to signerd was made anew")
        if trouble:
            failure = SignerUnavailable(trouble)
            raise failure if self._line is None else await self._line.explained(failure)

    async def _trouble(self, channel: grpc.aio.Channel) -> str:
        """Takes a fresh line in the place of one that has gone silent; what is wrong if there is none."""
        if await is_alive(channel):
            return ""
        fresh = self._opened()
        try:
            if await is_ready(fresh, PROBE_S) and self._channel is channel:
                self._silent = channel
                self._take(fresh)
                return ""
        finally:
            if self._channel is not fresh:
                await fresh.close(None)
        return "signerd has gone silent, and takes no fresh line"

    def _look_at_clock(self, metadata: Any, sent: datetime) -> None:
        theirs = read_time(value_of(metadata, "birthmark-time"))
        self._apart = None if theirs is None else apart(theirs, sent, self._now())


def _within(value: bytes, least: int, most: int, name: str) -> None:
    if not least <= len(value) <= most:
        raise BadAnswer(f"the {name} in signerd's answer has {len(value)} bytes")


def _sendable(name: str, value: bytes, most: int) -> None:
    if len(value) > most:
        raise BoardError("too_large", f"the board's {name} has {len(value)} bytes, allowed are {most}")


def _receipt(answer: pb.SignCsrResponse | pb.RecordStampResponse) -> Receipt:
    _within(answer.receipt, 1, MAX_RECEIPT_BYTES, "receipt")
    _within(answer.ledger_entry, 1, MAX_ENTRY_BYTES, "ledger entry")
    return Receipt(answer.ledger_index, answer.ledger_entry, answer.receipt)


def _moment(answer: pb.OpenSessionResponse) -> datetime:
    try:
        return answer.expires_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadAnswer("the session's expiry is no time") from error
