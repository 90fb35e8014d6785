"""For whom the task at hand works: what shares something out among callers asks here.

The gate of the RPCs says it, and tasks that a task starts inherit it. Empty: for signerd itself.
"""

from __future__ import annotations

from contextvars import ContextVar

CALLER: ContextVar[str] = ContextVar("caller", default="")
