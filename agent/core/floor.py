"""What every port of a station is doing, and what the shift has made so far: a pure model, fed by events.

    floor = Floor(work_order="WO-1", steps=14, now=now)
    floor.ports_listed(["1.1", "1.2"])
    floor.tell(BoardSeen("1.1", "7c:df:a1:00:00:01"), now)
    floor.snapshot(now)

It stays small whatever comes: so many ports, so many last boards, so many characters of a text. Times are
aware datetimes, and arguments. A port is shown as soon as it is there, with or without a board.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum

from agent.core.counts import Counts
from agent.core.events import (
    BoardSeen,
    Event,
    Finished,
    LineDown,
    LineUp,
    PortReady,
    StampSettled,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
)
from agent.core.port_names import by_place, short_names
from agent.core.result import Outcome, Result

MAX_PORTS = 256  # that are remembered; more than one PC has ever had
RECENT = 20  # last boards that are shown
NOTICES = 5  # last notices that are shown
MAX_TEXT = 200  # characters of a text that a board, signerd or a system made


class PortState(StrEnum):
    """What a port shows from afar."""

    EMPTY = "empty"  # no board has come yet
    GONE = "gone"  # the adapter was pulled out
    WORKING = "working"
    WAITING = "waiting"  # a board, or the port itself, is held up by something that is not the board
    PASS = "pass"  # noqa: S105  (a verdict, not a password)
    FAIL = "fail"
    PARKED = "parked"


_OUTCOME = {Outcome.PASS: PortState.PASS, Outcome.FAIL: PortState.FAIL, Outcome.PARKED: PortState.PARKED}
_UNDER_WAY = frozenset({PortState.WORKING, PortState.WAITING})


@dataclass(frozen=True, slots=True)
class PortView:
    """One port at one moment."""

    port: str
    short: str  # its name beside the others', without what all begin with; no two are alike
    state: PortState
    chip_id: str
    serial_number: str
    step: str  # under way, or the last one begun
    step_percent: int | None  # of the step, where it tells
    percent: int  # of the whole way
    elapsed_s: float  # of the board under way, or that the finished one took
    detail: str
    code: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Shift:
    """Counts since the shift began, by the rule of `agent.core.counts`."""

    since: str  # UTC, ISO 8601
    passed: int
    failed: int
    parked: int  # now
    yield_percent: float  # of passed and failed; 0 without any


@dataclass(frozen=True, slots=True)
class RecentBoard:
    """One of the last boards."""

    time: str  # UTC, ISO 8601
    port: str
    chip_id: str
    serial_number: str
    outcome: Outcome
    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that an operator should know and that is no board's."""

    time: str
    text: str


