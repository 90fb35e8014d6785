"""Why the service ended by itself: `service.log` beside agent.toml, for a service has no terminal.

What happens to boards is in `agent.log`. This file is also there where agent.toml cannot be read.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.log.agent_log import told
from agent.adapters.log.rotating import RotatingFile
from agent.errors import AgentError

FILE = "service.log"
_FILE_BYTES = 262_144
_FILES = 2


def record(folder: Path, error: BaseException) -> None:
    """Adds a line. Raises OSError."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"time": moment}
    if isinstance(error, AgentError):
        line |= {"detail": error.detail, "remedy": error.remedy}
    else:
        line |= {"detail": f"{type(error).__name__}: {error}", "remedy": "", "traceback": told(error)}
    RotatingFile(folder / FILE, file_bytes=_FILE_BYTES, files=_FILES).write(json.dumps(line))


def last(folder: Path) -> dict[str, str] | None:
    """Time, detail and remedy of the last one; None where there was none."""
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            found = json.loads(line)
            return {name: str(found[name]) for name in ("time", "detail", "remedy")}
        except (ValueError, TypeError, KeyError):
            continue  # a crash in the middle of it
    return None
