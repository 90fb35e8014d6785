"""Structured logs: JSON lines on standard error, without secrets.

Nothing in signerd passes a secret to a logger. This is the second fence: bytes never appear in a line, keys
with a secret's name are masked, PEM private keys are cut out, and no value is longer than a line should be.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

MAX_TEXT = 2000  # characters of one value; tracebacks may be longer
MASK = "[redacted]"
_SECRET_NAMES = {
    "chip_key", "credential", "evidence", "key", "mac", "passphrase", "password", "pin", "private_key",
    "secret", "session", "so_pin", "token_pin",
}  # fmt: skip
_PEM_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_NUMBERED = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the event without anything that could be a secret."""
    for name, value in event.items():
        event[name] = MASK if name in _SECRET_NAMES else _clean(value, limited=name != "exception")
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
        return {str(name): MASK if name in _SECRET_NAMES else _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return _clean(str(value))


class _Lines:
    """Where lines are written. One that cannot be, because the disk is full or the reader has gone, is lost:
    a call, or the task that replaces key holders, must not fail for want of its log line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def configure_logs(level: str) -> None:
    """Sets up logging for the process. `level` as in the configuration."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERED[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_Lines(sys.stderr)),  # type: ignore[arg-type] # needs no more
        cache_logger_on_first_use=True,
    )
