"""Which auditor this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PROTOCOL = "birthmark.v1"  # of proto/


def version_text() -> str:
    """What `--version` prints: the package's version, and the protocol's."""
    try:
        found = version("birthmark")
    except PackageNotFoundError:  # copied, and not installed
        found = "unknown"
    return f"birthmark-auditor {found} ({PROTOCOL})"
