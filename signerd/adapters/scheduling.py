"""Which of our threads give way where processors are short.

Anybody on the network keeps gRPC's threads busy: they accept connections and shake hands. The thread that
issues, and those of store, ledger and key holders, are not to queue behind them.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

NICER = 10  # a ninth of the weight of a thread of ours (sched(7))
_LATER_S = (1.0, 10.0)
# gRPC's pool, and the thread that adds to it. Whatever they start has the same niceness.
_NAMES = frozenset({"event_engine", "lifeguard"})

_log = structlog.get_logger(__name__)


def let_network_give_way() -> None:
    """Call it once gRPC has its threads, on the event loop. Where the system does not allow it, the log says
    so."""
    _network_gives_way()
    for later_s in _LATER_S:  # a thread that had just begun had no name yet
        asyncio.get_running_loop().call_later(later_s, _network_gives_way)


def _network_gives_way() -> None:
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + NICER, 19)
    for thread in Path("/proc/self/task").iterdir():
        try:
            if (thread / "comm").read_text(encoding="ascii").strip() in _NAMES:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        except OSError as error:
            _log.warning("network_does_not_give_way", detail=str(error))
            return
