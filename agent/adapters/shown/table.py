"""The live table on a terminal: a line and a bar for each port, verdicts to be read from afar, a summary.

It fits the terminal, down to 80 columns and 24 lines: with few ports a verdict is three lines high, with many
it is one. What cannot be shown is counted. Failures and parked boards are also printed above the table, where
they scroll away and can be scrolled back to.

Only this module imports rich, and only a station with a terminal imports this module.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agent.core.events import Event, Finished, LineDown, LineUp, StampSettled
from agent.core.floor import PortState, PortView, Snapshot
from agent.core.plain_text import plain
from agent.core.port_names import short_names
from agent.core.result import Outcome, Summary

_REFRESH_HZ = 4.0
_VERDICT_WIDTH = 17  # four letters of three columns, with their gaps and a margin
_BESIDE_NAME = _VERDICT_WIDTH + 6 + 3 + 38  # seconds, gaps, and what a verdict's words need
_LEAST_NAME, _MOST_NAME = 12, 48  # columns of a port's name
_BIG_LINES = 3
_REMEDY_LINES = 4  # kept for remedies when it is decided how big verdicts are
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


class LiveTable:
    """A `Progress`. Use it as a context manager. What it shows comes from `look`."""

    def __init__(self, console: Console, look: Callable[[], Snapshot]) -> None:
        self._console = console
        self._look = look
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=_REFRESH_HZ, transient=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """See `Progress`. What moves is shown at the next refresh; what has to stay is printed."""
        match event:
            case Finished(result) if result.outcome is not Outcome.PASS:
                self._console.print(
                    f"[{_COLOUR[result.outcome]}]{result.outcome}[/] {_markup(result.port)} "
                    f"{_markup(result.chip_id)} {_markup(result.serial_number)} {_markup(result.code)} "
                    f"at {_markup(result.step)}: {_markup(result.detail)}. {_markup(result.remedy)}"
                )
            case StampSettled(chip_id=chip_id, serial_number=serial_number, code=code):
                verdict = (
                    f"[bold red]FAIL[/] stamp refused: {_markup(code)}"
                    if code
                    else "[green]PASS[/] stamp recorded"
                )
                self._console.print(f"{_markup(serial_number)} ({_markup(chip_id)}): {verdict}")
            case LineDown(code, detail, remedy):
                self._console.print(
                    f"[bold red]LINE DOWN[/] {_markup(code)}: {_markup(detail)}. {_markup(remedy)}"
                )
            case LineUp():
                self._console.print("[green]connection to signerd is up[/]")

    def notice(self, text: str) -> None:
        """Something that is no board's, for the operator; the table shows the last ones below, too."""
        self._console.print(f"[yellow]{_markup(text)}[/]")

    def summary(self, summary: Summary) -> None:
        """Ends the table; prints counts, yield and times below it."""
        self._live.stop()
        table = Table("boards", "passed", "failed", "parked", "yield", "median", title="Summary")
        table.add_row(
            str(summary.boards),
            str(summary.passed),
            str(summary.failed),
            str(summary.parked),
            f"{summary.yield_percent:.1f} %",
            f"{summary.median_s:.2f} s",
        )
        self._console.print(table)
        for step, seconds in summary.step_median_s.items():
            self._console.print(f"  {step:<10} {seconds:8.3f} s (median)")
        for code, count in summary.codes.items():
            self._console.print(f"  {count} × {_markup(code)}")

    def _render(self) -> RenderableType:
        return floor_view(self._look(), self._console.width, self._console.height)


def floor_view(floor: Snapshot, width: int, height: int) -> RenderableType:
    """The whole table, at most `height` - 1 lines of at most `width` columns."""
    room = height - 2  # the head, and the line on which the cursor stands
    big = len(floor.ports) * _BIG_LINES + _REMEDY_LINES <= room
    shown = floor.ports if big else floor.ports[: max(room - 1, 1)]
    parts: list[RenderableType] = [_head(floor), _ports(shown, width, big=big)]
    room -= len(shown) * (_BIG_LINES if big else 1)
    hidden = len(floor.ports) - len(shown)
    if hidden:
        parts.append(Text(f" … {hidden} more ports: enlarge the terminal", style="bold yellow"))
        room -= 1
    below = [*_remedies(floor.ports, width), *_notices(floor)]
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
    text.append(f"  yield {shift.yield_percent:.1f} %")
    return text


def _ports(ports: tuple[PortView, ...], width: int, *, big: bool) -> Table:
    names = _names(ports, width)
    longest = max((len(name) for name in names.values()), default=1)
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


def _remedies(ports: tuple[PortView, ...], width: int) -> list[RenderableType]:
    """What to do about each board that stands there and did not pass, a line each."""
    lines: list[RenderableType] = []
    for port in ports:
        if port.state in _ASIDE:
            text = Text(f" {plain(port.port)}: ", style="bold", no_wrap=True, overflow="ellipsis")
            text.append(plain(port.remedy or port.detail), style="not bold")
            text.truncate(width, overflow="ellipsis")
            lines.append(text)
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
