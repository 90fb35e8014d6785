"""Simulated boards (tests/boards) with their vendors, in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.commanded_farm import CommandedFarm, flags


@dataclass(frozen=True, slots=True)
class Plugged:
    """A board that is on a port."""

    number: int
    chip_id: str
    port: str
    method: str


@dataclass(frozen=True, slots=True)
class BoardView:
    """What a test may see behind a board's back."""

    chip_id: str
    spki_sha256: str | None  # of its key, hexadecimal
    sealed: bool
    exchanges: int
    wire_bytes: int
    config: bytes | None


@dataclass(frozen=True, slots=True)
class VendorsTrust:
    """What signerd must be given to trust the boards, by method."""

    sections: Mapping[str, str]  # of a product file
    identities: Mapping[str, list[dict[str, str]]]  # lines of `signerd chips import-identities`


class BoardFarm(CommandedFarm):
    """Running boards. They keep their state while this process lives, and over their own resets.

    Vendors' keys are the process's too: another farm's boards are of other vendors.
    """

    def __init__(
        self, secrets: Path | None, *, trust: Path, log: Path, options: Mapping[str, object]
    ) -> None:
        """`options` are those of `python -m boards`."""
        known = {"trust": trust} | ({} if secrets is None else {"secrets": secrets})
        super().__init__("boards", flags({**known, **options}), log=log)
        self.boards = [
            Plugged(line["board"], line["chip"], line["port"], line["method"])
            for line in self.said
            if "board" in line
        ]
        self.trust = VendorsTrust(**json.loads(trust.read_text(encoding="utf-8")))

    @property
    def ports(self) -> list[str]:
        """Device paths, in the order of the chips."""
        return [board.port for board in self.boards]

    @property
    def methods(self) -> tuple[str, ...]:
        """Of evidence, in the order of the boards, each once."""
        return tuple(dict.fromkeys(board.method for board in self.boards))

    def view(self, number: int) -> BoardView:
        """The board as it stands now."""
        shown = self.tell(number, show=True)
        config = shown["config"]
        return BoardView(
            chip_id=shown["chip"],
            spki_sha256=shown["spki_sha256"],
            sealed=shown["sealed"],
            exchanges=shown["exchanges"],
            wire_bytes=shown["wire_bytes"],
            config=None if config is None else bytes.fromhex(config),
        )
