"""`status`: what the journal says, also while the station runs."""

from __future__ import annotations

import json
from dataclasses import asdict

from agent.adapters.journal_report import read_report
from agent.adapters.journal_schema import FILE_NAME
from agent.config import Config


def show(config: Config, *, as_json: bool) -> None:
    """Prints counts, yield, times, and what is open."""
    report = read_report(config.state / FILE_NAME)
    if as_json:
        print(json.dumps(asdict(report)))
        return
    summary = report.summary
    print(
        f"boards {summary.boards}, passed {summary.passed}, failed {summary.failed}, "
        f"parked {summary.parked}, yield {summary.yield_percent:.1f} %, median {summary.median_s:.2f} s"
    )
    for step, seconds in summary.step_median_s.items():
        print(f"  {step:<10} {seconds:8.3f} s")
    for code, count in summary.codes.items():
        print(f"  {count} × {code}")
    for run in report.under_way:
        print(f"under way: {run.port} {run.chip_id} since {run.started_at}")
    for stamp in report.open_stamps:
        print(f"stamp waits: {stamp.serial_number} ({stamp.chip_id}) since {stamp.queued_at}")
    for serial_number, code in report.refused_stamps:
        print(f"STAMP REFUSED: {serial_number}: {code}")
