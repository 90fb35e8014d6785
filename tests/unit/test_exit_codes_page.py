"""Exit codes stand in three places that say the same: the code, docs/operations.md's table, the unit."""

from __future__ import annotations

import re
from pathlib import Path

from signerd.adapters.cli.exits import Exit

REPOSITORY = Path(__file__).parents[2]
UNIT = (REPOSITORY / "deploy" / "systemd" / "signerd.service").read_text("utf-8")
PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
PART = PAGE.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+?) \| ?(.*?) ?\|$", re.MULTILINE)
ROWS = {int(code): rest for code, *rest in ROW.findall(PART)}


def test_the_table_has_every_code_and_no_other() -> None:
    assert set(ROWS) == {0, *(code.value for code in Exit)}


def test_the_unit_prevents_the_restarts_that_the_table_says_it_does() -> None:
    (listed,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT, re.MULTILINE)
    prevented = {int(code) for code in listed.split()}
    assert "Restart=on-failure" in UNIT  # so that 0 is left anyway
    assert "StartLimitIntervalSec=0" in UNIT.partition("[Service]")[0]  # for ever, as the page says
    assert {code for code, row in ROWS.items() if row[2] == "leaves it"} == prevented | {0}
    assert {code for code, row in ROWS.items() if row[2] == "restarts it"} == {Exit.FAILED, Exit.NOT_NOW}
    assert ROWS[Exit.UNREACHABLE][2] == ""


def test_only_the_main_process_speaks_for_the_unit() -> None:
    # RestartPreventExitStatus= looks at the main process alone (systemd.service(5)): a check before it that
    # ends with 3 would be repeated for ever.
    assert not re.search(r"^ExecStartPre=", UNIT, re.MULTILINE)
