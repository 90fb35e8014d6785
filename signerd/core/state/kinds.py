"""Which type an entry is of, seen without parsing it: a start reads millions of them."""

from __future__ import annotations

import re

_TYPE = re.compile(rb'"type":"([a-z_]+)"')


def mentioned(data: bytes) -> list[bytes]:
    """Types that may be this entry's, in its canonical JSON (RFC 8785). Its own is among them, since text
    inside a string has its quotes escaped (RFC 8259 §7). Others may be a board's word: parse before you
    believe one."""
    return _TYPE.findall(data)
