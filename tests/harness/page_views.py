"""The page in all its states, over the same data each time: for its tests and the pictures of the docs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from agent.adapters.journal import schema
from agent.adapters.shown.live_state import LiveState
from agent.core.events import LineDown
from harness.factory_floor import MORNING, ORDER, STEPS, HandTime, busy_floor, chip
from harness.shift import add_run, write_shift

SIZES = {
    "phone": (390, 844),
    "upright": (768, 1024),
    "tablet": (1280, 800),
    "screen": (1920, 1080),
    "wall": (3840, 2160),
}
BAD_PORT = "1.7"
SLOW_PORT = "1.5"
SLOW_STEP = "install"
BOARD = "7c:df:a1:0b:0a:01"
BY_PATH = tuple(f"/dev/serial/by-path/pci-0000:00:14.0-usb-0:1.1.{n}:1.0-port0" for n in range(1, 17))
LONG_CODES = ("key_generation_failed", "key_already_certified", "bad_answer_from_signerd", "unauthenticated")
LONG = (  # 200 characters, the most that a port says
    "signerd asks for fewer calls: this station has used its share of the minute and goes on in 40 seconds; "
    "boards under way keep their place and go on by themselves, nobody has to do a thing at this line"
)


def line_down(*, stop: bool = False) -> LiveState:
    """Sixteen ports, and none can get on."""
    live = busy_floor(16)
    if stop:
        remedy = "This PC's clock is wrong: set it, by NTP where the network has it"
        live(LineDown("clock_wrong", "This PC's clock is 3 hours ahead of signerd's", remedy, stop=True))
    else:
        remedy = "See that the cable is in and signerd runs. Boards go on by themselves"
        live(
            LineDown("signer_unavailable", "signerd.plant1.example:7443 does not answer", remedy, stop=False)
        )
    return live


def no_port() -> LiveState:
    """A station without a port."""
    return LiveState(ORDER, STEPS, now=HandTime())


def empty_ports() -> LiveState:
    """Four ports before the first board."""
    live = no_port()
    live.ports_listed(["1", "2", "3", "4"])
    return live


FLOORS: Mapping[str, Callable[[], LiveState]] = {
    "none": no_port,
    "empty": empty_ports,
    "one": lambda: busy_floor(1),
    "four": lambda: busy_floor(4),
    "sixteen": lambda: busy_floor(16),
    "sixty-four": lambda: busy_floor(64),
    "line down": line_down,
    "stop": lambda: line_down(stop=True),
}


def write_journal(path: Path) -> None:
    """A shift on eight ports: one fails more often than the others, one becomes slower, and one takes four
    times as long for a step; and a board that came three times.
    """
    write_shift(path, hours=4.0)
    for number in range(18):
        add_run(
            path,
            port=BAD_PORT,
            chip=chip(number + 200),
            ended=MORNING + timedelta(minutes=6 * number + 3),
            times={"identify": 0.4, "flash": 11.0},
            seconds=11.6,
            outcome="FAIL",
            code="no_answer",
            step="flash",
            serial="",
        )
    with sqlite3.connect(path) as connection:  # its flashing takes five seconds more an hour
        connection.execute(
            "UPDATE step SET seconds = seconds + 120 * (SELECT julianday(ended_at) - julianday(?) FROM run"
            " WHERE id = step.run) WHERE step = 'flash' AND run IN (SELECT id FROM run WHERE port = '1.3')",
            (MORNING.isoformat(),),
        )
        connection.execute(
            "UPDATE step SET seconds = 4 * seconds WHERE step = ?"
            " AND run IN (SELECT id FROM run WHERE port = ?)",
            (SLOW_STEP, SLOW_PORT),
        )
    connection.close()
    again = [
        ("FAIL", "no_answer", "flash", ""),
        ("FAIL", "first_boot_loops", "first-boot", ""),
        ("PASS", "", "label", "SN-900100"),
    ]
    for number, (outcome, code, step, serial) in enumerate(again):
        add_run(
            path,
            port="1.7" if number == 0 else "1.2",
            chip=BOARD,
            ended=MORNING + timedelta(hours=2, minutes=10 * number),
            times={"identify": 0.41, "session": 0.08, "flash": 17.9, "keygen": 8.8, "first-boot": 21.5},
            seconds=41.2,
            outcome=outcome,
            code=code,
            step=step,
            detail="the chip starts again and again" if code == "first_boot_loops" else "",
            serial=serial,
        )


def empty_journal(path: Path) -> None:
    """A station that has made nothing."""
    schema.create(path)


def write_long_names(path: Path) -> None:
    """A shift on sixteen ports that the system named: long codes on each, and the last one is slow."""
    schema.create(path)
    for number, port in enumerate(BY_PATH):
        before = {BY_PATH[0]: 1, BY_PATH[-1]: 15}.get(port, 0)  # that passed
        for other, code in enumerate((*[""] * before, *LONG_CODES, ""), start=-before):
            add_run(
                path,
                port=port,
                chip=chip(32 * number + other + before),
                ended=MORNING + timedelta(minutes=number + 10 * max(other, 0)),
                times={"identify": 0.4, "first-boot": 11.0 + number},
                seconds=11.6,
                outcome="FAIL" if code else "PASS",
                code=code,
                step="first-boot",
                serial="" if code else f"SN-2026-{number:08}",
            )


def long_names() -> LiveState:
    """The floor beside it."""
    live = no_port()
    live.ports_listed(BY_PATH)
    return live
