"""The order of work at a station: a board's way through its recipe, from its hello to a recorded stamp and a
label.

The recipe gives the order. `agent.core.course` holds every run to the table of prerequisites.

What holds, whatever fails:

* The station makes no key and no request. Both come out of the board, through `Driver`.
* A board is given only what `check_answer` passed, and signerd only stamps that `check_stamp` passed.
* Nothing is flashed before signerd has told the demands of the work order, and the station's bundle meets it.
* Nothing is written to a board, and no lock of it closed, before it has said its chip id once more: boards
  are exchanged by hand, and a port that is plugged in again may lead to another. `flash` and `first-boot`,
  which begin where no firmware may answer, leave that to the driver, and the board is asked when they are
  over.
* No lock is closed before the board was found to hold its certificate and settings. With the recipe's
  `challenge` it has also signed for them.
* A board passes only with the firmware of the station's bundle running, and with no lock that the order
  requires open in the silicon. This holds also for a board whose stamp signerd has recorded before.
* A label is handed over only for a code that the board's own stamp commits to.
* Everything may be repeated. The journal is not needed to go on: the board reports its contents, signerd
  gives the same chip and key the same certificate, and a stamp is in the outbox before it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agent.certification import Certification, require_common_method
from agent.core import firmware_demands
from agent.core.certificate import CheckedCertificate
from agent.core.course import STEP_EVENT, Course, CourseEvent
from agent.core.label import Label
from agent.core.recipe import StepName
from agent.core.result import Outcome, Result
from agent.core.stamp import CheckedStamp, Expected, check_stamp
from agent.delivery import deliver
from agent.errors import STATION_REFUSED, AgentError, BoardError, SignerUnavailable, StoppedError
from agent.inspection import Inspection, firmware_of, holds, reported
from agent.labelling import hand_over_label, other_code, require_code
from agent.ports import BoardIdentity, BoardStamp, Driver, FirmwareDemands, Found, OnProgress, QueuedStamp
from agent.station import StationContext
from agent.steps import StepRunner


class BoardRun:
    """One board on its way through the recipe."""

    def __init__(
        self,
        station: StationContext,
        port: str,
        driver: Driver,
        found: Found,
        work_order: str,
        steps: StepRunner,
        *,
        busy: bool,
    ) -> None:
        """`busy`: another port has a board of the same chip id on its way."""
        self._station = station
        self._port = port
        self._driver = driver
        self._chip_id = found.chip_id
        self._found = found
        self._work_order = work_order
        self._steps = steps
        self._busy = busy
        # Known from the beginning, or not in this run: other ports' boards change nothing of how it goes.
        self._demands = station.demands.get(work_order)
        self._inspection = Inspection(driver, found.chip_id, station.random_bytes)
        # What runs at the end, where the bundle's application is started: None where nobody can know.
        self._final_firmware = (
            firmware_demands.components(station.bundle.manifest, final=True)
            if station.bundle is not None and steps.has(StepName.FIRST_BOOT)
            else None
        )
        self._serial_number = self._certificate_sha256 = ""  # as soon as they are known, for the result
        self._written: tuple[str, ...] | None = None  # the same
        self._begin()

    def _begin(self) -> None:
        self._course = Course(self._station.recipe.names)
        self._certification = Certification(
            self._station,
            self._driver,
            self._steps,
            self._course,
            chip_id=self._chip_id,
            work_order=self._work_order,
            demands=self._demands,
        )
        self._signed_for: CheckedStamp | None = None  # the board's last stamp, trial or not, for its label

    async def take(self, *, again: bool = False) -> None:
        """All steps, where no other port has the same chip. Raises AgentError where it cannot go on.

        With `again`, from the beginning once more: the board is asked who it is, and is the same chip.
        """
        if self._busy:
            remedy = "Two boards may not say the same chip id: put both aside and keep them."
            raise BoardError("chip_busy", "a board on another port says the same chip id", remedy=remedy)
        if again:
            self._begin()
            self._found = await self._steps.take(StepName.IDENTIFY, self._inspection.find)
        await self._take()

    @property
    def place(self) -> tuple[str, str]:
        """The port, and the chip on it."""
        return self._port, self._chip_id

    def may_be_taken_again(self, error: AgentError) -> bool:
        """True if the board may pass at once, unchanged and unlifted.

        Not where it waits for signerd, and not for its label: a printer that failed may have printed.
        """
        waits = isinstance(error, SignerUnavailable)
        return error.retryable and not waits and self._steps.step_of(error) != StepName.LABEL

    def result(self, error: AgentError | None, seconds: float) -> Result:
        """What came of the board: PASS without an error, PARKED where nothing is wrong with it, else FAIL."""
        outcome = Outcome.PASS
        if error is not None:
            parked = isinstance(error, SignerUnavailable | StoppedError) or error.code in STATION_REFUSED
            outcome = Outcome.PARKED if parked else Outcome.FAIL
            self._course.on(CourseEvent.PARKED if parked else CourseEvent.FAILED)
        return Result(
            port=self._port,
            work_order=self._work_order,
            chip_id=self._chip_id,
            serial_number=self._serial_number,
            certificate_sha256=self._certificate_sha256,
            outcome=outcome,
            step=self._steps.step_of(error),
            code=error.code if error else "",
            detail=error.detail if error else "",
            remedy=error.remedy if error else "",
            seconds=seconds,
            times=self._steps.times,
            stop=error is not None and error.stops_line,
            again=error is not None and error.retryable,
            written=self._written,
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
        self._course.on(CourseEvent.DONE)

    @property
    def _board(self) -> BoardIdentity:
        return firmware_of(self._found)

    @property
    def _issued(self) -> CheckedCertificate:
        return self._certification.certificate

    async def _identified(self) -> None:
        """The board has said who it is. A stamp of it that waits in the outbox goes first: a second one would
        contradict it.
        """
        self._course.on(CourseEvent.IDENTIFIED)
        for queued in await self._station.journal.queued_stamps():
            if queued.chip_id == self._chip_id:
                await self._deliver(queued)

    async def _deliver(self, queued: QueuedStamp) -> None:
        station = self._station
        await self._steps.ask(
            "record",
            lambda: deliver(queued, station.signer, station.journal, station.log_key),
            wait_s=station.bounds.stamp_wait_s,
        )

    async def _flash(self) -> None:
        """The session comes first: it says what is demanded, and an unknown chip is refused unwritten."""
        session = await self._certification.opened(None)
        demanded = FirmwareDemands(session.bundle_sha256, session.minimum_firmware, session.required_locks)
        report = self._steps.on_progress(StepName.FLASH)
        self._found = await self._steps.take(StepName.FLASH, lambda: self._flash_once(demanded, report))
        self._course.on(CourseEvent.FLASHED)
        require_common_method(self._board, session.evidence_methods)

    async def _flash_once(self, demanded: FirmwareDemands, report: OnProgress) -> Found:
        flashed = await self._driver.flash(demanded, report)
        self._written = tuple(dict.fromkeys((*(self._written or ()), *flashed.written)))
        return await self._inspection.find_running()

    async def _keygen(self) -> None:
        await self._certification.keygen(self._board)

    async def _read_request(self) -> None:
        await self._certification.read_request(self._board)

    async def _sign(self) -> None:
        await self._certification.sign(self._board)
        issued = self._issued
        self._serial_number = issued.serial_number
        self._certificate_sha256 = issued.certificate_sha256.hex()
        if self._certification.stamped and self._is_finished(self._board):
            if self._steps.has(StepName.VERIFY):
                locks = (await self._certification.opened(self._board)).required_locks
                await self._steps.take(StepName.VERIFY, lambda: self._inspection.require_locked(locks))
            self._course.on(CourseEvent.RECOGNIZED)

    def _is_finished(self, board: BoardIdentity) -> bool:
        """True if the board says so, and its application says it: the manufacturing firmware may not."""
        final = self._final_firmware
        runs = final is None or reported(board) == final
        return holds(self._issued, board) and self._is_closed(board) and runs

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
        self._course.on(CourseEvent.INSTALLED)

    async def _configure(self) -> None:
        """The settings, as the certificate."""
        issued, driver = self._issued, self._driver
        if self._board.settings_sha256 != issued.settings_sha256:
            report = self._steps.on_progress(StepName.CONFIGURE)
            await self._steps.take(
                StepName.CONFIGURE,
                lambda: self._inspection.first(lambda: driver.configure(issued.settings, report)),
            )
        self._course.on(CourseEvent.CONFIGURED)

    async def _seal(self) -> None:
        report = self._steps.on_progress(StepName.SEAL)
        await self._steps.take(StepName.SEAL, lambda: self._seal_once(report))
        self._course.on(CourseEvent.SEALED)

    async def _seal_once(self, report: OnProgress) -> None:
        """What the seal closes over is verified once: a seal cut off may have left no firmware to ask."""
        if self._course.has(CourseEvent.PROVEN):
            await self._inspection.find()
        else:
            await self._inspection.require_held(self._issued)
            if self._station.recipe.challenge:
                await self._inspection.trial_stamp(self._issued, ())
            self._course.on(CourseEvent.PROVEN)
        await self._driver.seal(report)

    async def _first_boot(self) -> None:
        report = self._steps.on_progress(StepName.FIRST_BOOT)
        self._found = await self._steps.take(StepName.FIRST_BOOT, lambda: self._first_boot_once(report))
        self._course.on(CourseEvent.BOOTED)

    async def _first_boot_once(self, report: OnProgress) -> Found:
        await self._driver.first_boot(report)
        return await self._inspection.find_running()

    async def _verify(self) -> None:
        await self._steps.take(StepName.VERIFY, self._verify_once)
        self._course.on(CourseEvent.VERIFIED)

    async def _verify_once(self) -> None:
        """Compares what board and silicon now say with what the board was given and the order demands."""
        now = await self._inspection.require_final(self._issued, self._final_firmware)
        if not self._is_closed(now):
            raise BoardError("verify_differs", "the board does not say that it is sealed")
        required_locks = (await self._certification.opened(self._board)).required_locks
        await self._inspection.require_locked(required_locks)
        if self._station.recipe.challenge:
            await self._inspection.trial_stamp(self._issued, required_locks, self._final_firmware)

    async def _stamp(self) -> None:
        """The board's stamp, checked, and durable in the outbox before anyone is told of it.

        A crash before the write leaves a board that stamps anew in a new session; one after it leaves a
        stamp that the outbox sends. A board whose stamp signerd holds already makes no second one.
        """
        if self._certification.stamped:
            self._course.on(CourseEvent.STAMPED_BEFORE)
            return
        session, issued = await self._certification.opened(self._board), self._issued
        stamp = await self._steps.take(StepName.STAMP, lambda: self._driver.stamp(session.challenge))
        expected = Expected(
            session.challenge, self._chip_id, session.required_locks, issued, self._final_firmware
        )
        checked = check_stamp(stamp.stamp, stamp.signature, expected)
        if self._signed_for is not None and checked.commitment != self._signed_for.commitment:
            raise other_code("the stamp commits to another code than the one that was printed")
        self._signed_for = checked
        if StepName.LABEL in self._station.recipe.names:
            require_code(checked)
        queued = QueuedStamp(
            work_order=self._work_order,
            chip_id=self._chip_id,
            serial_number=issued.serial_number,
            certificate_sha256=issued.certificate_sha256,
            session=session.session,
            stamp=BoardStamp(checked.stamp, checked.signature),
        )
        await self._station.journal.queue_stamp(self._steps.run, queued)
        self._course.on(CourseEvent.STAMP_READ)
        await self._deliver(queued)
        self._course.on(CourseEvent.STAMP_ANSWERED)

    async def _label(self) -> None:
        await self._steps.take(StepName.LABEL, self._label_once)
        self._course.on(CourseEvent.LABELLED)

    async def _label_once(self) -> None:
        station = self._station
        if station.labels is None:
            raise ValueError("the recipe prints labels, and nothing prints them")
        await hand_over_label(
            station.labels,
            station.journal,
            run=self._steps.run,
            certificate_sha256=self._issued.certificate_sha256,
            signed=self._last_stamp,
            tell=self._driver.pop,
            label_with=self._label_with,
        )

    async def _last_stamp(self) -> CheckedStamp:
        """The stamp of this visit; a trial where the board was stamped before, or is to be stamped later."""
        await self._inspection.find()
        if self._signed_for is None:
            self._signed_for = await self._inspection.trial_stamp(self._issued, ())
        return self._signed_for

    def _label_with(self, code: str) -> Label:
        return Label(
            port=self._port,
            serial_number=self._serial_number,
            chip_id=self._chip_id,
            model=self._board.model,
            work_order=self._work_order,
            code=code,
        )
