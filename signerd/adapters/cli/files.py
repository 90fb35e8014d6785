"""Files that administrators hand in."""

from __future__ import annotations

from pathlib import Path

from signerd.core.names import is_chip_id
from signerd.errors import Code, Refused


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises Refused `invalid` where it is none, OSError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(Code.INVALID, f"{path} is not UTF-8") from error


def read_chip_ids(path: Path) -> list[str]:
    """One chip id a line; empty lines do not count.

    Raises:
        Refused: `invalid`: a line is no chip id, stands twice, or there is none.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        chip_id = line.strip()
        if not chip_id:
            continue
        if not is_chip_id(chip_id):
            raise Refused(Code.INVALID, f"{path}, line {number}: not a chip id (1 to 64 of [A-Za-z0-9._:-])")
        if chip_id in lines:
            raise Refused(
                Code.INVALID, f"{path}, line {number}: {chip_id} stands in line {lines[chip_id]} too"
            )
        lines[chip_id] = number
    if not lines:
        raise Refused(Code.INVALID, f"{path} holds no chip id")
    return list(lines)
