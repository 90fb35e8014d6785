"""What a terminal may not have: signs of ours get others of the same width, and texts their escapes.

    fit = fitting("ascii")
    fit("Nürnberg …")                       # "N\\xfcrnberg …": as wide as it will be printed
    "██ …".translate(signs("ascii"))        # "## ~"

A table is as wide as what it is made of. So texts are made to fit before it is laid out, and the signs, which
rich sets in part, as they are written.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import replace

from agent.core.floor import Snapshot

_SIGNS = {"█": "#", "▀": '"', "…": "~", "×": "x", "–": "-"}


def signs(encoding: str) -> Mapping[int, str]:
    """For `str.translate`: those signs of the table that this encoding lacks."""
    return {ord(sign): other for sign, other in _SIGNS.items() if not _has(encoding, sign)}


def fitting(encoding: str) -> Callable[[str], str]:
    """Makes a text fit: what the encoding lacks stands there as its escape, but for signs of ours."""
    if codecs.lookup(encoding).name.startswith("utf"):
        return lambda text: text
    kept = signs(encoding)
    return lambda text: "".join(
        letter if ord(letter) in kept else letter.encode(encoding, "backslashreplace").decode(encoding)
        for letter in text
    )


def fitted(floor: Snapshot, fit: Callable[[str], str]) -> Snapshot:
    """The same, each of its texts so that it fits."""
    line = floor.line
    return replace(
        floor,
        work_order=fit(floor.work_order),
        ports=tuple(
            replace(
                port,
                port=fit(port.port),
                chip_id=fit(port.chip_id),
                serial_number=fit(port.serial_number),
                step=fit(port.step),
                detail=fit(port.detail),
                code=fit(port.code),
                remedy=fit(port.remedy),
            )
            for port in floor.ports
        ),
        notices=tuple(replace(notice, text=fit(notice.text)) for notice in floor.notices),
        line=None
        if line is None
        else replace(line, code=fit(line.code), detail=fit(line.detail), remedy=fit(line.remedy)),
    )


def _has(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
