"""All checks of a station, in the order in which things depend on each other.

    findings = await examine(Path("agent.toml"), "WO-1")       # doctor: everything, one cause a fault
    await demand_files(station)                                # a start: raises the first that must hold,
    await demand_signerd(station)                              # and once the connection to signerd is open

Both call the same functions. What a start does not wait for raises an error that may pass (`Verdict.AGAIN`):
`doctor` calls it bad, and a station goes on.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from agent.adapters.checks import enrolment, ports, shop, signerd, state
from agent.adapters.checks.finding import Check, Examined, Finding, State, look_at
from agent.config import Config, Results, load
from agent.errors import AgentError
from agent.program import program_version

_DRIVER = Check("driver", enrolment.driver)
_RECIPE = Check("recipe", enrolment.recipe, needs=("driver",))
_CERTIFICATE = Check("certificate", enrolment.certificate)
_KEY = Check("key", enrolment.key, needs=("certificate",))
_JOURNAL = Check("journal", state.journal)
_OUTBOX = Check("outbox", state.outbox, needs=("journal",))
_LINE = Check("line", signerd.line, needs=("certificate", "key"))
_SIGNERD = Check("signerd", signerd.signerd, needs=("certificate", "key", "line"))
_TRUST = Check("trust", signerd.trust)
_CLOCK = Check("clock", signerd.clock, needs=("journal",))
_PORTS = Check("ports", ports.ports, needs=("driver",))

# Before the first board, in this order; what depends on another's mistake comes after it.
_OF_FILES = (_DRIVER, _RECIPE, _CERTIFICATE, _KEY, _JOURNAL)
_OF_SIGNERD = (_LINE, _SIGNERD, _TRUST, _CLOCK)
# Nothing ever answered there as signerd does: it is not one that is away.
_REFUSED_AT_START = frozenset({"line_silent"})


async def examine(config_path: Path, work_order: str | None) -> list[Finding]:
    """All checks."""
    this = f"birthmark-agent {program_version() or 'of no version'}, Python {platform.python_version()}"
    findings = [Finding("version", ok=True, state=State.OK, detail=this, remedy="")]
    try:
        config = load(config_path)
    except AgentError as error:
        wrong = Finding("configuration", ok=False, state=State.BAD, detail=error.detail, remedy=error.remedy)
        return [*findings, wrong]
    findings.append(Finding("configuration", ok=True, state=State.OK, detail=str(config_path), remedy=""))
    station = Examined(config, work_order or "")
    for check in _all_checks(config):
        await look_at(check, station)
    return [*findings, *station.findings.values()]


async def demand_files(station: Examined) -> None:
    """What the station's own files must hold before the first board. Raises the first AgentError."""
    await _demand(_OF_FILES, station)


async def demand_signerd(station: Examined) -> None:
    """What must hold between this station and signerd before the first board.

    Raises:
        AgentError: the first thing that a person has to mend. A signerd that is only away is waited for.
    """
    await _demand(_OF_SIGNERD, station)


async def _demand(checks: Sequence[Check], station: Examined) -> None:
    for check in checks:
        error = await look_at(check, station)
        if error is not None and (not error.retryable or error.code in _REFUSED_AT_START):
            raise error


def _all_checks(config: Config) -> list[Check]:
    checks = [*_OF_FILES, _OUTBOX, *_OF_SIGNERD, _PORTS]
    if config.bundle is not None:
        checks.append(Check("bundle", shop.bundle, needs=("recipe",)))
    if config.label is not None:
        checks.append(Check("labels", shop.labels))
    if config.places:
        checks.append(Check("places", shop.places))
    if config.page is not None:
        checks.append(Check("page", shop.page))
    if config.results != Results():
        checks.append(Check("results", shop.results))
    checks.append(Check("log", shop.log, needs=("journal",) if config.log.folder is None else ()))
    return checks
