"""The live table on a terminal: a line and a bar for each port, verdicts to be read from afar, a summary.

It fits the terminal, down to 80 columns and 24 lines: with few ports a verdict is three lines high, with many
it is one. What cannot be shown is counted. Failures and parked boards are also printed above the table, where
they scroll away and can be scrolled back to. A port has one name in all of it: the short one of its row. What
holds for several ports is said once for all of them.

A terminal that takes nothing, since somebody pressed Ctrl-S or marks text in it, holds nothing up: the table
is not drawn meanwhile, and what has to stay is printed when it goes on.

Only this module imports rich, and only a station with a terminal imports this module.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from textwrap import wrap
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agent.adapters.shown.signs import fitted, fitting
from agent.core.events import Event, Finished, LineDown, LineUp, StampSettled
from agent.core.floor import PortState, PortView, Snapshot
from agent.core.plain_text import plain
from agent.core.port_names import short_names
from agent.core.result import Outcome, Result, Summary, yield_words

_LOG = logging.getLogger(__name__)
_REFRESH_HZ = 4.0
_HELD = 500  # texts that are kept for a terminal that takes nothing; the oldest go first
_LAST_S = 1.0  # that the end waits before the last drawing
_STOPPED_S = 2.0  # for which it takes nothing until that is worth saying
_VERDICT_WIDTH = 17  # four letters of three columns, with their gaps and a margin
_BESIDE_NAME = _VERDICT_WIDTH + 6 + 3 + 38  # seconds, gaps, and what a verdict's words need
_LEAST_NAME, _MOST_NAME = 12, 48  # columns of a port's name
_BIG_LINES = 3
_REMEDY_LINES = 4  # kept for remedies when it is decided how big verdicts are
_WHO_SHARE = 0.3  # of a remedy's line, that the names of its ports may take
_COLOUR = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.PARKED: "yellow"}
_VERDICT = {
    PortState.PASS: ("PASS", "bold white on green"),
    PortState.FAIL: ("FAIL", "bold white on red"),
    PortState.PARKED: ("PARKED", "bold black on yellow"),
}
_BIG = {
    PortState.PASS: "█▀█ █▀█ █▀▀ █▀▀\n█▀▀ █▀█ ▀▀█ ▀▀█\n▀   ▀ ▀ ▀▀▀ ▀▀▀",
    PortState.FAIL: "█▀▀ █▀█ ▀█▀ █  \n█▀  █▀█  █  █  \n▀   ▀ ▀ ▀▀▀ ▀▀▀",
}
_ASIDE = {PortState.FAIL, PortState.PARKED}


class Stream(Protocol):
    """How a terminal takes what it is given."""

    @property
    def behind(self) -> bool:
        """True while it has not taken all."""
        ...

    @property
    def stopped_s(self) -> float:
        """For how long it has taken nothing of that."""
        ...

    def taken(self, within_s: float) -> bool:
        """Waits until it has taken all, or for so long; whether it has."""
        ...


class _Drawn(Live):
    """Not drawn again before the terminal has taken the last drawing: drawings do not pile up."""

    may_draw: Callable[[], bool]

    def refresh(self) -> None:
        """See `Live`."""
        if self.may_draw():
            super().refresh()


class LiveTable:
    """A `Progress`. Use it as a context manager. What it shows comes from `look`."""

    def __init__(self, console: Console, look: Callable[[], Snapshot], stream: Stream | None = None) -> None:
        """`stream`: what the console writes to, if it says how far that is; None: it takes all at once."""
        self._console = console
        self._look = look
        self._stream = stream
        self._fit = fitting(console.encoding)
        self._held: deque[str] = deque()
        self._left_out = 0
        self._ended = False
        self._stopped_s = 0.0  # the longest stop that was not said yet
        self._holding = threading.Lock()
        self._live = _Drawn(
            console=console, get_renderable=self._render, refresh_per_second=_REFRESH_HZ, transient=False
        )
        self._live.may_draw = self._catch_up
        self._starts = console.status("checking this station, and its connection to signerd", spinner="line")

    def __enter__(self) -> Self:
        self._starts.start()
        return self

    def begin(self) -> None:
        """Draws it from now on. Before, a start that is refused has the terminal for what it says."""
        self._starts.stop()
        self._live.start()

    def _print(self, text: str) -> None:
        """Now, or when the terminal goes on; in their order."""
        text = self._fit(text)
        with self._holding:
            if self._held or (self._stream is not None and self._stream.behind):
                self._held.append(text)
                if len(self._held) > _HELD:
                    self._held.popleft()
                    self._left_out += 1
                return
        self._console.print(text)

    def _catch_up(self) -> bool:
        """Prints what was held. False: the terminal has not taken the last drawing yet."""
        if self._stream is not None and self._stream.behind:
            stopped_s = self._stream.stopped_s
            if stopped_s > _STOPPED_S >= self._stopped_s:
                _LOG.warning("terminal_stopped", extra={"fields": {"detail": "boards go on"}})
            self._stopped_s = max(self._stopped_s, stopped_s)
            return False
        self._print_held()
        return True

    def _print_held(self) -> None:
        with self._holding:
            held, left_out, stopped_s = list(self._held), self._left_out, self._stopped_s
            self._held.clear()
            self._left_out, self._stopped_s = 0, 0.0
        if left_out:
            held.insert(0, f"[yellow]{left_out} lines were left out: `birthmark-agent results` has all[/]")
        if stopped_s > _STOPPED_S:
            held.append(f"[yellow]this terminal took nothing for {stopped_s:.0f} s: the boards went on[/]")
        if held:
            self._console.print("\n".join(held))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """The last drawing, and what was held, for whenever the terminal takes it."""
        if self._stream is not None:
            self._stream.taken(_LAST_S)  # else that drawing would be spared
        self._ended = True
        self._starts.stop()
        self._live.stop()
        self._print_held()

    def __call__(self, event: Event) -> None:
        """See `Progress`. What moves is shown at the next refresh; what has to stay is printed."""
        if not self._ended:
            self.begin()
        match event:
            case Finished(result) if result.outcome is not Outcome.PASS:
                self._print(self._of_board(result))
            case StampSettled(chip_id=chip_id, serial_number=serial_number, code=code):
                verdict = (
                    f"[bold red]FAIL[/] stamp refused: {_markup(code)}"
                    if code
                    else "[green]PASS[/] stamp recorded"
                )
                self._print(f"{_markup(serial_number)} ({_markup(chip_id)}): {verdict}")
            case LineDown(code, detail):  # its remedy stands below the table, as long as it is down
                self._print(f"[bold red]LINE DOWN[/] {_markup(code)}: {_markup(detail)}")
            case LineUp():
                self._print("[green]connection to signerd is up[/]")

    def _of_board(self, result: Result) -> str:
        floor = self._look()
        name = _names(floor.ports, self._console.width).get(result.port, plain(result.port))
        said = floor.line is not None and floor.line.code == result.code
        who = " ".join(filter(None, (escape(name), _markup(result.chip_id), _markup(result.serial_number))))
        return (
            f"[{_COLOUR[result.outcome]}]{result.outcome}[/] {who} {_markup(result.code)} "
            f"at {_markup(result.step)}: {_markup(result.detail)}"
            f"{'' if said else f'. {_markup(result.remedy)}'}"
        )

    def notice(self, text: str) -> None:
        """Something that is no board's, for the operator; the table shows the last ones below, too."""
        self._print(f"[yellow]{_markup(text)}[/]")

    def summary(self, summary: Summary) -> None:
        """Ends the table; prints counts, yield and times below it. Nothing where it never began."""
        begun = self._live.is_started
        self._end()
        if not begun:
            return
        table = Table("boards", "passed", "failed", "parked", "yield", "median", title="Summary")
        table.add_row(
            str(summary.boards),
            str(summary.passed),
            str(summary.failed),
            str(summary.parked),
            yield_words(summary.passed, summary.failed),
            f"{summary.median_s:.2f} s" if summary.passed else "-",
        )
        self._console.print(table)
        for step, seconds in summary.step_median_s.items():
            self._console.print(f"  {step:<10} {seconds:8.3f} s (median)")
        for code, count in summary.codes.items():
            self._console.print(f"  {count} × {_markup(self._fit(code))}")

    def _render(self) -> RenderableType:
        return floor_view(fitted(self._look(), self._fit), self._console.width, self._console.height)


