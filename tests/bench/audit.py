"""How fast an audit is: hashes alone, all entries from tiles, everything from signerd, and an export.

Rates are by CPU time, of the auditor's processes and of signerd: what two cores do in a second at best, where
both are busy to the end. `by_the_clock` is what this machine took.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from auditor.adapters.tile_log import TileLog
from auditor.core.growth import Growth, leaf_hashes
from auditor.core.proofs import claimed_checkpoint
from auditor.head import is_prefix
from auditor.ledger import CHUNK
from harness.large_ledger import MeasuredRun, large_ledger

BOARDS = 20_000
_CORES = 2


def measure_audit(directory: Path, boards: int = BOARDS) -> dict[str, Any]:
    """Fills an installation, and audits it from scratch."""
    with large_ledger(directory, boards) as ledger:
        hashes = hashes_per_s(ledger.tiles)
        tiles = _clean(ledger.auditor_runs("tiles", "verify", "--tiles", ledger.tiles))
        whole = _clean(ledger.auditor_runs("whole", "verify"))
        out = directory / "exported"
        export = _clean(ledger.auditor_runs("whole", "export", "--out", out))
        shutil.rmtree(out)
        return {
            "boards": boards,
            "bulk_boards_per_s": round(boards / ledger.written["write_cpu_s"]),
            "hashes_per_s": round(hashes),
            "entries_per_s": round(tiles.summary["tree_size"] / tiles.cpu_s),
            "boards_per_s": round(_CORES * boards / (whole.cpu_s + whole.signerd_cpu_s)),
            "boards_per_s_by_the_clock": round(boards / whole.wall_s),
            "export_per_s": round(_CORES * boards / (export.cpu_s + export.signerd_cpu_s)),
            "state_bytes": round(ledger.state_bytes("whole") / boards, 1),
            "resident_mb": round(whole.resident_mb),
        }


def hashes_per_s(tiles: Path) -> float:
    """Entries a second of CPU that are read from tiles, hashed, and proven to be of the checkpoint's tree."""
    log = TileLog(str(tiles))
    note = log.checkpoint()
    head = claimed_checkpoint(note, note.partition(b"\n")[0].decode())
    growth, began = Growth.empty(), time.process_time()
    while growth.size < head.size:
        growth.extend(leaf_hashes(list(log.entries(growth.size, min(head.size, growth.size + CHUNK)))))
        if not is_prefix(log, head, growth.size, growth.root()):
            raise RuntimeError(f"the tiles are not those of the checkpoint, up to {growth.size}")
    return head.size / (time.process_time() - began)


def _clean(run: MeasuredRun) -> MeasuredRun:
    if run.code != 0:
        raise RuntimeError(f"the auditor ended with {run.code}: {run.errors[-1000:]}")
    return run
