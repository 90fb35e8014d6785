"""A board's certificate: session, key, request and signerd's answer, in this order, each checked.

The board makes its key while signerd opens the session, wherever it is certain that the key will be accepted.
A session that signerd has forgotten is opened once more, and the board asked for its request once more.
"""

from __future__ import annotations

from agent.core.certificate import Answer, Asked, CheckedCertificate, check_answer
from agent.core.course import Course, CourseEvent
from agent.core.firmware_demands import check_bundle
from agent.core.recipe import StepName
from agent.core.request_form import check_claims, check_csr_form
from agent.errors import BoardError, Refused
from agent.ports import BoardIdentity, BoardRequest, Driver, Issued, KeyState, Session
from agent.station import KeyDemands, StationContext
from agent.steps import StepRunner, both

_RENEWALS = 2  # of one board's session: a signerd that forgets each of them at once is broken
_SESSION_GONE = frozenset({"session_unknown", "session_used"})


class Certification:
    """Of one board. `stamped`: signerd holds a stamp of this certificate already."""

    def __init__(
        self,
        station: StationContext,
        driver: Driver,
        steps: StepRunner,
        course: Course,
        *,
        chip_id: str,
        work_order: str,
        demands: KeyDemands | None,
    ) -> None:
        self._station = station
        self._driver = driver
        self._steps = steps
        self._course = course
        self._chip_id = chip_id
        self._work_order = work_order
        self._demands = demands  # what the station knew of the order when the run began
        self._session: Session | None = None
        self._request: BoardRequest | None = None
        self._certificate: CheckedCertificate | None = None
        self.stamped = False

    @property
    def certificate(self) -> CheckedCertificate:
        """The certificate; only after `sign`, which the table of events sees to."""
        if self._certificate is None:
            raise ValueError("the board is not certified yet")
        return self._certificate

    async def opened(self, board: BoardIdentity | None) -> Session:
        """The board's session, opened if it has none. `board`: its firmware's word, None before `flash`.

        What the order demands of the bundle is compared here, before a byte is written.
        """
        if self._session is not None:
            return self._session
        station, order = self._station, self._work_order
        session = await self._steps.ask(
            "session",
            lambda: station.signer.open_session(order, self._chip_id),
            wait_s=station.bounds.signer_wait_s,
        )
        station.demands[order] = KeyDemands(session.key_types[0], session.evidence_methods)
        if station.bundle is not None:
            check_bundle(
                station.bundle, digest=session.bundle_sha256, minimum_firmware=session.minimum_firmware
            )
        if board is not None:
            require_common_method(board, session.evidence_methods)
        self._course.on(CourseEvent.SESSION_OPENED)
        self._session = session
        return session

    async def keygen(self, board: BoardIdentity) -> None:
        """The board makes its key while signerd opens the session; when either fails, both end.

        The first board of a work order waits for its session: what the order accepts is not known before, and
        a board that has nothing to prove its key with must not make one. A sealed board keeps the key that it
        has, and need not know the command any longer.
        """
        if board.sealed and board.key_state is KeyState.DONE:
            await self.opened(board)
            self._course.on(CourseEvent.KEY_MADE)
            return
        demands = self._demands
        key_type = self._known_key_type(board, demands)
        if self._session is None and demands is not None and key_type is not None:
            require_common_method(board, demands.methods)
            _, session = await both(self._make_key(key_type), self.opened(board))
            _require_accepted(key_type, session)
            return
        session = await self.opened(board)
        key_type = key_type or _choose(board, session)
        _require_accepted(key_type, session)
        await self._make_key(key_type)

    def _known_key_type(self, board: BoardIdentity, demands: KeyDemands | None) -> str | None:
        """The key's type where it is certain before signerd has spoken: a wrong key cannot be unmade."""
        offered = board.key_types
        named = self._station.recipe.key_type or (demands.key_type if demands else None)
        if named in offered:
            return named
        return offered[0] if len(offered) == 1 else None

    async def _make_key(self, key_type: str) -> None:
        report = self._steps.on_progress(StepName.KEYGEN)
        await self._steps.take(StepName.KEYGEN, lambda: self._driver.keygen(key_type, report))
        self._course.on(CourseEvent.KEY_MADE)

    async def read_request(self, board: BoardIdentity) -> None:
        """Has the board ask for its certificate, over the session's challenge."""
        session = await self.opened(board)
        if not self._course.has(CourseEvent.KEY_MADE):
            if board.key_state is not KeyState.DONE:
                raise BoardError("no_key", "the recipe leaves out keygen, and the board has no key")
            self._course.on(CourseEvent.KEY_MADE)
        methods = session.evidence_methods
        request = await self._steps.take(
            StepName.REQUEST, lambda: self._driver.request(session.challenge, methods)
        )
        if request.method not in methods:
            raise BoardError("unsupported", "the board sends evidence of a method that was not asked for")
        check_csr_form(request.csr_der)
        check_claims(request.claims)
        self._course.on(CourseEvent.REQUEST_READ)
        self._request = request

    async def sign(self, board: BoardIdentity) -> None:
        """Signed and checked; with another session and request where signerd has forgotten this one."""
        renewals = _RENEWALS
        while True:
            try:
                await self._sign_once(board)
            except Refused as error:
                if error.code not in _SESSION_GONE or not renewals:
                    raise
            else:
                return
            renewals -= 1
            self._course.on(CourseEvent.SESSION_LOST)
            self._session = None
            await self.read_request(board)

    async def _sign_once(self, board: BoardIdentity) -> None:
        session, request = await self.opened(board), self._request
        if request is None:
            raise ValueError("the board's request was not read")
        asked = Asked(self._work_order, self._chip_id, request.csr_der)

        async def signed() -> tuple[Issued, CheckedCertificate]:
            issued = await self._station.signer.sign_csr(session.session, request)
            return issued, check_answer(asked, _answer(issued), self._station.trust_now())

        # Checked within the wait: a cosignature that comes late is in the next answer to the same request.
        issued, checked = await self._steps.ask(
            StepName.SIGN, signed, wait_s=self._station.bounds.signer_wait_s
        )
        self._course.on(CourseEvent.CERTIFIED)
        self._certificate, self.stamped = checked, issued.stamped


def require_common_method(board: BoardIdentity, accepted: tuple[str, ...]) -> None:
    """signerd decides what counts as evidence: a station neither chooses a method nor asks for less."""
    if not set(accepted).intersection(board.methods):
        raise BoardError(
            "no_common_method",
            f"the board offers {_listed(board.methods)}, the work order accepts {_listed(accepted)}",
            remedy="The wrong work order for this board, or a firmware without the product's evidence.",
        )


def _require_accepted(key_type: str, session: Session) -> None:
    if key_type not in session.key_types:
        raise BoardError("unsupported", f"the product does not accept keys of type {key_type}")


def _choose(board: BoardIdentity, session: Session) -> str:
    for key_type in session.key_types:
        if key_type in board.key_types:
            return key_type
    raise BoardError("unsupported", "the board offers no key type that the product accepts")


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