def floor_view(floor: Snapshot, width: int, height: int) -> RenderableType:
    """The whole table, at most `height` - 1 lines of at most `width` columns."""
    names = _names(floor.ports, width)
    down = _line_down(floor, width)
    room = height - 2 - len(down)  # the head, and the line on which the cursor stands
    if room < 1:
        down, room = down[: height - 3], 1
    big = len(floor.ports) * _BIG_LINES + _REMEDY_LINES <= room
    shown = floor.ports if big else floor.ports[: max(room - 1, 1)]
    parts: list[RenderableType] = [_head(floor), _ports(shown, names, big=big)]
    room -= len(shown) * (_BIG_LINES if big else 1)
    hidden = len(floor.ports) - len(shown)
    if hidden and room > 0:
        parts.append(Text(f" … {hidden} more ports: enlarge the terminal", style="bold yellow"))
        room -= 1
    parts += down
    below = [*_remedies(floor, names, width, whole=True), *_notices(floor)]
    if len(below) > room:
        below = [*_remedies(floor, names, width, whole=False), *_notices(floor)]
    if len(below) > room:
        fitting = max(room - 1, 0)
        below = [*below[:fitting], *[Text(f" … {len(below) - fitting} more")][:room]]
    return Group(*parts, *below)


def _head(floor: Snapshot) -> Text:
    shift = floor.shift
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {plain(floor.work_order)} ", style="bold reverse")
    text.append(f"  passed {shift.passed}", style="green")
    text.append(f"  failed {shift.failed}", style="bold red" if shift.failed else "")
    if shift.parked:
        text.append(f"  parked {shift.parked}", style="yellow")
    text.append(f"  yield {yield_words(shift.passed, shift.failed)}")
    return text


