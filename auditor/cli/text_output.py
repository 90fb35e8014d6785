"""What a command prints never fails by its encoding.

A terminal or a pipe may have a code page that lacks a character, as those of Windows do. Such a character is
printed as its escape (`\\u2192`), and the command goes on.
"""

from __future__ import annotations

import io
import sys


def never_fail() -> None:
    """For standard output and standard error, before anything is printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None without a console; tests put others in their place
            stream.reconfigure(errors="backslashreplace")
