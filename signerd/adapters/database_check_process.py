"""The program that compares database and ledger: `python -P -m signerd.adapters.database_check_process`.

It reads one line of JSON on standard input, and writes one when it has ended:

    {"url": "sqlite:////…", "head": "/…/checkpoint", "vkey": "…"}
    {"entries": 2000, "whole": true, "total": 1, "again": true, "findings": ["…"], "denied": []}

It runs at the lowest priority and within `MAX_MEMORY`, and only reads. `again`: what is missing would let a
chip or a key be certified once more; or entries are missing, so that nobody can tell.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from signerd.adapters.stepping_back import step_back
from signerd.adapters.store.verification.verify import verify_database
from signerd.core.note import parse_vkey

MAX_MEMORY = 2 * 1024**3  # bytes of address space, of which SQLite maps a part
_LOWEST = 19  # nice(2)
_TOLD = 20  # findings; the command names more


def main() -> int:
    """Reads, compares, reports. Whatever goes wrong ends it with a traceback on standard error."""
    denied = step_back(nice=_LOWEST, memory=MAX_MEMORY)
    asked = json.loads(sys.stdin.readline())
    head, first = Path(asked["head"]), parse_vkey(asked["vkey"])
    verified = verify_database(asked["url"], head, first, lambda _step: None)
    found = verified.found
    report = {
        "entries": verified.size,
        "whole": verified.log_is_whole,
        "total": found.total,
        "again": found.again or not verified.log_is_whole,
        "findings": [str(each) for each in found.findings[:_TOLD]],
        "denied": denied,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
