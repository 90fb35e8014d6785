"""The chip's supply: tells flash and eFuses how far they come before the power fails.

A cut is a budget. Each byte of flash that is erased or programmed and each eFuse word that is programmed
counts one; the operation that exceeds its budget is done up to there, and raises `PowerLost`. The counters
count without a budget too, so that a test can measure a run and then cut another one anywhere inside it.
"""

from __future__ import annotations


class PowerLost(Exception):  # noqa: N818 # an event of the simulated world, no error of the program
    """The supply failed in the middle of an operation."""


class PowerSupply:
    """Counts what flash and eFuses do, and fails when it has been told to."""

    def __init__(self) -> None:
        self.flash_bytes = 0  # erased or programmed so far
        self.efuse_words = 0  # programmed so far
        self._flash_left: int | None = None
        self._efuse_left: int | None = None

    def cut_after(self, *, flash_bytes: int | None = None, efuse_words: int | None = None) -> None:
        """From now on, fails after so many flash bytes or eFuse words; None: never for that reason."""
        self._flash_left = flash_bytes
        self._efuse_left = efuse_words

    def grant_flash(self, count: int) -> int:
        """How many of `count` bytes are erased or programmed: all, or fewer, and then the power is gone."""
        granted = count if self._flash_left is None else min(count, self._flash_left)
        self.flash_bytes += granted
        if self._flash_left is not None:
            self._flash_left -= granted
        return granted

    def grant_efuse_word(self) -> bool:
        """Whether the next eFuse word is programmed wholly; if not, the power is gone."""
        if self._efuse_left == 0:
            return False
        self.efuse_words += 1
        if self._efuse_left is not None:
            self._efuse_left -= 1
        return True
