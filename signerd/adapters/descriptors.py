"""Room for what signerd itself opens, whatever strangers do: how many connections peers may have together.

A connection costs a descriptor from the moment that the kernel hands it over, before its peer has said a
byte. Where they may use them all, the store cannot open its files, and no key holder can be started: SQLite
opens its log and temporary files also on connections that are open.
"""

from __future__ import annotations

import resource

import structlog

from signerd.errors import ConfigError

# Listeners, event loop, store, log, metrics, administrators, what gRPC has accepted and not yet turned away.
RESERVE = 256
A_KEY_HOLDER = 16  # its line, pipes and the files of its start, twice: the old one may still be ending
LEAST_CONNECTIONS = 64  # with fewer a line cannot work

_log = structlog.get_logger(__name__)


def connections_within_limit(wanted: int, key_holders: int) -> int:
    """Raises the soft limit on open files as far as is needed and allowed; the number of connections that
    then leave signerd its own descriptors, `wanted` at most.

    Raises:
        ConfigError: the hard limit leaves too few.
    """
    own = RESERVE + key_holders * A_KEY_HOLDER
    allowed = _raised(wanted + own)
    connections = min(wanted, allowed - own)
    if connections < LEAST_CONNECTIONS:
        raise ConfigError(
            f"the limit on open files is {allowed}, and signerd needs {own + LEAST_CONNECTIONS} at least:"
            " raise LimitNOFILE in its unit, or ulimit -Hn"
        )
    if connections < wanted:
        _log.warning("connections_lowered", wanted=wanted, connections=connections, open_files=allowed)
    return connections


def _raised(needed: int) -> int:
    """The limit on open files, raised to what is needed if that is possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # a service manager forbids the call: Python makes EPERM a ValueError
        return soft
    return allowed
