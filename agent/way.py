"""The order of work at a station: a board's way through the recipe, from its hello to a recorded stamp.

What holds, whatever fails:

* The station makes no key and no request. Both come out of the board, through `Driver`.
* A board is given only what `check_answer` passed, and signerd only stamps that `check_stamp` passed.
* Nothing is written to a board, and no lock of it closed, before it has said its chip id once more: boards
  are exchanged by hand, and a port that is plugged in again may lead to another.
* Everything may be repeated. The journal is not needed to go on: the board says what it holds, signerd
  gives the same chip and key the same certificate, and a stamp is in the outbox before it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from agent.core.certificate import Answer, Asked, CheckedCertificate, Trust, check_answer
from agent.core.recipe import Recipe, StepName
from agent.core.result import Outcome, Result
from agent.core.session import Event
from agent.core.session import Session as Course
from agent.core.stamp import Expected, check_stamp
from agent.delivery import deliver
from agent.errors import AgentError, BoardError, Refused, SignerUnavailable, StoppedError
from agent.ports import (
    BoardIdentity,
    BoardStamp,
    Clock,
    Driver,
    Issued,
    Journal,
    KeyState,
    Progress,
    QueuedStamp,
    Session,
    Signer,
)
from agent.tries import Bounds, StepRunner, both

T = TypeVar("T")

_RENEWALS = 2  # of one board's session: a signerd that forgets each of them at once is broken
_SESSION_GONE = frozenset({"session_unknown", "session_used"})


@dataclass(frozen=True, slots=True)
class Demands:
    """What a work order asks of a board before there is a key."""

    key_type: str  # the preferred one
    methods: tuple[str, ...]  # of evidence


@dataclass(frozen=True)
class Station:
    """What the boards of all ports share."""

    signer: Signer
    journal: Journal
    progress: Progress
    clock: Clock
    trust: Trust
    recipe: Recipe
    bounds: Bounds
    busy_chips: set[str] = field(default_factory=set)  # chips on their way now
    demands: dict[str, Demands] = field(default_factory=dict)  # by work order, as signerd last said


class Way:
    """One board on its way through the recipe."""

    def __init__(
        self,
        station: Station,
        port: str,
        driver: Driver,
        identity: BoardIdentity,
        work_order: str,
        steps: StepRunner,
    ) -> None:
        self._station = station
        self._port = port
        self._driver = driver
        self._identity = identity
        self._work_order = work_order
        self._steps = steps
        self._issued: CheckedCertificate | None = None
        self._course = Course()

    async def take(self) -> None:
        """All steps, while no other port has the same chip. Raises AgentError where it cannot go on."""
        chip_id = self._identity.chip_id
        if chip_id in self._station.busy_chips:
            remedy = "Two boards may not say the same chip id: put both aside and keep them."
            raise BoardError("chip_busy", "a board on another port says the same chip id", remedy=remedy)
        self._station.busy_chips.add(chip_id)
        try:
            await self._take()
        finally:
            self._station.busy_chips.discard(chip_id)

    def result(self, error: AgentError | None, seconds: float) -> Result:
        """What came of the board: PASS without an error, PARKED where nothing is wrong with it, else FAIL."""
        outcome = Outcome.PASS
        if error is not None:
            parked = isinstance(error, SignerUnavailable | StoppedError)
            outcome = Outcome.PARKED if parked else Outcome.FAIL
            self._course.on(Event.PARKED if parked else Event.FAILED)
        return Result(
            port=self._port,
            work_order=self._work_order,
            chip_id=self._identity.chip_id,
            serial_number=self._issued.serial_number if self._issued else "",
            certificate_sha256=self._issued.certificate_sha256.hex() if self._issued else "",
            outcome=outcome,
            step=self._steps.current,
            code=error.code if error else "",
            detail=error.detail if error else "",
            remedy=error.remedy if error else "",
            seconds=seconds,
            times=self._steps.times,
            stop=error is not None and error.stops_line,
        )

    async def _take(self) -> None:
        self._course.on(Event.IDENTIFIED)
        await self._settle_queued_stamp()
        session, issued, stamped = await self._certify(await self._key_and_session())
        if stamped and self._holds(issued, self._identity) and self._is_closed(self._identity):
            self._course.on(Event.ALREADY_STAMPED)
            return
        await self._store(issued)
        if self._steps.has(StepName.SEAL):
            await self._steps.take(StepName.SEAL, lambda: self._on_this_board(self._driver.seal))
            self._course.on(Event.SEALED)
        if self._steps.has(StepName.VERIFY):
            await self._steps.take(StepName.VERIFY, lambda: self._verify(issued))
            self._course.on(Event.VERIFIED)
        if stamped:
            self._course.on(Event.ALREADY_STAMPED)
            return
        queued = await self._stamp(session, issued)
        self._course.on(Event.STAMP_READ)
        await self._deliver(queued)
        self._course.on(Event.STAMP_ANSWERED)

    async def _settle_queued_stamp(self) -> None:
        """A stamp of this chip that waits in the outbox goes first: a second one would contradict it."""
        for queued in await self._station.journal.queued_stamps():
            if queued.chip_id == self._identity.chip_id:
                await self._deliver(queued)

    async def _deliver(self, queued: QueuedStamp) -> None:
        station = self._station
        await self._steps.ask(
            "record",
            lambda: deliver(queued, station.signer, station.journal, station.trust.log_key),
            wait_s=station.bounds.stamp_wait_s,
        )

    async def _key_and_session(self) -> Session:
        """The board makes its key while signerd opens the session; when either fails, both end.

        The first board of a work order waits for its session: what the order accepts is not known before, and
        a board that has nothing to prove its key with must not make one.
        """
        demands = self._station.demands.get(self._work_order)
        key_type = self._known_key_type(demands)
        if demands is None or key_type is None:
            session = await self._open_session()
            await self._make_key(self._accepted(key_type or self._choose(session), session))
            return session
        self._require_common_method(demands.methods)
        _, session = await both(self._make_key(key_type), self._open_session())
        self._accepted(key_type, session)
        return session

    def _known_key_type(self, demands: Demands | None) -> str | None:
        """The key's type where it is certain before signerd has spoken: a wrong key cannot be unmade."""
        offered = self._identity.key_types
        named = self._station.recipe.key_type or (demands.key_type if demands else None)
        if named in offered:
            return named
        return offered[0] if len(offered) == 1 else None

    @staticmethod
    def _accepted(key_type: str, session: Session) -> str:
        if key_type not in session.key_types:
            raise BoardError("unsupported", f"the product does not accept keys of type {key_type}")
        return key_type

    def _require_common_method(self, accepted: tuple[str, ...]) -> None:
        """signerd decides what counts as evidence: a station neither chooses a method nor asks for less."""
        if not set(accepted).intersection(self._identity.methods):
            raise BoardError(
                "no_common_method",
                f"the board offers {_listed(self._identity.methods)}, "
                f"the work order accepts {_listed(accepted)}",
                remedy="The wrong work order for this board, or a firmware without the product's evidence.",
            )

    def _choose(self, session: Session) -> str:
        for key_type in session.key_types:
            if key_type in self._identity.key_types:
                return key_type
        raise BoardError("unsupported", "the board offers no key type that the product accepts")

    async def _open_session(self) -> Session:
        chip_id, order = self._identity.chip_id, self._work_order
        session = await self._steps.ask(
            "session",
            lambda: self._station.signer.open_session(order, chip_id),
            wait_s=self._station.bounds.signer_wait_s,
        )
        self._station.demands[order] = Demands(session.key_types[0], session.evidence_methods)
        self._require_common_method(session.evidence_methods)
        self._course.on(Event.SESSION_OPENED)
        return session

    async def _make_key(self, key_type: str) -> None:
        if self._steps.has(StepName.KEYGEN):
            report = self._steps.on_progress(StepName.KEYGEN)
            await self._steps.take(StepName.KEYGEN, lambda: self._driver.keygen(key_type, report))
        elif self._identity.key_state is not KeyState.DONE:
            raise BoardError("no_key", "the recipe leaves out keygen, and the board has no key")
        self._course.on(Event.KEY_MADE)

    async def _certify(self, session: Session) -> tuple[Session, CheckedCertificate, bool]:
        """Request, sign, check; with another session where signerd does not know this one any longer."""
        renewals = _RENEWALS
        while True:
            try:
                issued, stamped = await self._request_and_sign(session)
            except Refused as error:
                if error.code not in _SESSION_GONE or not renewals:
                    raise
                self._course.on(Event.SESSION_LOST)
            else:
                return session, issued, stamped
            renewals -= 1
            session = await self._open_session()

    async def _request_and_sign(self, session: Session) -> tuple[CheckedCertificate, bool]:
        methods = session.evidence_methods
        request = await self._steps.take(
            StepName.REQUEST, lambda: self._driver.request(session.challenge, methods)
        )
        if request.method not in methods:
            raise BoardError("unsupported", "the board sends evidence of a method that was not asked for")
        self._course.on(Event.REQUEST_READ)
        issued = await self._steps.ask(
            StepName.SIGN,
            lambda: self._station.signer.sign_csr(session.session, request),
            wait_s=self._station.bounds.signer_wait_s,
        )
        asked = Asked(self._work_order, self._identity.chip_id, request.csr_der)
        self._issued = check_answer(asked, _answer(issued), self._station.trust)
        self._course.on(Event.CERTIFIED)
        return self._issued, issued.stamped

    @staticmethod
    def _holds(issued: CheckedCertificate, identity: BoardIdentity) -> bool:
        return (
            identity.credential_sha256 == issued.credential_sha256
            and identity.settings_sha256 == issued.settings_sha256
        )

    def _is_closed(self, identity: BoardIdentity) -> bool:
        return identity.sealed or not self._steps.has(StepName.SEAL)

    async def _on_this_board(self, action: Callable[[], Awaitable[T]]) -> T:
        """Does something to the board, at each try only after it has said that it still is the same chip."""
        self._require_same_chip(await self._driver.identify())
        return await action()

    def _require_same_chip(self, now: BoardIdentity) -> None:
        if now.chip_id != self._identity.chip_id:
            remedy = "Present both boards again, one after the other."
            raise BoardError("chip_changed", "another chip answers than at the beginning", remedy=remedy)

    async def _store(self, issued: CheckedCertificate) -> None:
        """Certificate and settings; what the board holds already is not sent again."""
        steps, driver = self._steps, self._driver
        if self._identity.credential_sha256 != issued.credential_sha256:
            report = steps.on_progress(StepName.INSTALL)
            await steps.take(
                StepName.INSTALL,
                lambda: self._on_this_board(lambda: driver.install(issued.credential, report)),
            )
        self._course.on(Event.INSTALLED)
        if self._identity.settings_sha256 != issued.settings_sha256:
            show = steps.on_progress(StepName.CONFIGURE)
            await steps.take(
                StepName.CONFIGURE,
                lambda: self._on_this_board(lambda: driver.configure(issued.settings, show)),
            )
        self._course.on(Event.CONFIGURED)

    async def _verify(self, issued: CheckedCertificate) -> None:
        """Compares what the board now says of itself with what it was given."""
        now = await self._driver.identify()
        self._require_same_chip(now)
        if now.key_state is not KeyState.DONE or not self._holds(issued, now):
            raise BoardError("verify_differs", "the board does not hold what it was given")
        if not self._is_closed(now):
            raise BoardError("verify_differs", "the board does not say that it is sealed")

    async def _stamp(self, session: Session, issued: CheckedCertificate) -> QueuedStamp:
        """The board's stamp, checked, and durable in the outbox before anyone is told of it.

        A crash before the write leaves a board that stamps anew in a new session; one after it leaves a
        stamp that the outbox sends.
        """
        chip_id = self._identity.chip_id
        stamp = await self._steps.take(StepName.STAMP, lambda: self._driver.stamp(session.challenge))
        expected = Expected(session.challenge, chip_id, session.required_locks, issued)
        checked = check_stamp(stamp.stamp, stamp.signature, expected)
        queued = QueuedStamp(
            work_order=self._work_order,
            chip_id=chip_id,
            serial_number=issued.serial_number,
            certificate_sha256=issued.certificate_sha256,
            session=session.session,
            stamp=BoardStamp(checked.stamp, checked.signature),
        )
        await self._station.journal.queue_stamp(self._steps.run, queued)
        return queued


def _listed(methods: tuple[str, ...]) -> str:
    return ", ".join(methods) or "none at all"


def _answer(issued: Issued) -> Answer:
    return Answer(
        certificate_der=issued.certificate_der,
        chain_der=issued.chain_der,
        serial_number=issued.serial_number,
        settings=issued.settings,
        index=issued.receipt.index,
        entry=issued.receipt.entry,
        proof=issued.receipt.proof,
    )
