"""Signs of life of a start that reads the log: for systemd, which would end it, and for whoever waits."""

from __future__ import annotations

import structlog

from signerd.adapters import systemd

SAID_EVERY = 65_536  # entries
_ALIVE = "EXTEND_TIMEOUT_USEC=60000000"  # sd_notify(3): the start may take another minute from now

_log = structlog.get_logger(__name__)


def say_read(event: str, count: int, total: int) -> None:
    """To be called with each count of entries that were read; says something each `SAID_EVERY` of them."""
    if count % SAID_EVERY == 0:
        systemd.notify(_ALIVE)
        _log.info(event, entries=count, of=total)
