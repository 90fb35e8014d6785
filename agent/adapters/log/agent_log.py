"""The station's log: `agent.log` in the state directory, an object of JSON a line, bounded.

    with agent_log(config, notice):
        ...  # what goes to the standard library's `logging` is kept

Each line has `time`, `level`, `event`; a fault has `traceback`. Nothing of other packages reaches the
terminal, where it would tear the table. No secret is written: see `told`.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.log.rotating import RotatingFile
from agent.config import Config
from agent.core.events import Event, Finished, LineDown, LineUp, PortReady, StampSettled, Waiting
from agent.errors import NotedError

FILE_NAME = "agent.log"
_REMEDY = "Name a folder that is there and takes this account's files: log.folder in agent.toml."
_FRAMES = 40  # the last of a traceback
_CHAIN = 5  # exceptions that caused each other
_TEXT = 2_000  # characters of a message or a source line
# Functions in which the board's code or its settings are at hand. What is raised below them may say them.
_WITH_SECRETS = frozenset({"hand_over_label", "pop", "configure"})
_LEFT_OUT = "(left out: it may hold what the label or the settings keep secret)"
_LOG = logging.getLogger("agent.events")


@contextmanager
def agent_log(config: Config, notice: Callable[[str], None]) -> Iterator[None]:
    """Keeps what is logged meanwhile. A log that cannot be written holds no board up: `notice` says so."""
    handler = _JsonHandler(log_file(config, FILE_NAME), notice)
    level = logging.getLevelNamesMapping()[config.log.level.upper()]
    root, ours = logging.getLogger(), logging.getLogger("agent")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level)
    try:
        yield
    finally:
        ours.setLevel(before)
        root.removeHandler(handler)


def check_log(config: Config) -> str:
    """Says where it goes.

    Raises:
        NotedError: it cannot be written. Boards go on, and a start says the same.
    """
    file = log_file(config, FILE_NAME)
    try:
        file.check()
    except OSError as error:
        raise NotedError(_not_written(file.path, error), remedy=_REMEDY) from error
    return str(file.path)


def _not_written(path: Path, error: OSError) -> str:
    return f"{path}: {error.strerror or error}; the log is not written"


def log_file(config: Config, name: str) -> RotatingFile:
    """A file beside the log, with the log's bounds."""
    folder = config.log.folder or config.state
    return RotatingFile(folder / name, file_bytes=config.log.file_mb << 20, files=config.log.files)


def log_event(event: Event) -> None:
    """A `Progress` that logs what matters afterwards: verdicts, and what held ports and line up."""
    match event:
        case Finished(result):
            _LOG.info(
                "board",
                extra=_fields(
                    port=result.port,
                    chip_id=result.chip_id,
                    outcome=str(result.outcome),
                    step=result.step,
                    code=result.code,
                    detail=result.detail,
                    seconds=round(result.seconds, 3),
                ),
            )
        case Waiting(port, detail):
            _LOG.warning("waiting", extra=_fields(port=port, detail=detail))
        case PortReady(port):
            _LOG.info("port_ready", extra=_fields(port=port))
        case LineDown(code, detail):
            _LOG.error("line_down", extra=_fields(code=code, detail=detail))
        case LineUp():
            _LOG.info("line_up")
        case StampSettled(chip_id=chip_id, code=code):
            _LOG.info("stamp_settled", extra=_fields(chip_id=chip_id, code=code))
        case _:
            pass


def _fields(**fields: object) -> dict[str, object]:
    return {"fields": fields}


class _JsonHandler(logging.Handler):
    def __init__(self, file: RotatingFile, notice: Callable[[str], None]) -> None:
        super().__init__()
        self._file = file
        self._notice = notice
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. Of other packages the root logger lets through warnings and errors."""
        lost = {"lost": self._lost} if self._lost else {}
        try:
            self._file.write(line_of(record, lost))
            self._lost = 0
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                self._notice(_not_written(self._file.path, error))


def line_of(record: logging.LogRecord, more: dict[str, int] | None = None) -> str:
    """A record as a line: ASCII, whatever it holds."""
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"time": moment, "level": record.levelname.lower(), **(more or {})}
    if record.name.startswith("agent."):
        line["event"] = record.getMessage()[:_TEXT]
    else:
        line |= {"event": "log", "logger": record.name, "detail": record.getMessage()[:_TEXT]}
    for name, value in getattr(record, "fields", {}).items():
        line[name] = value[:_TEXT] if isinstance(value, str) else value
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        line["traceback"] = told(error)
    return json.dumps(line, default=str)


def told(error: BaseException) -> list[str]:
    """An exception and what caused it, a line a frame, the first cause first. No values of variables.

    Messages are left out where the board's code or its settings were at hand.
    """
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain and len(chain) < _CHAIN:
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    stacks = [traceback.extract_tb(one.__traceback__, -_FRAMES) for one in chain]
    secret = any(frame.name in _WITH_SECRETS for stack in stacks for frame in stack)
    lines = []
    for one, stack in zip(reversed(chain), reversed(stacks), strict=True):
        for frame in stack:
            place = f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            lines.append(f"{place}: {(frame.line or '')[:_TEXT]}")
        lines.append(f"{type(one).__qualname__}: {_LEFT_OUT if secret else str(one)[:_TEXT]}")
    return lines
