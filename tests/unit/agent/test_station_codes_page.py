"""docs/stations.md has a remedy for every code with which a station ends a board, and for no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from agent.adapters.drivers import smp_messages
from agent.adapters.drivers.esp32 import console
from agent.core.remedies import error_for
from agent.errors import Refused, SignerUnavailable

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "stations.md").read_text(encoding="utf-8")
# Whose first argument is a code; of a worker's error, it is the second.
RAISED = {"BoardError": 0, "LineError": 0, "LabelError": 0, "BundleMismatch": 0, "LineBrokenError": 0}
RAISED["WorkerError"] = 1
NO_CODE_OF_A_LINE = {
    "configuration",  # its own text and exit code 3 before the first board
    "noted",  # of doctor alone: it ends no board
}


def codes_raised() -> Iterator[str]:
    """Codes that stand as text where an error is made."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED:
                place = RAISED[node.func.id]
                if len(node.args) > place and isinstance(node.args[place], ast.Constant):
                    yield str(ast.literal_eval(node.args[place]))


def codes_of_classes() -> Iterator[str]:
    """Codes of errors that have one and no other, and those of the chip's console and of boards' answers."""
    text = (ROOT / "agent" / "errors.py").read_text(encoding="utf-8")
    yield from re.findall(r"__init__\(\s*(?:self,\s*)?\"([a-z_]+)\"", text)
    yield from (code for _, code in console._FAILURES + console._TROUBLES)
    yield from re.findall(r'self\._fail\("([a-z_]+)"', Path(console.__file__).read_text(encoding="utf-8"))
    yield from smp_messages.ERROR_NAMES.values()
    yield "no_group"  # SMP's own


def codes_of_the_page() -> set[str]:
    """The codes in the first column of the page's tables of codes."""
    tables = re.findall(r"^\| code \| remedy \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    firsts = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return {code for first in firsts for code in re.findall(r"`([a-z_]+)`", first)}


STEPS = {"session", "sign", "record"}  # beside a code, in a first column
OF_THE_JOURNAL = {"interrupted"}  # written at the next start
RAISED_CODES = (set(codes_raised()) | set(codes_of_classes())) - NO_CODE_OF_A_LINE


def test_codes_were_found() -> None:
    assert {"no_answer", "chip_sealed", "printer_off", "boot_loop", "worker_hung"} <= RAISED_CODES


def test_every_code_of_a_station_is_on_the_page() -> None:
    assert RAISED_CODES - codes_of_the_page() == set()


def test_every_code_of_the_page_can_come() -> None:
    others = codes_of_the_page() - STEPS - OF_THE_JOURNAL - RAISED_CODES
    for code in others:  # signerd's
        error = error_for(code)
        assert isinstance(error, Refused | SignerUnavailable)
        assert "different versions" not in error.remedy, code
