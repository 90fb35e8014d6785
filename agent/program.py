"""Which agent this is."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,64}")  # what signerd takes


PROTOCOL = "birthmark.v1"  # of proto/


def version_text() -> str:
    """What `--version` prints: the package's version, and the protocol's."""
    return f"birthmark-agent {program_version() or 'unknown'} ({PROTOCOL})"


@cache
def program_version() -> str:
    """The version of the installed package, as signerd is told it; empty where none is installed."""
    try:
        found = version("birthmark")
    except PackageNotFoundError:  # copied, and not installed
        return ""
    return found if is_version(found) else ""


def is_version(text: str) -> bool:
    """True for what signerd takes as the version of a program."""
    return _VERSION.fullmatch(text) is not None
