"""The form of recordings: what decides a run, what was asked and answered in it, and what happened.

A recording is JSON lines, at most `MAX_BYTES`: the basis, then calls and events in the order in which they
ended, then the result. `agent.recorder` writes one, `agent.replay` takes the same decisions from it once
more. It holds no key, and of the proof-of-possession code the commitment alone. It holds settings,
certificate and evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import GenericAlias
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from agent.core.file_problems import problems
from agent.core.log_keys import LogKey
from agent.core.recipe import Recipe
from agent.errors import Verdict
from agent.ports import (
    BoardRequest,
    BoardStamp,
    Flashed,
    Found,
    Issued,
    QueuedStamp,
    Receipt,
    Session,
)
from agent.station import KeyDemands
from agent.steps import Bounds

FORM: Final = 1
MAX_BYTES = 1 << 20  # a board with evidence takes 20 kB
MAX_LINES = 5_000

BOARD, SIGNERD, JOURNAL, PRINTER, CHANCE = "board", "signerd", "journal", "printer", "chance"
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    BOARD: {
        "identify": Found,
        "flash": Flashed,
        "keygen": None,
        "request": BoardRequest,
        "install": bytes,
        "configure": bytes,
        "seal": None,
        "first_boot": None,
        "locks": dict[str, bool],
        "pop": bytes,  # the commitment
        "stamp": BoardStamp,
    },
    SIGNERD: {"open_session": Session, "sign_csr": Issued, "record_stamp": Receipt},
    JOURNAL: {
        "begin": int,
        "note_label": None,
        "has_label": bool,
        "queue_stamp": None,
        "queued_stamps": tuple[QueuedStamp, ...],  # those of this chip
        "stamp_recorded": None,
        "stamp_refused": None,
    },
    PRINTER: {"put": None},
    CHANCE: {"bytes": bytes},
}
"""What is recorded of whom, and of which type the answer is."""

_BYTES = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True, slots=True)
class Basis:
    """What decides a run beside what is answered in it."""

    version: str  # of the agent that recorded
    started_at: str  # UTC, ISO 8601
    port: str
    work_order: str
    found: Found
    recipe: Recipe
    device_roots_der: tuple[bytes, ...]
    log_key: LogKey
    bounds: Bounds
    board_retries: int
    labels: bool  # there is somewhere to put them
    key_demands: KeyDemands | None  # of the order, as signerd last said
    chip_busy: bool  # another port had the same chip
    manifest: bytes | None  # of the station's bundle
    bundle_sha256: bytes | None
    form: int = FORM


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call raised."""

    kind: str  # the name of its class
    code: str = ""
    detail: str = ""
    verdict: Verdict | None = None  # None: no error of ours
    remedy: str = ""
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A question and its answer. Times are seconds since the run began."""

    asked_s: float
    ended_s: float
    of: str
    call: str
    answer: Any = None  # as JSON has it; `answer_of` reads it
    failure: Failure | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, by the name of its class."""

    at_s: float
    event: str
    members: dict[str, Any]


def dumped(kind: Any, value: Any) -> Any:
    """A value as JSON has it; bytes in base64url."""
    return _adapter(kind).dump_python((value,), mode="json")[0]


def loaded(kind: Any, data: Any) -> Any:
    """The value again. Raises ValueError."""
    try:
        return _adapter(kind).validate_json(json.dumps([data]))[0]
    except ValidationError as error:
        raise ValueError(problems(error)[0].removeprefix("0.").removeprefix("0: ")) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # The tuple bears the configuration: a plain dataclass takes it from what it stands in alone.
    one: Any = GenericAlias(tuple, (kind,))
    return TypeAdapter(one, config=_BYTES)
