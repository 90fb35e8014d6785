"""Entries of many boards, without a key or a signature: for questions to an auditor's state, and its size.

`python -m harness.many_boards [boards]` prints what the state takes a board, by table.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from auditor.adapters.marks import Kind
from auditor.adapters.state import FILE, MARKS, SqliteState
from auditor.core.books import Basis
from auditor.core.entry import Issued, RefusedCall, Stamped, parse_entry
from auditor.core.growth import Growth, leaf_hashes
from auditor.core.history import apply
from auditor.ports import Kept, Stage
from birthmark.proof import Checkpoint
from harness.audit_bench import opened, pinned
from harness.paper_log import ORDER, PRODUCT, STATION, PaperLog

CHUNK = 16_384
MOST_ENTERED = 50_000  # boards whose entries are made and checked; of more, the books are filled alone
_UNIQUE = ("certificate_sha256", "spki_sha256", "challenge", "certificate_serial")
LOCKS = {"secure_boot": True}
CLAIMS = {"firmware": {"app": ["1.2.0", "ab" * 32]}, "security_state": LOCKS}


def _digest(what: str, number: int) -> str:
    return sha256(f"{what} {number}".encode()).hexdigest()


def chip(board: int) -> str:
    """The id of its chip."""
    return f"7c:df:a1:{board >> 16:02x}:{board >> 8 & 255:02x}:{board & 255:02x}"


def add(log: PaperLog, board: int, /, *, stamped: bool = True, **changes: Any) -> int:
    """The entries of one board; returns the index of the first. `now` moves by a second an entry."""
    members: dict[str, Any] = {
        "work_order": ORDER,
        "product": PRODUCT,
        "number": board,
        "chip_id": chip(board),
        "serial_number": f"{ORDER}-{board:06d}",
        "certificate_serial": f"01{board:038x}",
        **{f"{what}_sha256": _digest(what, board) for what in ("certificate", "spki", "csr", "evidence")},
        "settings_sha256": "cd" * 32,
        "level": "key",
        "method": "hmac-sha256",
        "claims": CLAIMS,
        "measured": {},
        "attester_sha256": None,
        "challenge": _digest("challenge", board),
        "station": STATION,
        "supersedes": None,
        "certificate_name": "device",
        "versions": {"signerd": "1.0", "agent": "1.0"},
    } | changes
    members.setdefault("anchors", [["personalized", None, members["chip_id"]]])
    index = log.append("issued", **members)
    if stamped:
        add_stamp(log, members)
    return index


def members_of(log: PaperLog, index: int) -> dict[str, Any]:
    """Of an entry."""
    found: dict[str, Any] = json.loads(log.entries[index])
    return found


def add_stamp(log: PaperLog, issued: dict[str, Any], **changes: Any) -> int:
    """The `stamped` entry of an `issued` one."""
    told = {
        name: issued[name]
        for name in ("work_order", "chip_id", "serial_number", "certificate_sha256", "station")
    }
    return log.append("stamped", **told | {"stamp_sha256": _digest("stamp", issued["number"])} | changes)


def add_revocation(log: PaperLog, issued: dict[str, Any], **changes: Any) -> int:
    """The `revoked` entry of an `issued` one."""
    names = ("work_order", "chip_id", "serial_number", "certificate_serial", "certificate_sha256")
    told = {name: issued[name] for name in names} | {"reason": "keyCompromise", "superseded_by": None}
    return log.append("revoked", **told | changes)


def add_refusal(log: PaperLog, code: str = "evidence_bad", **changes: Any) -> int:
    """A `refused` entry of the station."""
    members = {
        "peer": STATION, "call": "Sign", "code": code, "count": 1, "work_order": ORDER, "chip_id": None,
        "csr_sha256": None,
    }  # fmt: skip
    return log.append("refused", **members | changes)


def main(arguments: list[str]) -> None:
    """See the module."""
    boards = int(arguments[0]) if arguments else 12_000
    if boards > MOST_ENTERED:
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name), boards)
            tell(Path(name), boards)
        return
    log = opened(quantity=boards)
    log.personalize(boards)
    for number in range(1, boards + 1):
        add(log, number)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        began = time.process_time()
        keep(log, directory)
        print(f"{boards} boards, {len(log.entries)} entries in {time.process_time() - began:.1f} s of CPU")
        tell(directory, boards)


def keep(log: PaperLog, directory: Path) -> None:
    """Verifies the entries, and keeps them, as a run does that has no records to look at."""
    trust = pinned(log).trust
    with SqliteState.open(directory) as state:
        state.read_entry = lambda index: log.entries[index]
        kept = state.kept()
        growth = Growth.empty() if kept is None else Growth.of(kept.frontier, kept.tail)
        for first in range(growth.size, len(log.entries), CHUNK):
            chunk = log.entries[first : first + CHUNK]
            with state.transaction():
                state.add_bundles(growth.bundles, growth.extend(leaf_hashes(chunk)))
                for index, data in enumerate(chunk, first):
                    entry = parse_entry(data)
                    state.add_entry(index, entry.type, data)
                    found = apply(state, index, entry, data=data, trust=trust)
                    state.add_findings(found, log.now)
                note = log.checkpoint()
                checkpoint = Checkpoint("paper", growth.size, growth.root(), note)
                state.keep(Kept(checkpoint, growth.frontier(), tuple(growth.tail), 0, Stage.WHOLE))
                state.looked(log.now)


def fill(directory: Path, boards: int, *, orders: int = 20, stations: int = 10, days: int = 300) -> None:
    """A state of so many boards, by the books' own writers and without a log. Each station works on two
    orders a day, which follow each other, and with another firmware every 200 boards. One board in 499 has no
    stamp, and one in 49 was refused before."""
    log = opened(quantity=boards)
    names = [STATION, *(STATION.replace("pc1", f"pc{number}") for number in range(2, stations + 1))]
    for name in names[1:]:
        log.add_station(name)
    for order in range(2, orders + 1):
        log.open_order(f"WO-{order}", quantity=boards, stations=names)
    keep(log, directory)
    sample = parse_entry(log.entries[add(log, 1)])
    assert isinstance(sample, Issued)
    refusal = parse_entry(log.entries[add_refusal(log, chip_id="chip")])
    assert isinstance(refusal, RefusedCall)
    begin = log.now
    with SqliteState.open(directory) as state:
        index = len(log.entries)
        for first in range(0, boards, CHUNK):
            with state.transaction():
                for number in range(first, min(first + CHUNK, boards)):
                    at = begin + timedelta(seconds=number * days * 86_400 // boards)
                    firmware = {"app": (f"1.2.{number // 200 % 5}", b"\xab" * 32)}
                    work_order = (
                        f"WO-{1 + min(number * orders // boards + number // stations % 2, orders - 1)}"
                    )
                    index = _enter(
                        state,
                        sample,
                        refusal,
                        index,
                        number,
                        at,
                        names[number % stations],
                        work_order,
                        firmware,
                    )
                state.totals.last_time = at
                state.looked(at)


def _enter(
    state: SqliteState,
    sample: Issued,
    refusal: RefusedCall,
    index: int,
    number: int,
    at: datetime,
    station: str,
    order: str,
    firmware: dict[str, tuple[str, bytes]],
) -> int:
    if number % 49 == 0:
        state.add_refusal(
            index, replace(refusal, time=at, peer=station, work_order=order, chip_id=chip(number))
        )
        index += 1
    unique: Any = {name: sha256(f"{name} {number}".encode()).digest() for name in _UNIQUE}
    issued = replace(
        sample, time=at, number=number, work_order=order, chip_id=chip(number), station=station,
        serial_number=f"{order}-{number:07d}", claims=replace(sample.claims, firmware=firmware), **unique,
    )  # fmt: skip
    marks = state._marks  # of values that are unique: who asks whether they are would want the entries
    marks.add(Kind.ENTRY, number.to_bytes(16), index)
    state.add_certificate(index, issued, index)
    marks.add(Kind.ANCHOR, issued.chip_id.encode(), index)
    board = state.certificate_at(index)
    assert board is not None
    if number % 499:
        stamped = Stamped(
            time=at + timedelta(minutes=2), work_order=order, chip_id=issued.chip_id, station=station,
            serial_number=issued.serial_number, certificate_sha256=issued.certificate_sha256,
            stamp_sha256=issued.csr_sha256,
        )  # fmt: skip
        marks.add(Kind.ENTRY, (1 << 64 | number).to_bytes(16), index + 1)
        state.stamped(board, index + 1, stamped)
    state.judged(index, Basis.MAC, "hmac-sha256", 0)
    return index + 2


def tell(directory: Path, boards: int) -> None:
    """Bytes a board: each table and index, the runs of marks, and all together."""
    with sqlite3.connect(directory / FILE) as db:
        for table, size in db.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 14"
        ):
            print(f"  {table:32} {size / boards:8.1f}")
    marks = sum(file.stat().st_size for file in (directory / MARKS).iterdir())
    total = marks + (directory / FILE).stat().st_size
    print(f"  {'runs of marks':32} {marks / boards:8.1f}\n  {'together':32} {total / boards:8.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
