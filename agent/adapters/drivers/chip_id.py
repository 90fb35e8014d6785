"""A board whose chip id names no chip is refused before anything is done with it."""

from __future__ import annotations

from agent.core.chip_ids import ChipIdError, check_chip_id
from agent.errors import BoardError


def require_chip_id(chip_id: str, *, mac: bool = False) -> None:
    """Raises `BoardError("bad_chip_id")`. Arguments as `check_chip_id` has them."""
    try:
        check_chip_id(chip_id, mac=mac)
    except ChipIdError as error:
        raise BoardError(
            "bad_chip_id",
            str(error),
            remedy="Put the board aside: its chip has no address of its own, or its firmware invents one.",
        ) from error
