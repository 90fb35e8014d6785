"""What stands on a board's label (docs/stations.md, "Labels")."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TAIL_DIGITS = 6
_NOT_HEX = re.compile(r"[^0-9A-Fa-f]")


@dataclass(frozen=True, slots=True)
class Label:
    """One board's label. It holds the proof-of-possession code: never to a log, an error or the journal."""

    port: str  # the board's place, so that no label meets the wrong board
    serial_number: str
    chip_id: str
    model: str
    work_order: str
    code: str = field(repr=False)

    @property
    def chip_tail(self) -> str:
        """The last six hexadecimal digits of the chip id, upper case; fewer where it has fewer.

        ESP-IDF's examples name a board on the air by these digits of its MAC.
        """
        return _NOT_HEX.sub("", self.chip_id)[-_TAIL_DIGITS:].upper()
