"""`status`: what the journal says and what each port does now, also while the station runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

from agent.adapters.journal.report import Report, read_report
from agent.adapters.journal.schema import FILE_NAME
from agent.adapters.shown.live_state import Live, read_live
from agent.config import Config
from agent.core.plain_text import plain
from agent.core.port_names import short_names
from agent.core.result import yield_words

_NAME = 24  # columns of a port's name
_EVERY_S = 1.0
_CLEAR = "\x1b[H\x1b[2J"


def show(config: Config, *, as_json: bool, watch: bool) -> None:
    """Prints ports, counts, yield, times, and what is open; with `watch`, again and again until Ctrl-C."""
    _show_once(config, as_json=as_json, clear=watch)
    with suppress(KeyboardInterrupt):
        while watch:
            time.sleep(_EVERY_S)
            _show_once(config, as_json=as_json, clear=True)


def _show_once(config: Config, *, as_json: bool, clear: bool) -> None:
    report = read_report(config.state / FILE_NAME)
    live = read_live(config.state, datetime.now(UTC))
    if as_json:
        text = json.dumps({**asdict(report), "live": None if live is None else asdict(live)})
    else:
        text = "\n".join([*live_lines(live), *_report_lines(report)])
    if clear and not as_json and sys.stdout.isatty():
        text = _CLEAR + text
    print(text, flush=True)


def live_lines(live: Live | None) -> Iterator[str]:
    """What each port does now. Anything may stand in the file: it is shown as text."""
    if live is None:
        yield "the station does not run"
        return
    if not live.alive:
        yield f"NO STATION RUNS: what follows was left {live.age_s:.0f} s ago by process {live.pid}"
    names = short_names([_member(port, "port") for port in live.state["ports"]], _NAME)
    wide = max((len(name) for name in names.values()), default=0)
    for port in live.state["ports"]:
        state, step, percent = (_member(port, name) for name in ("state", "step", "step_percent"))
        words = {
            "working": f"{step} {percent} %" if percent else step,
            "waiting": f"waits: {_member(port, 'detail')}",
            "fail": f"{_member(port, 'code')} at {step}. {_member(port, 'remedy')}",
            "parked": f"{_member(port, 'code')} at {step}. {_member(port, 'remedy')}",
        }.get(state, "")
        who = _member(port, "serial_number") or _member(port, "chip_id")
        line = f"{names[_member(port, 'port')]:<{wide}} {state.upper():<8} {who:<20} {words}"
        yield line.rstrip()
    notices = live.state.get("notices")
    for notice in notices if isinstance(notices, list) else []:
        yield f"note: {_member(notice, 'text')}"


def _report_lines(report: Report) -> Iterator[str]:
    summary = report.summary
    yield (
        f"boards {summary.boards}, passed {summary.passed}, failed {summary.failed}, "
        f"parked {summary.parked}, yield {yield_words(summary.passed, summary.failed)}, "
        f"median {f'{summary.median_s:.2f} s' if summary.passed else '-'}"
    )
    for step, seconds in summary.step_median_s.items():
        yield f"  {step:<10} {seconds:8.3f} s"
    for code, count in summary.codes.items():
        yield f"  {count} × {plain(code)}"
    for run in report.under_way:
        yield f"under way: {plain(run.port)} {plain(run.chip_id)} since {run.started_at}"
    for stamp in report.open_stamps:
        yield f"stamp waits: {plain(stamp.serial_number)} ({plain(stamp.chip_id)}) since {stamp.queued_at}"
    for serial_number, code in report.refused_stamps:
        yield f"STAMP REFUSED: {plain(serial_number)}: {plain(code)}"


def _member(of: object, name: str) -> str:
    value = of.get(name) if isinstance(of, dict) else None
    return "" if value is None else plain(str(value))
