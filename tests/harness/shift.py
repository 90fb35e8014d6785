"""A journal as a shift leaves it."""

from __future__ import annotations

import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.adapters.journal import schema as journal_schema

MORNING = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
ORDER = "WO-2026-001"
STEP_S = {
    "identify": 0.4,
    "session": 0.1,
    "flash": 18.0,
    "keygen": 9.0,
    "request": 0.3,
    "sign": 0.2,
    "install": 0.6,
    "configure": 0.2,
    "seal": 2.5,
    "first-boot": 22.0,
    "verify": 0.8,
    "stamp": 0.4,
    "record": 0.1,
    "label": 0.5,
}
_FAILURES = (("first-boot", "first_boot_loops"), ("flash", "no_answer"), ("install", "storage_full"))


def add_run(
    path: Path,
    *,
    port: str = "1",
    order: str = ORDER,
    chip: str = "CHIP-1",
    ended: datetime = MORNING,
    times: dict[str, float] | None = None,
    seconds: float = 10.0,
    outcome: str = "PASS",
    code: str = "",
    step: str = "record",
    detail: str = "",
    serial: str = "SN-1",
) -> int:
    """Adds a run that has ended; returns its number."""
    started = ended - timedelta(seconds=seconds)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug of a test's shift
        run = connection.execute(
            "INSERT INTO run (port, work_order, chip_id, started_at, ended_at, outcome, serial_number,"
            " certificate_sha256, step, code, detail, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                port,
                order,
                chip,
                _iso(started),
                _iso(ended),
                outcome,
                serial,
                "aa" * 32,
                step,
                code,
                detail,
                seconds,
            ),
        ).lastrowid
        connection.executemany(
            "INSERT INTO step VALUES (?, ?, ?)", [(run, name, value) for name, value in (times or {}).items()]
        )
    connection.close()
    assert run is not None
    return run


def write_shift(path: Path, *, ports: int = 8, hours: float = 6.0, seed: int = 1) -> None:
    """A shift on so many ports, with a break, a slow signerd at noon, and a few failures."""
    chance = random.Random(seed)
    journal_schema.create(path)
    for port in range(ports):
        now = MORNING + timedelta(seconds=chance.uniform(0, 60))
        while now < MORNING + timedelta(hours=hours):
            if timedelta(hours=3) <= now - MORNING < timedelta(hours=3, minutes=35):
                now = MORNING + timedelta(hours=3, minutes=35, seconds=chance.uniform(0, 90))
            now = _one_board(path, f"1.{port + 1}", now, chance)
            now += timedelta(seconds=chance.lognormvariate(2.4, 0.5))


def _one_board(path: Path, port: str, begun: datetime, chance: random.Random) -> datetime:
    times = {step: seconds * chance.lognormvariate(0, 0.12) for step, seconds in STEP_S.items()}
    times["keygen"] *= chance.choice((0.6, 1.0, 1.0, 1.6))
    if begun - MORNING > timedelta(hours=5):
        times["sign"] += chance.uniform(1, 9)
    failure = chance.choice(_FAILURES) if chance.random() < 0.03 else None
    if failure:
        names = list(times)
        times = {name: times[name] for name in names[: names.index(failure[0]) + 1]}
    seconds = sum(times.values()) - min(times.get("keygen", 0.0), times["session"])
    number = chance.randrange(1 << 24)
    add_run(
        path,
        port=port,
        chip=f"7c:df:a1:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        ended=begun + timedelta(seconds=seconds),
        times=times,
        seconds=seconds,
        outcome="FAIL" if failure else "PASS",
        step=failure[0] if failure else "label",
        code=failure[1] if failure else "",
        serial="" if failure else f"SN-{number:08}",
    )
    return begun + timedelta(seconds=seconds)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