@dataclass(frozen=True, slots=True)
class LineTrouble:
    """Why no board of any port can get on."""

    since: str  # UTC, ISO 8601
    code: str
    detail: str
    remedy: str
    stop: bool  # only a person can help


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that table, page and `status` show, at one moment."""

    time: str
    work_order: str
    ports: tuple[PortView, ...]  # by place: port 2 before port 10
    shift: Shift
    recent: tuple[RecentBoard, ...]  # newest first
    notices: tuple[Notice, ...]  # newest first
    line: LineTrouble | None = None


@dataclass(slots=True)
class _Port:
    there: bool = True
    state: PortState = PortState.EMPTY
    chip_id: str = ""
    serial_number: str = ""
    steps: dict[str, float] = field(default_factory=dict)  # under way: share done, 0 to 1; newest last
    done: set[str] = field(default_factory=set)
    last_step: str = ""
    detail: str = ""
    code: str = ""
    remedy: str = ""
    trouble: str = ""  # of the port, while no board is on its way
    started_at: datetime | None = None
    seconds: float = 0.0


class Floor:
    """See the module."""

    def __init__(self, *, work_order: str, steps: int, now: datetime) -> None:
        """`steps`: how many a board takes, for the bar of its whole way."""
        self._work_order = work_order
        self._total = max(steps, 1)
        self._since = now
        self._ports: dict[str, _Port] = {}
        self._counts = Counts()
        self._recent: deque[RecentBoard] = deque(maxlen=RECENT)
        self._notices: deque[Notice] = deque(maxlen=NOTICES)
        self._line: LineTrouble | None = None

    @property
    def since(self) -> datetime:
        """When this shift began."""
        return self._since

    def begin_shift(self, since: datetime, *, passed: int = 0, failed: int = 0) -> None:
        """Counts anew, from what the shift has made already. What is parked stays so."""
        self._since = since
        self._counts.begin(passed=passed, failed=failed)

    def ports_listed(self, names: Iterable[str]) -> None:
        """These ports are there now, and no others."""
        there = set(names)
        for name in there:
            self._port(name).there = True
        for name, port in self._ports.items():
            if name not in there:
                port.there = False

    def tell(self, event: Event, now: datetime) -> None:
        """Takes an event in. `now`: when it happened."""
        self._counts.tell(event)
        match event:
            case BoardSeen(port, chip_id):
                self._board_seen(port, chip_id, now)
            case StepStarted(port, step):
                self._step_started(port, step)
            case StepProgress(port, step, done, total):
                self._step_progress(port, step, done, total)
            case StepDone(port, step):
                self._step_done(port, step)
            case Waiting(port, detail):
                self._waiting(port, detail)
            case PortReady(port):
                self._port(port).trouble = ""
            case Finished(result):
                self._finished(result, now)
            case StampSettled():
                self._stamp_settled(event, now)
            case LineDown() | LineUp():
                self._line = _line_trouble(event, now)

    def _board_seen(self, name: str, chip_id: str, now: datetime) -> None:
        self._ports[name] = _Port(state=PortState.WORKING, chip_id=_clip(chip_id), started_at=now)
        self._bound()

    def _step_started(self, name: str, step: str) -> None:
        port = self._moving(name)
        port.steps.pop(step, None)
        port.steps[step] = 0.0
        port.last_step = _clip(step)

    def _step_progress(self, name: str, step: str, done: int, total: int) -> None:
        port = self._moving(name)
        port.steps[step] = min(max(done / total, 0.0), 1.0) if total > 0 else 0.0
        port.last_step = _clip(step)

    def _step_done(self, name: str, step: str) -> None:
        port = self._moving(name)
        port.steps.pop(step, None)
        port.done.add(step)
        if port.steps:  # keygen and session run at once: the one that goes on is shown
            port.last_step = _clip(next(reversed(port.steps)))

    def _waiting(self, name: str, detail: str) -> None:
        port = self._port(name)
        if port.state in _UNDER_WAY:
            port.state, port.detail = PortState.WAITING, _clip(detail)
        else:
            port.trouble = _clip(detail)

    def _finished(self, result: Result, now: datetime) -> None:
        port = self._port(result.port)
        self._ports[result.port] = _Port(
            state=_OUTCOME[result.outcome],
            chip_id=_clip(result.chip_id),
            serial_number=_clip(result.serial_number),
            done=port.done,
            steps=port.steps,
            last_step=_clip(result.step),
            detail=_clip(result.detail),
            code=_clip(result.code),
            remedy=_clip(result.remedy),
            seconds=result.seconds,
        )
        self._recent.append(
            RecentBoard(
                time=_iso(now),
                port=_clip(result.port),
                chip_id=_clip(result.chip_id),
                serial_number=_clip(result.serial_number),
                outcome=result.outcome,
                code=_clip(result.code),
                seconds=round(result.seconds, 3),
            )
        )
        self._bound()

    def _stamp_settled(self, event: StampSettled, now: datetime) -> None:
        """The parked board of this stamp has now passed, or failed."""
        if event.code:
            self.notice(f"stamp of {event.serial_number} ({event.chip_id}) refused: {event.code}", now)
        for port in self._ports.values():
            if port.state is PortState.PARKED and port.chip_id == _clip(event.chip_id):
                port.state = PortState.FAIL if event.code else PortState.PASS
                port.code, port.detail, port.remedy = _clip(event.code), "", ""

    def notice(self, text: str, now: datetime) -> None:
        """Something that is no board's, for the operator."""
        self._notices.append(Notice(_iso(now), _clip(text)))

    def snapshot(self, now: datetime) -> Snapshot:
        """Everything as it stands now."""
        shorts = short_names(self._ports)
        return Snapshot(
            time=_iso(now),
            work_order=self._work_order,
            ports=tuple(self._view(name, shorts[name], now) for name in sorted(self._ports, key=by_place)),
            shift=Shift(
                since=_iso(self._since),
                passed=self._counts.passed,
                failed=self._counts.failed,
                parked=self._counts.parked,
                yield_percent=self._counts.yield_percent,
            ),
            recent=tuple(reversed(self._recent)),
            notices=tuple(reversed(self._notices)),
            line=self._line,
        )

    def _view(self, name: str, short: str, now: datetime) -> PortView:
        port = self._ports[name]
        state, detail = port.state, port.detail
        if state not in _UNDER_WAY:
            if port.trouble:
                state, detail = PortState.WAITING, port.trouble
            if not port.there:
                state, detail = PortState.GONE, ""
        elapsed_s = port.seconds
        if port.started_at is not None:
            elapsed_s = max((now - port.started_at).total_seconds(), 0.0)
        share = port.steps.get(port.last_step)
        way = (len(port.done) + sum(port.steps.values())) / self._total
        return PortView(
            port=_clip(name),
            short=_clip(short),
            state=state,
            chip_id=port.chip_id,
            serial_number=port.serial_number,
            step=port.last_step,
            step_percent=int(100 * share) if share else None,
            percent=100 if port.state is PortState.PASS else min(int(100 * way), 99),
            elapsed_s=round(elapsed_s, 1),
            detail=detail,
            code=port.code,
            remedy=port.remedy,
        )

    def _port(self, name: str) -> _Port:
        port = self._ports.setdefault(name, _Port())
        self._bound()
        return port

    def _moving(self, name: str) -> _Port:
        """The port, whose board is no longer held up. A late word of a board that is done changes nothing."""
        port = self._port(name)
        if port.state not in _UNDER_WAY:
            return _Port()
        port.state, port.detail = PortState.WORKING, ""
        return port

    def _bound(self) -> None:
        while len(self._ports) > MAX_PORTS:
            oldest = next((name for name, port in self._ports.items() if not port.there), None)
            del self._ports[oldest if oldest is not None else next(iter(self._ports))]


def shift_begin(now: datetime, starts: Sequence[time]) -> datetime | None:
    """When the shift that `now` belongs to began; None without starts.

    Args:
        now: in the time of the wall. In a night in which clocks are changed, a shift that began before may
            be an hour off.
        starts: of all shifts of a day.
    """
    days = (now.date(), now.date() - timedelta(days=1))
    begun = [datetime.combine(day, start, now.tzinfo) for day in days for start in starts]
    return max((moment for moment in begun if moment <= now), default=None)


def _line_trouble(event: LineDown | LineUp, now: datetime) -> LineTrouble | None:
    if isinstance(event, LineUp):
        return None
    return LineTrouble(_iso(now), _clip(event.code), _clip(event.detail), _clip(event.remedy), event.stop)


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
