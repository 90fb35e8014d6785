"""Any number of simulated boards on ptys in one event loop. POSIX."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boards.faults import Faults
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard
from boards.storage import Storage


def read_secrets(path: Path) -> list[tuple[str, bytes]]:
    """Reads `chip_id,hexkey` lines as `signerd chips personalize --out` writes them."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0] != "chip_id"]
    return [(chip_id, bytes.fromhex(key)) for chip_id, key in rows]


def invented_chips(count: int) -> list[tuple[str, bytes]]:
    """Chips whose secrets no registry knows: emulated ones."""
    names = [f"CHIP-{number:06d}" for number in range(count)]
    return [(name, hashlib.sha256(b"invented" + name.encode()).digest()) for name in names]


@dataclass(frozen=True, slots=True)
class FarmOptions:
    """How the boards are. `faults` by board number."""

    state_dir: Path | None = None
    key_types: tuple[str, ...] = ("p256",)
    keygen_s: float = 0.0
    baudrate: int = 0
    boot_s: float = 0.0
    buffer: int = 1024
    null_parameters: bool = False
    without_secret: bool = False
    faults: Mapping[int, Sequence[dict[str, object]]] = field(default_factory=dict)


def make_boards(chips: Sequence[tuple[str, bytes]], options: FarmOptions) -> list[PtyBoard]:
    """Makes a board a chip. Start them on the running loop."""
    return [_make_board(number, chip_id, secret, options) for number, (chip_id, secret) in enumerate(chips)]


def _make_board(number: int, chip_id: str, secret: bytes, options: FarmOptions) -> PtyBoard:
    model = BoardModel(
        chip_id=chip_id,
        secret=None if options.without_secret else secret,
        key_types=options.key_types,
        keygen_s=options.keygen_s,
        buffer=options.buffer,
        null_parameters=options.null_parameters,
    )
    path = None
    if options.state_dir is not None:
        options.state_dir.mkdir(parents=True, exist_ok=True)
        path = options.state_dir / f"{chip_id.replace(':', '_')}.json"
    board = SimulatedBoard(model, Storage(path), Faults.from_json(options.faults.get(number, ())))
    return PtyBoard(board, baudrate=options.baudrate, boot_s=options.boot_s)
