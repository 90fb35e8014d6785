"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from agent.adapters.signer.answers import StationAnswer
from agent.adapters.signer.client import GrpcSigner
from agent.config import Config
from agent.errors import AgentError, NotedError, Refused


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    BAD = "bad"
    NOT_CHECKED = "not_checked"  # or not wholly: what it depends on is not in order


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `remedy` is empty where it is not BAD; `ok` is None where nothing was looked at."""

    check: str
    ok: bool | None
    state: State
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Part:
    """What a check saw, and what of it another line has to hold for first."""

    detail: str


@dataclass
class Examined:
    """The station that is looked at, and what its checks have learned on the way.

    Args:
        config: as it was read.
        work_order: signerd is asked about it, if one is named.
        ports: patterns in place of those of the configuration.
        signer: the line that stands open, if one does.
    """

    config: Config
    work_order: str = ""
    ports: Sequence[str] = ()
    signer: GrpcSigner | None = None
    answer: StationAnswer | None = None  # of signerd
    apart: timedelta | None = None  # signerd's clock and this PC's
    findings: dict[str, Finding] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # checks on which others cannot build


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `doctor`.

    Args:
        name: what the line is called.
        look: says what is there, or which part of it could be looked at; raises AgentError for what is wrong.
        needs: checks that must be in order first, else this one would name a wrong cause.
    """

    name: str
    look: Callable[[Examined], Awaitable[str | Part]]
    needs: tuple[str, ...] = ()


async def look_at(check: Check, station: Examined) -> AgentError | None:
    """Looks, and keeps the finding. Returns what is wrong."""
    first = next((name for name in check.needs if name in station.broken), None)
    if first is not None:
        station.broken.add(check.name)
        _keep(station, check, State.NOT_CHECKED, f"not checked: {first} comes first")
        return None
    try:
        seen = await check.look(station)
        if isinstance(seen, Part):
            _keep(station, check, State.NOT_CHECKED, seen.detail)
        else:
            _keep(station, check, State.OK, seen)
    except AgentError as error:
        if not isinstance(error, NotedError):
            station.broken.add(check.name)
        detail = f"{error.detail}: {error.code}" if isinstance(error, Refused) else error.detail
        _keep(station, check, State.BAD, detail, error.remedy)
        return error
    return None


def _keep(station: Examined, check: Check, state: State, detail: str, remedy: str = "") -> None:
    ok = None if state is State.NOT_CHECKED else state is State.OK
    station.findings[check.name] = Finding(check.name, ok, state, detail, remedy)
