"""The order of work at a station: a board's way through its recipe, from its hello to a recorded stamp and a label.

The recipe says in which order; `agent.core.session` holds every way to the table of what must come before what.
What holds, whatever fails:

* The station makes no key and no request. Both come out of the board, through `Driver`.
* A board is given only what `check_answer` passed, and signerd only stamps that `check_stamp` passed.
* Nothing is flashed before signerd has said what the work order demands, and the station's bundle meets it.
* Nothing is written to a board, and no lock of it closed, before it has said its chip id once more: boards
  are exchanged by hand, and a port that is plugged in again may lead to another. `flash` and `first-boot`, which
  begin where no firmware may answer, leave that to the driver, and the board is asked when they are over.
* No lock is closed before the board was found to hold what it was given; with the recipe's `challenge`, before it
  has signed for it.
* A label is handed over only for a code that the board's own stamp commits to.
* Everything may be repeated. The journal is not needed to go on: the board says what it holds, signerd
  gives the same chip and key the same certificate, and a stamp is in the outbox before it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.core.bundle import Bundle
from agent.core.certificate import Answer, Asked, CheckedCertificate, Trust, check_answer
from agent.core.demands import check_bundle
from agent.core.label import Label
from agent.core.recipe import Recipe, StepName
from agent.core.result import Outcome, Result
from agent.core.session import STEP_EVENT, Event
from agent.core.session import Session as Course
from agent.core.stamp import CheckedStamp, Expected, check_stamp
from agent.delivery import deliver
from agent.errors import AgentError, BoardError, Refused, SignerUnavailable, StoppedError
from agent.inspection import Inspection, firmware_of, holds
from agent.ports import (
    BoardIdentity,
    BoardRequest,
    BoardStamp,
    Clock,
    Demanded,
    Driver,
    Found,
    Issued,
    Journal,
    KeyState,
    Labels,
    OnProgress,
    Progress,
    QueuedStamp,
    Session,
    Signer,
)
from agent.tries import Bounds, StepRunner, both

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
    bundle: Bundle | None = None  # the firmware that this station flashes and seals
    labels: Labels | None = None
    board_retries: int = 0  # whole ways of a board that failed and may pass
    busy_chips: set[str] = field(default_factory=set)  # chips on their way now
    demands: dict[str, Demands] = field(default_factory=dict)  # by work order, as signerd last said


class Way:
    """One board on its way through the recipe."""

    def __init__(
        self,
        station: Station,
        port: str,
        driver: Driver,
        found: Found,
        work_order: str,
        steps: StepRunner,
    ) -> None:
        self._station = station
        self._port = port
        self._driver = driver
        self._chip_id = found.chip_id
        self._found = found
        self._work_order = work_order
        self._steps = steps
        self._inspection = Inspection(driver, found.chip_id)
        self._serial_number = self._certificate_sha256 = ""  # as soon as they are known, for the result
        self._begin()

    def _begin(self) -> None:
        self._course = Course(self._station.recipe.names)
        self._session: Session | None = None
        self._request: BoardRequest | None = None
        self._certified: CheckedCertificate | None = None
        self._stamped = False  # signerd holds a stamp of this certificate
        self._signed_for: CheckedStamp | None = None  # the board's last stamp, trial or not, for its label

    async def take(self, *, again: bool = False) -> None:
        """All steps, while no other port has the same chip. Raises AgentError where it cannot go on.

        With `again`, from the beginning once more: the board is asked who it is, and is the same chip.
        """
        if self._chip_id in self._station.busy_chips:
            remedy = "Two boards may not say the same chip id: put both aside and keep them."
            raise BoardError("chip_busy", "a board on another port says the same chip id", remedy=remedy)
        self._station.busy_chips.add(self._chip_id)
        try:
            if again:
                self._begin()
                self._found = await self._steps.take(StepName.IDENTIFY, self._inspection.find)
            await self._take()
        finally:
            self._station.busy_chips.discard(self._chip_id)

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
            chip_id=self._chip_id,
            serial_number=self._serial_number,
            certificate_sha256=self._certificate_sha256,
            outcome=outcome,
            step=self._steps.current,
            code=error.code if error else "",
            detail=error.detail if error else "",
            remedy=error.remedy if error else "",
            seconds=seconds,
            times=self._steps.times,
            stop=error is not None and error.stops_line,
            again=error is not None and error.retryable,
        )

    async def _take(self) -> None:
        """The recipe's steps in its order. One whose event has happened is behind the board already."""
        actions: dict[StepName, Callable[[], Awaitable[None]]] = {
            StepName.IDENTIFY: self._identified,
            StepName.FLASH: self._flash,
            StepName.KEYGEN: self._keygen,
            StepName.REQUEST: self._read_request,
            StepName.SIGN: self._sign,
            StepName.INSTALL: self._install,
            StepName.CONFIGURE: self._configure,
            StepName.SEAL: self._seal,
            StepName.FIRST_BOOT: self._first_boot,
            StepName.VERIFY: self._verify,
            StepName.STAMP: self._stamp,
            StepName.LABEL: self._label,
        }
        for name in self._station.recipe.names:
            if not self._course.has(STEP_EVENT[name]):
                await actions[name]()
        self._course.on(Event.DONE)

    @property
    def _board(self) -> BoardIdentity:
        return firmware_of(self._found)

    @property
    def _issued(self) -> CheckedCertificate:
        """The certificate; only after `sign`, which the table of events sees to."""
        if self._certified is None:
            raise ValueError("the board is not certified yet")
        return self._certified

    async def _identified(self) -> None:
        """The board has said who it is. A stamp of it that waits in the outbox goes first: a second one would
        contradict it.
        """
        self._course.on(Event.IDENTIFIED)
        for queued in await self._station.journal.queued_stamps():
            if queued.chip_id == self._chip_id:
                await self._deliver(queued)

    async def _deliver(self, queued: QueuedStamp) -> None:
        station = self._station
        await self._steps.ask(
            "record",
            lambda: deliver(queued, station.signer, station.journal, station.trust.log_key),
            wait_s=station.bounds.stamp_wait_s,
        )

    async def _flash(self) -> None:
        """The session comes first: it says what the order demands, and an unknown chip is refused unwritten."""
        session = await self._opened()
        demanded = Demanded(session.bundle_sha256, session.minimum_firmware, session.required_locks)
        report = self._steps.on_progress(StepName.FLASH)
        self._found = await self._steps.take(StepName.FLASH, lambda: self._flash_once(demanded, report))
        self._course.on(Event.FLASHED)
        self._require_common_method(session.evidence_methods)

    async def _flash_once(self, demanded: Demanded, report: OnProgress) -> Found:
        await self._driver.flash(demanded, report)
        return await self._inspection.find_running()

    async def _keygen(self) -> None:
        """The board makes its key while signerd opens the session; when either fails, both end.

        The first board of a work order waits for its session: what the order accepts is not known before, and
        a board that has nothing to prove its key with must not make one.
        """
        demands = self._station.demands.get(self._work_order)
        key_type = self._known_key_type(demands)
        if self._session is None and demands is not None and key_type is not None:
            self._require_common_method(demands.methods)
            _, session = await both(self._make_key(key_type), self._opened())
            self._accepted(key_type, session)
            return
        session = await self._opened()
        await self._make_key(self._accepted(key_type or self._choose(session), session))

    def _known_key_type(self, demands: Demands | None) -> str | None:
        """The key's type where it is certain before signerd has spoken: a wrong key cannot be unmade."""
        offered = self._board.key_types
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
        if not set(accepted).intersection(self._board.methods):
            raise BoardError(
                "no_common_method",
                f"the board offers {_listed(self._board.methods)}, "
                f"the work order accepts {_listed(accepted)}",
                remedy="The wrong work order for this board, or a firmware without the product's evidence.",
            )

    def _choose(self, session: Session) -> str:
        for key_type in session.key_types:
            if key_type in self._board.key_types:
                return key_type
        raise BoardError("unsupported", "the board offers no key type that the product accepts")

    async def _opened(self) -> Session:
        """The board's session, opened if it has none."""
        if self._session is not None:
            return self._session
        station, order = self._station, self._work_order
        session = await self._steps.ask(
            "session",
            lambda: station.signer.open_session(order, self._chip_id),
            wait_s=station.bounds.signer_wait_s,
        )
        station.demands[order] = Demands(session.key_types[0], session.evidence_methods)
        if station.bundle is not None:
            check_bundle(
                station.bundle, digest=session.bundle_sha256, minimum_firmware=session.minimum_firmware
            )
        if StepName.FLASH not in station.recipe.names or self._course.has(Event.FLASHED):
            self._require_common_method(session.evidence_methods)
        self._course.on(Event.SESSION_OPENED)
        self._session = session
        return session

    async def _make_key(self, key_type: str) -> None:
        report = self._steps.on_progress(StepName.KEYGEN)
        await self._steps.take(StepName.KEYGEN, lambda: self._driver.keygen(key_type, report))
        self._course.on(Event.KEY_MADE)

    async def _read_request(self) -> None:
        session = await self._opened()
        if not self._course.has(Event.KEY_MADE):
            if self._board.key_state is not KeyState.DONE:
                raise BoardError("no_key", "the recipe leaves out keygen, and the board has no key")
            self._course.on(Event.KEY_MADE)
        methods = session.evidence_methods
        request = await self._steps.take(
            StepName.REQUEST, lambda: self._driver.request(session.challenge, methods)
        )
        if request.method not in methods:
            raise BoardError("unsupported", "the board sends evidence of a method that was not asked for")
        self._course.on(Event.REQUEST_READ)
        self._request = request

    async def _sign(self) -> None:
        """Sign and check; with another session and request where signerd does not know this one any longer."""
        renewals = _RENEWALS
        while True:
            try:
                await self._sign_once()
                break
            except Refused as error:
                if error.code not in _SESSION_GONE or not renewals:
                    raise
            renewals -= 1
            self._course.on(Event.SESSION_LOST)
            self._session = None
            await self._read_request()
        if self._stamped and holds(self._issued, self._board) and self._is_closed(self._board):
            self._course.on(Event.RECOGNIZED)

    async def _sign_once(self) -> None:
        session, request = await self._opened(), self._request
        if request is None:
            raise ValueError("the board's request was not read")
        issued = await self._steps.ask(
            StepName.SIGN,
            lambda: self._station.signer.sign_csr(session.session, request),
            wait_s=self._station.bounds.signer_wait_s,
        )
        asked = Asked(self._work_order, self._chip_id, request.csr_der)
        checked = check_answer(asked, _answer(issued), self._station.trust)
        self._course.on(Event.CERTIFIED)
        self._certified, self._stamped = checked, issued.stamped
        self._serial_number = checked.serial_number
        self._certificate_sha256 = checked.certificate_sha256.hex()

    def _is_closed(self, board: BoardIdentity) -> bool:
        return board.sealed or not self._steps.has(StepName.SEAL)

    async def _install(self) -> None:
        """The certificate; one that the board holds already is not sent again."""
        issued, driver = self._issued, self._driver
        if self._board.credential_sha256 != issued.credential_sha256:
            report = self._steps.on_progress(StepName.INSTALL)
            await self._steps.take(
                StepName.INSTALL,
                lambda: self._inspection.first(lambda: driver.install(issued.credential, report)),
            )
        self._course.on(Event.INSTALLED)

    async def _configure(self) -> None:
        """The settings, as the certificate."""
        issued, driver = self._issued, self._driver
        if self._board.settings_sha256 != issued.settings_sha256:
            report = self._steps.on_progress(StepName.CONFIGURE)
            await self._steps.take(
                StepName.CONFIGURE,
                lambda: self._inspection.first(lambda: driver.configure(issued.settings, report)),
            )
        self._course.on(Event.CONFIGURED)

    async def _seal(self) -> None:
        report = self._steps.on_progress(StepName.SEAL)
        await self._steps.take(StepName.SEAL, lambda: self._seal_once(report))
        self._course.on(Event.SEALED)

    async def _seal_once(self, report: OnProgress) -> None:
        """What the seal closes over is verified once: a seal that broke off may have left no firmware to ask."""
        if self._course.has(Event.PROVEN):
            await self._inspection.find()
        else:
            await self._inspection.require_held(self._issued)
            if self._station.recipe.challenge:
                await self._inspection.trial_stamp(self._issued, ())
            self._course.on(Event.PROVEN)
        await self._driver.seal(report)

    async def _first_boot(self) -> None:
        report = self._steps.on_progress(StepName.FIRST_BOOT)
        self._found = await self._steps.take(StepName.FIRST_BOOT, lambda: self._first_boot_once(report))
        self._course.on(Event.BOOTED)

    async def _first_boot_once(self, report: OnProgress) -> Found:
        await self._driver.first_boot(report)
        return await self._inspection.find_running()

    async def _verify(self) -> None:
        await self._steps.take(StepName.VERIFY, self._verify_once)
        self._course.on(Event.VERIFIED)

    async def _verify_once(self) -> None:
        """Compares what board and silicon now say with what the board was given and the order demands."""
        now = await self._inspection.require_held(self._issued)
        if not self._is_closed(now):
            raise BoardError("verify_differs", "the board does not say that it is sealed")
        required_locks = (await self._opened()).required_locks
        await self._inspection.require_locked(required_locks)
        if self._station.recipe.challenge:
            await self._inspection.trial_stamp(self._issued, required_locks)

    async def _stamp(self) -> None:
        """The board's stamp, checked, and durable in the outbox before anyone is told of it.

        A crash before the write leaves a board that stamps anew in a new session; one after it leaves a
        stamp that the outbox sends. A board whose stamp signerd holds already makes no second one.
        """
        if self._stamped:
            self._course.on(Event.STAMPED_BEFORE)
            return
        session, issued = await self._opened(), self._issued
        stamp = await self._steps.take(StepName.STAMP, lambda: self._driver.stamp(session.challenge))
        expected = Expected(session.challenge, self._chip_id, session.required_locks, issued)
        checked = check_stamp(stamp.stamp, stamp.signature, expected)
        if self._signed_for is not None and checked.commitment != self._signed_for.commitment:
            raise _other_code("the stamp commits to another code than the one that was printed")
        self._signed_for = checked
        queued = QueuedStamp(
            work_order=self._work_order,
            chip_id=self._chip_id,
            serial_number=issued.serial_number,
            certificate_sha256=issued.certificate_sha256,
            session=session.session,
            stamp=BoardStamp(checked.stamp, checked.signature),
        )
        await self._station.journal.queue_stamp(self._steps.run, queued)
        self._course.on(Event.STAMP_READ)
        await self._deliver(queued)
        self._course.on(Event.STAMP_ANSWERED)

    async def _label(self) -> None:
        """One label a certificate.

        A crash, or a time that runs out, between printing and the note prints a second one of the same code: a
        board with two labels is seen, a board without one is shipped.
        """
        await self._steps.take(StepName.LABEL, self._label_once)
        self._course.on(Event.LABELLED)

    async def _label_once(self) -> None:
        station, certificate = self._station, self._issued.certificate_sha256
        if station.labels is None:
            raise ValueError("the recipe prints labels, and nothing prints them")
        if await station.journal.has_label(certificate):
            return
        await self._inspection.find()
        if self._signed_for is None:
            self._signed_for = await self._inspection.trial_stamp(self._issued, ())
        pop = await self._driver.pop()
        if pop.commitment != self._signed_for.commitment:
            raise _other_code("the board's stamp commits to another code than the one that it tells")
        await station.labels.put(
            Label(
                port=self._port,
                serial_number=self._serial_number,
                chip_id=self._chip_id,
                model=self._board.model,
                work_order=self._work_order,
                code=pop.code,
            )
        )
        await station.journal.note_label(self._steps.run, certificate)


def _other_code(detail: str) -> BoardError:
    remedy = "Put the board aside and keep it: its label would not open it."
    return BoardError("label_differs", detail, remedy=remedy)


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