def _ports(ports: tuple[PortView, ...], names: Mapping[str, str], *, big: bool) -> Table:
    longest = max((len(names[port.port]) for port in ports), default=1)
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=max(longest, 2), no_wrap=True, overflow="crop", vertical="middle")
    table.add_column(width=_VERDICT_WIDTH, no_wrap=True, vertical="middle")
    table.add_column(width=6, justify="right", no_wrap=True, vertical="middle")
    table.add_column(ratio=1, no_wrap=not big, overflow="ellipsis", vertical="middle")
    for port in ports:
        seconds = "" if port.state in {PortState.EMPTY, PortState.GONE} else _minutes(port.elapsed_s)
        table.add_row(
            Text(names[port.port], style="bold"), _sign(port, big=big), seconds, _words(port, big=big)
        )
    return table


def _names(ports: tuple[PortView, ...], width: int) -> dict[str, str]:
    """What the ports are called in a table of that many columns: a wider one shows more of the names."""
    room = min(max(width - _BESIDE_NAME, _LEAST_NAME), _MOST_NAME)
    shorts = short_names([plain(port.port) for port in ports], room)
    return {port.port: shorts[plain(port.port)] for port in ports}


def _sign(port: PortView, *, big: bool) -> RenderableType:
    """The verdict, or how far the board is."""
    verdict = _VERDICT.get(port.state)
    if verdict is not None:
        name, style = verdict
        lines = _BIG.get(port.state, f"\n{name}\n").split("\n") if big else [name]
        return Text("\n".join(line.center(_VERDICT_WIDTH) for line in lines), style=style)
    if port.state is PortState.EMPTY:
        bar: RenderableType = Text("no board".center(_VERDICT_WIDTH), style="dim")
    elif port.state is PortState.GONE:
        bar = Text("unplugged".center(_VERDICT_WIDTH), style="dim")
    else:
        colour = "yellow" if port.state is PortState.WAITING else "cyan"
        bar = ProgressBar(100, port.percent, width=_VERDICT_WIDTH, complete_style=colour)
    return Group(Text(" "), bar, Text("\n ")) if big else bar


def _words(port: PortView, *, big: bool) -> Text:
    text = Text()
    if port.state is PortState.PASS:
        text.append(plain(port.serial_number), style="bold")
    elif port.state in _ASIDE:
        text.append(plain(port.code), style="bold")
        text.append(f" at {plain(port.step)} {plain(port.serial_number)}")
    elif port.state is PortState.WAITING:
        text.append(f"waits: {plain(port.detail)}", style="yellow")
    elif port.state is PortState.WORKING:
        share = "" if port.step_percent is None else f" {port.step_percent} %"
        text.append(f"{plain(port.step)}{share}", style="bold")
    if port.state is not PortState.EMPTY and port.chip_id:
        text.append("\n" if big else "  ")
        text.append(plain(port.chip_id), style="dim")
    return text


def _line_down(floor: Snapshot, width: int) -> list[RenderableType]:
    """Why no board can get on, whole and once for all of them."""
    if floor.line is None:
        return []
    said = f"{plain(floor.line.code)}: {plain(floor.line.remedy or floor.line.detail)}"
    return [Text(f" {line}", style="bold yellow") for line in wrap(said, max(width - 1, 1))]


def _remedies(floor: Snapshot, names: Mapping[str, str], width: int, *, whole: bool) -> list[RenderableType]:
    """What to do about the boards that stand there and did not pass, each remedy once: whole, or a line."""
    ports: dict[str, list[str]] = {}
    for port in floor.ports:
        if port.state in _ASIDE and (floor.line is None or port.code != floor.line.code):
            ports.setdefault(port.remedy or port.detail, []).append(names[port.port])
    lines: list[RenderableType] = []
    for remedy, named in ports.items():
        who = ", ".join(named)
        if len(named) > 1 and len(who) > width * _WHO_SHARE:
            who = f"{len(named)} ports"
        said = wrap(f"{who}: {plain(remedy)}", max(width - 1, 1))
        text = Text("\n".join(f" {line}" for line in said) if whole else f" {who}: {plain(remedy)}")
        text.stylize("bold", 1, 1 + len(f"{who}:"))
        if not whole:
            text.truncate(width, overflow="ellipsis")
        lines += text.split("\n")
    return lines


def _notices(floor: Snapshot) -> list[RenderableType]:
    return [
        Text(f" {plain(notice.text)}", style="yellow", no_wrap=True, overflow="ellipsis")
        for notice in floor.notices
    ]


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _markup(text: str) -> str:
    """The same, for a text with markup: nothing in it is any."""
    return escape(plain(text))
