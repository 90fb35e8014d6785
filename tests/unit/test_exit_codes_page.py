"""Exit codes of the three programs stand in one table, that of docs/operations.md. Code, table and unit say
the same."""

from __future__ import annotations

import re
from pathlib import Path

from agent.adapters.cli.options import exit_code
from agent.errors import AgentError, ConfigError, SignerUnavailable, Verdict
from auditor.__main__ import CONFIGURATION, UNREACHABLE
from auditor.cli.options import ACKNOWLEDGED, ALARMS, FINDINGS, UNKNOWN
from signerd.adapters.cli.exits import Exit

REPOSITORY = Path(__file__).parents[2]
UNIT = (REPOSITORY / "deploy" / "systemd" / "signerd.service").read_text("utf-8")
PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
PART = PAGE.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| (\d+) \| (.*) \|$", re.MULTILINE)
ROWS = {int(code): [cell.strip() for cell in rest.split("|")] for code, rest in ROW.findall(PART)}
SIGNERD, AGENT, AUDITOR, UNIT_DOES = 0, 2, 3, 4  # columns
USAGE = 2  # typer's own


def test_the_table_has_every_code_and_no_other() -> None:
    assert set(ROWS) == {0, *(code.value for code in Exit), ACKNOWLEDGED, UNKNOWN}


def test_the_agent_and_the_auditor_have_theirs_in_it() -> None:
    errors = (
        ConfigError("d"),
        SignerUnavailable("d"),
        AgentError("c", "d", verdict=Verdict.REJECT),
    )
    agents = {0, USAGE, *map(exit_code, errors)}
    auditors = {0, USAGE, FINDINGS, ALARMS, ACKNOWLEDGED, UNKNOWN, CONFIGURATION, UNREACHABLE}
    assert {code for code, row in ROWS.items() if row[AGENT]} == agents
    assert {code for code, row in ROWS.items() if row[AUDITOR]} == auditors
    assert all(row[SIGNERD] for code, row in ROWS.items() if code not in {ACKNOWLEDGED, UNKNOWN})


def test_the_unit_prevents_the_restarts_that_the_table_says_it_does() -> None:
    (listed,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT, re.MULTILINE)
    prevented = {int(code) for code in listed.split()}
    assert "Restart=on-failure" in UNIT  # so that 0 is left anyway
    assert "StartLimitIntervalSec=0" in UNIT.partition("[Service]")[0]  # for ever, as the page says
    assert {code for code, row in ROWS.items() if row[UNIT_DOES] == "leaves it"} == prevented | {0}
    assert {code for code, row in ROWS.items() if row[UNIT_DOES] == "restarts it"} == {
        Exit.FAILED,
        Exit.NOT_NOW,
    }
    assert ROWS[Exit.UNREACHABLE][UNIT_DOES] == ""


def test_only_the_main_process_speaks_for_the_unit() -> None:
    # RestartPreventExitStatus= looks at the main process alone (systemd.service(5)): a check before it that
    # ends with 3 would be repeated for ever.
    assert not re.search(r"^ExecStartPre=", UNIT, re.MULTILINE)
