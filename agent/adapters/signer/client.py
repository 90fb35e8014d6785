"""The connection to signerd: gRPC over mTLS, one channel for all ports.

Both directions are bounded: nothing is sent that signerd would refuse for its size, and `answers` reads what
comes back. Refusals become `Refused` with a remedy, everything that may pass becomes `SignerUnavailable`.
Each answer is also a look at signerd's clock: no session is taken, and no certificate, while it and this
PC's are apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from agent.adapters.signer.answers import (
    RenewalAnswer,
    StationAnswer,
    read_issued,
    read_receipt,
    read_renewal,
    read_session,
    read_station,
)
from agent.adapters.signer.channel import PROBE_S, answer_of, changes, is_alive, is_ready, open_channel
from agent.adapters.signer.failures import code_of, translated, value_of
from agent.adapters.signer.line_state import LineState
from agent.adapters.signer.seen_checkpoint import SeenCheckpoint
from agent.core.clocks import apart, check, read_time
from agent.core.stamp import MAX_SIGNATURE_BYTES, MAX_STAMP_BYTES
from agent.errors import BoardError, Refused, SignerSlow, SignerUnavailable
from agent.ports import BoardRequest, BoardStamp, Issued, Receipt, Session
from birthmark.v1 import renewal_pb2, renewal_pb2_grpc, station_pb2, station_pb2_grpc
from birthmark.v1 import signing_pb2 as pb
from birthmark.v1 import signing_pb2_grpc as rpc

MAX_ANSWER_BYTES = 262_144  # a chain of four, an entry and a receipt are below it
MAX_CSR_BYTES = 8_192  # signing.proto
MAX_CLAIMS_BYTES = 4_096
MAX_EVIDENCE_BYTES = 16_384
_UNKNOWN_CALL = "role_denied"
_WORK_S = 60.0  # of a call on a line that stands: signerd answers within 30 s, be it that it is not done


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
        seen: is told of each receipt, and gives what goes with each session.
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
        seen: SeenCheckpoint | None = None,
    ) -> None:
        self._target = target
        self._version = version
        self._key = key
        self._credentials = grpc.ssl_channel_credentials(operations_ca, key, certificate)
        self._deadline_s = deadline_s
        self._clock_bound = clock_bound
        self._now = now
        self._line = line
        self._seen = seen
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
            self._watching = asyncio.create_task(
                self._watch(channel, self._line), name="connection to signerd"
            )
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
            elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE or not await changes(channel, state):
                await line.explained()
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
            seen=self._seen,
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
        return read_renewal(answer)

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
        station = read_station(answer)
        await self._follow(answer.succession)
        return station

    async def ready(self) -> None:
        """Waits until the line stands, for one deadline. Raises SignerUnavailable."""
        if self._channel is None:
            raise SignerUnavailable("the connection to signerd is not open")
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
            self._stub.OpenSession,
            pb.OpenSessionRequest(
                work_order=work_order,
                chip_id=chip_id,
                agent_version=self._version,
                seen_checkpoint=b"" if self._seen is None else self._seen.to_send,
            ),
        )
        self.check_clocks()
        session = read_session(answer)
        await self._follow(answer.succession)
        return session

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
        issued = read_issued(answer)
        await self._follow(answer.succession)
        await self._saw(issued.receipt)
        return issued

    async def record_stamp(self, session: bytes, stamp: BoardStamp) -> Receipt:
        """See `Signer`. Raises BoardError `too_large` for a stamp that signerd would not take. Clocks
        that are apart do not matter to a stamp that is recorded: the next session is refused."""
        _sendable("stamp", stamp.stamp, MAX_STAMP_BYTES)
        _sendable("signature", stamp.signature, MAX_SIGNATURE_BYTES)
        request = pb.RecordStampRequest(session=session, stamp=stamp.stamp, signature=stamp.signature)
        answer = await self._call(self._stub.RecordStamp, request)
        receipt = read_receipt(answer)
        await self._follow(answer.succession)
        await self._saw(receipt)
        return receipt

    async def _follow(self, succession: bytes) -> None:
        """Before a receipt is looked at: it may be of the log's successor."""
        if self._seen is not None:
            await self._seen.follow(succession)

    async def _saw(self, receipt: Receipt) -> None:
        if self._seen is not None:
            await self._seen.saw(receipt.proof)

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
            raise SignerUnavailable("the connection to signerd was closed") from error
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
            return await self._line.explained()
        return failure

    async def _look(self, channel: grpc.aio.Channel | None) -> None:
        """Looks whether the line of a call that has no answer yet is alive, once for all such calls.

        Raises:
            SignerUnavailable: it is not, or it is the line of before. There may be another by now.
        """
        if channel is None or channel is self._silent:
            raise SignerUnavailable("the connection to signerd was made anew")
        if channel is not self._channel:  # of a certificate of before: it ends with its calls
            if await is_alive(channel):
                return
            raise SignerUnavailable("the line of before has gone silent")
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._trouble(channel), name="look at the line")
        trouble = await asyncio.shield(self._looking)
        if channel is self._silent:
            raise SignerUnavailable("the connection to signerd was made anew")
        if trouble:
            raise SignerUnavailable(trouble) if self._line is None else await self._line.explained()

    async def _trouble(self, channel: grpc.aio.Channel) -> str:
        """Takes a fresh line in the place of one that has gone silent; what is wrong if there is none."""
        if await is_alive(channel):
            return ""
        if self._line is not None:
            self._line.ask()  # meanwhile
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


def _sendable(name: str, value: bytes, most: int) -> None:
    if len(value) > most:
        raise BoardError("too_large", f"the board's {name} has {len(value)} bytes, allowed are {most}")
