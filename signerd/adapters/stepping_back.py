"""How a process of signerd's that holds no secret puts itself behind the ones that serve."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from signerd.adapters.keyholder.hardening import die_with_parent

_FIRST_TO_GO = "1000"  # proc(5), oom_score_adj: when memory runs out, this process and not signerd


def step_back(*, nice: int, memory: int) -> list[str]:
    """Lower priority, bounded memory, no core file; ends with its parent and by nobody's signal else.

    Returns what the service manager denied: the work at the usual priority is better than none.

    Args:
        nice: as nice(2) takes it.
        memory: bytes of address space.
    """
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    denied: list[str] = []
    try:
        os.nice(nice)
    except OSError as error:
        denied.append(f"nice: {error.strerror}")
    try:
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    except OSError as error:
        denied.append(f"oom_score_adj: {error.strerror}")
    # A service's stop reaches the whole group; signerd ends this process itself, and logs no fault then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return denied
