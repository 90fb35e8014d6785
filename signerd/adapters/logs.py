"""Structured logs: JSON lines without secrets.

Nothing in signerd passes a secret to a logger. This is the second fence: bytes never appear in a line, keys
with a secret's name are masked, PEM private keys are cut out, and no value is longer than a line should be.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

import structlog

MAX_TEXT = 2000  # characters of one value; tracebacks may be longer
MASK = "[redacted]"
SECRET_NAMES = {
    "chip_key", "credential", "evidence", "key", "mac", "passphrase", "password", "pin", "private_key",
    "secret", "session", "so_pin", "token_pin",
}  # fmt: skip
_PEM_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_NUMBERED = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_WEIGHT = {**_NUMBERED, "exception": logging.ERROR}  # by the logger's method; others are always said


class Lines(Protocol):
    """Where lines go: `LineWriter`."""

    def write(self, text: str) -> object:
        """Takes one line, with its end."""
        ...

    def flush(self) -> object:
        """Called after each."""
        ...


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the event without anything that could be a secret."""
    for name, value in event.items():
        event[name] = MASK if name in SECRET_NAMES else _clean(value, limited=name != "exception")
    return event


def _clean(value: Any, *, limited: bool = True) -> Any:
    if isinstance(value, str):
        text = _PEM_KEY.sub(MASK, value)
        return text[:MAX_TEXT] + "…" if limited and len(text) > MAX_TEXT else text
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(name): MASK if name in SECRET_NAMES else _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return _clean(str(value))


class _Library(logging.Handler):
    """What libraries say through `logging`, asyncio and gRPC among them, as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[1] if record.exc_info else None
        log = structlog.get_logger(record.name)
        log.log(record.levelno, "library", logger=record.name, said=record.getMessage(), exc_info=exception)


class LogLevel:
    """A structlog processor: lines of less weight go no further. It can change while the program runs."""

    def __init__(self, level: str) -> None:
        self.set(level)

    def set(self, level: str) -> None:
        """`level` as in the configuration."""
        self._least = _NUMBERED[level]

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """structlog's call."""
        if _WEIGHT.get(method, logging.CRITICAL) < self._least:
            raise structlog.DropEvent
        return event


def configure_logs(level: str, lines: Lines) -> LogLevel:
    """Sets up logging for the process. `level` as in the configuration; what it returns changes it."""
    least = LogLevel(level)
    structlog.configure(
        processors=[
            least,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=lines),  # type: ignore[arg-type] # needs no more
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Library()], level=logging.WARNING, force=True)
    return least
