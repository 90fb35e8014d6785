"""A company's own list of chips, line by line (docs/formats.md, "Lists of chips")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from auditor.errors import Malformed

MAX_LINE = 1_024  # bytes; a chip id has at most 64
_CHIP_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_HEADERS = frozenset({b"chip_id", b"chip-id", b"chip", b"chips", b"id", b"mac", b"uid", b"esp32_mac"})
_MARK = b"\xef\xbb\xbf"
_KEYED = (b"key=", b"ueid=")


def listed(lines: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Line number and chip id of each line that has one. A byte order mark, blanks and either end of a line
    do not count.

    Args:
        lines: each with its end, cut behind `MAX_LINE` bytes where it is longer.

    Raises:
        Malformed: a line is no chip id; named by its number.
    """
    for number, line in enumerate(lines, 1):
        text = (line.removeprefix(_MARK) if number == 1 else line).strip(b" \t\r\n")
        if not text:
            continue
        if text.startswith(_KEYED):
            raise Malformed(
                f"line {number} names a key and no chip id: this question compares chip ids, so leave it out"
            )
        if number == 1 and text.lower() in _HEADERS:
            raise Malformed("line 1 is the name of a column: a list has no header")
        if _CHIP_ID.fullmatch(text) is None:
            raise Malformed(f"line {number} is no chip id: 1 to 64 of [A-Za-z0-9._:-], one a line")
        yield number, text.decode("ascii")
