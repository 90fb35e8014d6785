"""What stands on a board's label (docs/stations.md, "Labels")."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Label:
    """One board's label. It holds the proof-of-possession code: never to a log, an error or the journal."""

    port: str  # the board's place, so that no label meets the wrong board
    serial_number: str
    chip_id: str
    model: str
    work_order: str
    code: str = field(repr=False)
