"""`report`: where a shift's seconds went, in the terminal, as JSON, or as a plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.cli.period import moment
from agent.adapters.journal.schema import FILE_NAME
from agent.adapters.journal.versions import WrittenBy, versions_of
from agent.adapters.results.files import read_results
from agent.config import Config
from agent.core.plain_text import plain
from agent.core.port_names import short_names
from agent.core.result import yield_words
from agent.core.shift_report import ShiftReport, report_of

_NAME = 19  # columns of a port's name
_BAR = 24


def show(
    config: Config, since: str, until: str | None, order: str | None, *, as_json: bool, plot: Path | None
) -> None:
    """Prints or draws it."""
    now = datetime.now(UTC)
    rows = read_results(config.state, moment(since, now), moment(until, now) if until else "~")
    meant = [row for row in rows if order is None or row.work_order == order]
    report = report_of(meant)
    agents = versions_of(config.state / FILE_NAME, [row.run for row in meant])
    if plot is not None:
        from agent.adapters.journal.plot import draw  # noqa: PLC0415 -- matplotlib is an extra

        draw(report, plot, _title(report, order))
    if as_json:
        print(json.dumps({**asdict(report), "agents": [asdict(agent) for agent in agents]}))
        return
    for line in [*lines(report, order), *agent_lines(agents)]:
        print(line)
    if plot is not None:
        print(f"drawn: {plot}", file=sys.stderr)


def lines(report: ShiftReport, order: str | None) -> Iterator[str]:
    """The report in words and bars, in 80 columns."""
    yield _title(report, order)
    if not report.boards:
        return
    boards = report.board_yield
    if boards.boards:
        yield (
            f"boards, each once: {boards.first_pass_percent:.1f} % passed at first, "
            f"{boards.final_percent:.1f} % in the end, of {boards.boards}"
        )
    else:
        yield "boards, each once: none has a verdict"
    times = f"median {report.median_s:.1f} s, p90 {report.p90_s:.1f} s" if report.passed else "none"
    yield f"a board that passed: {times}"
    yield ""
    yield f"{'step':<11}{'share':<{_BAR + 8}}{'boards':>7}{'median':>9}{'p90':>9}{'max':>9}"
    for step in report.steps:
        bar = _bar(step.share_percent)
        yield (
            f"{plain(step.step):<11}{bar:<{_BAR}}{step.share_percent:6.1f} %{step.boards:>7}"
            f"{step.median_s:>9.2f}{step.p90_s:>9.2f}{step.max_s:>9.2f}"
        )
    if report.steps:
        share = f"{report.signerd_percent:.1f} % of the steps' time"
        yield f"waiting for signerd: {report.signerd_s:.0f} s, {share}"
    yield ""
    yield f"{'port':<20}{'boards':>7}{'busy':>10}{'between':>10}{'median':>9}{'breaks':>8}"
    names = short_names([plain(port.port) for port in report.ports], _NAME)
    for port in report.ports:
        yield (
            f"{names[plain(port.port)]:<20}{port.boards:>7}{port.busy_s:>8.0f} s{port.idle_s:>8.0f} s"
            f"{port.median_idle_s:>7.1f} s{port.breaks:>8}"
        )
    yield ""
    for hour in report.hours:
        verdicts = hour.passed + hour.failed
        bar = _bar(hour.yield_percent) if verdicts else ""
        yield f"{hour.hour[:16]}  {bar:<{_BAR}} {yield_words(hour.passed, hour.failed):>7} of {verdicts}"
    if report.codes:
        yield ""
    for code, count in report.codes.items():
        yield f"  {count} × {plain(code)}"
    yield from _findings(report)


def agent_lines(agents: Sequence[WrittenBy]) -> Iterator[str]:
    """Which agents wrote these runs."""
    if agents:
        yield ""
    for agent in agents:
        since = datetime.fromisoformat(agent.since).astimezone()
        name = plain(agent.version) or "of no version"
        yield f"birthmark-agent {name}, since {since:%Y-%m-%d %H:%M} (run {agent.first_run})"


def _findings(report: ShiftReport) -> Iterator[str]:
    for port in report.quality:
        if port.flagged:
            yield (
                f"! port {plain(port.port)} fails {port.failed_percent:.1f} % of its boards, "
                f"the others {port.others_percent:.1f} %"
            )
    for slow in report.slow_ports:
        yield (
            f"! port {plain(slow.port)}: {plain(slow.step)} takes {slow.median_s:.1f} s, "
            f"at the others {slow.others_s:.1f} s"
        )
    for drift in report.drifts:
        yield (
            f"! port {plain(drift.port)}: {plain(drift.step)} took {drift.first_s:.1f} s at first and "
            f"{drift.last_s:.1f} s at last"
        )


def _title(report: ShiftReport, order: str | None) -> str:
    what = f"{order}: " if order else ""
    if not report.boards:
        return f"{what}no boards in this time"
    first, last = (datetime.fromisoformat(text).astimezone() for text in (report.first, report.last))
    parked = f", {report.parked} parked" if report.parked else ""
    return (
        f"{what}{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}: {report.boards} boards, "
        f"{report.passed} passed, {report.failed} failed{parked}, "
        f"yield {yield_words(report.passed, report.failed)}"
    )


def _bar(percent: float) -> str:
    return "█" * round(_BAR * percent / 100) or ("▏" if percent else "")
