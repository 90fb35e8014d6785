"""The lines of a PEM file, held to what every reader of it takes: gRPC's, OpenSSL's and ours.

    check_lines(b"-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n")

Our own reader finds a mark anywhere in a line. gRPC's does not, and says nothing: its connection never
stands. Pure.
"""

from __future__ import annotations

import re

_MARK = re.compile(rb"-----(BEGIN|END)")
_LINE = re.compile(rb"-----(?P<which>BEGIN|END) (?P<label>[A-Z0-9 ]+)-----\s*")
_BODY = re.compile(rb"[A-Za-z0-9+/=\s]*")


class PemError(ValueError):
    """A line is not as it must be. The text names the line."""


def check_lines(data: bytes) -> None:
    """Each mark stands alone on its line and has its partner, and between the two is nothing but base64.

    Text around them is nobody's concern (RFC 7468 §2).

    Raises:
        PemError: the first line that is otherwise.
    """
    inside: bytes | None = None
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if _MARK.search(line):
            inside = _after_mark(inside, _LINE.fullmatch(line), number)
        elif inside is not None and _BODY.fullmatch(line) is None:
            raise PemError(f"line {number} has something else in it than base64")
    if inside is not None:
        raise PemError(f"line {len(lines)}: the file ends before -----END")


def _after_mark(inside: bytes | None, mark: re.Match[bytes] | None, number: int) -> bytes | None:
    """The label of the block that goes on after this line."""
    if mark is None:
        raise PemError(f"line {number}: a -----BEGIN or -----END must stand alone on its line")
    if mark["which"] == b"BEGIN":
        if inside is not None:
            raise PemError(f"line {number}: a second -----BEGIN, and no -----END before it")
        return mark["label"]
    if inside != mark["label"]:
        raise PemError(f"line {number}: this -----END has no -----BEGIN")
    return None
