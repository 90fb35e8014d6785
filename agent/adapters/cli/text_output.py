"""What a command prints never fails by its encoding.

A terminal or a pipe may have a code page that lacks a character, as those of Windows do. Such a character
is printed as its escape (`\\u2192`), and the command goes on. What machines read is UTF-8 everywhere.
"""

from __future__ import annotations

import io
import sys


def never_fail() -> None:
    """For standard output and standard error, before anything is printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None without a console; tests put others in their place
            stream.reconfigure(errors="backslashreplace")


def machine_readable() -> None:
    """Standard output becomes UTF-8, and line ends are written as they are given."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
