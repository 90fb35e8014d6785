"""Takes out of a lock file what Windows' CPython 3.13 needs.

    for_windows.py requirements/agent-esp32.txt wheels.txt

pip takes a platform for wheels and judges markers by the machine it runs on, so markers are judged here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

_WINDOWS = {
    "implementation_name": "cpython",
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_python_implementation": "CPython",
    "platform_system": "Windows",
    "python_full_version": "3.13.5",
    "python_version": "3.13",
    "sys_platform": "win32",
}


def main(lock: str, wheels: str) -> None:
    """From one file to the other."""
    rows = re.split(r"(?m)^(?=[a-z0-9])", Path(lock).read_text(encoding="utf-8"))[1:]
    taken = []
    for row in rows:
        head, _, rest = row.partition("\\\n")
        requirement = Requirement(head.strip())
        if requirement.marker is None or requirement.marker.evaluate(_WINDOWS):
            taken.append(f"{requirement.name}{requirement.specifier} \\\n{rest}")
    Path(wheels).write_text("".join(taken), encoding="utf-8")


main(*sys.argv[1:])
