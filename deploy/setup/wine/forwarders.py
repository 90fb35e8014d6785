"""Reads `objdump -p python313.dll`, writes the definition of a python3.dll that hands every name on to it.

Wheels of the stable ABI are linked against python3.dll. The build of CPython in the test bed has none.
"""

from __future__ import annotations

import re
import sys

_ROW = re.compile(r"\[\s*\d+\]\s+(?:\+base\[\s*\d+\]\s+)?(?:[0-9a-f]+\s+)?(\w+)")


def main() -> None:
    """From standard input to standard output."""
    _, _, table = sys.stdin.read().partition("[Ordinal/Name Pointer] Table")
    names = [match[1] for line in table.splitlines() if (match := _ROW.fullmatch(line.strip()))]
    if "PyType_FromSpec" not in names:
        raise SystemExit("this is not the list of names of python313.dll")
    print("LIBRARY python3.dll\nEXPORTS", *(f" {name} = python313.{name}" for name in names), sep="\n")


main()
