"""docs/board-protocol.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from agent.adapters.drivers import smp_messages
from agent.adapters.drivers.smp_framing import FrameReader
from boards.example import example

PAGE = (Path(__file__).parents[4] / "docs" / "board-protocol.md").read_text()


def shown_on_the_line() -> list[bytes]:
    """The messages of the page's line dumps, as bytes of the wire."""
    blocks = re.findall(r"the same on the line \(.*?\)\n((?:  .*\n)+)", PAGE)
    wires = []
    for block in blocks:
        wire = b""
        for row in block.splitlines():
            parts = row.split()
            if parts == ["0a"]:
                wire += b"\n"
            else:
                start = bytes.fromhex("".join(parts[:2])) if row.startswith(("  06", "  04")) else b""
                wire += start + parts[-1].encode()
        wires.append(wire)
    return wires


def test_the_worked_example_is_what_the_code_makes() -> None:
    assert f"<!-- example -->\n{example()}<!-- end of example -->" in PAGE


def test_the_stations_reader_reads_what_the_page_shows() -> None:
    question, answer = (FrameReader().feed(wire)[0] for wire in shown_on_the_line())
    assert smp_messages.answers(answer, question)
    identity = smp_messages.identity(smp_messages.parse_answer(answer, smp_messages.HelloAnswer))
    assert identity.chip_id == "CHIP-000001"


def test_the_errors_are_those_of_the_table() -> None:
    table = re.findall(r"^\| (\d+) \| `(\w+)` \| [^|]* \|$", PAGE, re.MULTILINE)
    assert {int(rc): name for rc, name in table} == smp_messages.ERROR_NAMES
