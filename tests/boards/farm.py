"""Any number of simulated boards on ptys in one event loop. POSIX."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boards.attesters import csr_attestation
from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.port import Attester, Vendor
from boards.faults import Faults
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, SimulatedBoard
from boards.storage import Storage
from boards.vendors import chip_id_of


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
class Chip:
    """A chip and the method by which it proves what it is; `none` has nothing to prove it with."""

    chip_id: str
    method: str = "hmac-sha256"


def mixed_chips(
    methods: Sequence[str], count: int, secrets: Sequence[tuple[str, bytes]], prefix: str = "CHIP-"
) -> list[Chip]:
    """`count` chips, the methods in turn. Those of `hmac-sha256` are the chips of `secrets`, in order.

    Raises:
        ValueError: there are not enough secrets.
    """
    burned = iter(secrets)
    chips = []
    for number in range(count):
        method = methods[number % len(methods)]
        if method == "hmac-sha256":
            chip_id, _ = next(burned, ("", b""))
            if not chip_id:
                raise ValueError("more boards of method hmac-sha256 than secrets")
        else:
            chip_id = chip_id_of(method, f"{prefix}{number:06d}")
        chips.append(Chip(chip_id, method))
    return chips


@dataclass(frozen=True, slots=True)
class FarmOptions:
    """How the boards are. `faults`, and `wrong` for the vendor's `attester`, by board number."""

    state_dir: Path | None = None
    key_types: tuple[str, ...] = ("p256",)
    keygen_s: float = 0.0
    baudrate: int = 0
    boot_s: float = 0.0
    buffer: int = 1024
    null_parameters: bool = False
    evidence_in_csr: bool = False
    pop: bool = False
    faults: Mapping[int, Sequence[dict[str, object]]] = field(default_factory=dict)
    wrong: Mapping[int, Mapping[str, object]] = field(default_factory=dict)


def make_boards(chips: Sequence[tuple[str, bytes]], options: FarmOptions) -> list[PtyBoard]:
    """Makes a board of method `hmac-sha256` a chip. Start them on the running loop."""
    known = [Chip(chip_id) for chip_id, _ in chips]
    return make_mixed_boards(known, {"hmac-sha256": HmacVendor(dict(chips))}, options)


def make_mixed_boards(
    chips: Sequence[Chip], vendors: Mapping[str, Vendor], options: FarmOptions
) -> list[PtyBoard]:
    """Makes a board a chip, with its root of trust from the vendor of its method."""
    return [_make_board(number, chip, vendors, options) for number, chip in enumerate(chips)]


def _make_board(number: int, chip: Chip, vendors: Mapping[str, Vendor], options: FarmOptions) -> PtyBoard:
    attesters: tuple[Attester, ...] = ()
    if chip.method != "none":
        attesters = (vendors[chip.method].attester(chip.chip_id, **options.wrong.get(number, {})),)
    model = BoardModel(
        chip_id=chip.chip_id,
        attesters=attesters,
        key_types=options.key_types,
        keygen_s=options.keygen_s,
        buffer=options.buffer,
        null_parameters=options.null_parameters,
        evidence_in_csr=options.evidence_in_csr and chip.method in csr_attestation.BUNDLES,
        pop=options.pop,
    )
    path = None
    if options.state_dir is not None:
        options.state_dir.mkdir(parents=True, exist_ok=True)
        path = options.state_dir / f"{chip.chip_id.replace(':', '_')}.json"
    board = SimulatedBoard(model, Storage(path), Faults.from_json(options.faults.get(number, ())))
    return PtyBoard(board, baudrate=options.baudrate, boot_s=options.boot_s)


def trust_in(vendors: Mapping[str, Vendor], boards: Sequence[PtyBoard]) -> dict[str, object]:
    """What signerd must be given for these boards: `sections` of the product file, `identities` to import.

    Both by method; an identity is a line of `signerd chips import-identities`.
    """
    identities: dict[str, list[dict[str, str]]] = {}
    for pty in boards:
        for attester in pty.board.model.attesters:
            line = attester.identity()
            if line is not None:
                identities.setdefault(attester.method, []).append(line)
    sections = {method: vendor.product_section() for method, vendor in vendors.items()}
    return {"sections": sections, "identities": identities}
