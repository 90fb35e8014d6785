"""signerd's resident memory with many records, and what a fresh start of it needs with them."""

from __future__ import annotations

import psutil

from harness.installation import Installation


def resident_mb(installation: Installation) -> dict[str, float]:
    """Of the daemon and of its key holder, in MB."""
    daemon = psutil.Process(installation.process.pid).memory_info().rss / 1e6
    holder = installation.key_holder().memory_info().rss / 1e6
    return {"signerd_mb": round(daemon, 1), "key_holder_mb": round(holder, 1)}
