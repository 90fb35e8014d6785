"""Which signerd this is."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,64}")
UNKNOWN = "unknown"


PROTOCOL = "birthmark.v1"  # of proto/


def version_text() -> str:
    """What `--version` prints: the package's version, and the protocol's."""
    return f"signerd {program_version()} ({PROTOCOL})"


@cache
def program_version() -> str:
    """The version of the installed package, for `issued` entries; `unknown` where none is installed."""
    try:
        found = version("birthmark")
    except PackageNotFoundError:  # copied, and not installed
        return UNKNOWN
    return found if is_version(found) else UNKNOWN


def is_version(text: str) -> bool:
    """True for what an `issued` entry may hold as the version of a program (docs/formats.md, "Ledger")."""
    return _VERSION.fullmatch(text) is not None
